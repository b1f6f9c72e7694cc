"""The layout of ``.weights.h5`` and ``.keras``: groups as the objects lie within one another, variables by number under ``vars``."""

import re
from collections.abc import Iterable, Iterator

import h5py

from esp.astore.graph import Array
from esp.astore.hdf5.file import LayerWeights
from esp.astore.hdf5.guard import Budget, array_at, has, names_in, subgroup, text

CONTAINERS = ("layers", "_layer_checkpoint_dependencies")  # the second in files of tf.keras 2.12 and 2.13
_LEFT_OUT = ("vars", "seed_generator")  # read apart, no weights
_BEFORE = {"forward_layer": 0, "backward_layer": 1, "query_dense": 0, "key_dense": 1, "value_dense": 2, "output_dense": 3}


def container_of(group: h5py.Group) -> str | None:
    """The name under which a model's group holds its layers."""
    return next((name for name in CONTAINERS if has(group, name)), None)


def read_native(root: h5py.Group, budget: Budget) -> dict[str, LayerWeights]:
    """The weights of each layer that has any, by the path of its object with the container always called "layers"."""
    if has(root, "vars") and names_in(subgroup(root, "vars", budget), budget):
        raise budget.fault("holds weights of the model itself", "/vars", "save a model whose weights all belong to layers")
    return dict(_model(root, "", budget))


def _model(group: h5py.Group, prefix: str, budget: Budget) -> Iterator[tuple[str, LayerWeights]]:
    container = container_of(group)
    if container is None:
        return
    layers = subgroup(group, container, budget)
    for name in sorted(names_in(layers, budget), key=_by_number):
        layer = subgroup(layers, name, budget)
        path = f"{prefix}layers/{name}"
        found = [*_variables(layer, "", budget)]
        if found:
            yield path, LayerWeights(tuple(name for name, _ in found), tuple(array for _, array in found))
        yield from _model(layer, f"{path}/", budget)


def _variables(group: h5py.Group, prefix: str, budget: Budget) -> Iterator[tuple[str, Array]]:
    """The layer's own variables, then those of the objects in it, in the order in which Keras lists them."""
    if has(group, "vars"):
        own = subgroup(group, "vars", budget)
        for name in sorted(names_in(own, budget), key=_by_number):
            yield f"{prefix}vars/{name}", array_at(own, name, budget)
    left_out = _LEFT_OUT if prefix else (*_LEFT_OUT, *CONTAINERS)  # the layers of a model have entries of their own
    names = (name for name in names_in(group, budget) if name not in left_out)
    for name in sorted(names, key=lambda name: (_BEFORE.get(name, len(_BEFORE)), _by_number(name))):
        yield from _variables(subgroup(group, name, budget), f"{prefix}{name}/", budget)


def layer_names(root: h5py.Group, paths: Iterable[str], budget: Budget) -> dict[str, str]:
    """By path the names of the layers, and of the models that they are in, where the file says them."""
    names: dict[str, str] = {}
    for path in paths:
        group, at = root, ""
        for name in path.split("/"):
            group = subgroup(group, container_of(group) or name if name == "layers" else name, budget)
            at = f"{at}/{name}".lstrip("/")
            if name != "layers" and has(group, "vars"):
                said = text(subgroup(group, "vars", budget), "name", budget)
                names.update({at: said} if said else {})
    return names


def _by_number(name: str) -> tuple[str, int]:
    """Sorts dense, dense_1, dense_2, dense_10."""
    match = re.fullmatch(r"(.*?)_?(\d{1,9})", name)
    return (match[1], int(match[2])) if match else (name, -1)
