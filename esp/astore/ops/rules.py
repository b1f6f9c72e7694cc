"""What shape rules of several families share: sizes, axes, broadcasting, and how shapes are shown."""

from collections.abc import Sequence
from math import prod

from esp.astore.ops.row import Array, Attrs, Shape, given_shape
from esp.errors import GraphError


def show(shape: Shape | None) -> str:
    """A shape as messages write it.

    >>> show((None, 3, 4))
    '[N, 3, 4]'
    """
    if shape is None:
        return "nothing"
    return f"[{', '.join('N' if size is None else str(size) for size in shape)}]"


def size_of(shape: Shape | None) -> int:
    """Elements of one row: the batch axis is taken as 1; no tensor, no elements."""
    return 0 if shape is None else prod(1 if size is None else size for size in shape)


def axis_of(axis: int, rank: int, extra: int = 0) -> int:
    """``axis`` counted from the front, in [0, rank + extra). Raises GraphError where it lies outside."""
    if not -rank <= axis < rank + extra:
        raise GraphError(f"axis {axis} is not in [{-rank}, {rank + extra - 1}]", mend="use an axis that the input has")
    return axis % rank if axis < 0 else axis


def refuse_batch(shape: Shape, axis: int, doing: str) -> None:
    """Raises GraphError where ``axis`` is the batch: rows would mix."""
    if shape[axis] is None:
        raise GraphError(f"{doing} axis {axis} of {show(shape)} would mix the rows of a batch", mend="choose another axis")


def broadcast(left: Shape, right: Shape) -> Shape:
    """NumPy's rule, the batch meeting only itself or 1. Raises GraphError where sizes differ."""
    rank = max(len(left), len(right))
    pairs = zip((1,) * (rank - len(left)) + left, (1,) * (rank - len(right)) + right)
    sizes = []
    for a, b in pairs:
        if a != b and a != 1 and b != 1:
            raise GraphError(f"{show(left)} and {show(right)} do not broadcast", mend="make their sizes equal or 1")
        sizes.append(b if a == 1 else a)
    return tuple(sizes)


def expect(what: str, shape: Shape | None, wanted: Shape) -> None:
    """Raises GraphError unless the optional tensor ``what`` is left out or has the shape wanted."""
    if shape is not None and shape != wanted:
        raise GraphError(f"{what} wants shape {show(wanted)}, got {show(shape)}", mend="give it that shape")


def same_shape(attrs: Attrs, shapes: Sequence[Shape | None], constants: Sequence[Array | None]) -> list[Shape]:
    """The shape rule of an op that keeps its input's shape."""
    return [given_shape(shapes[0])]


def no_flops(attrs: Attrs, ins: Sequence[Shape | None], outs: Sequence[Shape]) -> int:
    """An op that only moves numbers."""
    return 0


def one_flop_each(attrs: Attrs, ins: Sequence[Shape | None], outs: Sequence[Shape]) -> int:
    """One operation for each number that comes out."""
    return size_of(outs[0])
