"""A Keras config of any generation read into one form: layers, and the calls that join them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from esp.astore.keras.old_names import renewed
from esp.errors import GraphError

MODELS = ("Sequential", "Model", "Functional")


@dataclass(frozen=True, slots=True)
class Ref:
    """Output ``tensor`` of call ``call`` of a layer of the same model."""

    layer: str
    call: int
    tensor: int


@dataclass(frozen=True, slots=True)
class CallSpec:
    """One call of a layer: what it is given, lists of Ref and plain values, as Keras wrote it."""

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LayerSpec:
    """A layer as its config describes it, at ``where`` in the file's config.

    ``model`` is the model that it is, ``wrapped`` the layer that it calls at every step (TimeDistributed), if any.
    """

    kind: str
    name: str
    config: Mapping[str, Any]
    where: str
    module: str = ""
    calls: tuple[CallSpec, ...] = ()
    model: "ModelSpec | None" = None
    wrapped: "LayerSpec | None" = None

    @property
    def is_operation(self) -> bool:
        """Whether it is an operation of Keras 3, not a layer."""
        return ".ops." in f"{self.module}."


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """The layers of a model and which tensors go in and out."""

    name: str
    layers: tuple[LayerSpec, ...]
    inputs: tuple[Ref, ...]
    outputs: tuple[Ref, ...]


def model_spec(config: Mapping[str, Any], where: str = "config") -> ModelSpec:
    """The model that a config describes. Raises GraphError where it is none that can be read."""
    kind, inner = config.get("class_name"), config.get("config")
    if kind not in MODELS or not isinstance(inner, Mapping | list):
        mend = "save a Sequential or Functional model: a subclassed one has no graph in its file"
        raise GraphError(f"class {kind!r} is no model whose layers a config lists", where=where, mend=mend)
    try:
        return _sequential(inner, where) if kind == "Sequential" else _functional(_mapping(inner, where), where)
    except (KeyError, TypeError, IndexError, AttributeError, ValueError, OverflowError, RecursionError) as err:
        raise GraphError(f"the config is not laid out as Keras does: {err!r}", where=where, mend="save the model again") from err


def layer_spec(config: Mapping[str, Any], where: str) -> LayerSpec:
    """One layer of a config, its names those of Keras 2 and 3."""
    inner = config["config"]
    name = str(config.get("name") or (inner.get("name") if isinstance(inner, Mapping) else None) or config["class_name"].lower())
    where = f"{where} {name!r}"
    registered, module = config.get("registered_name"), str(config.get("module") or "")
    if config["class_name"] in MODELS and not (registered and module and not module.startswith("keras")):
        return LayerSpec(config["class_name"], name, {}, where, module, model=model_spec(config, where))
    kind, settings = renewed(config["class_name"], _mapping(inner, where))
    if module and not module.startswith("keras"):
        what = f"{kind} is a class of its own ({registered or module}), which Keras does not define"
        raise GraphError(what, where=where, mend="build the model from layers of Keras")
    shape = _mapping(config.get("build_config") or {}, where).get("input_shape")
    wrapped = layer_spec(settings["layer"], f"{where}.layer") if kind == "TimeDistributed" else None
    return LayerSpec(kind, name, {**settings, "build_shape": shape}, where, module, wrapped=wrapped)


def _mapping(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise GraphError(f"wanted a map of settings, got {value!r:.60}", where=where, mend="save the model again")
    return value


def _sequential(inner: Mapping[str, Any] | list[Any], where: str) -> ModelSpec:
    """A chain of layers; an input stands before it where the file leaves it out."""
    listed = inner if isinstance(inner, list) else inner["layers"]
    name = "sequential" if isinstance(inner, list) else str(inner.get("name") or "sequential")
    layers = [layer_spec(item, f"{where}.layers[{at}]") for at, item in enumerate(listed)]
    if not layers:
        raise GraphError("the model has no layers", where=where, mend="give it one")
    if layers[0].kind == "Merge":
        mend = "save it with Keras 1.2 as a functional model: Model(inputs, outputs)"
        raise GraphError("the models that join at its beginning cannot be told apart", where=layers[0].where, mend=mend)
    if layers[0].kind != "InputLayer":
        build_shape = None if isinstance(inner, list) else inner.get("build_input_shape")
        layers.insert(0, _entrance(layers[0], build_shape, where))
    chained = [layers[0]]
    for layer in layers[1:]:
        chained.append(replace(layer, calls=(CallSpec((Ref(chained[-1].name, 0, 0),)),)))
    return ModelSpec(name, tuple(chained), (Ref(chained[0].name, 0, 0),), (Ref(chained[-1].name, 0, 0),))


def _entrance(layer: LayerSpec, build_shape: Any, where: str) -> LayerSpec:
    """The input of a Sequential whose first layer, or the model that it is, says its shape."""
    source, shape = layer, build_shape
    while source.model is not None:
        source = next(inner for inner in source.model.layers if inner.name == source.model.inputs[0].layer)
    config = source.config
    for key in ("batch_input_shape", "batch_shape", "build_shape"):
        shape = config.get(key) or shape
    kept = {key: config[key] for key in ("dtype", "input_dtype") if key in config and isinstance(config[key], str)}
    return LayerSpec("InputLayer", f"{layer.name}_input", {"batch_shape": shape, **kept}, f"{where}.layers[0]")


def _functional(inner: Mapping[str, Any], where: str) -> ModelSpec:
    listed = [(item, layer_spec(item, f"{where}.layers[{at}]")) for at, item in enumerate(inner["layers"])]
    layers = [replace(layer, calls=tuple(_call(node) for node in item["inbound_nodes"])) for item, layer in listed]
    inputs, outputs = tuple(_ends(inner["input_layers"])), tuple(_ends(inner["output_layers"]))
    # Keras 3 counts the making of a Functional model in output_layers alone.
    is_new = any(isinstance(node, Mapping) for item in inner["layers"] for node in item["inbound_nodes"])
    base = _bases(layers, [ref for layer in layers for call in layer.calls for ref in refs_in((call.args, call.kwargs))])
    base_out = _bases(layers, outputs)
    if is_new:
        layers = [_as_operation(layer) for layer in layers]
        base = dict.fromkeys(base, 0)
        base_out = {layer.name: int(layer.kind == "Functional") for layer in layers if layer.model is not None}
    layers = [replace(layer, calls=tuple(_shifted(call, base) for call in layer.calls)) for layer in layers]
    name = str(inner.get("name") or "model")
    return ModelSpec(name, tuple(layers), inputs, tuple(_shifted(ref, base_out) for ref in outputs))


def _as_operation(layer: LayerSpec) -> LayerSpec:
    """An operation of Keras 3 marked as one where the file (.h5) names no modules: its config lacks what every layer's has."""
    is_layer = layer.module or layer.model is not None or "trainable" in layer.config or layer.kind == "InputLayer"
    return layer if is_layer else replace(layer, module="keras.ops")


def _call(node: Any) -> CallSpec:
    """One entry of ``inbound_nodes``: Keras 3's args and kwargs, or the list of the older ones."""
    if isinstance(node, Mapping):
        return CallSpec(
            tuple(_revived(item) for item in node["args"]), {key: _revived(item) for key, item in node["kwargs"].items()}
        )
    if node and isinstance(node[0], str):
        node = [node]
    kwargs: dict[str, Any] = {}
    for item in node:
        kwargs.update({key: _older(value) for key, value in (item[3] if len(item) > 3 else {}).items()})
    return CallSpec(([Ref(str(item[0]), int(item[1]), int(item[2])) for item in node],), kwargs)


def _revived(item: Any) -> Any:
    """Keras 3's tensors as Refs; everything else as it is."""
    if isinstance(item, Mapping):
        if item.get("class_name") == "__keras_tensor__":
            layer, call, tensor = item["config"]["keras_history"]
            return Ref(str(layer), int(call), int(tensor))
        if item.get("class_name") == "__tuple__":
            return _revived(item["items"])
        return {key: _revived(value) for key, value in item.items()}
    return [_revived(value) for value in item] if isinstance(item, list | tuple) else item


def _older(value: Any) -> Any:
    """A keyword of Keras 2: a tensor is written ["layer", call, tensor]."""
    if isinstance(value, list) and len(value) in (3, 4) and isinstance(value[0], str) and value[0] != "_CONSTANT_VALUE":
        return Ref(value[0], int(value[1]), int(value[2]))
    return [_older(item) for item in value] if isinstance(value, list) else value


def _ends(value: Any) -> Iterator[Ref]:
    """The tensors that ``input_layers`` or ``output_layers`` names, however they are nested."""
    if isinstance(value, Mapping):
        for item in value.values():
            yield from _ends(item)
    elif len(value) in (3, 4) and isinstance(value[0], str):
        yield Ref(value[0], int(value[1]), int(value[2]))
    else:
        for item in value:
            yield from _ends(item)


def refs_in(value: Any) -> Iterator[Ref]:
    """Every Ref in nested lists and maps, in order."""
    if isinstance(value, Ref):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from refs_in(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from refs_in(item)


def _bases(layers: Sequence[LayerSpec], refs: Sequence[Ref]) -> dict[str, int]:
    """The number that the first call of each nested model has: 1 in Keras 1 and 2, which count its making as call 0."""
    bases = {}
    for layer in layers:
        if layer.model is not None:
            asked = [ref.call for ref in refs if ref.layer == layer.name]
            bases[layer.name] = int(bool(asked) and (max(asked) >= len(layer.calls) or min(asked) > 0))
    return bases


def _shifted(value: Any, bases: Mapping[str, int]) -> Any:
    if isinstance(value, Ref):
        return Ref(value.layer, value.call - bases.get(value.layer, 0), value.tensor)
    if isinstance(value, CallSpec):
        return CallSpec(_shifted(value.args, bases), _shifted(value.kwargs, bases))
    if isinstance(value, Mapping):
        return {key: _shifted(item, bases) for key, item in value.items()}
    return type(value)(_shifted(item, bases) for item in value) if isinstance(value, list | tuple) else value
