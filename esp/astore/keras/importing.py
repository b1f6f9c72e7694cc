"""A Keras file as a graph, and as an astore: its own config, or one that is given apart, with its weights."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from esp.astore.adopt import adopt, source_facts
from esp.astore.binary import read
from esp.astore.graph import Graph
from esp.astore.hdf5 import Flavour, KerasFile, LayerWeights, Rows, assign, by_layer, read_apart
from esp.astore.hdf5.nesting import object_paths, split
from esp.astore.keras.call import Origin
from esp.astore.keras.config import LayerSpec, ModelSpec, model_spec
from esp.astore.keras.walk import Names, Walk
from esp.astore.model import Astore
from esp.errors import FileError, GraphError, UsageError


def graph_of_keras(
    file: KerasFile,
    config: Mapping[str, Any] | None = None,
    shapes: Mapping[str, Sequence[int]] | None = None,
    config_path: Path | None = None,
) -> Graph:
    """The graph of a Keras model: inputs and outputs as Keras has them, channels first inside.

    ``config`` is that of the model ({"class_name": ..., "config": ...}) where the file holds weights only. ``shapes`` fixes sizes
    that the model leaves open, by input, the batch's place among them. Raises GraphError, naming class, layer and place, for what
    cannot be imported (a place in the config begins with the file that it stands in, ``config_path`` where it is one of its own),
    FileError for weights that do not fit the config.
    """
    given = config if config is not None else file.config
    if given is None:
        raise FileError("it holds weights and no config", where=str(file.path), mend="give the model's config beside it")
    if file.flavour != "keras":
        raise FileError("DLPy's files hold no model", where=str(file.path), mend="give a graph to load the weights onto")
    try:
        model = model_spec(given)
        weights = by_layer(file, given)
        for names, spec in _wrapped_models(model, ()):
            weights.update(_within(file, names, spec, weights.pop(names, None)))
        return Walk(Origin(file.generation, file.backend), weights, shapes or {}).graph(model)
    except GraphError as err:
        where = f"{config_path or file.path}: {err.where}" if err.where else str(config_path or file.path)
        raise GraphError(err.what, where=where, mend=err.mend) from err


def import_keras(
    path: Path,
    name: str = "",
    *,
    config: Path | None = None,
    onto: Path | None = None,
    layout: Flavour = "keras",
    by_order: bool = False,
    rows: Rows | None = None,
    shapes: Mapping[str, Sequence[int]] | None = None,
    spec: Mapping[str, Any] | None = None,
    labels: Sequence[str] = (),
    where: str = "spec",
) -> Astore:
    """The astore of a Keras file, named as the file where ``name`` is left out; its card says what it was made of.

    ``config`` is a file of ``model.to_json()`` for one of weights only. ``onto`` is an astore whose graph takes the weights in
    place of its own, layer by layer; the file may have DLPy's ``layout`` then, and ``by_order`` and ``rows`` are those of ``assign``. ``shapes`` is that of ``graph_of_keras``, the
    rest those of ``adopt``. Raises UsageError where ``onto`` and ``config`` are given both.
    """
    if onto is not None and (config is not None or shapes):
        raise UsageError("a graph that takes the weights needs no config and no shapes", where=str(onto), mend="leave one out")
    file = read_apart(path, layout)
    known = {"keras_version": file.keras_version, "generation": file.generation, "backend": file.backend}
    card: dict[str, Any] = {"source": source_facts(path, "keras", known)}
    name = name or path.stem.removesuffix(".weights")
    if onto is None:
        graph = graph_of_keras(file, None if config is None else config_in(config), shapes, config)
        if config is not None:
            card["config"] = source_facts(config, "keras", {})
        return adopt(graph, name, spec=spec, labels=labels, card=card, where=where)
    base = read(onto)
    graph, card = assign(base.graph, file, by_order, rows), {**card, "onto": base.digest}
    if spec or labels:
        return adopt(graph, name, spec=spec, labels=labels, card=card, where=where)
    return replace(base, name=name, graph=graph, card=card, digest="")


def config_in(path: Path) -> Mapping[str, Any]:
    """The config that a file of JSON holds. Raises FileError."""
    try:
        parsed = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as err:
        raise FileError(f"it is no JSON: {err}", where=str(path), mend="write model.to_json() into it") from err
    if not isinstance(parsed, dict):
        raise FileError("it holds no JSON object", where=str(path), mend="write model.to_json() into it")
    return parsed


def _wrapped_models(model: ModelSpec, names: Names) -> Iterator[tuple[Names, LayerSpec]]:
    """Every TimeDistributed model, with the names on the way to its wrapper."""
    for layer in model.layers:
        inside = (*names, layer.name)
        if layer.model is not None:
            yield from _wrapped_models(layer.model, inside)
        elif layer.wrapped is not None and layer.wrapped.model is not None:
            yield inside, layer


def _within(file: KerasFile, names: Names, wrapper: LayerSpec, held: LayerWeights | None) -> Mapping[Names, LayerWeights]:
    """The weights of a wrapped model's layers, which the file holds as those of the wrapper."""
    inner = wrapper.wrapped
    if held is None or inner is None:
        return {}
    if not file.is_by_path:
        return split(file, wrapper.name, held, [*_leaves(inner, names)])
    found = {}
    for key, path in object_paths(wrapper.config["layer"]):
        own = [(name, array) for name, array in zip(held.names, held.arrays) if _is_of(name, f"layer/{key}/")]
        if own:
            found[(*names, inner.name, *path)] = LayerWeights(*(tuple(column) for column in zip(*own)))
    return found


def _is_of(name: str, prefix: str) -> bool:
    return name.startswith(prefix) and not name.removeprefix(prefix).startswith("layers/")


def _leaves(layer: LayerSpec, names: Names) -> Iterator[Names]:
    inside = (*names, layer.name)
    if layer.model is None:
        yield inside
        return
    for inner in layer.model.layers:
        yield from _leaves(inner, inside)
