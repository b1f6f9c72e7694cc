"""Marks: with an offset goes which models scored up to it, so that whoever takes a partition over sees where it goes back to an older one."""

import json
import logging
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

log = logging.getLogger("esp.models")
MOST_LETTERS = 3000  # of the 4096 bytes that a cluster takes beside an offset, unless told otherwise
SHORT = 12
TaskKey = tuple[str, int]  # source, partition


@dataclass(frozen=True, slots=True)
class Mark:
    """A model that scores in a window: its digest, that of the query file's model beneath it, and when it was deployed (0: never)."""

    digest: str
    over: str
    at_ms: int = 0

    def is_newer_than(self, other: "Mark") -> bool:
        """Models have no order, deployments over the same model of the query file have: by their time."""
        return self.digest != other.digest and self.over == other.over and self.at_ms > other.at_ms

    def as_list(self) -> list[Any]:
        return [self.digest[:SHORT], self.over[:SHORT], self.at_ms]


@dataclass(slots=True)
class Marks:
    """The marks of a query: ``here`` are those of the models that score in this engine, by window; ``windows`` are those behind each source."""

    query: str
    windows: Mapping[str, Collection[str]]
    here: Mapping[str, Mark] = field(default_factory=dict)
    _found: dict[TaskKey, dict[str, Mark]] = field(default_factory=dict)  # of the partitions that are here

    def of(self, source: str) -> dict[str, list[Any]]:
        """What goes with an offset; nothing where it would be too long."""
        found = {window: self.here[window].as_list() for window in self.windows[source] if window in self.here}
        return found if len(json.dumps(found)) <= MOST_LETTERS else {}

    def text(self, source: str) -> str:
        """The same as metadata of an offset with which nothing else goes."""
        found = self.of(source)
        return json.dumps({"esp": 1, "models": found}) if found else ""

    def take(self, key: TaskKey, metadata: str, offset: int) -> None:
        """A partition comes: tells aloud where it was scored by a newer model than the one that is here."""
        self._found[key] = marks = _parse(metadata)
        for window, mark in marks.items():
            here = self.here.get(window)
            if here is None or mark.digest == here.digest[:SHORT]:
                continue
            told = (self.query, window, key[1], offset, mark.digest, here.digest[:SHORT])
            if self._is_newer(mark, here):
                line = "query %s window %s: partition %d was scored up to offset %d by %s, a newer deployment than %s, which goes on; deploy it here too"
                log.warning(line, *told)
            else:
                log.info("query %s window %s: partition %d was scored up to offset %d by %s, and goes on with %s", *told)

    def forget(self, keys: Iterable[TaskKey]) -> None:
        """Partitions go."""
        for key in keys:
            self._found.pop(key, None)

    def behind(self) -> dict[str, int]:
        """Window -> how many partitions here came from a newer model than the one that scores now."""
        counts = dict.fromkeys(self.here, 0)
        for marks in list(self._found.values()):
            for window, mark in marks.items():
                if window in self.here and self._is_newer(mark, self.here[window]):
                    counts[window] += 1
        return counts

    def reasons(self) -> list[str]:
        """The same in words."""
        return [
            f"{window}: {count} partitions came from an engine with a newer model; deploy it here too"
            for window, count in self.behind().items()
            if count
        ]

    def _is_newer(self, mark: Mark, here: Mark) -> bool:
        return mark.is_newer_than(Mark(here.digest[:SHORT], here.over[:SHORT], here.at_ms))


def _parse(text: str) -> dict[str, Mark]:
    """Nothing for the metadata of whoever else has committed."""
    try:
        models = json.loads(text)["models"]
        return {str(window): Mark(str(digest), str(over), int(at_ms)) for window, (digest, over, at_ms) in models.items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}
