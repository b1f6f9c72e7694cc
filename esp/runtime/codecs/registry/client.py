"""The client of a registry: each schema is fetched once, and numbers that nobody knows are remembered for a while.

Its methods block, and belong in a worker thread or a thread of the start.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from esp.errors import EventError
from esp.runtime.codecs.registry.asking import Asker, Refusal
from esp.runtime.codecs.registry.misses import Misses
from esp.runtime.codecs.registry.settings import RegistrySettings

MOST_SCHEMAS = 4096  # kept
MOST_REFERENCES = 64  # of one schema, those of its references among them


@dataclass(frozen=True, slots=True)
class SchemaText:
    """A schema as a registry keeps it: its number, its kind (AVRO, PROTOBUF, JSON), its text, and what it refers to by name."""

    number: int
    kind: str
    text: str
    references: "tuple[tuple[str, SchemaText], ...]" = ()

    def all_references(self) -> "list[SchemaText]":
        """All that it refers to, each once, behind what that refers to itself."""
        return list(self.named_references().values())

    def named_references(self) -> "dict[str, SchemaText]":
        """The same by the names that they are referred to by."""
        found: dict[str, SchemaText] = {}
        for name, other in self.references:
            found |= other.named_references()
            found[name] = other
        return found


class Client:
    """What one query knows of one registry. ``where`` begins its errors; ``query`` is added to what asks for a schema."""

    def __init__(
        self, settings: RegistrySettings, where: str, clock: Callable[[], float] = time.monotonic, is_vain: Callable[[], bool] = bool
    ) -> None:  # fmt: skip
        self.asker, self.where = Asker(settings, where, clock, is_vain), where
        self.name = where.rpartition(": windows.")[2].replace(".options.registry", ".registry")
        self._lock = threading.RLock()
        self._schemas: dict[tuple[str, str], SchemaText] = {}  # by path and query
        self._told: dict[tuple[str, ...], Any] = {}  # answers about a subject, which hold while the query runs
        self._misses = Misses(clock)

    def schema(self, number: int, query: str = "") -> SchemaText:
        """The schema of a number. EventError when there is none; waits while the registry is away."""
        path = f"/schemas/ids/{number}"
        if found := self._schemas.get((path, query)):
            return found
        with self._lock:
            self._misses.check(number)
            try:
                return self._schema(path, query, number, [])
            except Refusal as err:
                self._misses.add(number, f"schema {number}: {err.what}")
                raise EventError(f"schema {number}: {err.what}") from err

    def latest(self, subject: str, query: str = "") -> SchemaText | None:
        """The newest schema of a subject, as it was when first asked; None while there is none."""
        key = ("latest", subject, query)
        with self._lock:
            if self._told.get(key) is None:
                try:
                    self._told[key] = self._schema(f"/subjects/{quote(subject, safe='')}/versions/latest", query, None, [])
                except Refusal as err:
                    if not err.is_unknown:
                        raise
            found: SchemaText | None = self._told.get(key)
            return found

    def number_of(self, subject: str, schema: SchemaText, *, is_registering: bool) -> int:
        """The number of a schema under a subject, which registers it or has to be there already. Refusal when it is not."""
        key = ("number", subject, schema.kind, schema.text)
        with self._lock:
            if key not in self._told:
                path = f"/subjects/{quote(subject, safe='')}" + ("/versions" if is_registering else "")
                body = {"schema": schema.text} | ({} if schema.kind == "AVRO" else {"schemaType": schema.kind})
                number = self.asker.ask("POST", path, body).get("id")
                if not isinstance(number, int) or not 0 <= number < 1 << 32:
                    raise Refusal("the registry gave no number for a schema", where=self.where, mend="look at the registry")
                self._told[key] = number
            found: int = self._told[key]
            return found

    def _schema(self, path: str, query: str, number: int | None, above: list[str]) -> SchemaText:
        """The schema at a path with all that it refers to; ``above`` are the paths on the way to it, and all fetched so far."""
        if found := self._schemas.get((path, query)):
            return found
        if len(above) >= MOST_REFERENCES or path in above:
            raise Refusal("it refers to too many others, or to itself", where=self.where, mend="register it without")
        above.append(path)
        answer = self.asker.ask("GET", path + (f"?{query}" if query else ""))
        text, kind, references = answer.get("schema"), answer.get("schemaType", "AVRO"), answer.get("references") or []
        number = answer.get("id") if number is None else number
        if (
            not isinstance(text, str)
            or not isinstance(kind, str)
            or not isinstance(references, list)
            or not isinstance(number, int)
        ):
            raise Refusal("the registry's answer holds no schema", where=self.where, mend="look at the registry")
        named = tuple(self._reference(entry, query, above) for entry in references)
        made = SchemaText(number, kind, text, named)
        self._schemas[path, query] = made
        if len(self._schemas) > MOST_SCHEMAS:
            del self._schemas[next(iter(self._schemas))]
        return made

    def _reference(self, entry: Any, query: str, above: list[str]) -> tuple[str, SchemaText]:
        if not isinstance(entry, dict) or not isinstance(entry.get("version"), int):
            raise Refusal("one of its references is none", where=self.where, mend="look at the registry")
        path = f"/subjects/{quote(str(entry.get('subject')), safe='')}/versions/{entry['version']}"
        return str(entry.get("name")), self._schema(path, query, None, above)
