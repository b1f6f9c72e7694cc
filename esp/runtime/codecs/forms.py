"""Which form each tensor of a schema is written in, as the option ``tensors`` says: one for all, or by field."""

from collections.abc import Mapping
from typing import Any

from esp.errors import QueryError
from esp.runtime.schema import Schema


def tensor_forms(schema: Schema, said: Any, known: tuple[str, ...]) -> tuple[str | None, ...]:
    """The form of each field, None where it is no tensor; the first that is known where nothing is said of a field.

    QueryError for a form that is not known, and for a field that is no tensor of the schema.
    """
    by_field = said if isinstance(said, Mapping) else {}
    tensors = [field.name for field in schema if field.type.shape]
    for name in by_field:
        if name not in tensors:
            raise QueryError(f"there is no tensor '{name}'", mend=f"tensors here: {', '.join(tensors) or 'none'}")
    for form in by_field.values() if isinstance(said, Mapping) else [said]:
        if form not in known:
            raise QueryError(f"there are no tensors {form!r}", mend=f"use one of {', '.join(known)}")
    rest = known[0] if isinstance(said, Mapping) else said
    return tuple(by_field.get(field.name, rest) if field.type.shape else None for field in schema)
