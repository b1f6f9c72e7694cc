"""Gradients of convolutions and pools of any rank: one slice of the padded input for each tap of the kernel.

Arrays are N x C x axes by their shape, but C x N x axes in memory where that spares copies: elementwise ops keep it.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from esp.astore.ops.sliding import Geometry, geometry
from esp.train.gradients.row import Array, Call, Gradient, Grads, only


@dataclass(frozen=True, slots=True)
class Taps:
    """Where each tap of a kernel reads: one number a spatial axis of the input, of the padding around it, of the outputs."""

    sizes: tuple[int, ...]
    where: Geometry

    @classmethod
    def of(cls, call: Call, kernel: tuple[int, ...]) -> "Taps":
        sizes = call.input(0).shape[2:]
        return cls(sizes, geometry(call.attrs, sizes, kernel))

    @property
    def outputs(self) -> tuple[int, ...]:
        return self.where.out

    @property
    def padded(self) -> tuple[int, ...]:
        ends = (pad + spill for pad, spill in zip(self.where.pads_end, self.where.spill))
        return tuple(begin + size + end for begin, size, end in zip(self.where.pads_begin, self.sizes, ends))

    @property
    def count(self) -> int:
        return math.prod(self.where.kernel)

    def pad(self, x: Array, value: float = 0.0) -> Array:
        """``x`` (leading axes, then these) within its padding."""
        if self.padded == self.sizes:
            return x
        wide = np.full((*x.shape[: x.ndim - len(self.sizes)], *self.padded), value, x.dtype)
        wide[self.inner()] = x
        return wide

    def inner(self) -> tuple[Any, ...]:
        """What lies within the padding."""
        return (..., *(slice(begin, begin + size) for begin, size in zip(self.where.pads_begin, self.sizes)))

    def slices(self) -> Iterator[tuple[Any, ...]]:
        """For each tap, in C order, what it reads for all outputs."""
        steps = list(zip(self.where.dilations, self.where.out, self.where.strides))
        for tap in np.ndindex(*self.where.kernel):
            starts = [(at * dilation, count, stride) for at, (dilation, count, stride) in zip(tap, steps)]
            yield (..., *(slice(start, start + (count - 1) * stride + 1, stride) for start, count, stride in starts))


def _columns(x: Array, taps: Taps, groups: int) -> Array:
    """groups x (channels of the group, taps) x (batch, outputs)."""
    channels, batch = x.shape[1], x.shape[0]
    wide = taps.pad(np.swapaxes(x, 0, 1))
    columns = np.empty((channels, taps.count, batch, *taps.outputs), x.dtype)
    for i, where in enumerate(taps.slices()):
        columns[:, i] = wide[where]
    return columns.reshape(groups, channels // groups * taps.count, -1)


def conv(call: Call) -> list[Array]:
    x, weight, groups = call.input(0), call.input(1), call.attrs["group"]
    taps = Taps.of(call, weight.shape[2:])
    columns = _columns(x, taps, groups)
    y = (weight.reshape(groups, weight.shape[0] // groups, -1) @ columns).reshape(weight.shape[0], x.shape[0], *taps.outputs)
    bias = call.optional(2)
    if bias is not None:
        y += bias.reshape(-1, *(1,) * (y.ndim - 1))
    call.saved = (taps, columns)
    return [np.swapaxes(y, 0, 1)]


def conv_back(call: Call, grads: Sequence[Array | None]) -> Grads:
    x, weight, groups = call.input(0), call.input(1), call.attrs["group"]
    taps, columns = call.saved
    grad = np.ascontiguousarray(np.swapaxes(only(grads), 0, 1)).reshape(groups, weight.shape[0] // groups, -1)
    found: Grads = [None, None, None]
    if call.wants(0):
        spread = np.swapaxes(weight.reshape(groups, weight.shape[0] // groups, -1), 1, 2) @ grad
        spread = spread.reshape(x.shape[1], taps.count, x.shape[0], *taps.outputs)
        wide = np.zeros((x.shape[1], x.shape[0], *taps.padded), x.dtype)
        for i, where in enumerate(taps.slices()):
            wide[where] += spread[:, i]
        found[0] = np.swapaxes(wide[taps.inner()], 0, 1)
    if call.wants(1):
        found[1] = (grad @ np.swapaxes(columns, 1, 2)).reshape(weight.shape)
    if call.wants(2):
        found[2] = grad.sum(axis=2).reshape(-1)
    return found


def max_pool(call: Call) -> list[Array]:
    x = call.input(0)
    taps = Taps.of(call, call.attrs["kernel_shape"])
    wide, best, at = taps.pad(x, -math.inf), None, None
    for i, where in enumerate(taps.slices()):
        value = wide[where]
        if best is None or at is None:
            best, at = value.copy(order="K"), np.zeros_like(value, dtype=np.int16)
            continue
        better = value > best
        at[better] = i
        np.maximum(best, value, out=best)
    assert best is not None
    call.saved = (taps, at)
    return [best]


def max_pool_back(call: Call, grads: Sequence[Array | None]) -> Grads:
    """The gradient goes to the first of the largest."""
    x, grad, (taps, at) = call.input(0), only(grads), call.saved
    wide = np.zeros_like(taps.pad(x))
    for i, where in enumerate(taps.slices()):
        wide[where] += grad * (at == i)
    return [wide[taps.inner()]]


def _counts(taps: Taps, is_padding_counted: bool, dtype: Any) -> Array:
    """How many values each window of an average pool divides by; what spills past the pads (ceil_mode) never counts."""
    ones = np.zeros(taps.padded, dtype)
    if is_padding_counted:
        ones[tuple(slice(0, size - spill) for size, spill in zip(taps.padded, taps.where.spill))] = 1
    else:
        ones[taps.inner()] = 1
    counts = np.zeros(taps.outputs, dtype)
    for where in taps.slices():
        counts += ones[where]
    return counts


def average_pool(call: Call) -> list[Array]:
    x = call.input(0)
    taps = Taps.of(call, call.attrs["kernel_shape"])
    wide = taps.pad(x)
    counts = _counts(taps, bool(call.attrs["count_include_pad"]), x.dtype)
    total = np.zeros((*x.shape[:2], *taps.outputs), x.dtype)
    for where in taps.slices():
        total += wide[where]
    call.saved = (taps, counts)
    return [total / counts]


def average_pool_back(call: Call, grads: Sequence[Array | None]) -> Grads:
    x, (taps, counts) = call.input(0), call.saved
    share = only(grads) / counts
    wide = np.zeros((*x.shape[:2], *taps.padded), x.dtype)
    for where in taps.slices():
        wide[where] += share
    return [wide[taps.inner()]]


def global_average_pool(call: Call) -> list[Array]:
    x = call.input(0)
    return [x.mean(axis=tuple(range(2, x.ndim)), keepdims=True)]


def global_average_pool_back(call: Call, grads: Sequence[Array | None]) -> Grads:
    x = call.input(0)
    share = only(grads) * x.dtype.type(1 / math.prod(x.shape[2:]))
    found = np.empty_like(x)
    found[...] = share
    return [found]


SPATIAL = {
    "Conv": Gradient(conv, conv_back),
    "MaxPool": Gradient(max_pool, max_pool_back),
    "AveragePool": Gradient(average_pool, average_pool_back),
    "GlobalAveragePool": Gradient(global_average_pool, global_average_pool_back),
}
