"""Ops of ai.onnx.ml that prepare features: scaled, encoded, normalised, filled in, cut at a threshold or picked out."""

from collections.abc import Callable, Sequence

import numpy as np

from esp.astore.ops.forest import numbers as whole_numbers
from esp.astore.ops.row import Array, Attrs, AttrSpec, Dtypes, Op, Shape, Tensor, given, given_shape
from esp.astore.ops.rules import is_batch, no_flops, one_flop_each, refuse_batch, same_shape, show, size_of
from esp.astore.ops.trees import INPUTS
from esp.errors import GraphError

_ENCODED = ("int64", "float32", "float64", "int32", "int16")


def _check_a_feature(what: str, values: Sequence[float] | None, x: Shape) -> None:
    """Raises GraphError unless there is one number, or one for each of the last axis."""
    count = len(values or ())
    if count != 1 and (not x or x[-1] != count):
        raise GraphError(f"{what} holds {count} numbers for {show(x)}", mend="give one, or one a feature")


def _scale_shapes(attrs: Attrs, shapes: Sequence[Shape | None], constants: Sequence[Array | None]) -> list[Shape]:
    x = given_shape(shapes[0])
    for what in ("scale", "offset"):
        _check_a_feature(what, attrs[what], x)
    return [x]


def _scale(attrs: Attrs, inputs: Sequence[Array | None], outputs: int) -> list[Array]:
    x = given(inputs[0])
    dtype = np.float32 if x.dtype == np.float32 else np.float64
    offset, scale = (np.array(attrs[name], dtype) for name in ("offset", "scale"))
    return [((x - offset) * scale).astype(np.float32)]


def _table(attrs: Attrs, side: str) -> Array:
    """The keys or the values of a LabelEncoder. Raises GraphError unless they are numbers, given once."""
    if attrs[f"{side}_strings"]:
        raise GraphError(f"{side}_strings are no numbers", mend="encode them as numbers, and keep the strings outside of the graph")
    tensor: Tensor | None = attrs[f"{side}_tensor"]
    lists = [(attrs[f"{side}_{kind}"], dtype) for kind, dtype in (("int64s", np.int64), ("floats", np.float32))]
    given_lists = [(values, dtype) for values, dtype in lists if values]
    if (tensor is not None) + len(given_lists) != 1:
        raise GraphError(
            f"{side} are given more than once, or not", mend=f"give one of {side}_int64s, {side}_floats, {side}_tensor"
        )
    if tensor is not None:
        if tensor.dtype not in _ENCODED or len(tensor.shape) != 1:
            raise GraphError(f"{side}_tensor is {tensor.dtype} of {len(tensor.shape)} axes", mend="give numbers along one axis")
        return tensor.array
    try:
        return np.array(*given_lists[0])
    except OverflowError as err:
        raise GraphError(f"{side} hold a number past 64 bits", mend="use numbers that int64 holds") from err


def _default(attrs: Attrs, dtype: np.dtype[np.generic]) -> Array:
    tensor: Tensor | None = attrs["default_tensor"]
    if tensor is not None:
        if tensor.dtype != dtype.name or size_of(tensor.shape) != 1:
            raise GraphError(f"default_tensor is {tensor.dtype}{show(tensor.shape)}", mend=f"give one number of {dtype.name}")
        return tensor.array.reshape(())
    if dtype.kind == "f":
        return np.asarray(attrs["default_float"], dtype)
    limits = np.iinfo(dtype)  # type: ignore[type-var]
    if not limits.min <= attrs["default_int64"] <= limits.max:
        raise GraphError(f"default_int64 {attrs['default_int64']} is no {dtype.name}", mend="give one that the values' dtype holds")
    return np.asarray(attrs["default_int64"], dtype)


def _encode_shapes(attrs: Attrs, shapes: Sequence[Shape | None], constants: Sequence[Array | None]) -> list[Shape]:
    keys, values = _table(attrs, "keys"), _table(attrs, "values")
    if len(keys) != len(values) or not len(keys):
        raise GraphError(f"{len(keys)} keys for {len(values)} values", mend="give each key its value")
    _default(attrs, values.dtype)
    return [given_shape(shapes[0])]


def _encode(attrs: Attrs, inputs: Sequence[Array | None], outputs: int) -> list[Array]:
    x, keys, values = given(inputs[0]), _table(attrs, "keys"), _table(attrs, "values")
    known, last = np.unique(keys[::-1], return_index=True)  # of a key that is repeated the last one counts
    at = np.minimum(np.searchsorted(known, x), len(known) - 1)
    is_known = (known[at] == x) | ((known[at] != known[at]) & (x != x))
    return [np.where(is_known, values[::-1][last][at], _default(attrs, values.dtype))]


class _EncodedDtypes(Dtypes):
    """A LabelEncoder takes the dtype of its keys, float64 too where a tensor holds them, and gives that of its values."""

    def infer(self, attrs: Attrs, dtypes: Sequence[str | None], outputs: int) -> list[str]:
        wanted = _table(attrs, "keys").dtype.name
        if dtypes[0] != wanted:
            raise GraphError(f"input 0 wants {wanted}, as the keys are, got {dtypes[0]}", mend="convert it")
        return [_table(attrs, "values").dtype.name]


def _normalise_shapes(attrs: Attrs, shapes: Sequence[Shape | None], constants: Sequence[Array | None]) -> list[Shape]:
    x = given_shape(shapes[0])
    if len(x) not in (1, 2) or 0 in x:
        raise GraphError(f"wants [features] or [N, features], got {show(x)}", mend="flatten the input first")
    refuse_batch(x, len(x) - 1, "normalising over")
    return [x]


def _normalise(attrs: Attrs, inputs: Sequence[Array | None], outputs: int) -> list[Array]:
    x = given(inputs[0]).astype(np.float64)
    if attrs["norm"] == "MAX":
        by = x.max(axis=-1, keepdims=True)
    else:
        by = np.linalg.norm(x, 1 if attrs["norm"] == "L1" else 2, -1, keepdims=True)
    return [(x / np.where(by == 0, 1, by)).astype(np.float32)]


def _fill(attrs: Attrs, kind: str) -> tuple[tuple[float, ...] | None, float]:
    """The numbers filled in and the one they replace, of a dtype of ``kind``."""
    floats = (attrs["imputed_value_floats"], attrs["replaced_value_float"])
    return floats if kind == "f" else (attrs["imputed_value_int64s"], attrs["replaced_value_int64"])


def _impute_shapes(attrs: Attrs, shapes: Sequence[Shape | None], constants: Sequence[Array | None]) -> list[Shape]:
    x, numbers = given_shape(shapes[0]), [attrs["imputed_value_floats"], attrs["imputed_value_int64s"]]
    if bool(numbers[0]) == bool(numbers[1]):
        raise GraphError("imputed values are given twice, or not", mend="give imputed_value_floats or imputed_value_int64s")
    _check_a_feature("the imputed values", numbers[0] or numbers[1], x)
    whole_numbers(attrs, "imputed_value_int64s")
    return [x]


class _ImputedDtypes(Dtypes):
    """An Imputer takes floating numbers where it fills in floats, else whole ones."""

    def infer(self, attrs: Attrs, dtypes: Sequence[str | None], outputs: int) -> list[str]:
        made = Dtypes.infer(self, attrs, dtypes, outputs)
        if not _fill(attrs, np.dtype(made[0]).kind)[0]:
            raise GraphError(f"nothing to fill in for {made[0]}", mend="give imputed values of the input's kind")
        return made


def _impute(attrs: Attrs, inputs: Sequence[Array | None], outputs: int) -> list[Array]:
    x = given(inputs[0])
    values, replaced = _fill(attrs, x.dtype.kind)
    is_missing = x != x if replaced != replaced else x == np.float32(replaced) if x.dtype.kind == "f" else x == replaced
    return [np.where(is_missing, np.array(values).astype(x.dtype), x)]


def _cut(attrs: Attrs, inputs: Sequence[Array | None], outputs: int) -> list[Array]:
    x = given(inputs[0])
    return [(x > np.float32(attrs["threshold"])).astype(x.dtype)]


def _pick_shapes(attrs: Attrs, shapes: Sequence[Shape | None], constants: Sequence[Array | None]) -> list[Shape]:
    x, at = given_shape(shapes[0]), given_shape(shapes[1])
    if not x or any(map(is_batch, at)) or len(at) not in (1, 2) or (len(at) == 2 and at[0] != 1):
        raise GraphError(f"cannot pick {show(at)} of {show(x)}", mend="give the positions as [count] or [1, count]")
    refuse_batch(x, len(x) - 1, "picking of")
    places = constants[1] if len(constants) > 1 else None
    if places is not None and places.size and isinstance(x[-1], int) and not (places.min() >= 0 and places.max() < x[-1]):
        raise GraphError(f"a position is not in [0, {x[-1] - 1}]", mend="pick features that the input has")
    return [(*x[:-1], at[-1]) if len(x) > 1 else (1, at[-1])]


def _pick(attrs: Attrs, inputs: Sequence[Array | None], outputs: int) -> list[Array]:
    x, at = given(inputs[0]), given(inputs[1]).reshape(-1)
    if at.size and not (at.min() >= 0 and at.max() < x.shape[-1]):
        raise GraphError(f"a position is not in [0, {x.shape[-1] - 1}]", mend="pick features that the input has")
    return [(x if x.ndim > 1 else x[None])[..., at]]


_Reference = Callable[[Attrs, Sequence[Array | None], int], list[Array]]
_Rule = Callable[[Attrs, Sequence[Shape | None], Sequence[Array | None]], list[Shape]]


def _op(name: str, shapes: _Rule, reference: _Reference, attrs: dict[str, AttrSpec], dtypes: Dtypes) -> Op:
    return Op(name, (1, 1), shapes, reference, one_flop_each, attrs, dtypes=dtypes, trainable=(), domain="ai.onnx.ml")


_TO_FLOAT = Dtypes(INPUTS, outputs={0: "float32"})
_SCALE_ATTRS = {"scale": AttrSpec("floats"), "offset": AttrSpec("floats")}
_ENCODE_ATTRS = {
    **{f"{side}_{kind}": AttrSpec(kind_of) for side in ("keys", "values") for kind, kind_of in
       (("int64s", "ints"), ("floats", "floats"), ("strings", "strings"), ("tensor", "tensor"))},
    "default_int64": AttrSpec("int", -1),
    "default_float": AttrSpec("float", -0.0),
    "default_string": AttrSpec("string", "_Unused"),
    "default_tensor": AttrSpec("tensor"),
}  # fmt: skip
_IMPUTE_ATTRS = {
    "imputed_value_floats": AttrSpec("floats"),
    "imputed_value_int64s": AttrSpec("ints"),
    "replaced_value_float": AttrSpec("float", 0.0),
    "replaced_value_int64": AttrSpec("int", 0),
}

FEATURES = {
    "Scaler": _op("Scaler", _scale_shapes, _scale, _SCALE_ATTRS, _TO_FLOAT),
    "LabelEncoder": _op("LabelEncoder", _encode_shapes, _encode, _ENCODE_ATTRS, _EncodedDtypes(("int64", "float32", "int32", "int16"))),
    "Normalizer": _op(
        "Normalizer", _normalise_shapes, _normalise, {"norm": AttrSpec("string", "MAX", choices=("MAX", "L1", "L2"))}, _TO_FLOAT
    ),
    "Imputer": _op("Imputer", _impute_shapes, _impute, _IMPUTE_ATTRS, _ImputedDtypes(INPUTS)),
    "Binarizer": _op("Binarizer", same_shape, _cut, {"threshold": AttrSpec("float", 0.0)}, Dtypes(INPUTS)),
    "ArrayFeatureExtractor": Op(
        "ArrayFeatureExtractor", (2, 2), _pick_shapes, _pick, no_flops, dtypes=Dtypes(INPUTS, {1: ("int64",)}), trainable=(),
        domain="ai.onnx.ml",
    ),
}  # fmt: skip
