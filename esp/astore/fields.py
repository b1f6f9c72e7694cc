"""Typed look-ups in a header's maps: each names the key path of what is missing or of the wrong type."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from esp.astore.packing import INT64
from esp.errors import FileError

T = TypeVar("T")
REQUIRED: Any = object()
MEND = "the file was not written by this format's rules; write it anew"


@dataclass(frozen=True, slots=True)
class Fields:
    """A map of the header and its key path. Keys that nobody asks for are unknown fields and are passed over."""

    values: Mapping[str, Any]
    where: str

    def get(self, key: str, default: Any = REQUIRED) -> Any:
        if key in self.values:
            return self.values[key]
        if default is REQUIRED:
            raise FileError("the key is missing", where=f"{self.where}.{key}", mend=MEND)
        return default

    def text(self, key: str, default: Any = REQUIRED) -> str:
        return _is(self.get(key, default), str, "text", f"{self.where}.{key}")

    def data(self, key: str) -> bytes:
        return _is(self.get(key), bytes, "bytes", f"{self.where}.{key}")

    def integer(self, key: str) -> int:
        return integer(self.get(key), f"{self.where}.{key}")

    def integers(self, key: str, default: Any = REQUIRED) -> tuple[int, ...]:
        return tuple(integer(item, path) for item, path in self._items(key, default))

    def texts(self, key: str, default: Any = REQUIRED) -> tuple[str, ...]:
        return tuple(_is(item, str, "text", path) for item, path in self._items(key, default))

    def inner(self, key: str) -> "Fields":
        """The map under a key."""
        path = f"{self.where}.{key}"
        return Fields(_is(self.get(key), dict, "a map", path), path)

    def free(self, key: str) -> dict[str, Any]:
        """A map whose keys are the writer's affair; empty where left out."""
        return _is(self.get(key, {}), dict, "a map", f"{self.where}.{key}")

    def maps(self, key: str, default: Any = REQUIRED) -> "list[Fields]":
        """The maps of a list."""
        return [Fields(_is(item, dict, "a map", path), path) for item, path in self._items(key, default)]

    def _items(self, key: str, default: Any = REQUIRED) -> "list[tuple[Any, str]]":
        path = f"{self.where}.{key}"
        items = _is(self.get(key, default), list, "a list", path)
        return [(item, f"{path}[{at}]") for at, item in enumerate(items)]


def integer(value: Any, where: str) -> int:
    """A 64-bit integer (a bool is none)."""
    if type(value) is not int or value not in INT64:
        raise FileError(f"wanted a 64-bit integer, got {type(value).__name__}", where=where, mend=MEND)
    return value


def frozen(value: Any) -> Any:
    """Lists as tuples, all the way down."""
    return tuple(frozen(item) for item in value) if isinstance(value, list) else value


def _is(value: Any, kind: type[T], name: str, where: str) -> T:
    if not isinstance(value, kind):
        raise FileError(f"wanted {name}, got {type(value).__name__}", where=where, mend=MEND)
    return value
