"""Avro schemas as trees of types: read from JSON, names resolved, and refused where reading by them would not end well.

A schema may come from a stranger. Types that hold themselves, or stand deep in one another, would let a record of some bytes exhaust the
stack, values that take no byte would let it fill the memory; so these are refused, and everything else is bounded by the bytes of the record.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from esp.runtime.codecs.schema_error import SchemaError

PRIMITIVE = ("null", "boolean", "int", "long", "float", "double", "bytes", "string")
MOST_LEAVES = 10_000  # values of one record, arrays aside
MOST_DEPTH = 64


@dataclass(frozen=True, slots=True)
class Type:
    """A type: ``parts`` are the branches of a union or the one item of an array or map, ``fields`` those of a record.

    ``leaves``: how many values it holds, arrays aside; ``depth``: how many types stand in one another, by their names too;
    ``is_weightless``: some value in it may take no byte.
    """

    kind: str
    logical: str = ""
    name: str = ""
    parts: "tuple[Type, ...]" = ()
    fields: "tuple[FieldOf, ...]" = ()
    size: int = 0
    scale: int = 0
    symbols: tuple[str, ...] = ()
    leaves: int = 1
    depth: int = 1
    is_weightless: bool = False

    @property
    def branches(self) -> "tuple[Type, ...]":
        """What a value may be, null aside."""
        return tuple(part for part in (self.parts if self.kind == "union" else (self,)) if part.kind != "null")

    @property
    def takes_null(self) -> bool:
        return self.kind == "null" or (self.kind == "union" and any(part.kind == "null" for part in self.parts))

    def __str__(self) -> str:
        if self.kind == "union":
            return f"[{', '.join(map(str, self.parts))}]"
        if self.kind in ("array", "map"):
            return f"{self.kind} of {self.parts[0]}"
        words = f"{self.kind} {self.name}".rstrip() if self.name else self.kind
        return f"{self.logical} ({words})" if self.logical else words


@dataclass(frozen=True, slots=True)
class FieldOf:
    """A field of a record; ``default`` is meant as JSON has it, and counts where ``has_default``."""

    name: str
    type: Type
    has_default: bool = False
    default: Any = None
    aliases: tuple[str, ...] = ()


@dataclass(slots=True)
class _Names:
    """Named types that are known, and those that are being read."""

    known: dict[str, Type] = field(default_factory=dict)
    open: set[str] = field(default_factory=set)


def load(text: str) -> Any:
    """The JSON of a schema. SchemaError when it is none."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as err:
        if text.strip() in PRIMITIVE:  # a registry may give a bare name
            return text.strip()
        raise SchemaError(f"it is no JSON ({err})") from err


def record_of(data: Any, referred: Sequence[Any] = ()) -> Type:
    """The type that a schema's JSON stands for, which has to be a record; ``referred`` are schemas whose names it uses. SchemaError."""
    names = _Names()
    for other in referred:
        _read(other, "", names, 0)
    found = _read(data, "", names, 0)
    if found.kind != "record":
        raise SchemaError(f"it is a schema of {found}, not of a record")
    return found


def plain(data: Any) -> Any:
    """The same JSON without logical types, so that values are read and written as they lie on the wire."""
    if isinstance(data, dict):
        return {key: plain(part) for key, part in data.items() if key != "logicalType"}
    return [plain(part) for part in data] if isinstance(data, list) else data


def _read(data: Any, space: str, names: _Names, depth: int) -> Type:
    if depth > MOST_DEPTH:
        raise SchemaError(f"it is nested deeper than {MOST_DEPTH}")
    if isinstance(data, list):
        parts = tuple(_read(part, space, names, depth + 1) for part in data)
        if not parts or any(part.kind == "union" for part in parts):
            raise SchemaError("a union is empty, or holds a union")
        return _sized(
            Type("union", parts=parts), parts, is_weightless=any(part.is_weightless for part in parts if part.kind != "null")
        )
    if isinstance(data, str):
        return _named(data, space, names)
    if not isinstance(data, dict) or "type" not in data:
        raise SchemaError(f"a type is wanted, got {data!s:.60}")
    kind = data["type"]
    if kind in ("record", "error", "enum", "fixed"):
        return _definition(data, kind, space, names, depth)
    if kind in ("array", "map"):
        item = _read(data.get("items" if kind == "array" else "values"), space, names, depth + 1)
        if item.is_weightless:
            raise SchemaError(f"an {kind} of {item.kind} may hold values that take no byte")
        return Type(kind, parts=(item,), depth=_around([item]))
    inner = _read(kind, space, names, depth + 1)
    logical = data.get("logicalType", "")
    if not isinstance(kind, str) or kind not in PRIMITIVE or not isinstance(logical, str):
        return inner
    return Type(inner.kind, logical, scale=_whole(data.get("scale", 0)), is_weightless=inner.is_weightless)


def _named(name: str, space: str, names: _Names) -> Type:
    if name in PRIMITIVE:
        return Type(name, is_weightless=name == "null")
    for full in (_full(name, space), name):
        if full in names.known:
            return names.known[full]
        if full in names.open:
            raise SchemaError(f"the type {name} holds itself, which is not read here")
    raise SchemaError(f"there is no type '{name:.60}'")


def _full(name: str, space: str) -> str:
    return name if "." in name or not space else f"{space}.{name}"


def _definition(data: dict[str, Any], kind: str, space: str, names: _Names, depth: int) -> Type:
    name = data.get("name")
    if not isinstance(name, str) or not name:
        raise SchemaError(f"an {kind} has no name")
    full = _full(name, str(data.get("namespace", space) or ""))
    if full in names.known or full in names.open:
        raise SchemaError(f"the name {full:.60} is there twice")
    names.open.add(full)
    made = _body(data, "record" if kind == "error" else kind, full, names, depth)
    names.open.discard(full)
    names.known[full] = made
    return made


def _body(data: dict[str, Any], kind: str, full: str, names: _Names, depth: int) -> Type:
    logical = data.get("logicalType", "")
    if kind == "enum":
        symbols = data.get("symbols")
        if not isinstance(symbols, list) or not symbols or not all(isinstance(symbol, str) for symbol in symbols):
            raise SchemaError(f"the enum {full:.60} has no symbols")
        return Type("enum", name=full, symbols=tuple(symbols))
    if kind == "fixed":
        size = _whole(data.get("size"))
        return Type("fixed", str(logical), full, size=size, scale=_whole(data.get("scale", 0)), is_weightless=size == 0)
    entries = data.get("fields")
    if not isinstance(entries, list):
        raise SchemaError(f"the record {full:.60} has no fields")
    fields = tuple(_field(entry, full.rpartition(".")[0], names, depth) for entry in entries)
    if len({entry.name for entry in fields}) < len(fields):
        raise SchemaError(f"a field of the record {full:.60} is there twice")
    types = tuple(entry.type for entry in fields)
    is_weightless = not types or any(part.is_weightless for part in types)
    return _sized(Type("record", name=full, fields=fields), types, is_weightless=is_weightless)


def _field(entry: Any, space: str, names: _Names, depth: int) -> FieldOf:
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
        raise SchemaError("a field has no name")
    aliases = entry.get("aliases", [])
    if not isinstance(aliases, list):
        raise SchemaError(f"the aliases of field '{entry['name']:.60}' are no list")
    kind = _read(entry.get("type"), space, names, depth + 1)
    return FieldOf(entry["name"], kind, "default" in entry, entry.get("default"), tuple(map(str, aliases)))


def _sized(kind: Type, parts: Sequence[Type], *, is_weightless: bool) -> Type:
    leaves = sum(part.leaves for part in parts) + 1
    if leaves > MOST_LEAVES:
        raise SchemaError(f"a record of it holds more than {MOST_LEAVES} values")
    return Type(kind.kind, "", kind.name, kind.parts, kind.fields, leaves=leaves, depth=_around(parts), is_weightless=is_weightless)


def _around(parts: Sequence[Type]) -> int:
    """The depth of what holds these."""
    depth = 1 + max((part.depth for part in parts), default=0)
    if depth > MOST_DEPTH:
        raise SchemaError(f"it is nested deeper than {MOST_DEPTH}")
    return depth


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 31:
        raise SchemaError(f"a size or scale is no number: {value!s:.40}")
    return value
