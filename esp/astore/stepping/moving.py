"""Rules of ops that move numbers: the axis of time is followed; taking the last step ends it."""

from collections.abc import Iterator

import numpy as np

from esp.astore.graph import Node, Shape, complete_attrs
from esp.astore.ops.dims import Dim, Rows
from esp.astore.stepping.walk import Steps, refuse

Factor = tuple[int, bool, int]  # what stands before it (numbers, and whether the batch does), and its size


def reshape(steps: Steps, node: Node) -> None:
    """Reshape and Flatten: the steps stay an axis of their own, or merged with the batch alone."""
    x, out = node.inputs[0], node.outputs[0]
    axis = steps.time(x)
    if axis is None:
        refuse(node, "takes its shape from the events")
    wanted = next(factor for at, factor in _factors(steps.net.shape(x)) if at == axis and factor[2] == steps.length)
    found = [at for at, factor in _factors(steps.net.shape(out)) if factor == wanted]
    if not found:
        refuse(node, "joins all steps")
    steps.axes[out] = found[0]
    sizes = [-1 if size is None or isinstance(size, Rows) else size for size in steps.shape(out)]
    shape = steps.weight(f"{out}.shape", np.array(sizes, np.int64))
    steps.put(Node("Reshape", (x, shape), node.outputs), {})


def _factors(shape: Shape) -> Iterator[tuple[int, Factor]]:
    """The axes, those that are merged with the batch taken apart: (axis, factor)."""
    before, is_behind = 1, False
    for at, size in enumerate(shape):
        for factor in _apart(size):
            yield at, (before, is_behind, factor or 0)
            before, is_behind = before * (factor or 1), is_behind or factor is None


def _apart(size: Dim) -> tuple[int | None, ...]:
    if isinstance(size, Rows):
        inner = size.times // size.outer
        return tuple(factor for factor in (size.outer, None, inner) if factor != 1)
    return (size if isinstance(size, int) else None,)


def transpose(steps: Steps, node: Node) -> None:
    x = node.inputs[0]
    perm = complete_attrs(node)["perm"] or tuple(reversed(range(steps.rank(x))))
    steps.keep(node, perm.index(steps.time(x)))


def squeeze(steps: Steps, node: Node) -> None:
    x = node.inputs[0]
    shape, time, axes = steps.net.shape(x), steps.time(x), steps.numbers(node, 1)
    assert time is not None
    gone = {axis % len(shape) for axis in axes} if axes is not None else {at for at, size in enumerate(shape) if size == 1}
    named = steps.weight("axes", np.array(sorted(gone), np.int64))
    steps.keep(node, None if time in gone else time - sum(axis < time for axis in gone), (x, named))


def unsqueeze(steps: Steps, node: Node) -> None:
    time, axes = steps.time(node.inputs[0]), steps.numbers(node, 1)
    assert time is not None
    if axes is None:
        refuse(node, "takes its axes from the events")
    rank = steps.rank(node.outputs[0])
    new = {axis % rank for axis in axes}
    steps.keep(node, [axis for axis in range(rank) if axis not in new][time])


def concat(steps: Steps, node: Node) -> None:
    times = {steps.time(name) for name in node.inputs}
    if len(times) != 1:
        refuse(node, "joins the series with what is none")
    (time,) = times
    if complete_attrs(node)["axis"] % steps.rank(node.inputs[0]) == time:
        refuse(node, "joins series one after the other")
    steps.keep(node, time)


def split(steps: Steps, node: Node) -> None:
    time = steps.time(node.inputs[0])
    if complete_attrs(node)["axis"] % steps.rank(node.inputs[0]) == time:
        refuse(node, "cuts the series apart")
    steps.keep(node, time)


def slice_(steps: Steps, node: Node) -> None:
    """A Slice of other axes, of all steps, or of the last one, which the graph for one event has alone."""
    x = node.inputs[0]
    rank, time = steps.rank(x), steps.time(x)
    starts, ends = steps.numbers(node, 1) or [], steps.numbers(node, 2) or []
    axes = [axis % rank for axis in steps.numbers(node, 3) or range(len(starts))]
    strides = steps.numbers(node, 4) or [1] * len(starts)
    if time not in axes:
        steps.keep(node, time)
        return
    cut = axes.index(time)
    steps_kept = range(steps.length)[slice(starts[cut], ends[cut], strides[cut])]
    if steps_kept == range(steps.length):
        left = time
    elif [*steps_kept] == [steps.length - 1]:
        left = None
    else:
        refuse(node, "takes other steps than the last")
    rest = [(start, end, axis, stride) for start, end, axis, stride in zip(starts, ends, axes, strides) if axis != time]
    if not rest:
        steps.names[node.outputs[0]] = steps.now(x)
        steps.axes[node.outputs[0]] = left
        return
    columns = tuple(steps.weight("slice", np.array(column, np.int64)) for column in zip(*rest))
    steps.keep(node, left, (x, *columns))


def gather(steps: Steps, node: Node) -> None:
    """A look-up by the events; or of the last step, which is the first of one; or of other axes."""
    data, indices = node.inputs
    time, by = steps.time(data), steps.time(indices)
    axis = complete_attrs(node)["axis"] % steps.rank(data)
    if time is None and by is not None:
        if data in steps.axes:
            refuse(node, "joins the last event with the series")
        steps.keep(node, axis + by)
        return
    if indices in steps.axes or time is None:
        refuse(node, "joins events of different steps")
    if axis != time:
        steps.keep(node, time if time < axis else time + steps.rank(indices) - 1)
        return
    if any(at not in (-1, steps.length - 1) for at in steps.numbers(node, 1) or []):
        refuse(node, "takes other steps than the last")
    first = np.zeros_like(steps.net.facts.numbers[indices])
    steps.keep(node, None, (data, steps.weight("last", first)))
