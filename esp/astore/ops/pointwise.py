"""How rows of the op table are made for ops that work number by number: of one tensor, of two, of any number."""

from collections.abc import Callable, Mapping, Sequence
from functools import reduce

import numpy as np

from esp.astore.ops.row import MANY, REALS, Array, Attrs, AttrSpec, Dtypes, Op, Shape, given, given_shape
from esp.astore.ops.rules import broadcast, one_flop_each, same_shape
from esp.astore.ops.sizes import OfSizes, among_sizes
from esp.errors import GraphError

FLAG = AttrSpec("int", 0, choices=(0, 1))
OF_ATTRS = Mapping[str, AttrSpec]


def unary(
    name: str,
    function: Callable[..., Array],
    allowed: tuple[str, ...] = REALS,
    attrs: OF_ATTRS | None = None,
    makes: str | None = None,
    trainable: tuple[int, ...] | None = None,
) -> Op:
    """``function(x, attribute=value...)``; it gives the dtype ``makes``, by default the input's."""

    def reference(given_attrs: Attrs, inputs: Sequence[Array | None], outputs: int) -> list[Array]:
        x = given(inputs[0])
        return [np.asarray(function(x, **given_attrs), dtype=makes or x.dtype)]

    dtypes = Dtypes(allowed, outputs={0: makes} if makes else {})
    return Op(name, (1, 1), same_shape, reference, one_flop_each, attrs or {}, dtypes=dtypes, trainable=trainable)


def broadcast_all(attrs: Attrs, shapes: Sequence[Shape | None], constants: Sequence[Array | None]) -> list[Shape]:
    """The shape rule of an op whose inputs are all broadcast together."""
    if None in shapes:
        raise GraphError("an input is left out", mend="name every input")
    return [reduce(broadcast, map(given_shape, shapes))]


def pairwise(
    function: Callable[[Array, Array], Array], of_sizes: OfSizes | None = None, makes: str | None = None
) -> Callable[[Array, Array], Array]:
    """``function`` for arrays of numbers, ``of_sizes`` where sizes of the batch are among them; in the dtype of the left one."""

    def compute(left: Array, right: Array) -> Array:
        if left.dtype != object and right.dtype != object:
            return np.asarray(function(left, right), dtype=makes or left.dtype)
        if of_sizes is None:
            raise TypeError("not for sizes of the batch")
        return among_sizes(of_sizes, makes or object)(left, right)

    return compute


def binary(
    name: str,
    function: Callable[[Array, Array], Array],
    dtypes: Dtypes,
    of_sizes: OfSizes | None = None,
    makes: str | None = None,
    trainable: tuple[int, ...] | None = None,
) -> Op:
    """Two tensors; ``makes`` is the dtype of the output, by default that of the left input."""
    compute = pairwise(function, of_sizes, makes)

    def reference(attrs: Attrs, inputs: Sequence[Array | None], outputs: int) -> list[Array]:
        return [compute(given(inputs[0]), given(inputs[1]))]

    if makes:
        dtypes = Dtypes(dtypes.allowed, dtypes.inputs, {0: makes})
    return Op(name, (2, 2), broadcast_all, reference, one_flop_each, dtypes=dtypes, trainable=trainable)


def variadic(name: str, function: Callable[[Array, Array], Array], allowed: tuple[str, ...], of_sizes: OfSizes | None = None) -> Op:
    """Any number of tensors, folded from the left."""
    compute = pairwise(function, of_sizes)

    def reference(attrs: Attrs, inputs: Sequence[Array | None], outputs: int) -> list[Array]:
        return [reduce(compute, map(given, inputs))]

    return Op(name, (1, MANY), broadcast_all, reference, flops_of_all, dtypes=Dtypes(allowed))


def flops_of_all(attrs: Attrs, ins: Sequence[Shape | None], outs: Sequence[Shape]) -> int:
    """One operation for each number that comes out and each input after the first."""
    return one_flop_each(attrs, ins, outs) * max(len(ins) - 1, 0)
