"""Layers that move numbers about: Flatten, Reshape, Permute, RepeatVector."""

from math import prod

from esp.astore.keras import values
from esp.astore.keras.call import Call
from esp.astore.keras.values import Held


def flatten(call: Call) -> Held:
    """Vectors of a row's numbers, channels last whatever the data_format. Nothing is moved until somebody asks."""
    rank = len(call.x.shape)
    is_last = call.settings.is_channels_last() or rank < 3
    if rank == 1:
        return call.held(values.reshape(call.build, call.tensor(call.x), (call.x.shape[0], 1)))
    if rank == 2:
        return call.x
    if is_last:
        return values.flattened(call.x)
    values.favourite(call.build, call.x)
    return values.flattened(values.permuted(call.x, (0, *range(2, rank), 1)))


def reshape(call: Call) -> Held:
    """Other axes over the same numbers."""
    target = call.settings.get("target_shape")
    if not isinstance(target, list | tuple) or not all(isinstance(size, int) for size in target) or list(target).count(-1) > 1:
        raise call.settings.refused("target_shape", "wanted whole numbers, one of them -1 at most", "mend the model")
    count, known = prod(call.size(axis) for axis in range(1, len(call.x.shape))), prod(size for size in target if size != -1)
    sizes = [count // max(known, 1) if size == -1 else size for size in target]
    if prod(sizes) != count:
        raise call.refused(f"{count} numbers do not fit {list(target)}", "mend the model")
    return call.held(values.reshape(call.build, call.tensor(call.x), (call.x.shape[0], *sizes)))


def permute(call: Call) -> Held:
    """Axes in another order, which the graph need not move."""
    dims = call.settings.get("dims")
    rank = call.rank(2)
    if not isinstance(dims, list | tuple) or sorted(dims) != list(range(1, rank)):
        raise call.settings.refused("dims", f"wanted an order of 1 to {rank - 1}", "mend the model")
    values.favourite(call.build, call.x)
    return values.permuted(call.x, (0, *dims))


def repeat_vector(call: Call) -> Held:
    """A vector at each of n steps."""
    times = call.settings.whole("n")
    batch, size = call.x.shape[0], call.size(1)
    steps = values.reshape(call.build, call.tensor(call.x), (batch, 1, size))
    return call.held(call.build.add("Tile", steps, call.ints(1, times, 1)))
