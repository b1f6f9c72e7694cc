"""Values that are cells as they are: a quick way past ``cell`` for what fits whatever its value, which leaves it all the rest."""

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from esp.runtime.codecs.values import cell
from esp.runtime.schema import Field

Take = Callable[[Any], Any]  # a library's value as the cell of a field. EventError where it does not fit

# What a library gives for a type -> the fields whose cell that is. Whole numbers of 32 bits are not among them: a damaged record may give more.
_SAME = {"bool": ("bool",), "int64": ("int64",), "float32": ("float32", "float64"), "float64": ("float64",)}
_PYTHON = {"bool": bool, "int64": int, "float32": float, "float64": float}


def taker(field: Field, given: str) -> Take:
    """Takes values of a type: bool, int64, float32, float64, string, or what has no quick way."""
    if not field.type.shape and field.type.base in _SAME.get(given, ()):
        kind = _PYTHON[given]
        return lambda value: value if type(value) is kind else cell(field, value)
    if given == "string" and field.type.base == "string":
        return lambda value: value.encode() if type(value) is str else cell(field, value)
    return lambda value: cell(field, value)


def array_taker(field: Field, given: str) -> Take:
    """Takes flat lists of values of a type, None for null."""
    if field.type.base not in _SAME.get(given, ()):
        return lambda value: cell(field, value)
    count, shape, dtype = prod(field.type.shape), field.type.shape, field.type.dtype

    def take(value: Any) -> Any:
        if value is None or len(value) != count:
            return cell(field, value)
        return np.fromiter(value, dtype, count).reshape(shape)

    return take
