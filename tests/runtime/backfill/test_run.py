"""A backfill as a command: broken off and gone on with, done before, and everything that it refuses."""

import asyncio
import logging
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from esp.astore.binary import read
from esp.runtime.backfill import Asked, Backfill, redirected
from esp.runtime.deployments import Deployments
from esp.runtime.engine import Engine, EngineSettings
from esp.runtime.kafka.bounded import BoundedKafkaSource
from esp.runtime.query import Query, load_query
from tests.command import Esp
from tests.runtime import streams
from tests.runtime.backfill.ranges import Live, Record

pytestmark = pytest.mark.kafka
OUTPUTS = ("scores", "tallies", "late", "dead")


def in_small_steps(query: Query) -> Query:
    """The same query, which gets 16 records a poll."""
    source = query.windows["events"]
    assert source.connection is not None
    connection = source.connection.model_copy(update={"records": "client", "max_records": 16})
    return replace(query, windows={**query.windows, "events": replace(source, connection=connection)})


class Pulled(Exception):
    """The plug was."""


def broken_off(live: Live, asked: Asked, state: Path, monkeypatch: pytest.MonkeyPatch, *, is_pulled: bool) -> Backfill:
    """Begins a backfill and stops it in the middle, in good order or not; in the second case what came after the 36th poll is not saved."""
    query = load_query(live.query)
    redo = in_small_steps(redirected(query, asked))
    backfill = Backfill(asked, query, redo, state)
    engine, polls, poll = Engine([redo], EngineSettings("127.0.0.1:0", state), backfill), 0, BoundedKafkaSource.poll

    async def counted(self: BoundedKafkaSource, timeout_s: float) -> Any:
        nonlocal polls
        found = await poll(self, timeout_s)
        polls += bool(found)
        if is_pulled and polls == 36:
            await engine.runners[redo.name].checkpoint()
        if polls == 42 and is_pulled:
            raise Pulled
        if polls == 42:
            engine.stopping.set()
        return found

    with monkeypatch.context() as patched:
        patched.setattr(BoundedKafkaSource, "poll", counted)
        if is_pulled:
            with pytest.raises(Pulled):
                asyncio.run(engine.run())
        else:
            asyncio.run(engine.run())
    assert not backfill.is_done
    return backfill


def test_one_that_was_stopped_goes_on_where_it_was_and_gives_every_output_once(
    scoring: Live, esp: Esp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = {"from_offset": scoring.offsets(1), "until": scoring.offsets(2), "warm_up": "all", "suffix": "-stop", "name": "stop"}
    begun = broken_off(scoring, Asked(**said, creates_topics=True), tmp_path / "state", monkeypatch, is_pulled=False)
    done, total = begun.progress
    assert 0 < done < total == 900
    assert 0 < begun.events < 500
    options = [text for key, value in said.items() for text in (f"--{key.replace('_', '-')}", value)]
    command = ("run", scoring.query, *options, "--state", tmp_path / "state")
    answer = esp(*command)
    assert answer.status == 0, answer.err
    assert answer.out.startswith(f"{scoring.tag}-backfill-stop: {500 - begun.events} events in ")
    for name in ("scores", "tallies", "late"):
        assert scoring.redone(name, "-stop") == scoring.made(name, 1)
    again = esp(*command)
    assert (again.status, " 0 events in " in again.out) == (0, True)
    assert "has come to its end before" in again.err
    assert scoring.redone("scores", "-stop") == scoring.made("scores", 1)
    other = esp(*[scoring.offsets(3) if text == said["until"] else text for text in command], "--log-level", "error")
    other.one_line(2, "backfill.json: 't", "was begun with another --until; give --fresh to begin it anew, or another --name")


def test_one_that_died_makes_again_what_it_had_not_saved_and_loses_nothing(
    scoring: Live, esp: Esp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = {"from_offset": scoring.offsets(1), "until": scoring.offsets(2), "warm_up": "all", "suffix": "-died"}
    broken_off(scoring, Asked(**said, creates_topics=True), tmp_path / "state", monkeypatch, is_pulled=True)
    options = [text for key, value in said.items() for text in (f"--{key.replace('_', '-')}", value)]
    answer = esp("run", scoring.query, *options, "--state", tmp_path / "state")
    assert answer.status == 0, answer.err
    for name in ("scores", "tallies", "late"):
        assert [distinct(part) for part in scoring.redone(name, "-died")] == scoring.made(name, 1)


def distinct(records: list[Record]) -> list[Record]:
    """The records without what came before."""
    return [record for at, record in enumerate(records) if record not in records[:at]]


def test_windows_that_are_not_warm_differ_so_that_the_others_mean_something(scoring: Live, esp: Esp, tmp_path: Path) -> None:
    answer = esp(
        "run", scoring.query, "--from-offset", scoring.offsets(1), "--until", scoring.offsets(2), "--warm-up", "0s",
        "--suffix", "-cold", "--create-topics",
    )  # fmt: skip
    assert answer.status == 0, answer.err
    assert scoring.redone("scores", "-cold") != scoring.made("scores", 1)
    assert scoring.redone("tallies", "-cold") != scoring.made("tallies", 1)


def test_an_empty_range_ends_well_with_nothing_made(scoring: Live, esp: Esp) -> None:
    begin = scoring.offsets(1)
    answer = esp(
        "run", scoring.query, "--from-offset", begin, "--until", begin, "--warm-up", "all", "--suffix", "-none",
        "--create-topics", "--log", "json",
    )  # fmt: skip
    assert (answer.status, ": 0 events in " in answer.out) == (0, True), answer.err
    assert [scoring.redone(name, "-none") for name in OUTPUTS] == 4 * [[[], [], []]]


def test_a_model_that_the_live_query_has_got_since_is_told_of(
    scoring: Live, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    query, state = load_query(scoring.query), tmp_path / "state"
    deployed = streams.model(tmp_path / "new.astore", seed=5)
    deployments = Deployments(state / query.name / "models")
    deployments.store(read(tmp_path / "new.astore"), (tmp_path / "new.astore").read_bytes())
    deployments.record("scored", deployed.digest, query.models["tiny"])
    asked = Asked(until="end", suffix="-r")
    backfill = Backfill(asked, query, redirected(query, asked), state)
    backfill.file.parent.mkdir(parents=True)
    with caplog.at_level(logging.WARNING):
        asyncio.run(backfill.settle(is_fresh=False))
    old = query.models["tiny"].short_digest
    wanted = f"window scored scores with tiny ({old}); the live query has {deployed.short_digest}, deployed since: --model scored="
    assert wanted in caplog.text


def test_a_signal_breaks_it_off_with_a_line_that_says_so_and_the_same_command_goes_on(
    scoring: Live, esp: Esp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = f'topic = "{scoring.tag}.events"'
    (tmp_path / "query.toml").write_text(
        scoring.query.read_text().replace(source, f'{source}, records = "client", max_records = 16')
    )
    (tmp_path / "tiny.astore").write_bytes((scoring.query.parent / "tiny.astore").read_bytes())
    command = ("run", tmp_path, "--until", scoring.offsets(1), "--suffix", "-term", "--create-topics", "--log-level", "error")
    polls, poll = 0, BoundedKafkaSource.poll

    async def counted(self: BoundedKafkaSource, timeout_s: float) -> Any:
        nonlocal polls
        found = await poll(self, timeout_s)
        polls += bool(found)
        if polls == 5:
            signal.raise_signal(signal.SIGTERM)
        return found

    monkeypatch.setattr(BoundedKafkaSource, "poll", counted)
    esp(*command).one_line(1, f"{scoring.tag}-backfill-", "was broken off at ", " %; the same command goes on from there")
    answer = esp(*command)
    assert (answer.status, answer.err) == (0, "")
    for name in ("scores", "tallies", "late"):
        assert scoring.redone(name, "-term") == scoring.made(name, 0)


@pytest.mark.parametrize(
    ("options", "status", "parts"),
    [
        (("--from-time", "2026-11-22T09:00", "--suffix", "-r"), 2, ("names no time zone",)),
        (("--suffix", "-r"), 2, ("not said what to work off anew",)),
        (("--from-offset", "1", "--suffix", "-r"), 2, ("window 'recent'", "--warm-up all")),
        (("--from-offset", "earliest"), 2, ("would go to", "which is the live query's")),
        (("--until", "end", "--output", "score=x"), 2, ("unknown sink 'score'",)),
        (("--until", "0=99999", "--suffix", "-r"), 2, ("offset 99999 is beyond the end of partition 0",)),
        (("--until", "9=1", "--suffix", "-r"), 2, ("there is no partition 9",)),
        (("--until", "end", "--suffix", "-absent"), 3, ("there is no topic", "-absent")),
        (("--until", "end", "--suffix", "-r", "--model", "scored=none.astore"), 2, ("none.astore",)),
    ],
)
def test_wrong_use_is_one_line(scoring: Live, esp: Esp, options: tuple[str, ...], status: int, parts: tuple[str, ...]) -> None:
    esp("run", scoring.query, *options, "--log-level", "error").one_line(status, *parts)


def test_more_than_one_query_is_refused(scoring: Live, tallying: Live, esp: Esp) -> None:
    esp("run", scoring.query, tallying.query, "--until", "end", "--suffix", "-r").one_line(2, "2 queries", "takes one")
