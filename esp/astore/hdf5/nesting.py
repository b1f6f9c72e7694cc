"""Weights by the names of a model's config, models within models too, however the file lays them out."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from esp.astore.graph import Array
from esp.astore.hdf5.file import KerasFile, LayerWeights
from esp.errors import FileError

Names = tuple[str, ...]  # of the layers from the outermost model inward
_MODELS = ("Sequential", "Functional", "Model")


def by_layer(file: KerasFile, config: Mapping[str, Any] | None = None) -> dict[Names, LayerWeights]:
    """The weights of each layer that has any, by the names on the way to it: ("dense",), or ("inner", "dense") of a model within.

    ``config`` is that of the model where the file holds none. A wrapper (Bidirectional, TimeDistributed) is one layer. Raises
    FileError where the file has weights of no layer of the config, or weights within a model cannot be told apart.
    """
    given = config or file.config
    if given is None:
        what = "holds weights and no config"
        raise FileError(what, where=str(file.path), mend="give the model's config, or a graph to load the weights onto")
    paths = dict(object_paths(given) if file.is_by_path else _flat(given))
    found: dict[Names, LayerWeights] = {}
    for key, weights in file.layers.items():
        if key not in paths:
            what = "the file has weights for it, the config no such layer"
            raise FileError(what, where=f"{file.path}: layer {key!r}", mend="give the config that it was saved with")
        inner = () if file.is_by_path else [*_leaves(_config_of(given, paths[key]), paths[key])]
        found.update(split(file, key, weights, inner) if inner else {paths[key]: weights})
    return found


def object_paths(config: Mapping[str, Any], path: str = "", names: Names = ()) -> Iterator[tuple[str, Names]]:
    """Where Keras 3 keeps each layer: by its class in snake case, counted in each model apart; a Sequential counts no InputLayer."""
    counts: dict[str, int] = {}
    for layer in layers_of(config):
        if layer["class_name"] == "InputLayer" and config["class_name"] == "Sequential":
            continue
        word = snake_case(layer["class_name"].rpartition(">")[2])
        count = counts.get(word, 0)
        counts[word] = count + 1
        key = f"{path}layers/{word}_{count}" if count else f"{path}layers/{word}"
        yield key, (*names, name_of(layer))
        if is_model(layer):
            yield from object_paths(layer, f"{key}/", (*names, name_of(layer)))


def snake_case(name: str) -> str:
    """A class as Keras 3 names it in paths: Conv2DTranspose is conv2d_transpose."""
    parted = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W", "", name))
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", parted).lower()


def layers_of(config: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """The layers of a model's config; Keras 1 and early 2 wrote a Sequential as a list. Raises FileError."""
    inner = config["config"]
    layers = inner.get("layers") if isinstance(inner, Mapping) else inner
    if not isinstance(layers, list) or not all(_is_layer(layer) for layer in layers):
        raise FileError(f"the config of a {config['class_name']} lists no layers", mend="save the model again with Keras")
    return layers


def name_of(layer: Mapping[str, Any]) -> str:
    """A layer's name; Keras 1 and 2 leave it out beside the config in a Sequential."""
    inner = layer["config"]
    name = layer.get("name") or (inner.get("name") if isinstance(inner, Mapping) else None)
    return name if isinstance(name, str) else ""


def is_model(layer: Mapping[str, Any]) -> bool:
    """Whether a layer is a model itself."""
    inner = layer["config"]
    return layer["class_name"] in _MODELS and (isinstance(inner, list) or "layers" in inner)


def split(file: KerasFile, key: str, weights: LayerWeights, inner: Sequence[Names]) -> dict[Names, LayerWeights]:
    """The weights of a model within, which the file holds flat, told apart by the names of its layers in their own names."""
    parts: dict[Names, list[tuple[str, Array]]] = {}
    for name, array in zip(weights.names, weights.arrays):
        at = _owner(name, inner)
        if at is None:
            what = "the layer that it belongs to cannot be told by its name"
            raise FileError(what, where=f"{file.path}: {key}/{name}", mend="save the model with Keras 3 as .keras")
        parts.setdefault(at, []).append((name, array))
    return {names: LayerWeights(*(tuple(column) for column in zip(*part))) for names, part in parts.items()}


def _owner(weight: str, inner: Sequence[Names]) -> Names | None:
    """The layer whose name is a part of the weight's path, else (Keras 1: dense_1_W) the longest that begins one."""
    for part in weight.split("/"):
        owners = [names for names in inner if names[-1] == part]
        if owners:
            return owners[0] if len(owners) == 1 else None
    owners = [names for names in inner if weight.rpartition("/")[2].startswith(f"{names[-1]}_")]
    longest = max((len(names[-1]) for names in owners), default=0)
    owners = [names for names in owners if len(names[-1]) == longest]
    return owners[0] if len(owners) == 1 else None


def _is_layer(layer: Any) -> bool:
    return isinstance(layer, dict) and isinstance(layer.get("class_name"), str) and isinstance(layer.get("config"), dict | list)


def _flat(config: Mapping[str, Any]) -> Iterator[tuple[str, Names]]:
    """The outermost layers alone: the keys of the layout that keeps models within flat."""
    return ((name_of(layer), (name_of(layer),)) for layer in layers_of(config))


def _config_of(config: Mapping[str, Any], names: Names) -> Mapping[str, Any]:
    return next(layer for layer in layers_of(config) if name_of(layer) == names[0])


def _leaves(layer: Mapping[str, Any], names: Names) -> Iterator[Names]:
    """The layers within a model, at any depth, that are no models themselves; nothing for another layer."""
    for inner in layers_of(layer) if is_model(layer) else ():
        path = (*names, name_of(inner))
        if is_model(inner):
            yield from _leaves(inner, path)
        else:
            yield path
