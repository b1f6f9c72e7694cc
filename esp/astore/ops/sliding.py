"""The geometry of convolution and pooling: kernel, strides, dilations and pads of any rank, and the windows they cut or fill."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from esp.astore.ops.row import Array, Attrs, AttrSpec, Shape
from esp.astore.ops.rules import show
from esp.errors import GraphError

MAX_PADDED = 1 << 28  # numbers of a channel with its pads
SLIDING_ATTRS = {
    "auto_pad": AttrSpec("string", "NOTSET", choices=("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER")),
    "dilations": AttrSpec("ints"),
    "pads": AttrSpec("ints"),
    "strides": AttrSpec("ints"),
}


@dataclass(frozen=True, slots=True)
class Geometry:
    """Where the windows lie, one number a spatial axis; ``auto_pad`` and left-out attributes are resolved to numbers.

    ``spill`` is how far the last window reaches past the end pad (ceil_mode); no value and no count comes from there.
    """

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads_begin: tuple[int, ...]
    pads_end: tuple[int, ...]
    spill: tuple[int, ...]
    out: tuple[int, ...]

    @property
    def extent(self) -> tuple[int, ...]:
        """How far a window reaches from its first number to its last, both included."""
        return tuple((size - 1) * dilation + 1 for size, dilation in zip(self.kernel, self.dilations))

    def windows(self, x: Array, fill: float) -> Array:
        """Windows of ``x`` [rows, channels, *spatial], as [rows, channels, *out, *kernel]; pads and spill hold ``fill``."""
        ends = [pad + spill for pad, spill in zip(self.pads_end, self.spill)]
        widths = [(0, 0), (0, 0), *zip(self.pads_begin, ends)]
        padded = np.pad(x, widths, constant_values=x.dtype.type(fill))
        axes = tuple(range(2, x.ndim))
        views = np.lib.stride_tricks.sliding_window_view(padded, self.extent, axis=axes)
        starts = [slice(None, (count - 1) * stride + 1, stride) for count, stride in zip(self.out, self.strides)]
        steps = [slice(None, None, dilation) for dilation in self.dilations]
        return np.asarray(views[(slice(None), slice(None), *starts, *steps)])


def geometry(attrs: Attrs, spatial: Sequence[int], kernel: Sequence[int]) -> Geometry:
    """The windows of ``kernel`` over axes of the sizes ``spatial``. Raises GraphError where an attribute does not fit."""
    rank = len(spatial)
    strides = _one_an_axis("strides", attrs["strides"], rank)
    dilations = _one_an_axis("dilations", attrs["dilations"], rank)
    pads = _given_pads(attrs, rank)
    if len(kernel) != rank or min(kernel, default=1) < 1:
        raise GraphError(f"kernel {list(kernel)} does not fit {rank} spatial axes", mend="give one size above 0 an axis")
    axes = [
        _axis(attrs, size, extent, stride, (pads[axis], pads[axis + rank]))
        for axis, (size, extent, stride) in enumerate(zip(spatial, _extents(kernel, dilations), strides))
    ]
    begins, ends, spill, out = (tuple(axis[i] for axis in axes) for i in range(4))
    if min(out, default=1) < 1:
        raise GraphError(
            f"kernel {list(kernel)} is larger than the padded input {list(spatial)}", mend="pad it or use a smaller one"
        )
    _refuse_wide([sum(sizes) for sizes in zip(spatial, begins, ends, spill)])
    return Geometry(tuple(kernel), strides, dilations, begins, ends, spill, out)


def _refuse_wide(padded: Sequence[int]) -> None:
    """Bounds what lies between an input and an output that are both small: pads that large strides pass over."""
    if prod(padded) > MAX_PADDED:
        raise GraphError(f"padded, a channel is {list(padded)}", mend=f"keep it within {MAX_PADDED} numbers")


def _extents(kernel: Sequence[int], dilations: Sequence[int]) -> list[int]:
    return [(size - 1) * dilation + 1 for size, dilation in zip(kernel, dilations)]


def _one_an_axis(name: str, values: tuple[int, ...] | None, rank: int) -> tuple[int, ...]:
    if values is None:
        return (1,) * rank
    if len(values) != rank or min(values, default=1) < 1:
        raise GraphError(f"{name} {list(values)} are not {rank} sizes above 0", mend="give one a spatial axis")
    return values


def _axis(attrs: Attrs, size: int, extent: int, stride: int, pads: tuple[int, int]) -> tuple[int, int, int, int]:
    """Pads before and after, spill and number of windows along one axis."""
    auto_pad = attrs["auto_pad"]
    if auto_pad.startswith("SAME"):
        out = -(-size // stride)
        total = max((out - 1) * stride + extent - size, 0)
        small, large = total // 2, total - total // 2
        begin, end = (small, large) if auto_pad == "SAME_UPPER" else (large, small)
        return begin, end, 0, out
    begin, end = (0, 0) if auto_pad == "VALID" else pads
    room = size + begin + end - extent
    out = room // stride + 1
    if attrs.get("ceil_mode") and room >= 0:
        out = -(-room // stride) + 1
        if (out - 1) * stride >= size + begin:  # a window may not start in the pad at the end
            out -= 1
    return begin, end, max((out - 1) * stride - room, 0), out


@dataclass(frozen=True, slots=True)
class Spread:
    """Where a transposed convolution puts its numbers, one number a spatial axis; ``auto_pad`` and ``output_shape`` are resolved.

    Input pixel i lights ``full[i * strides + tap * dilations]``; ``out`` numbers of it, after ``pads_begin``, are kept.
    """

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: tuple[int, ...]  # all begins, then all ends
    more: tuple[int, ...]  # output_padding: zeros at the end, before the pads are cut
    full: tuple[int, ...]
    out: tuple[int, ...]

    def lit(self, tap: Sequence[int], spatial: Sequence[int]) -> tuple[slice, ...]:
        """The part of ``full`` that one tap of the kernel lights."""
        starts = (at * dilation for at, dilation in zip(tap, self.dilations))
        return tuple(
            slice(start, start + (size - 1) * stride + 1, stride) for start, size, stride in zip(starts, spatial, self.strides)
        )

    def kept(self) -> tuple[slice, ...]:
        """The part of ``full`` that comes out."""
        return tuple(slice(begin, begin + size) for begin, size in zip(self.pads, self.out))


def spread(attrs: Attrs, spatial: Sequence[int], kernel: Sequence[int]) -> Spread:
    """Where ``kernel`` spreads axes of the sizes ``spatial``. Raises GraphError where an attribute does not fit."""
    rank = len(spatial)
    strides = _one_an_axis("strides", attrs["strides"], rank)
    dilations = _one_an_axis("dilations", attrs["dilations"], rank)
    more = attrs["output_padding"] or (0,) * rank
    wanted = _wanted_out(attrs, spatial, strides)
    if len(kernel) != rank or min((*kernel, *spatial), default=1) < 1 or len(more) != rank or min(more, default=0) < 0:
        what = f"kernel {list(kernel)} and output_padding {list(more)} do not fit {list(spatial)}"
        raise GraphError(what, mend="give one size an axis, of the kernel above 0")
    reach = [(size - 1) * stride + extent for size, stride, extent in zip(spatial, strides, _extents(kernel, dilations))]
    pads = _given_pads(attrs, rank) if wanted is None else _shared_pads(attrs, reach, more, wanted)
    out = tuple(size + extra - pads[axis] - pads[axis + rank] for axis, (size, extra) in enumerate(zip(reach, more)))
    if attrs["output_shape"] and wanted:
        out, more = wanted, tuple(extra + max(size - had, 0) for extra, size, had in zip(more, wanted, out))
    if min(out, default=1) < 1:
        raise GraphError(f"pads {list(pads)} leave nothing of {reach}", mend="pad less")
    full = tuple(max(size, pads[axis] + out[axis]) for axis, size in enumerate(reach))
    _refuse_wide(full)
    return Spread(tuple(kernel), strides, dilations, pads, tuple(more), full, out)


def _wanted_out(attrs: Attrs, spatial: Sequence[int], strides: Sequence[int]) -> tuple[int, ...] | None:
    """The output sizes that ``output_shape`` or SAME asks for, if one does; SAME takes fewer where the kernel reaches no further."""
    rank, asked = len(spatial), attrs["output_shape"]
    if asked:
        return _one_an_axis("output_shape", asked[-rank:] if len(asked) == rank + 2 else asked, rank)
    if attrs["auto_pad"].startswith("SAME"):
        return tuple(size * stride for size, stride in zip(spatial, strides))
    return None


def _shared_pads(attrs: Attrs, reach: Sequence[int], more: Sequence[int], wanted: Sequence[int]) -> tuple[int, ...]:
    """Pads that cut ``reach`` down to the sizes wanted, the odd one at the end for SAME_UPPER, else at the beginning."""
    totals = [max(size + extra - out, 0) for size, extra, out in zip(reach, more, wanted)]
    small, large = [total // 2 for total in totals], [total - total // 2 for total in totals]
    return (*small, *large) if attrs["auto_pad"] == "SAME_UPPER" else (*large, *small)


def _given_pads(attrs: Attrs, rank: int) -> tuple[int, ...]:
    pads: tuple[int, ...] = attrs["pads"] if attrs["pads"] is not None and attrs["auto_pad"] == "NOTSET" else (0,) * (2 * rank)
    if len(pads) != 2 * rank or min(pads, default=0) < 0:
        raise GraphError(f"pads {list(pads)} are not {2 * rank} sizes", mend="give all begins, then all ends, each 0 or more")
    return pads


def image_shape(shape: Shape) -> tuple[int, tuple[int, ...]]:
    """Channels and spatial sizes of [rows, channels, *spatial]. Raises GraphError for any other shape."""
    sizes = [size for size in shape[1:] if isinstance(size, int)]
    if len(shape) < 3 or len(sizes) != len(shape) - 1:
        raise GraphError(f"wants [N, channels, axis, ...], got {show(shape)}", mend="put the batch first, channels second")
    return sizes[0], tuple(sizes[1:])
