"""Turning the numbers of a tensor into another dtype."""

from collections.abc import Mapping, Sequence

from esp.astore.ops.row import DTYPES, Array, Attrs, AttrSpec, Dtypes, Op, given
from esp.astore.ops.rules import one_flop_each, same_shape
from esp.errors import GraphError

DTYPE_OF_CODE: Mapping[int, str] = {
    1: "float32",
    2: "uint8",
    3: "int8",
    4: "uint16",
    5: "int16",
    6: "int32",
    7: "int64",
    9: "bool",
    10: "float16",
    11: "float64",
    12: "uint32",
    13: "uint64",
}  # by ONNX's number of an element type
_NOT_TAKEN = {8: "string", 14: "complex64", 15: "complex128", 16: "bfloat16", 21: "uint4", 22: "int4", 23: "float4"}
_MAY_HOLD_SIZES = ("int32", "int64")


def dtype_of_code(code: int) -> str:
    """The dtype of ONNX's number of an element type. Raises GraphError for one that no tensor of a graph may have."""
    if code not in DTYPE_OF_CODE:
        name = _NOT_TAKEN.get(code, "float8" if code in (17, 18, 19, 20, 24) else "no element type")
        known = ", ".join(f"{number} ({dtype})" for number, dtype in DTYPE_OF_CODE.items())
        raise GraphError(f"element type {code} ({name}) is not supported", mend=f"use one of: {known}")
    return DTYPE_OF_CODE[code]


def converted(x: Array, dtype: str) -> Array:
    """``x`` in ``dtype``: real numbers lose their fraction, whole ones wrap around, sizes of the batch stay what they are."""
    if x.dtype == object:
        if dtype in _MAY_HOLD_SIZES:
            return x
        raise TypeError("sizes of the batch are int32 or int64")
    return x.astype(dtype)


def _dtype_to(attrs: Attrs) -> str:
    return dtype_of_code(attrs["to"])


def _cast(attrs: Attrs, inputs: Sequence[Array | None], outputs: int) -> list[Array]:
    return [converted(given(inputs[0]), _dtype_to(attrs))]


def _cast_like(attrs: Attrs, inputs: Sequence[Array | None], outputs: int) -> list[Array]:
    like = given(inputs[1])
    return [converted(given(inputs[0]), "int64" if like.dtype == object else like.dtype.name)]


_SATURATE = AttrSpec("int", 1, choices=(0, 1))  # matters to float8 alone
_CAST_ATTRS = {"to": AttrSpec("int", is_required=True), "saturate": _SATURATE}
_CAST_LIKE_DTYPES = Dtypes(DTYPES, {1: DTYPES}, {0: 1})

CAST = {
    "Cast": Op("Cast", (1, 1), same_shape, _cast, one_flop_each, _CAST_ATTRS, dtypes=Dtypes(DTYPES, outputs={0: _dtype_to})),
    "CastLike": Op(
        "CastLike",
        (2, 2),
        same_shape,
        _cast_like,
        one_flop_each,
        {"saturate": _SATURATE},
        dtypes=_CAST_LIKE_DTYPES,
        trainable=(0,),
    ),
}
