"""A backfill whose delivery is exactly-once: it dies again and again, and what readers of committed records see is the live run's, once."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from esp.runtime.backfill import Asked
from tests.command import Esp
from tests.conftest import Kafka
from tests.runtime import streams
from tests.runtime.backfill.ranges import PARTS, Live
from tests.runtime.backfill.test_run import broken_off

pytestmark = pytest.mark.kafka
SCORES = """
[query]
name = "{name}"
checkpoint = "100ms"
delivery = "exactly_once"

[models.tiny]
path = "tiny.astore"

[windows.events]
kind = "source"
schema = "device:string, id:int64, acc:float32[2]"
connect = {{ {events} }}

[windows.rising]
kind = "filter"
from = "events"
where = "id % 2 == 0"

[windows.scores]
kind = "sink"
from = "rising"
connect = {{ {scores} }}
"""


@pytest.fixture(scope="module")
def exact(kafka: Kafka, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """Windows that keep state."""
    live = Live(kafka.bootstrap, tmp_path_factory.mktemp("exact"))
    connectors = streams.kafka(live.tag, kafka.bootstrap)
    live.query = streams.query_file(live.folder / "q", connectors, name=live.tag, checkpoint="100ms", delivery="exactly_once")
    with live.run(PARTS):
        yield live


@pytest.fixture(scope="module")
def stateless(kafka: Kafka, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """Nothing is kept but the offsets."""
    live = Live(kafka.bootstrap, tmp_path_factory.mktemp("stateless"), names=("events", "scores"))
    streams.model(live.folder / "tiny.astore")
    live.query = live.folder / "query.toml"
    live.query.write_text(SCORES.format(name=live.tag, **streams.kafka(live.tag, kafka.bootstrap)))
    with live.run(PARTS):
        yield live


def redo(live: Live, esp: Esp, state: Path, monkeypatch: pytest.MonkeyPatch, *, is_fresh: bool = False) -> None:
    """Dies in the middle, goes on, and comes to its end."""
    said = {"from_offset": live.offsets(1), "until": live.offsets(2), "warm_up": "all", "suffix": "-exact", "name": "exact"}
    options = [text for key, value in said.items() for text in (f"--{key.replace('_', '-')}", value)]
    if not is_fresh:
        broken_off(live, Asked(**said, creates_topics=True), state, monkeypatch, is_pulled=True)
    answer = esp("run", live.query, *options, "--state", state, *(["--fresh"] if is_fresh else []))
    assert answer.status == 0, answer.err
    if not is_fresh:
        assert " 500 events in " not in answer.out  # it did not begin anew


def test_windows_that_keep_state_give_every_output_once(
    exact: Live, esp: Esp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    redo(exact, esp, tmp_path / "state", monkeypatch)
    for name in ("scores", "tallies", "late"):
        assert exact.redone(name, "-exact") == exact.made(name, 1)
        assert sum(map(len, exact.made(name, 1))) > 5


def test_offsets_alone_give_every_output_once_and_a_fresh_start_begins_anew(
    stateless: Live, esp: Esp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    redo(stateless, esp, tmp_path / "state", monkeypatch)
    once = stateless.made("scores", 1)
    assert sum(map(len, once)) > 200
    assert stateless.redone("scores", "-exact") == once
    redo(stateless, esp, tmp_path / "state", monkeypatch, is_fresh=True)
    assert stateless.redone("scores", "-exact") == [part + part for part in once]
