"""The keys of a query file, read off the settings classes: a field is the key, the default and the help."""

from collections.abc import Mapping
from typing import Any

import pydantic
from rich import box
from rich.table import Table
from rich.text import Text

from esp.errors import UsageError
from esp.runtime.codecs.options import AvroOptions, CsvOptions, JsonOptions, MsgpackOptions, ProtobufOptions
from esp.runtime.codecs.registry.settings import RegistrySettings
from esp.runtime.connect import CONNECTORS
from esp.runtime.durations import DURATION_EXAMPLES, duration_text, parse_duration
from esp.runtime.kafka.oauth import OAuth
from esp.runtime.kinds import KINDS
from esp.runtime.kinds.scoring.inputs import SequenceOf, StatefulOf
from esp.runtime.query import ChangelogSettings, Limits, ModelSettings, QuerySettings
from esp.settings import unknown_key

Rows = list[dict[str, str]]


def tables() -> Mapping[str, type[pydantic.BaseModel]]:
    """Every table that a query file may hold, by the name that the reference gives it."""
    connectors = {f"connect.{name}": row.settings for name, row in CONNECTORS.items()}
    inner: dict[str, type[pydantic.BaseModel]] = {
        "query.limits": Limits,
        "query.changelog": ChangelogSettings,
        "score.sequence": SequenceOf,
        "score.stateful": StatefulOf,
        "connect.kafka.oauth": OAuth,
        "options.json": JsonOptions,
        "options.msgpack": MsgpackOptions,
        "options.csv": CsvOptions,
        "options.avro": AvroOptions,
        "options.protobuf": ProtobufOptions,
        "options.registry": RegistrySettings,
    }
    return {"query": QuerySettings, "models": ModelSettings, **KINDS, **inner, **connectors}


def key_rows(name: str = "") -> Rows:
    """Key, type, default and meaning of what a table takes; with no name the tables themselves. UsageError for a strange one."""
    known = tables()
    if not name:
        return [{"table": table, "meaning": _first_line(model.__doc__)} for table, model in known.items()]
    name = name if name in known else f"connect.{name}"
    if name not in known:
        raise unknown_key(name.removeprefix("connect."), list(known), "esp keys", UsageError)
    properties = known[name].model_json_schema(by_alias=True)["properties"]
    required = known[name].model_json_schema(by_alias=True).get("required", [])
    return [
        {"key": key, "type": _type(entry), "default": _default(entry, key in required), "meaning": entry.get("description", "")}
        for key, entry in properties.items()
    ]


def key_table(rows: Rows) -> Table:
    """The rows for a terminal."""
    table = Table(*rows[0], box=box.SIMPLE_HEAD, pad_edge=False)
    for row in rows:
        table.add_row(*map(Text, row.values()))
    return table


def _type(entry: Mapping[str, Any]) -> str:
    if "const" in entry:
        return repr(entry["const"])
    if "enum" in entry:
        return " | ".join(map(repr, entry["enum"]))
    if "anyOf" in entry:
        return " | ".join(_type(part) for part in entry["anyOf"] if part.get("type") != "null")
    if _is_duration(entry):
        return "duration"
    if entry.get("type") == "array":
        return f"[{_type(entry.get('items', {}))}, ...]"
    return str(entry.get("format") or entry.get("type") or "table")


def _default(entry: Mapping[str, Any], is_required: bool) -> str:
    if is_required or "const" in entry:
        return "needed"
    default = entry.get("default")
    if _is_duration(entry):
        return duration_text(parse_duration(default))
    return "" if default in (None, "", [], {}) else str(default)


def _is_duration(entry: Mapping[str, Any]) -> bool:
    return entry.get("examples") == DURATION_EXAMPLES


def _first_line(text: str | None) -> str:
    return (text or "").strip().partition("\n")[0]
