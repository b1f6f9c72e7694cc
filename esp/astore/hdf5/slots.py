"""What a node of each op takes out of the arrays of a Keras layer, and gives back: one row an op."""

from collections.abc import Callable, Mapping

import numpy as np

from esp.astore.graph import Array, Graph, Layer, Node, complete_attrs
from esp.astore.hdf5 import keras1, layouts
from esp.astore.hdf5.cells import read_cell, write_cell
from esp.astore.hdf5.flattening import flattened_from
from esp.astore.hdf5.place import Named, Place, Slot, is_kept, refuse_dlpy, take
from esp.astore.hdf5.worded import WORDED, worded_slot
from esp.astore.hdf5.words import CHANNELS_FIRST, DENSE_KERNEL, is_learnt
from esp.astore.ops import OPS
from esp.errors import FileError


def slot_of(place: Place) -> Slot | None:
    """The slot of a node with weights that a layer learns; None for a node without. Raises FileError for one that Keras lacks."""
    node = place.node
    if place.is_of_keras and (node.op not in SLOTS or (node.op in WORDED and not _is_plain(place))):
        return worded_slot(place)
    trainable = OPS[node.op].trainable
    learnt = [index for index in range(len(node.inputs)) if trainable is None or index in trainable]
    weights = [array for array in map(place.weight, learnt) if array is not None and array.dtype.kind == "f"]
    slot = SLOTS.get(node.op)
    if place.is_of_keras and slot is not None and not any(is_learnt(place.word(index)) for index in slot.inputs):
        return None
    if slot is not None:
        return slot if any(place.weight(index) is not None for index in slot.inputs) else None
    if any(array.size > 1 for array in weights):
        what = f"node {node.op} -> {node.outputs[0]!r} has weights that no layer of Keras has"
        raise FileError(what, mend="use onnx to carry this graph")
    return None


def _is_plain(place: Place) -> bool:
    """Whether a product or sum is that of a dense layer."""
    return place.node.op == "MatMul" and place.word(1) == "kernel"


def _rows(place: Place) -> tuple[int, ...] | None:
    """The shape, channels first, whose flattening feeds a dense layer of which the file has the rows channels last; else None."""
    if place.is_of_keras and place.rows is None:
        if not place.word(1).endswith(CHANNELS_FIRST):
            return None
        return flattened_from(place.graph, place.shapes, place.node, "channels_last")
    return flattened_from(place.graph, place.shapes, place.node, place.rows)


def _with_bias(place: Place, kernel: Array, arrays: list[Named], index: int = 2) -> dict[int, Array]:
    return {1: kernel, index: take(arrays, "bias")} if place.weight(index) is not None else {1: kernel}


def _bias(place: Place, index: int = 2) -> list[Named]:
    bias = place.weight(index)
    return [] if bias is None else [("bias", bias)]


def _is_transposed(place: Place) -> bool:
    attrs = complete_attrs(place.node)
    if place.node.op != "Gemm":
        return False
    if attrs["transA"] or attrs["alpha"] != 1 or attrs["beta"] != 1:
        raise FileError(f"node Gemm -> {place.node.outputs[0]!r} scales or turns its input", mend="use onnx to carry this graph")
    return bool(attrs["transB"])


def _read_dense(place: Place, arrays: list[Named]) -> dict[int, Array]:
    kernel = take(arrays, "kernel")
    shape = None if place.is_dlpy else _rows(place)
    if place.is_dlpy:
        kernel = kernel.T
    elif shape is not None and kernel.ndim == 2 and kernel.shape[0] == np.prod(shape):
        kernel = layouts.flattened_rows(kernel, shape)
    return _with_bias(place, layouts.dense(kernel, _is_transposed(place)), arrays)


def _write_dense(place: Place) -> list[Named]:
    kernel = layouts.dense(place.kernel(), _is_transposed(place))
    shape = _rows(place)
    if shape is not None:
        kernel = layouts.flattened_rows_to_keras(kernel, shape)
    return [("kernel", kernel), *_bias(place)]


def _read_conv(place: Place, arrays: list[Named]) -> dict[int, Array]:
    wanted, kernel = place.kernel().shape, take(arrays, "kernel")
    if place.is_dlpy:
        return _with_bias(place, kernel, arrays)
    if place.word(1) == DENSE_KERNEL:
        return _with_bias(place, kernel.T.reshape(wanted) if kernel.size == place.kernel().size else kernel, arrays)
    if place.generation == 1:
        kernel = _from_keras1(kernel, wanted)
    groups = complete_attrs(place.node)["group"]
    is_depthwise = wanted[1] == 1 and groups > 1 and kernel.ndim > 2 and kernel.shape[-2] == groups
    if is_depthwise:
        return _with_bias(place, layouts.depthwise(kernel), arrays)
    return _with_bias(place, layouts.conv(kernel), arrays)


def _from_keras1(kernel: Array, wanted: tuple[int, ...]) -> Array:
    """A kernel [axes..., in, out]: the one way to read it that gives the wanted shape."""
    if len(wanted) == 3 and kernel.ndim == 4:
        return keras1.keras1_conv1d(kernel, wanted[2], wanted[0])
    ways = [keras1.keras1_conv(kernel, is_first) for is_first in (False, True)]
    fitting = [way for way in ways if layouts.conv(way).shape == wanted]
    if len(fitting) != 1:
        what = f"kernel {list(kernel.shape)} of Keras 1 fits {list(wanted)} in {len(fitting)} ways"
        raise FileError(what, mend="import the full file, whose config says the order of its axes")
    return fitting[0]


def _write_conv(place: Place) -> list[Named]:
    kernel, groups = place.kernel(), complete_attrs(place.node)["group"]
    if place.word(1) == DENSE_KERNEL:
        return [("kernel", np.ascontiguousarray(kernel.reshape(kernel.shape[:2]).T)), *_bias(place)]
    is_depthwise = kernel.shape[1] == 1 and groups > 1 and not place.kind.lower().startswith("conv")
    if place.word(1) == "depthwise_kernel" if place.is_of_keras else is_depthwise:
        return [("depthwise_kernel", layouts.depthwise_to_keras(kernel, groups)), *_bias(place)]
    return [("kernel", layouts.conv_to_keras(kernel)), *_bias(place)]


def _read_conv_transpose(place: Place, arrays: list[Named]) -> dict[int, Array]:
    refuse_dlpy(place)
    return _with_bias(place, layouts.conv_transpose(take(arrays, "kernel")), arrays)


def _write_conv_transpose(place: Place) -> list[Named]:
    return [("kernel", layouts.conv_transpose_to_keras(place.kernel())), *_bias(place)]


def _read_norm(place: Place, arrays: list[Named]) -> dict[int, Array]:
    """Batch normalisation, which is a layer by itself: all arrays are its own; of three, the names say which is left out."""
    has_scale, has_center = len(arrays) > 3, len(arrays) > 3
    if len(arrays) == 3:
        first = arrays[0][0].rpartition("/")[2]
        has_scale, has_center = "gamma" in first, "beta" in first
        if has_scale == has_center:
            raise FileError("has three arrays, and nothing tells gamma from beta", mend="save the weights as .h5")
    made = layouts.batch_norm([array for _, array in arrays], has_scale, has_center)
    arrays.clear()
    variance = made[3]
    if place.is_dlpy:
        variance = layouts.without_epsilon(variance, complete_attrs(place.node)["epsilon"])
    return dict(enumerate((*made[:3], variance), start=1))


def _write_norm(place: Place) -> list[Named]:
    named = enumerate(("gamma", "beta", "moving_mean", "moving_variance"), 1)
    return [(name, place.kernel(index)) for index, name in named if is_kept(place, index)]


def _read_plain(place: Place, arrays: list[Named], inputs: Mapping[int, str]) -> dict[int, Array]:
    refuse_dlpy(place)
    kept = {index: name for index, name in inputs.items() if place.weight(index) is not None and is_kept(place, index)}
    return {index: take(arrays, name) for index, name in kept.items()}


def _write_plain(place: Place, inputs: Mapping[int, str]) -> list[Named]:
    named = ((name, place.weight(index) if is_kept(place, index) else None) for index, name in inputs.items())
    return [(name, array) for name, array in named if array is not None]


def _plain(inputs: Mapping[int, str]) -> Slot:
    """Weights that stand in Keras as they do in the graph."""
    return Slot(lambda place, arrays: _read_plain(place, arrays, inputs), lambda place: _write_plain(place, inputs), tuple(inputs))


def _read_slope(place: Place, arrays: list[Named]) -> dict[int, Array]:
    """PRelu: channels last in Keras, first in the graph."""
    refuse_dlpy(place)
    slopes = take(arrays, "alpha")
    return {1: slopes if place.word(1) == "alpha" else np.moveaxis(slopes, -1, 0)}


def _write_slope(place: Place) -> list[Named]:
    slopes = place.kernel()
    return [("alpha", slopes if place.word(1) == "alpha" else np.moveaxis(slopes, 0, -1))]


def _at_sum(place: Place) -> int:
    """The input of an Add that is the bias of the node before it."""
    return next(index for index in (0, 1) if place.weight(index) is not None)


def _read_sum(place: Place, arrays: list[Named]) -> dict[int, Array]:
    at = _at_sum(place)
    return {at: take(arrays, "bias").reshape(place.kernel(at).shape)} if place.kernel(at).ndim else {}


def _write_sum(place: Place) -> list[Named]:
    bias = place.kernel(_at_sum(place))
    return [("bias", bias.reshape(-1))] if bias.ndim else []


SLOTS: Mapping[str, Slot] = {
    "Gemm": Slot(_read_dense, _write_dense, (1, 2)),
    "MatMul": Slot(_read_dense, _write_dense, (1,)),
    "Conv": Slot(_read_conv, _write_conv, (1, 2)),
    "ConvTranspose": Slot(_read_conv_transpose, _write_conv_transpose, (1, 2)),
    "BatchNormalization": Slot(_read_norm, _write_norm, (1, 2, 3, 4)),
    "LayerNormalization": _plain({1: "gamma", 2: "beta"}),
    "Gather": _plain({0: "embeddings"}),
    "PRelu": Slot(_read_slope, _write_slope, (1,)),
    "Add": Slot(_read_sum, _write_sum, (0, 1)),
    "RNN": Slot(read_cell, write_cell, (1, 2, 3)),
    "GRU": Slot(read_cell, write_cell, (1, 2, 3)),
    "LSTM": Slot(read_cell, write_cell, (1, 2, 3)),
}


def _told_by(place: Place, index: int) -> str:
    """What tells a weight from the others of its layer: a layer called twice may have it in two layouts."""
    return place.word(index).removesuffix(CHANNELS_FIRST).removeprefix("dense_") or place.node.inputs[index]


def places_of(graph: Graph, layer: Layer, place: Callable[[Node], Place]) -> list[tuple[Place, Slot]]:
    """The nodes of a layer that have weights, each weight once; ``place`` says what is known of a node."""
    found: list[tuple[Place, Slot]] = []
    taken: set[str] = set()
    for at in layer.nodes:
        here = place(graph.nodes[at])
        slot = slot_of(here)
        if slot is None:
            continue
        names = tuple(_told_by(here, index) for index in slot.inputs if here.weight(index) is not None)
        if not {*names} <= taken:
            found.append((here, slot))
            taken |= {*names}
    return found
