"""What stands for a field that a record has not: null, a default, or nothing at all, for the record is refused."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, time
from typing import Any

from esp.errors import EventError, QueryError
from esp.runtime.codecs.values import cell
from esp.runtime.kinds.keyed import require_field
from esp.runtime.kinds.window import Stream
from esp.runtime.schema import Field, Schema


def with_defaults(schema: Schema, defaults: Mapping[str, Any], required: Sequence[str], where: str) -> Schema:
    """The schema whose fields know their defaults, and which of them a record must have.

    QueryError for names that are no fields, for defaults that do not fit their field, and for a required field with a default.
    """
    for key, names in (("defaults", defaults), ("required", required)):
        for name in names:
            require_field(Stream(schema), name, f"{where}.{key}")
    for name in required:
        if name in defaults:
            raise QueryError(
                f"field '{name}' is required and has a default", where=f"{where}.required", mend="take one of them out"
            )
    made = {name: _default(schema[name], value, f"{where}.defaults.{name}") for name, value in defaults.items()}
    return Schema(tuple(replace(field, default=made.get(field.name), is_required=field.name in required) for field in schema))


def _default(field: Field, value: Any, where: str) -> Any:
    """The value as a cell of the field's column."""
    text = value.isoformat() if isinstance(value, date | datetime | time) else value
    try:
        return cell(replace(field, is_key=False), text, has_text_bytes=True)
    except EventError as err:
        raise QueryError(err.what, where=where, mend="write it as a JSON record would have it") from err
