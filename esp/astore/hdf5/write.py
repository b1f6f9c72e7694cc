"""The weights of a graph as an HDF5 file that Keras loads into the same architecture (``model.load_weights``)."""

import io
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import h5py
import numpy as np

from esp.astore.graph import Array, Graph, Layer
from esp.astore.hdf5.flattening import Rows
from esp.astore.hdf5.lost import refuse_lost
from esp.astore.hdf5.place import Named, Place
from esp.astore.hdf5.slots import places_of
from esp.astore.hdf5.write_native import write_native
from esp.astore.validation import validate
from esp.errors import EspError, FileError
from esp.files import write_whole

MOST_ATTRIBUTE_BYTES = 64_000  # what Keras puts into one attribute of names, at most; HDF5 holds 64 KiB
_NO_CLASSES = ("Conv", "ConvTranspose", "Gemm", "MatMul", "Gather", "PRelu", "RNN")  # kinds of an ONNX file, none of Keras
WRITTEN_AS = "2.15.0"  # the Keras whose layout this is
_NOT_TRAINED = ("moving_mean", "moving_variance", "mean", "variance", "count")
_NEUTRAL = {"gamma": 1.0, "beta": 0.0}


def write_keras_weights(graph: Graph, path: Path, left_out: Collection[str] = (), rows: Rows | None = None) -> None:
    """Writes the weights of every layer of the graph's table, in its order, which is how Keras loads them: by order.

    A name that ends in .weights.h5 gets the layout of Keras 3, which loads by class and count; any other that of Keras 2,
    which Keras 3 takes too. Layers called "model/layer" are those of one model within. ``left_out`` names what the Keras layer does not have
    ("norm/gamma" of a batch normalisation without scale), which must do nothing. ``rows`` as in ``assign``. Raises FileError
    where Keras has no such weights or the file cannot be written, GraphError where ``validate`` does.
    """
    shapes = validate(graph)
    layers = {}
    graph = replace(graph, layers=tuple(_renamed(graph)))
    for layer in graph.layers:
        try:
            found = [*_named(graph, layer, partial(Place, graph, shapes, rows=rows, kind=layer.kind, layer=layer.name))]
            layers[layer.name] = [item for item in found if not _is_left_out(*item, left_out)]
        except EspError as err:
            raise FileError(err.what, where=f"{path}: {layer.kind} layer {layer.name!r}", mend=err.mend) from err
    _refuse_unknown(left_out, layers, path)
    refuse_lost(graph, shapes, path, any(layers.values()))
    memory = io.BytesIO()
    with h5py.File(memory, "w") as file:
        if path.name.endswith(".weights.h5"):
            write_native(file, {layer: layers[layer.name] for layer in graph.layers}, path)
        else:
            _write(file, _grouped(layers))
    try:
        write_whole(path, [memory.getbuffer()])
    except OSError as err:
        mend = "name a folder that is there, can be written to and has room"
        raise FileError(f"cannot be written: {err.strerror or err}", where=str(path), mend=mend) from err


def _renamed(graph: Graph) -> Iterator[Layer]:
    """The layers by names that a group of the file can have: of a graph that is not Keras's, "/" means no model within."""
    taken: set[str] = set()
    is_path = any("" in layer.name.split("/") or layer.kind in _NO_CLASSES for layer in graph.layers)
    for layer in graph.layers:
        stem = name = "_".join(filter(None, layer.name.split("/"))) or "layer" if is_path else layer.name
        count = 1
        while name in taken:
            count += 1
            name = f"{stem}_{count}"
        taken.add(name)
        yield replace(layer, name=name)


def _named(graph: Graph, layer: Layer, place: "partial[Place]") -> Iterator[Named]:
    """A layer's arrays under names that differ: layer/kernel, and layer/kernel_1 of a second node."""
    counts: dict[str, int] = {}
    inner = layer.name.rpartition("/")[2]
    for here, slot in places_of(graph, layer, place):
        for name, array in slot.write(here):
            count = counts.get(name, 0)
            counts[name] = count + 1
            yield f"{inner}/{name}_{count}" if count else f"{inner}/{name}", array


def _is_left_out(name: str, array: Array, left_out: Collection[str]) -> bool:
    if name not in left_out:
        return False
    neutral = _NEUTRAL.get(name.rpartition("/")[2])
    if neutral is None or np.any(array != neutral):
        raise FileError(f"{name!r} cannot be left out: it does something", mend="give the Keras layer its scale and center")
    return True


def _refuse_unknown(left_out: Collection[str], layers: dict[str, list[Named]], path: Path) -> None:
    inner = {name.rpartition("/")[2] for name in layers}
    for name in left_out:
        if name.partition("/")[0] not in inner:
            raise FileError(f"no layer has {name!r} to leave out", where=str(path), mend="name it as layer/gamma or layer/beta")


def _grouped(layers: dict[str, list[Named]]) -> dict[str, list[Named]]:
    """By the outermost layer; of a model within, what is trained comes before what is not, as Keras lists it."""
    groups: dict[str, list[Named]] = {}
    for name, found in layers.items():
        outer, _, inner = name.partition("/")
        groups.setdefault(outer, []).extend(found)
        if inner:
            groups[outer].sort(key=lambda item: item[0].rpartition("/")[2] in _NOT_TRAINED)
    return groups


def _write(file: h5py.File, groups: dict[str, list[Named]]) -> None:
    file.attrs["keras_version"] = WRITTEN_AS
    file.attrs["backend"] = "tensorflow"
    _write_names(file, "layer_names", [*groups])
    for name, found in groups.items():
        group = file.create_group(name)
        _write_names(group, "weight_names", [f"{weight}:0" for weight, _ in found])
        for weight, array in found:
            group.create_dataset(f"{weight}:0", data=np.ascontiguousarray(array).reshape(array.shape))


def _write_names(group: h5py.Group, attribute: str, names: Sequence[str]) -> None:
    """Names as bytes of one length; in parts (attribute0, attribute1, ...) where they are too many for one attribute."""
    values = np.array([name.encode() for name in names])
    if values.nbytes <= MOST_ATTRIBUTE_BYTES:
        group.attrs[attribute] = values
        return
    each = max(MOST_ATTRIBUTE_BYTES // values.itemsize, 1)
    for at in range(0, len(values), each):
        group.attrs[f"{attribute}{at // each}"] = values[at : at + each]
