"""What a row of the op table says of an op; nothing else describes one."""

import reprlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from esp.astore.ops.dims import Dim
from esp.errors import GraphError

Array = npt.NDArray[Any]
Attrs = Mapping[str, Any]  # complete: defaults filled in
Shape = tuple[Dim, ...]  # None = the symbolic batch axis, always first at the inputs and outputs of a model's graph

FLOATS = ("float32", "float64")
SIGNED = (*FLOATS, "int32", "int64", "int8", "int16")
NUMBERS = (*SIGNED, "uint8", "uint16", "uint32", "uint64")
REALS = ("float16", *FLOATS)  # every floating one
INTEGERS = tuple(dtype for dtype in NUMBERS if dtype not in FLOATS)
ALL_NUMBERS = ("float16", *NUMBERS)
DTYPES = (*ALL_NUMBERS, "bool")
MANY = 2**31 - 1  # inputs of a variadic op, at most


@dataclass(frozen=True, slots=True)
class Tensor:
    """An attribute that is a tensor: its elements are ``data``, little-endian, in C order."""

    dtype: str
    shape: tuple[int, ...]
    data: bytes

    @classmethod
    def of(cls, array: Array) -> "Tensor":
        array = np.asarray(array)
        return cls(array.dtype.name, array.shape, array.astype(array.dtype.newbyteorder("<")).tobytes())

    @property
    def array(self) -> Array:
        return np.frombuffer(self.data, np.dtype(self.dtype).newbyteorder("<")).reshape(self.shape)


Attr = int | float | str | Tensor | tuple[int, ...] | tuple[float, ...] | tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AttrSpec:
    """An attribute: its type as in ONNX (int, float, string, tensor, ints, floats, strings), its default (None = left out means
    'not given')."""

    type: str
    default: Attr | None = None
    is_required: bool = False
    choices: tuple[int | str, ...] = ()


@dataclass(frozen=True, slots=True)
class Dtypes:
    """Which dtypes an op takes and gives.

    Every input and output has the dtype of input 0, one of ``allowed``, but those in ``inputs`` (by index: the ones allowed
    there, or the number of the input whose dtype it has) and in ``outputs`` (by index: the dtype, the number of the input
    that has it, or a function that reads one or the other from the attributes).
    """

    allowed: tuple[str, ...] = FLOATS
    inputs: Mapping[int, tuple[str, ...] | int] = field(default_factory=dict)
    outputs: Mapping[int, str | int | Callable[[Attrs], str | int]] = field(default_factory=dict)

    def infer(self, attrs: Attrs, dtypes: Sequence[str | None], outputs: int) -> list[str]:
        """The dtypes of the outputs. Raises GraphError where an input's dtype is not allowed."""
        for index, dtype in enumerate(dtypes):
            rule = self.inputs.get(index, self.allowed if index == 0 else 0)
            allowed = (dtypes[rule],) if isinstance(rule, int) else rule
            if dtype is not None and dtype not in allowed:
                wanted = " or ".join(map(str, allowed))
                raise GraphError(f"input {index} wants {wanted}, got {dtype}", mend="convert it")
        return [self._output(attrs, dtypes, index) for index in range(outputs)]

    def _output(self, attrs: Attrs, dtypes: Sequence[str | None], index: int) -> str:
        rule = self.outputs.get(index, 0)
        said = rule(attrs) if callable(rule) else rule
        return said if isinstance(said, str) else (dtypes[said] if said < len(dtypes) else None) or ""


@dataclass(frozen=True, slots=True)
class Op:
    """One operator with ONNX meaning.

    ``shapes(attrs, shapes, constants)`` gives the shapes of all outputs that the op can have (a node may want fewer), or
    raises GraphError, and nothing else, whatever the shapes and the attributes of the right types; ``constants[i]`` is
    input i where its numbers are known (Reshape's shape, say: a weight, or what is made of weights and of the shapes of
    other tensors), else None. Where such numbers depend on the batch the array is one of Python objects, int or ``Rows``:
    read them by ``rules.sizes_at`` or ``rules.numbers_at``. ``reference(attrs, inputs, outputs)`` is the obvious numpy
    computation, with ``outputs`` the number of outputs wanted; an optional input left out is None.
    ``flops(attrs, ins, outs)`` counts floating-point operations for one row (batch axis taken as 1; a multiply-add counts
    two, a function of one number one). ``dtypes`` says what it takes and gives. ``trainable`` are the inputs that training
    may learn where they are floating weights; None = every one. ``domain`` is the ONNX operator set ("" = the default one).
    """

    name: str
    inputs: tuple[int, int]  # at least, at most
    shapes: Callable[[Attrs, Sequence[Shape | None], Sequence[Array | None]], list[Shape]]
    reference: Callable[[Attrs, Sequence[Array | None], int], list[Array]]
    flops: Callable[[Attrs, Sequence[Shape | None], Sequence[Shape]], int]
    attrs: Mapping[str, AttrSpec] = field(default_factory=dict)
    outputs: tuple[int, int] = (1, 1)
    dtypes: Dtypes = Dtypes()
    trainable: tuple[int, ...] | None = None
    domain: str = ""


_PLAIN: Mapping[str, type | tuple[type, ...]] = {"int": int, "float": (int, float), "string": str, "tensor": Tensor}


def complete(op: Op, attrs: Mapping[str, Attr]) -> Attrs:
    """``attrs`` checked against the row, defaults filled in. Raises GraphError for an unknown, missing or ill-typed one."""
    for name in attrs:
        if name not in op.attrs:
            known = ", ".join(sorted(op.attrs)) or "none"
            raise GraphError(f"unknown attribute {name!r}", mend=f"{op.name} has: {known}")
    return {name: _complete_one(name, spec, attrs.get(name)) for name, spec in op.attrs.items()}


def _complete_one(name: str, spec: AttrSpec, value: Attr | None) -> Any:
    if value is None:
        if spec.is_required:
            raise GraphError(f"attribute {name!r} is missing", mend=f"give it ({spec.type})")
        return spec.default
    if not _is_of_type(value, spec.type):
        raise GraphError(f"attribute {name!r} wants {spec.type}, got {reprlib.repr(value)}", mend="write it as that")
    if spec.choices and value not in spec.choices:
        choices = ", ".join(map(str, spec.choices))
        raise GraphError(f"attribute {name!r} is {reprlib.repr(value)}, which is not supported", mend=f"use one of: {choices}")
    return as_type(value, spec.type)


def as_type(value: Any, kind: str) -> Attr:
    """A value that is of ``kind``, whole numbers of a float attribute made floats."""
    if kind == "float":
        return float(value)
    return tuple(map(float, value)) if kind == "floats" else value


def _is_of_type(value: Attr, kind: str) -> bool:
    if kind.endswith("s"):
        return isinstance(value, tuple) and all(_is_of_type(item, kind[:-1]) for item in value)
    return isinstance(value, _PLAIN[kind]) and not isinstance(value, bool)


def given(array: Array | None) -> Array:
    """An input that the op's arity makes sure is there."""
    assert array is not None
    return array


def given_shape(shape: Shape | None) -> Shape:
    """The shape of an input that the op's arity makes sure is there."""
    assert shape is not None
    return shape
