"""Live queries that several tests redo a range of, each started once."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.command import Esp, esp_in
from tests.conftest import Kafka
from tests.runtime import streams
from tests.runtime.backfill.ranges import PARTS, TALLIES, Live


@pytest.fixture(scope="package")
def scoring(kafka: Kafka, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """Sequences, scores and windows over them."""
    live = Live(kafka.bootstrap, tmp_path_factory.mktemp("scoring"))
    live.query = streams.query_file(live.folder / "q", streams.kafka(live.tag, kafka.bootstrap), name=live.tag, checkpoint="50ms")
    with live.run(PARTS):
        yield live


@pytest.fixture(scope="package")
def tallying(kafka: Kafka, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """Windows of a second alone."""
    live = Live(kafka.bootstrap, tmp_path_factory.mktemp("tallying"), names=("events", "tallies", "late", "dead"))
    live.query = live.folder / "query.toml"
    live.query.write_text(TALLIES.format(name=live.tag, **streams.kafka(live.tag, kafka.bootstrap)))
    with live.run(PARTS):
        yield live


@pytest.fixture
def esp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Esp:
    return esp_in(tmp_path, monkeypatch, capfd)
