"""The query of a backfill: its name, its outputs, its models, what it refuses, and how much warmth its windows want."""

from pathlib import Path
from typing import Any

import pytest

from esp.errors import UsageError
from esp.runtime.backfill import Asked, Backfill, redirected
from esp.runtime.backfill.memory import remembering, wanted_warm_up
from esp.runtime.connect import FileConnection, KafkaConnection
from esp.runtime.query import Query, load_query
from tests.runtime import streams
from tests.runtime.backfill.ranges import TALLIES

KAFKA = streams.kafka("t", "127.0.0.1:9", ', group = "its-own", instance = "one"')


def live(folder: Path, **connectors: str) -> Query:
    return load_query(streams.query_file(folder, KAFKA | connectors))


def topics(query: Query) -> dict[str, Any]:
    outputs = {name: query.windows[name].connection for name in query.sinks} | {"dead": query.dead}
    return {name: getattr(output, "topic", None) or str(getattr(output, "path", "")) for name, output in outputs.items()}


def test_it_has_a_name_a_group_and_outputs_of_its_own_and_all_else_of_the_live_one(tmp_path: Path) -> None:
    query = live(tmp_path)
    outputs = ("scores=s2", "query.dead=d2")
    made = redirected(query, Asked(until="end", name="noon", suffix="-redo", outputs=outputs))
    assert (made.name, made.settings.group) == ("motion-backfill-noon", "motion-backfill-noon")
    assert topics(made) == {"scores": "s2", "tallies": "t.tallies-redo", "late": "t.late-redo", "dead": "d2"}
    assert made.fingerprint("events") == query.fingerprint("events")
    source, theirs = made.windows["events"].connection, query.windows["events"].connection
    assert isinstance(source, KafkaConnection)
    assert isinstance(theirs, KafkaConnection)
    assert (source.group, source.instance, theirs.group, theirs.instance) == ("", None, "its-own", "one")
    assert (source.topic, source.brokers) == (theirs.topic, theirs.brokers)
    brokers = made.windows["scores"].connection
    assert isinstance(brokers, KafkaConnection)
    assert brokers.brokers == "127.0.0.1:9"
    unnamed = redirected(query, asked := Asked(until="end", suffix="-redo"))
    assert unnamed.name == f"motion-backfill-{asked.range_digest}"


def test_a_file_that_is_written_gets_the_suffix_before_its_ending(tmp_path: Path) -> None:
    made = redirected(live(tmp_path, late='connector = "file", path = "late.jsonl"'), Asked(until="end", suffix="-redo"))
    file = made.windows["late"].connection
    assert isinstance(file, FileConnection)
    assert file.path.name == "late-redo.jsonl"


def test_the_live_querys_outputs_are_written_only_where_that_is_said(tmp_path: Path) -> None:
    made = redirected(live(tmp_path), Asked(until="end", is_into_live=True))
    assert topics(made) == {"scores": "t.scores", "tallies": "t.tallies", "late": "t.late", "dead": "t.dead"}


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({}, "backfill: output 'scores' would go to 't.scores', which is the live query's; say --output scores=OTHER or --suffix"),
        ({"suffix": "-r", "outputs": ("late=t.scores",)}, "backfill: output 'late' would go to 't.scores', which is the live"),
        ({"suffix": "-r", "outputs": ("late=t.events",)}, "backfill: output 'late' would go to 't.events', which is the live"),
        ({"suffix": "-r", "outputs": ("score=a",)}, "--output: unknown sink 'score'; did you mean 'scores'?"),
        ({"suffix": "-r", "outputs": ("scores",)}, "--output: 'scores' is not of the form SINK=TOPIC"),
        ({"suffix": "-r", "outputs": ("late=a", "late=b")}, "--output: 'late' is named twice"),
        ({"suffix": "/", "outputs": ()}, "--output scores: topic: string should match pattern"),
        ({"suffix": "-r", "models": ("counts=x.astore",)}, "--model: unknown score window 'counts'"),
    ],
)
def test_outputs_and_models_that_cannot_be_right_are_refused(tmp_path: Path, options: dict[str, Any], line: str) -> None:
    with pytest.raises(UsageError) as err:
        redirected(live(tmp_path), Asked(until="end", **options))
    assert str(err.value).startswith(line)


def test_a_file_cannot_be_read_by_offsets(tmp_path: Path) -> None:
    query = live(tmp_path, events='connector = "file", path = "events.jsonl"')
    with pytest.raises(UsageError, match="source 'events' is no Kafka topic"):
        redirected(query, Asked(until="end", suffix="-redo"))


def test_a_model_that_is_named_scores_in_its_window(tmp_path: Path) -> None:
    other = streams.model(tmp_path / "other.astore", seed=2)
    made = redirected(live(tmp_path), Asked(until="end", suffix="-r", models=(f"scored={tmp_path / 'other.astore'}",)))
    settings: Any = made.windows["scored"].settings
    assert made.models[settings.model].digest == other.digest
    assert made.windows["counts"].stream == live(tmp_path).windows["counts"].stream


def test_windows_that_count_events_want_all_of_the_past_and_those_of_time_their_length(tmp_path: Path) -> None:
    query = live(tmp_path)
    assert (remembering(query), wanted_warm_up(query)) == (["recent", "counts"], "all")
    (tmp_path / "tallies.toml").write_text(TALLIES.format(name="tallies", **KAFKA))
    tallies = load_query(tmp_path / "tallies.toml")
    assert (remembering(tallies), wanted_warm_up(tallies)) == (["counts"], "1100ms")


def test_windows_that_would_be_cold_want_a_word_on_it(tmp_path: Path) -> None:
    query = live(tmp_path)

    def begun(**options: str) -> Backfill:
        asked = Asked(suffix="-r", **options)
        return Backfill(asked, query, redirected(query, asked), tmp_path)

    with pytest.raises(UsageError, match=r"window 'recent' gives depends on events from before the range; say --warm-up all \(or"):
        begun(from_offset="5")
    begun(from_offset="5", warm_up="0s")
    begun(from_offset="earliest")
    begun(until="5")
