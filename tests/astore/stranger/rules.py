"""What a rule of FORMAT.md asks for, and the refusal of a file that breaks one."""

import math
from typing import Any

import numpy as np

SIZES = {"bool": 1, "float16": 2, "float32": 4, "float64": 8}
SIZES |= {f"{kind}{bits}": bits // 8 for kind in ("int", "uint") for bits in (8, 16, 32, 64)}


class Refused(Exception):
    """The file breaks a rule of FORMAT.md; the message begins with the rule's number."""


def need(holds: Any, rule: str) -> None:
    if not holds:
        raise Refused(rule)


def is_size(value: Any, most: int = 2**31 - 1) -> bool:
    return type(value) is int and 0 <= value <= most


def is_text(value: Any) -> bool:
    return type(value) is str


def is_map(value: Any) -> bool:
    return type(value) is dict


def is_name(value: Any) -> bool:
    return is_text(value) and value != "" and value.isprintable()


def many(value: Any, fits: Any) -> bool:
    return type(value) is list and all(map(fits, value))


def finite(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def per_channel(value: Any, shape: list[int]) -> bool:
    return finite(value) or (many(value, finite) and len(shape) > 0 and len(value) == shape[-1])


def array(raw: Any, dtype: Any, shape: Any) -> np.ndarray[Any, Any]:
    """Rules 6 and 7: the numbers of a tensor."""
    need(is_text(dtype) and dtype in SIZES and many(shape, is_size) and len(shape) <= 16, "6: dtype or shape")
    need(math.prod(size or 1 for size in shape) <= 2**48, "6: a shape too large")
    need(type(raw) is bytes and len(raw) == SIZES[dtype] * math.prod(shape), "6: size")
    need(dtype != "bool" or max(raw, default=0) <= 1, "7: a bool that is neither 0 nor 1")
    return np.frombuffer(raw, np.dtype(dtype).newbyteorder("<")).reshape(shape)
