"""The types an expression's parts may have, and what becomes of two that meet."""

from esp.runtime.schema import FieldType

BOOL = FieldType("bool")
INT32 = FieldType("int32")
INT = FieldType("int64")
FLOAT32 = FieldType("float32")
FLOAT = FieldType("float64")
STRING = FieldType("string")
BLOB = FieldType("blob")
DATE = FieldType("date")
STAMP = FieldType("stamp")
NULL = FieldType("null")  # None, whose type is that of what it meets


def is_int(kind: FieldType) -> bool:
    return not kind.shape and kind.base in ("int32", "int64")


def number(*kinds: FieldType) -> FieldType | None:
    """What arithmetic computes in: int64 for whole numbers, else float64; None when one is no number."""
    if not all(kind.is_number for kind in kinds):
        return None
    return INT if all(map(is_int, kinds)) else FLOAT


def common(*kinds: FieldType) -> FieldType | None:
    """The type that holds values of all; None when there is none."""
    known = [kind for kind in kinds if kind != NULL]
    if not known:
        return NULL
    first = known[0]
    if all(kind == first for kind in known):
        return first
    if all(kind.base == first.base == "stamp" for kind in known):
        return first
    return number(*known)
