"""A model walked call by call: each layer's nodes are added when all that it is called on is there."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from esp.astore.build import GraphBuilder
from esp.astore.graph import Array, Graph, Shape
from esp.astore.hdf5 import LayerWeights
from esp.astore.keras import values
from esp.astore.keras.call import Call, Origin
from esp.astore.keras.config import CallSpec, LayerSpec, ModelSpec, Ref, refs_in
from esp.astore.keras.table import LETS_MASK_THROUGH, USES_MASK, WHY_NOT, outputs_of, rule_of
from esp.astore.keras.values import Held
from esp.errors import GraphError

Names = tuple[str, ...]  # of layers from the outermost model inward
_CALLED_ON = ("inputs", "sequences", "sequence", "x")  # names by which Keras 3 may give a layer what it is called on
WITHOUT_MASK = "train it without Masking and mask_zero, or on sequences of one length"
_INPUT_DTYPES = {"float32": "float32", "float64": "float32", "int32": "int32", "int64": "int64", "uint8": "uint8", "bool": "bool"}


@dataclass(slots=True)
class Walk:
    """The graph that grows; ``shapes`` are of inputs whose sizes the model leaves open, by name, the batch's place among them."""

    origin: Origin
    weights: Mapping[Names, LayerWeights]
    shapes: Mapping[str, Sequence[int]]
    build: GraphBuilder = field(default_factory=GraphBuilder)

    def graph(self, model: ModelSpec) -> Graph:
        """The whole graph, its outputs named after the layers that make them."""
        outputs: dict[str, str] = {}
        for ref, value in zip(model.outputs, self.run(model, (), None)):
            names = (ref.layer, *(f"{ref.layer}_{at}" for at in range(1, len(model.outputs) + 1)))
            free = next(name for name in names if name not in outputs and name not in self.build.shapes)
            outputs[free] = values.tensor(self.build, value)
        return self.build.graph(outputs)

    def run(self, model: ModelSpec, path: Names, given: Sequence[Held] | None) -> list[Held]:
        """The outputs of a model called on ``given``, or on new inputs of the graph."""
        layers = {layer.name: layer for layer in model.layers}
        made = dict(self._entered(model, path, given, layers))
        waiting = [
            (layer, at, call) for layer in model.layers for at, call in enumerate(layer.calls) if (layer.name, at) not in made
        ]
        while waiting:
            left = []
            for layer, at, call in waiting:
                if all((ref.layer, ref.call) in made for ref in refs_in((call.args, call.kwargs))):
                    made[layer.name, at] = self._called(layer, call, path, made)
                else:
                    left.append((layer, at, call))
            if len(left) == len(waiting):
                what = f"{left[0][0].kind} {left[0][0].name!r} waits for tensors that no layer makes"
                raise GraphError(what, where=left[0][0].where, mend="save the model again")
            waiting = left
        return [_found(ref, made, model) for ref in model.outputs]

    def _entered(
        self, model: ModelSpec, path: Names, given: Sequence[Held] | None, layers: Mapping[str, LayerSpec]
    ) -> Iterator[tuple[tuple[str, int], list[Held]]]:
        """What the model's inputs hold."""
        if given is not None and len(given) != len(model.inputs):
            raise GraphError(
                f"it is called on {len(given)} tensors, wanted {len(model.inputs)}", where=model.name, mend="mend the model"
            )
        for at, ref in enumerate(model.inputs):
            layer = layers.get(ref.layer)
            if layer is None or layer.kind != "InputLayer":
                raise GraphError(f"input {ref.layer!r} is no InputLayer", where=model.name, mend="save the model again")
            with self.build.layer("/".join((*path, layer.name)), "InputLayer"):
                yield (ref.layer, ref.call), [self._input(layer) if given is None else given[at]]

    def _input(self, layer: LayerSpec) -> Held:
        """A new input of the graph, as Keras has it."""
        dtype = layer.config.get("dtype") or layer.config.get("input_dtype") or "float32"
        if not isinstance(dtype, str) or dtype not in _INPUT_DTYPES:
            raise GraphError(
                f"input {layer.name!r} is {dtype!r}", where=layer.where, mend=f"use one of: {', '.join(_INPUT_DTYPES)}"
            )
        if layer.config.get("sparse") or layer.config.get("ragged"):
            raise GraphError(f"input {layer.name!r} is sparse or ragged", where=layer.where, mend="build the model on dense inputs")
        shape: Shape = (None, *_fixed_sizes(layer, self.shapes.get(layer.name)))
        return values.held(self.build, self.build.input(layer.name, shape, _INPUT_DTYPES[dtype]))

    def _called(self, layer: LayerSpec, call: CallSpec, path: Names, made: Mapping[tuple[str, int], list[Held]]) -> list[Held]:
        args, kwargs = (_resolved(part, made, layer) for part in (list(call.args), dict(call.kwargs)))
        given = [*_tensors(args)]
        for name in _CALLED_ON:
            given = [*_tensors(kwargs.pop(name, ())), *given]
        inside = (*path, layer.name)
        if layer.model is not None:
            _check_left(layer, kwargs)
            return self.run(layer.model, inside, given)
        with self.build.layer("/".join(inside), layer.kind):
            held = self.weights.get(inside)
            return self._layer(layer, inside, args, given, kwargs, None if held is None else held.arrays)

    def _layer(
        self,
        layer: LayerSpec,
        path: Names,
        args: Sequence[Any],
        given: Sequence[Held],
        kwargs: dict[str, Any],
        arrays: Sequence[Array] | None,
    ) -> list[Held]:
        """One layer's own nodes."""
        rule = rule_of(layer.kind, layer.is_operation)
        if rule is None or not given:
            reason = WHY_NOT.get(layer.kind, "there is no rule for this class") if rule is None else "it is called on no tensor"
            raise GraphError(
                f"{layer.kind} {layer.name!r} cannot be imported: {reason}", where=layer.where, mend="build the model without it"
            )
        is_masked = any(value.is_masked for value in given)
        if is_masked and layer.kind in USES_MASK:
            what = f"{layer.kind} {layer.name!r} cannot be imported: it would use the mask of steps that comes to it"
            raise GraphError(what, where=layer.where, mend=WITHOUT_MASK)
        call = Call(layer, self.build, args, given, kwargs, arrays, self.origin, partial(self._inner, path))
        try:
            outputs = outputs_of(rule(call))
        except (AssertionError, AttributeError, IndexError, KeyError, TypeError, ValueError, OverflowError) as err:
            what = f"{layer.kind} {layer.name!r} cannot be imported: its settings are not as Keras writes them ({err!r:.100})"
            raise GraphError(what, where=layer.where, mend="save the model again") from err
        _check_left(layer, call.kwargs)
        call.settings.check_left()
        if is_masked and layer.kind in LETS_MASK_THROUGH:
            for value in outputs:
                value.is_masked = True
        return outputs

    def _inner(self, path: Names, layer: LayerSpec, given: Sequence[Held], arrays: Sequence[Array] | None) -> list[Held]:
        """A layer, or a model, that the layer at ``path`` wraps."""
        if layer.model is not None:
            return self.run(layer.model, (*path, layer.name), given)
        return self._layer(layer, path, given, given, {}, arrays)


def _fixed_sizes(layer: LayerSpec, fixed: Sequence[int] | None) -> list[int]:
    """The sizes of an input without the batch. Raises GraphError where neither the model nor the user fixes one."""
    said = layer.config.get("batch_shape") or layer.config.get("batch_input_shape")
    said = said if isinstance(said, list | tuple) else None
    sizes, fixed = [] if said is None else list(said)[1:], None if fixed is None else list(fixed)[1:]
    if fixed is not None:
        if said is not None and (len(sizes) != len(fixed) or any(old not in (None, new) for old, new in zip(sizes, fixed))):
            what = f"input {layer.name!r} has the sizes {sizes}, which {fixed} does not fill in"
            raise GraphError(what, where=layer.where, mend="give a size for each that is open")
        sizes, said = fixed, fixed
    if said is None or not all(isinstance(size, int) and size > 0 for size in sizes):
        what = f"input {layer.name!r} has open sizes: {'none is said' if said is None else sizes}"
        raise GraphError(what, where=layer.where, mend=f"give its shape, with 1 for the batch: {layer.name}=1,...")
    return [int(size) for size in sizes]


def _found(ref: Ref, made: Mapping[tuple[str, int], list[Held]], model: ModelSpec) -> Held:
    outputs = made.get((ref.layer, ref.call), [])
    if not 0 <= ref.tensor < len(outputs):
        what = f"tensor {ref.tensor} of call {ref.call} of layer {ref.layer!r} is asked for, which it does not make"
        raise GraphError(what, where=model.name, mend="save the model again")
    return outputs[ref.tensor]


def _resolved(value: Any, made: Mapping[tuple[str, int], list[Held]], layer: LayerSpec) -> Any:
    """Nested lists and maps with tensors in place of Refs."""
    if isinstance(value, Ref):
        outputs = made[value.layer, value.call]
        if not 0 <= value.tensor < len(outputs):
            what = f"{layer.kind} {layer.name!r} is called on tensor {value.tensor} of {value.layer!r}, which it does not make"
            raise GraphError(what, where=layer.where, mend="save the model again")
        return outputs[value.tensor]
    if isinstance(value, Mapping):
        return {key: _resolved(item, made, layer) for key, item in value.items()}
    return [_resolved(item, made, layer) for item in value] if isinstance(value, list | tuple) else value


def _tensors(value: Any) -> Iterator[Held]:
    """The tensors of nested lists, in order."""
    if isinstance(value, Held):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _tensors(item)
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _tensors(item)


def _check_left(layer: LayerSpec, kwargs: Mapping[str, Any]) -> None:
    """Raises GraphError for what the layer was given by name and no rule took."""
    for name, value in kwargs.items():
        is_nothing = value is None or value is False or (name == "mask" and isinstance(value, list) and not any(value))
        if not is_nothing and name != "name":
            what = f"{layer.kind} {layer.name!r} cannot be imported: it is called with {name} = {value!r:.60}"
            raise GraphError(what, where=layer.where, mend="call it without")
