"""Weights of layers imported from Keras whose nodes alone do not say what Keras calls them: their words do."""

import numpy as np

from esp.astore.graph import Array
from esp.astore.hdf5.place import Named, Place, Slot, refuse_dlpy, take
from esp.astore.hdf5.words import HEADS, is_learnt
from esp.errors import FileError

WORDED = ("Add", "Mul", "Einsum", "MatMul")  # ops of such nodes
_SECOND = ("scaled_mean", "mean")  # written together with the deviation


def worded_slot(place: Place) -> Slot | None:
    """The slot of a node with a learnt weight; None where it has none, or what it has is written by another node."""
    found = [index for index in range(len(place.node.inputs)) if is_learnt(place.word(index))]
    return Slot(_read, _write, (found[0],)) if found and place.word(found[0]) not in _SECOND else None


def _index(place: Place) -> int:
    return next(index for index in range(len(place.node.inputs)) if is_learnt(place.word(index)))


def _read(place: Place, arrays: list[Named]) -> dict[int, Array]:
    refuse_dlpy(place)
    index = _index(place)
    if place.word(index).endswith("deviation"):
        raise FileError("its mean and variance are made into other numbers", mend="import the file with its own config")
    wanted, array = place.kernel(index), take(arrays, place.word(index))
    return {index: array.reshape(wanted.shape) if array.size == wanted.size else array}


def _write(place: Place) -> list[Named]:
    index = _index(place)
    word, array = place.word(index), place.kernel(index)
    if word.endswith("deviation"):
        return _moments(place, index)
    head, _, part = word.rpartition("_")
    if head in HEADS:
        return [(f"{HEADS[head]}/{part}", array.reshape(_shape_of_head(place, head, part)))]
    return [(word, _over_axes(array) if word in ("gamma", "beta", "scale") else array)]


def _over_axes(array: Array) -> Array:
    """Without the axes of size 1 that it broadcasts over, but never without all."""
    return array.reshape([size for size in array.shape if size > 1] or [1] * min(array.ndim, 1))


def _shape_of_head(place: Place, head: str, part: str) -> tuple[int, ...]:
    """Kernels [in, heads, size], biases [heads, size]; the output's [heads, size, out] and [out]."""
    heads, size = _split(place, place.node.inputs[0] if head == "output" else place.node.outputs[0], head == "output")
    if head == "output":
        return (heads, size, -1) if part == "kernel" else (-1,)
    return (-1, heads, size) if part == "kernel" else (heads, size)


def _split(place: Place, name: str, is_output: bool) -> tuple[int, int]:
    """The heads and the size of each, out of the Reshape that parts, or before the output joins, them."""
    if is_output and place.node.op == "Add":
        return 1, 1  # a bias of one axis
    nodes = place.graph.nodes
    if is_output:
        shape = next(place.shapes[node.inputs[0]] for node in nodes if name in node.outputs)
    else:
        users = [node for node in nodes if name in node.inputs]
        if users[0].op == "Add":
            users = [node for node in nodes if users[0].outputs[0] in node.inputs]
        shape = place.shapes[users[0].outputs[0]]
    heads, size = shape[-2:]
    if not isinstance(heads, int) or not isinstance(size, int):
        raise FileError(f"its heads {list(shape)} are not told apart", mend="use onnx to carry this graph")
    return heads, size


def _moments(place: Place, index: int) -> list[Named]:
    """Mean, variance and count of a Normalization, which is in the graph as a product and a sum."""
    name = place.node.inputs[index]
    word = place.word(index)
    first = _over_axes(place.kernel(index)).astype(np.float64)
    other = name.replace(word, "mean" if word == "deviation" else "scaled_mean")
    second = place.graph.weights[other].reshape(first.shape).astype(np.float64)
    deviation = first if word == "deviation" else 1 / first
    mean = second if word == "deviation" else -second * deviation
    return [
        ("mean", mean.astype(np.float32)),
        ("variance", np.square(deviation).astype(np.float32)),
        ("count", np.zeros((), np.int32)),
    ]
