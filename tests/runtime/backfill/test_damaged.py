"""Record batches that come damaged at the end of a range, and behind it."""

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from esp.runtime.backfill import Asked, Backfill, redirected
from esp.runtime.engine import Engine, EngineSettings
from esp.runtime.query import load_query
from tests.conftest import Kafka
from tests.runtime.backfill.ranges import read
from tests.runtime.kafka.test_damage import Case, flip_value, harm

pytestmark = pytest.mark.kafka


@dataclass
class Redo:
    """A backfill of the three batches of a case, up to an offset."""

    case: Case
    kafka: Kafka
    folder: Path

    def run(self, until: int) -> tuple[bool, list[int], int]:
        """Whether it came to its end, what came out, and how many dead letters."""
        live, made = load_query(self.folder / "query.toml"), [self.kafka.topic(), self.kafka.topic()]
        asked = Asked(until=str(until), outputs=(f"out={made[0]}", f"query.dead={made[1]}"))
        redo = redirected(live, asked)
        backfill = Backfill(asked, live, redo, self.folder / "state")
        asyncio.run(Engine([redo], EngineSettings("127.0.0.1:0", self.folder / "state"), backfill).run())
        values, letters = (read(self.kafka.bootstrap, topic, 1)[0] for topic in made)
        return backfill.is_done, [json.loads(value or b"")["n"] for _, value, _, _ in values], len(letters)


def test_damage_in_the_last_batch_of_a_range_is_fetched_once_more(
    kafka: Kafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    redo, done = Redo(Case(kafka, tmp_path, "fail"), kafka, tmp_path), harm(monkeypatch, 1, flip_value)
    assert redo.run(200) == (True, list(range(200)), 0)
    assert len(done) == 1


def test_damage_that_stays_in_the_last_batch_becomes_a_dead_letter_where_told(
    kafka: Kafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    redo = Redo(Case(kafka, tmp_path, "dead_letter"), kafka, tmp_path)
    harm(monkeypatch, 9, flip_value)
    assert redo.run(200) == (True, list(range(100)), 1)


def test_damage_behind_the_end_is_nobodys_matter(kafka: Kafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    redo, done = Redo(Case(kafka, tmp_path, "fail"), kafka, tmp_path), harm(monkeypatch, 9, flip_value)
    assert redo.run(90) == (True, list(range(90)), 0)
    assert done  # it came, once or with a second fetch
