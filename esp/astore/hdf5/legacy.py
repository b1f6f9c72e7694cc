"""The layout of Keras 1, 2 and of ``.h5`` in Keras 3: a group a layer, named and ordered by attributes."""

import h5py

from esp.astore.hdf5.file import LayerWeights
from esp.astore.hdf5.guard import Budget, array_at, has, subgroup, texts

TOP_LEVEL = "top_level_model_weights"


def is_legacy(group: h5py.Group) -> bool:
    """Whether a group lists its layers as this layout does."""
    return "layer_names" in group.attrs or "layer_names0" in group.attrs


def read_legacy(group: h5py.Group, budget: Budget) -> dict[str, LayerWeights]:
    """The weights of each layer that has any, in the file's order. Raises FileError."""
    layers = {}
    for name in texts(group, "layer_names", budget) or []:
        if name in layers:
            raise budget.fault(f"layer {name!r} is listed twice", group.name, "save it again with Keras")
        weights = _layer(subgroup(group, name, budget), budget)
        if weights.names:
            layers[name] = weights
    if has(group, TOP_LEVEL) and _layer(subgroup(group, TOP_LEVEL, budget), budget).names:
        mend = "save a model whose weights all belong to layers"
        raise budget.fault("holds weights of the model itself, of no layer", f"{group.name}/{TOP_LEVEL}", mend)
    return layers


def _layer(group: h5py.Group, budget: Budget) -> LayerWeights:
    names = texts(group, "weight_names", budget)
    if names is None:
        raise budget.fault("has no attribute 'weight_names'", group.name, "save it again with Keras")
    return LayerWeights(tuple(names), tuple(array_at(group, name, budget) for name in names))
