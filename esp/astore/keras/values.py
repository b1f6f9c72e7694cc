"""A tensor of a Keras model and the layouts in which the graph holds it: a transpose is made once, when one is asked for."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from esp.astore.build import GraphBuilder
from esp.astore.graph import Array, Shape
from esp.astore.ops.rules import size_of

Perm = tuple[int, ...]


@dataclass(slots=True)
class Held:
    """A Keras tensor of ``shape`` (as Keras has it).

    ``names[perm]`` is a tensor of the graph that holds it transposed by ``perm``. ``flat_of``: it is the rows of another one
    flattened, which no tensor holds until it is asked for in Keras's order. ``is_masked``: Keras carries a mask of steps with it.
    """

    shape: Shape
    dtype: str
    names: dict[Perm, str] = field(default_factory=dict)
    flat_of: "Held | None" = None
    is_masked: bool = False


def plain(rank: int) -> Perm:
    """The order of the axes that Keras has."""
    return tuple(range(rank))


def first(rank: int) -> Perm:
    """The order that brings a last axis of channels to the place behind the batch."""
    return (0, rank - 1, *range(1, rank - 1)) if rank > 2 else plain(rank)


def steps_first(rank: int) -> Perm:
    """The order that brings the steps before the batch, as recurrent ops have them."""
    return (1, 0, *range(2, rank))


def held(build: GraphBuilder, name: str, perm: Perm | None = None) -> Held:
    """The Keras tensor that the graph's tensor ``name`` holds, transposed by ``perm``."""
    shape = build.shapes[name]
    perm = plain(len(shape)) if perm is None else perm
    return Held(tuple(shape[perm.index(axis)] for axis in range(len(shape))), build.dtypes[name], {perm: name})


def tensor(build: GraphBuilder, value: Held, perm: Perm | None = None) -> str:
    """The tensor of the graph that holds ``value`` in the order ``perm`` (Keras's own, where left out)."""
    perm = plain(len(value.shape)) if perm is None else perm
    favourite(build, value)
    if perm not in value.names:
        value.names[perm] = _moved(build, value, perm)
    return value.names[perm]


def _moved(build: GraphBuilder, value: Held, perm: Perm) -> str:
    old, name = favourite(build, value)
    if [axis for axis in old if value.shape[axis] != 1] == [axis for axis in perm if value.shape[axis] != 1]:
        return reshape(build, name, tuple(value.shape[axis] for axis in perm))  # only axes of size 1 move
    return build.add("Transpose", name, perm=tuple(old.index(axis) for axis in perm))


def favourite(build: GraphBuilder, value: Held) -> tuple[Perm, str]:
    """The layout in which to go on with a tensor: the newest that is held."""
    if not value.names:
        assert value.flat_of is not None
        value.names[plain(2)] = reshape(build, tensor(build, value.flat_of), value.shape)
    return next(reversed(value.names.items()))


def reshape(build: GraphBuilder, name: str, shape: Shape) -> str:
    """The tensor with another shape; the batch stays what it is."""
    if build.shapes[name] == shape:
        return name
    sizes = np.array([-1 if not isinstance(size, int) else size for size in shape], np.int64)
    return build.add("Reshape", name, build.weight("shape", sizes))


def each(build: GraphBuilder, value: Held, make: Callable[[str], str]) -> Held:
    """What ``make``, which works number by number, gives for a tensor, in the layout that it has."""
    if value.flat_of is not None and not value.names:
        inner = each(build, value.flat_of, make)
        return Held(value.shape, inner.dtype, flat_of=inner)
    perm, name = favourite(build, value)
    return held(build, make(name), perm)


def together(build: GraphBuilder, values: Sequence[Held]) -> tuple[Perm, list[str]]:
    """A layout that costs few transposes, and the tensors of all ``values`` (of one rank) in it."""
    rank = len(values[0].shape)
    candidates = dict.fromkeys(perm for value in values for perm in reversed(value.names)) or {plain(rank): None}
    perm = max(candidates, key=lambda perm: sum(perm in value.names for value in values if size_of(value.shape) > 1))
    return perm, [tensor(build, value, perm) for value in values]


def along(array: Array, axes: Sequence[int], perm: Perm) -> Array:
    """Numbers over the axes ``axes`` of a Keras tensor, shaped to broadcast over the tensor held in the order ``perm``."""
    shape = [1] * len(perm)
    for axis, size in zip(axes, array.shape, strict=True):
        shape[axis] = size
    lead = min(axes, key=perm.index, default=0)
    return np.asarray(array.reshape(shape).transpose(perm)[(0,) * perm.index(lead)] if axes else array)


def permuted(value: Held, axes: Sequence[int]) -> Held:
    """The tensor with its axes in another order; the graph's tensors stay what they are."""
    assert value.names or value.flat_of is None
    names = {tuple(axes.index(axis) for axis in perm): name for perm, name in value.names.items()}
    return Held(tuple(value.shape[axis] for axis in axes), value.dtype, names)


def flattened(value: Held) -> Held:
    """The rows of a tensor as vectors."""
    return Held((value.shape[0], size_of(value.shape[1:])), value.dtype, flat_of=value)
