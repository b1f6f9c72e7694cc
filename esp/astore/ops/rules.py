"""What shape rules of several families share: sizes, axes, broadcasting, and how shapes are shown."""

from collections.abc import Sequence
from math import prod

from esp.astore.ops.dims import Dim, Rows, of_rows, rows_in
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
    """Elements of one row: the batch is taken as 1, a size that depends on the data too; no tensor, no elements."""
    return 0 if shape is None else prod(per_row(size) for size in shape)


def per_row(size: Dim) -> int:
    """Numbers of one row along an axis: the batch is taken as 1, a size that depends on the data too."""
    return size if isinstance(size, int) else rows_in(size) or 1


def is_batch(size: Dim) -> bool:
    """Whether an axis is the batch, or several numbers for each of its rows."""
    return rows_in(size) > 0


def batch_axis(shape: Shape) -> int | None:
    """Which axis is the batch's, if any is."""
    return next((axis for axis, size in enumerate(shape) if is_batch(size)), None)


def fixed(size: Dim, what: str) -> int:
    """A size that is a number. Raises GraphError where it depends on the batch or the data."""
    if not isinstance(size, int):
        raise GraphError(f"{what} is {'N' if size is None else size}, which is no fixed size", mend="fix it in the model")
    return size


def sizes_at(constants: Sequence[Array | None], index: int, what: str) -> list[Dim]:
    """Input ``index``, a list of sizes (a single one counts as a list), where the batch may be among them.

    Raises GraphError where its numbers are not known before there are data.
    """
    array = constants[index] if index < len(constants) else None
    if array is None or array.ndim > 1 or array.dtype.kind not in "iuO":
        raise GraphError(f"{what} (input {index}) is not a constant of whole numbers", mend="make it a constant int64 weight")
    return [of_rows(size.times) if isinstance(size, Rows) else int(size) for size in array.reshape(-1)]


def numbers_at(constants: Sequence[Array | None], index: int, what: str) -> Array:
    """Input ``index``, whose numbers must be known before there are data.

    Raises GraphError for numbers that
    depend on the batch or the data.
    """
    array = constants[index] if index < len(constants) else None
    if array is None or array.dtype == object:
        raise GraphError(f"{what} (input {index}) is not a constant", mend="make it a constant weight")
    return array


def axis_of(axis: int, rank: int, extra: int = 0) -> int:
    """``axis`` counted from the front, in [0, rank + extra). Raises GraphError where it lies outside."""
    if not -rank <= axis < rank + extra:
        raise GraphError(f"axis {axis} is not in [{-rank}, {rank + extra - 1}]", mend="use an axis that the input has")
    return axis % rank if axis < 0 else axis


def refuse_batch(shape: Shape, axis: int, doing: str) -> None:
    """Raises GraphError where ``axis`` is the batch: rows would mix."""
    if is_batch(shape[axis]):
        raise GraphError(f"{doing} axis {axis} of {show(shape)} would mix the rows of a batch", mend="choose another axis")


def broadcast(left: Shape, right: Shape) -> Shape:
    """NumPy's rule, the batch meeting only itself or 1. Raises GraphError where sizes differ."""
    rank = max(len(left), len(right))
    pairs = zip((1,) * (rank - len(left)) + left, (1,) * (rank - len(right)) + right)
    sizes: list[Dim] = []
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
