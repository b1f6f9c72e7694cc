"""Einsum: sums of products of tensors, their axes named by letters, an ellipsis for those that are broadcast."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from esp.astore.ops.dims import Dim
from esp.astore.ops.row import MANY, NUMBERS, Array, Attrs, AttrSpec, Dtypes, Op, Shape, given, given_shape
from esp.astore.ops.rules import broadcast, is_batch, per_row, show
from esp.errors import GraphError

_ELLIPSIS = "..."


@dataclass(frozen=True, slots=True)
class Equation:
    """Letters of each operand and of the output, an ellipsis among them where the equation has one."""

    operands: tuple[tuple[str, ...], ...]
    output: tuple[str, ...]

    def summed(self) -> set[str]:
        """Letters that the output lacks."""
        return {letter for term in self.operands for letter in term} - set(self.output)


def _term(text: str) -> tuple[str, ...]:
    letters = tuple(text.replace(_ELLIPSIS, "."))
    if not all(letter == "." or (letter.isascii() and letter.isalpha()) for letter in letters) or letters.count(".") > 1:
        raise GraphError(f"{text!r} names no axes", mend="write letters, and one ellipsis at most")
    return tuple(_ELLIPSIS if letter == "." else letter for letter in letters)


def equation_of(text: str) -> Equation:
    """An equation as ONNX writes it. Raises GraphError for one that is not well formed.

    >>> equation_of("ij, jk").output
    ('i', 'k')
    """
    left, arrow, right = "".join(text.split()).partition("->")
    operands = tuple(_term(part) for part in left.split(","))
    counts = Counter(letter for term in operands for letter in term)
    ellipsis = [_ELLIPSIS] if counts.pop(_ELLIPSIS, 0) else []
    if arrow:
        output = _term(right)
    else:
        output = (*ellipsis, *sorted(letter for letter, count in counts.items() if count == 1))
    unknown = set(output) - set(counts) - set(ellipsis)
    if unknown or len(set(output)) < len(output) or (ellipsis and _ELLIPSIS not in output):
        raise GraphError(
            f"the output of {text!r} names an axis twice, one that no input has, or drops the ellipsis", mend="mend it"
        )
    return Equation(operands, output)


def _sizes_of_term(term: tuple[str, ...], shape: Shape) -> list[tuple[str, Shape]]:
    """Each letter with its size, the ellipsis with all of its own."""
    hidden = len(shape) - len([letter for letter in term if letter != _ELLIPSIS])
    if hidden < 0 or (hidden and _ELLIPSIS not in term):
        raise GraphError(f"{''.join(term)!r} does not name the axes of {show(shape)}", mend="name each axis")
    found, at = [], 0
    for letter in term:
        width = hidden if letter == _ELLIPSIS else 1
        found.append((letter, shape[at : at + width]))
        at += width
    return found


def _sizes(equation: Equation, shapes: Sequence[Shape]) -> dict[str, Shape]:
    """The size of every letter, sizes of 1 broadcast among operands."""
    if len(equation.operands) != len(shapes):
        raise GraphError(f"the equation has {len(equation.operands)} terms for {len(shapes)} inputs", mend="give as many")
    sizes: dict[str, Shape] = {}
    for term, shape in zip(equation.operands, shapes):
        own: dict[str, Shape] = {}
        for letter, size in _sizes_of_term(term, shape):
            if own.setdefault(letter, size) != size:
                raise GraphError(f"axes {letter!r} of {show(shape)} differ in size", mend="use two letters")
            sizes[letter] = broadcast(sizes.get(letter, (1,) * len(size)), size)
    for letter in equation.summed():
        if any(map(is_batch, sizes[letter])):
            raise GraphError(f"summing over {letter!r} would mix the rows of a batch", mend="keep it in the output")
    return sizes


def _shapes(attrs: Attrs, shapes: Sequence[Shape | None], constants: Sequence[Array | None]) -> list[Shape]:
    if None in shapes:
        raise GraphError("an input is left out", mend="name every input")
    equation = equation_of(attrs["equation"])
    sizes = _sizes(equation, [given_shape(shape) for shape in shapes])
    return [tuple(size for letter in equation.output for size in sizes[letter])]


def _einsum(attrs: Attrs, inputs: Sequence[Array | None], outputs: int) -> list[Array]:
    arrays = [given(array) for array in inputs]
    made = np.einsum("".join(attrs["equation"].split()), *arrays)
    return [np.array(made, arrays[0].dtype)]


def _flops(attrs: Attrs, ins: Sequence[Shape | None], outs: Sequence[Shape]) -> int:
    """For each combination of letters a multiplication for each further operand, and an addition where letters are summed."""
    equation = equation_of(attrs["equation"])
    sizes: Mapping[str, Shape] = _sizes(equation, [given_shape(shape) for shape in ins])
    combinations = prod(_numbers(size) for size in sizes.values())
    return combinations * (len(ins) - 1 + bool(equation.summed()))


def _numbers(sizes: Sequence[Dim]) -> int:
    return prod(map(per_row, sizes))


EINSUM = {
    "Einsum": Op(
        "Einsum",
        (1, MANY),
        _shapes,
        _einsum,
        _flops,
        {"equation": AttrSpec("string", is_required=True)},
        dtypes=Dtypes(("float16", *NUMBERS)),
    )
}
