"""Which layers slide along time: for each op where its time axis goes, and which positions of its input a position of it reads."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from types import MappingProxyType
from typing import cast

import numpy as np

from esp.astore.graph import Array, Node, complete_attrs
from esp.astore.ops.convolution import conv_geometry
from esp.astore.ops.sliding import Geometry, geometry
from esp.runtime.backends.lowering.passes import Attrs
from esp.runtime.backends.lowering.pointwise import FORMS
from esp.runtime.backends.lowering.values import Index, Shape


@dataclass(frozen=True, slots=True)
class Reach:
    """Position p reads ``start + p * stride + tap * dilation`` for each tap; places before 0 or past the end are padding."""

    start: int = 0
    stride: int = 1
    dilation: int = 1
    taps: int = 1

    def reads(self, positions: Index) -> Index:
        """[positions, taps]."""
        return self.start + positions[:, None] * self.stride + np.arange(self.taps) * self.dilation

    def span(self, first: int, end: int) -> tuple[int, int]:
        """What the positions from ``first`` to before ``end`` read, from the first place to past the last, padding included."""
        return self.start + first * self.stride, self.start + (end - 1) * self.stride + (self.taps - 1) * self.dilation + 1


ALONG = Reach()  # each position reads its own


@dataclass(frozen=True, slots=True)
class Site:
    """A node as the rules below see it: shapes and constants by tensor, and the time axis of each tensor that has one."""

    node: Node
    shapes: Mapping[str, Shape]
    constants: Mapping[str, Array]
    axes: Mapping[str, int]

    @property
    def attrs(self) -> Attrs:
        return complete_attrs(self.node)

    @property
    def axis(self) -> int:
        """The time axis of the first input."""
        return self.axes[self.node.inputs[0]]

    @property
    def shape(self) -> Shape:
        return self.shapes[self.node.inputs[0]]

    @property
    def made(self) -> Shape:
        return self.shapes[self.node.outputs[0]]

    def constant(self, index: int) -> Array | None:
        return self.constants.get(self.node.inputs[index]) if index < len(self.node.inputs) else None


Found = tuple[Reach, int] | None  # how a node reads along time, and the time axis of what it makes; None: it mixes all of time
Rule = Callable[[Site], Found]


def _same(site: Site) -> Found:
    """Number by number, constants the same at every position."""
    rank = len(site.made)
    axes = {site.axes[name] + rank - len(site.shapes[name]) for name in site.node.inputs if name in site.axes}
    axis = axes.pop()
    constants = [site.constants[name] for name in site.node.inputs if name in site.constants]
    is_still = all(one.ndim < rank - axis or one.shape[axis - rank] == 1 for one in constants)
    return (ALONG, axis) if not axes and is_still else None


def _channels(site: Site) -> Found:
    return (ALONG, site.axis) if site.axis != 1 else None


def _matmul(site: Site) -> Found:
    second = site.constant(1)
    is_last = site.axis == len(site.shape) - 1
    return (ALONG, site.axis) if second is not None and second.ndim <= 2 and not is_last else None


def _beside(site: Site) -> Found:
    """Work along another axis: Concat, Softmax, Split."""
    return (ALONG, site.axis) if site.attrs["axis"] % len(site.shape) != site.axis else None


def _after(site: Site) -> Found:
    """Normalisation over the axes from ``axis`` on."""
    return (ALONG, site.axis) if site.attrs["axis"] % len(site.shape) > site.axis else None


def _transpose(site: Site) -> Found:
    perm = site.attrs["perm"] or tuple(reversed(range(len(site.shape))))
    return ALONG, perm.index(site.axis)


def _reshape(site: Site) -> Found:
    """Time keeps an axis of its own when what lies before it and its size stay."""
    before = prod(_sizes(site.shape[1 : site.axis]))
    kept = (axis for axis in range(1, len(site.made)) if prod(_sizes(site.made[1:axis])) == before)
    axis = next((axis for axis in kept if site.made[axis] == site.shape[site.axis]), None)
    return (ALONG, axis) if axis is not None else None


def _sizes(shape: Shape) -> tuple[int, ...]:
    return tuple(size or 1 for size in shape)


def _reduce(site: Site) -> Found:
    given, rank = site.constant(1), len(site.shape)
    axes = {int(axis) % rank for axis in given.reshape(-1)} if given is not None else set()
    if not axes or axes & {0, site.axis}:
        return None
    return ALONG, site.axis if site.attrs["keepdims"] else site.axis - sum(axis < site.axis for axis in axes)


def geometry_of(site: Site) -> Geometry:
    """The windows of a Conv or a pool, its padding told by axis."""
    if site.node.op == "Conv":
        return conv_geometry(site.attrs, site.shape, site.shapes[site.node.inputs[1]])
    return geometry(site.attrs, cast(tuple[int, ...], site.shape[2:]), site.attrs["kernel_shape"])


def _windows(site: Site) -> Found:
    where, at = geometry_of(site), site.axis - 2
    is_plain = len([name for name in site.node.outputs if name]) == 1 and (site.node.op == "MaxPool" or not any(where.spill))
    if at < 0 or not is_plain or not all(name in site.constants for name in site.node.inputs[1:] if name):
        return None
    return Reach(-where.pads_begin[at], where.strides[at], where.dilations[at], where.kernel[at]), site.axis


def cuts_of(site: Site) -> list[tuple[int, int, int]]:
    """Start, end and step of a Slice along each axis, as numbers from 0 on."""
    cuts = [(0, size or 1, 1) for size in site.shape]
    starts, ends = (cast(Array, site.constant(at)).reshape(-1).tolist() for at in (1, 2))
    axes, steps = site.constant(3), site.constant(4)
    for at, (start, end) in enumerate(zip(starts, ends)):
        axis = int(axes.reshape(-1)[at]) if axes is not None else at
        step = int(steps.reshape(-1)[at]) if steps is not None else 1
        cuts[axis] = (*slice(int(start), int(end), step).indices(cuts[axis][1])[:2], step)
    return cuts


def _slice(site: Site) -> Found:
    if any(name and name not in site.constants for name in site.node.inputs[1:]):
        return None
    start, _, step = cuts_of(site)[site.axis]
    return (Reach(start, step), site.axis) if step > 0 else None


def widths_of(site: Site) -> list[tuple[int, int]]:
    """Before and after, for each axis of a Pad."""
    rank, axes = len(site.shape), site.constant(3)
    pads = [int(pad) for pad in cast(Array, site.constant(1)).reshape(-1)]
    widths = [(0, 0)] * rank
    named = range(rank) if axes is None else [int(axis) % rank for axis in axes.reshape(-1)]
    for at, axis in enumerate(named):
        widths[axis] = pads[at], pads[at + len(pads) // 2]
    return widths


def _pad(site: Site) -> Found:
    if site.attrs["mode"] != "constant" or any(name and name not in site.constants for name in site.node.inputs[1:]):
        return None
    return Reach(-widths_of(site)[site.axis][0]), site.axis


# The ops that may slide along time. What is not here, or gives None, sees its input whole: so do sums along other axes, whose
# order a plan chooses by how its tensors lie.
RULES: Mapping[str, Rule] = MappingProxyType(
    {
        **dict.fromkeys((*FORMS, "Clip", "Pow", "PRelu", "Add", "Sub", "Mul", "Div", "Sum", "Mean", "Max", "Min"), _same),
        "BatchNormalization": _channels, "MatMul": _matmul,
        **dict.fromkeys(("Concat", "Softmax", "LogSoftmax", "Split"), _beside),
        **dict.fromkeys(("LayerNormalization", "RMSNormalization"), _after),
        "Transpose": _transpose, **dict.fromkeys(("Reshape", "Flatten", "Squeeze", "Unsqueeze"), _reshape),
        **dict.fromkeys(("ReduceMax", "ReduceMin"), _reduce), **dict.fromkeys(("Conv", "MaxPool", "AveragePool"), _windows),
        "Slice": _slice, "Pad": _pad,
    }
)  # fmt: skip
MOVES = (
    "Transpose",
    "Reshape",
    "Flatten",
    "Squeeze",
    "Unsqueeze",
)  # they compute nothing: what they make of the window is there whole
