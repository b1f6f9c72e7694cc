"""How weights lie in a file: as they are, as float16, or as int8 with scales; and float32 again when they are read."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from esp.astore.graph import Array
from esp.astore.layout import ALIGNMENT, ANEW, Tensor
from esp.astore.model import Storage
from esp.errors import FileError

TELLING = 256  # numbers of a float16 or int8 weight that may tell shapes, at most
_SCALE_BITS = 17  # of a scale: times an integer of 7 bits it is a float32, and nothing is rounded
_LEAST_SCALE = 2.0**-100
_MOST = 127


@dataclass(frozen=True, slots=True)
class Part:
    """A tensor as it goes into a file."""

    array: Array
    scale: str = ""
    axis: int | None = None


def parts_of(weights: Mapping[str, Array], storage: Mapping[str, Storage]) -> dict[str, Part]:
    """The tensors of a file by name, rising: the weights, and the scales of those that are held as int8.

    A weight that its storage would change is held as it is; storage of what is no weight any more is passed over.
    """
    parts: dict[str, Part] = {}
    for name, array in weights.items():
        form = storage.get(name)
        if form is None or array.dtype != np.float32:
            parts[name] = Part(array)
        elif form.dtype == "float16":
            half = to_float16(array)
            parts[name] = Part(half if half is not None and np.array_equal(half.astype(np.float32), array) else array)
        else:
            parts |= _in_integers(name, array, form.axis, {*weights, *parts})
    return {name: parts[name] for name in sorted(parts)}


def _in_integers(name: str, array: Array, axis: int | None, taken: set[str]) -> dict[str, Part]:
    found = to_int8(array, axis)
    if found is None or not np.array_equal(widened(*found, axis), array):
        return {name: Part(array)}
    scale_name = f"{name}/scale"
    while scale_name in taken:
        scale_name += "'"
    return {name: Part(found[0], scale_name, axis), scale_name: Part(found[1])}


def to_float16(array: Array) -> Array | None:
    """The nearest float16 of each number; None where one of them is beyond float16."""
    with np.errstate(over="ignore"):
        half = array.astype(np.float16)
    return half if np.array_equal(np.isfinite(half), np.isfinite(array)) else None


def to_int8(array: Array, axis: int | None) -> tuple[Array, Array] | None:
    """Integers of -127 to 127 and their scales, symmetric about zero; None where a number is not finite.

    A scale is the largest magnitude of its index of ``axis`` (of all, for None) by 127, rounded up to 17 bits: so integers
    times scales are float32 numbers exactly, and give the same integers and scales again.
    """
    if not np.isfinite(array).all() or (axis is not None and not -array.ndim <= axis < array.ndim):
        return None
    others = tuple(at for at in range(array.ndim) if axis is None or at != axis % array.ndim)
    most = np.max(np.abs(array), axis=others, initial=0).astype(np.float64)
    bits, exponent = np.frexp(most / _MOST)
    scale = np.ldexp(np.ceil(np.ldexp(bits, _SCALE_BITS)), exponent - _SCALE_BITS)
    scale = np.where(most == 0, 1.0, np.maximum(scale, _LEAST_SCALE))
    integers = np.rint(array / spread(scale, array.ndim, axis)).astype(np.int8)
    return integers, scale.astype(np.float32)


def spread(scale: Array, rank: int, axis: int | None) -> Array:
    """Scales in a shape that broadcasts over a tensor of ``rank`` axes."""
    return scale if axis is None else scale.reshape([-1 if at == axis % rank else 1 for at in range(rank)])


def widened(array: Array, scale: Array | None, axis: int | None) -> Array:
    """The float32 weight that a float16 tensor, or an int8 one with its scales, stands for; read-only and aligned like one in a file."""
    out = aligned_room(array.size * 4)[: array.size * 4].view(np.float32).reshape(array.shape)
    if scale is None:
        np.copyto(out, array)
    else:
        with np.errstate(over="ignore"):
            np.multiply(array, spread(scale, array.ndim, axis), out=out)
    out.flags.writeable = False
    return out


def aligned_room(size_bytes: int) -> npt.NDArray[np.uint8]:
    """Bytes that start where a mapped tensor might."""
    room = np.empty(size_bytes + ALIGNMENT, np.uint8)
    start = -room.ctypes.data % ALIGNMENT
    return room[start : start + size_bytes]


def is_narrow(tensor: Tensor) -> bool:
    """Whether a tensor stands for a float32 weight in fewer bytes."""
    return tensor.dtype == "float16" or bool(tensor.scale)


def storage_of(tensors: Sequence[Tensor]) -> dict[str, Storage]:
    """The storage that a file's tensors have."""
    return {
        tensor.name: Storage("int8", tensor.axis) if tensor.scale else Storage("float16") for tensor in tensors if is_narrow(tensor)
    }


def check_scales(tensors: Sequence[Tensor], view: Callable[[Tensor], Array], where: str) -> None:
    """Raises FileError unless every scale is a float32 tensor of the right size with finite numbers above zero."""
    by_name = {tensor.name: tensor for tensor in tensors}
    scales = {tensor.scale for tensor in tensors if tensor.scale}
    for at, tensor in enumerate(tensors):
        path = f"{where}: header.tensors[{at}] {tensor.name[:80]!r}"
        if tensor.axis is not None and not (tensor.scale and 0 <= tensor.axis < len(tensor.shape)):
            raise FileError(f"axis {tensor.axis} is none of a tensor with scales", where=path, mend=ANEW)
        if not tensor.scale:
            continue
        if tensor.dtype != "int8" or tensor.name in scales:
            raise FileError(f"a tensor of {tensor.dtype}, or one of scales, cannot have scales", where=path, mend=ANEW)
        _check_scale(by_name.get(tensor.scale), () if tensor.axis is None else (tensor.shape[tensor.axis],), view, path)


def _check_scale(scale: Tensor | None, shape: tuple[int, ...], view: Callable[[Tensor], Array], where: str) -> None:
    if scale is None or scale.dtype != "float32" or scale.shape != shape:
        found = "none" if scale is None else f"{scale.dtype}{list(scale.shape)}"
        raise FileError(f"its scales should be float32{list(shape)}, there is {found}", where=where, mend=ANEW)
    numbers = view(scale)
    if not (np.isfinite(numbers).all() and (numbers > 0).all()):
        raise FileError("its scales are not all finite and above zero", where=where, mend=ANEW)


def weights_in(tensors: Sequence[Tensor], view: Callable[[Tensor], Array], widen_over: int | None = None) -> dict[str, Array]:
    """The graph's weights out of a file's tensors.

    Narrow ones are widened; with ``widen_over`` those of more numbers than that are stand-ins of the right shape that take no memory.
    """
    by_name = {tensor.name: tensor for tensor in tensors}
    scales = {tensor.scale for tensor in tensors if tensor.scale}
    weights: dict[str, Array] = {}
    for tensor in tensors:
        if tensor.name in scales:
            continue
        array = view(tensor)
        if is_narrow(tensor) and widen_over is not None and array.size > widen_over:
            array = np.broadcast_to(np.float32(0), tensor.shape)
        elif is_narrow(tensor):
            array = widened(array, view(by_name[tensor.scale]) if tensor.scale else None, tensor.axis)
        weights[tensor.name] = array
    return weights
