"""A score window with ``stateful``, against the whole network over the history of each key."""

import logging
from collections import defaultdict
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from esp.astore.graph import Value
from esp.astore.model import Astore, Input, Output, Step
from esp.errors import QueryError
from esp.runtime.events import DeadBlock, EventBlock, raw_block
from esp.runtime.kinds.score import ScoreSettings, check_swap
from esp.runtime.kinds.window import Environment, Stream
from esp.runtime.schema import Schema
from esp.runtime.scorer import Scorer
from esp.runtime.state.tables import Tables
from esp.runtime.stateful import StatefulScorer
from esp.settings import checked
from tests.runtime.backends.nets import Maker
from tests.runtime.kinds.laws import Case, block_of, cut, opened
from tests.runtime.kinds.series import CHANNELS, convolutional_model, readings, recurrent_model

SCHEMA = "device*:string, acc:float32[2], p:float32"
WHERE = "q.toml: windows.scored"
KEYS = {"kind": "score", "model": "m", "stateful": {"fields": ["acc", "p"]}, "output": {"p": "scores"}}


def stream(schema: str = SCHEMA, **more: Any) -> Stream:
    return Stream(Schema.parse(schema), **{"partitioned_by": ("device",), **more})


def events(rows: list[list[Any]], seconds: list[float] | None = None) -> EventBlock:
    raw = raw_block([b"%d" % at for at in range(len(rows))], offsets=list(range(len(rows))))
    return block_of(SCHEMA, rows, ts_s=seconds or [at * 0.1 for at in range(len(rows))], raw=raw)


def case(keys: dict[str, Any], scorers: dict[str, Scorer], astore: Astore | None = None) -> Case:
    environment = Environment(WHERE, {"m": astore or recurrent_model()})
    return Case("", {**KEYS, **keys}, stream(), lambda: events([]), environment, lambda: scorers)


def scores_of(ports: Any) -> Any:
    return np.concatenate([np.asarray(block.column("scores")) for port, block in ports if port == "out"])


def by_history(rows: list[list[Any]], seed: int = 1) -> list[Any]:
    """What the whole network makes of all events of a key so far, event by event, on numba."""
    histories: dict[str, list[list[float]]] = defaultdict(list)
    wanted = []
    for device, acc, p in rows:
        histories[device].append([*acc, p])
        series = np.array([histories[device]], np.float32)
        wanted.append(Scorer.bind(recurrent_model(series.shape[1], seed), "numba").score([series], [None]).outputs[0][0])
    return wanted


def test_every_event_is_scored_as_the_whole_history_of_its_key_to_the_bit() -> None:
    rows = readings(1, 60)
    made = case({}, {"m": StatefulScorer.bind(recurrent_model(), "numba")})
    window = opened(made)
    ports = [port for piece in cut(events(rows), [1, 2, 3, 30, 30]) for port in window.on_block("in", piece)]
    np.testing.assert_array_equal(scores_of(ports), by_history(rows))
    out = ports[-1][1]
    assert str(out.schema) == f"{SCHEMA}, label:string, probability:float32, scores:float32[2]"
    assert out.models == ("a1" * 6,)


def test_an_event_that_the_model_refuses_leaves_its_keys_state_as_it_was() -> None:
    rows = readings(2, 50, nulls=0.15)
    window = opened(case({}, {"m": StatefulScorer.bind(recurrent_model(), "numba")}))
    ports = [port for piece in cut(events(rows), [7, 8, 9]) for port in window.on_block("in", piece)]
    whole = [row for row in rows if None not in row]
    assert len(whole) < 45
    np.testing.assert_array_equal(scores_of(ports), by_history(whole))
    dead = [block for port, block in ports if isinstance(block, DeadBlock)]
    assert sum(map(len, dead)) == 50 - len(whole)
    assert dead[0].reasons[0].startswith("input 'series' is NaN at [0,")


def test_a_long_gap_begins_the_series_of_a_key_anew() -> None:
    rows = [["a", [1, 0], 2], ["b", [0, 1], 1], ["a", [0, 1], 1], ["b", [0, 1], 1], ["a", [1, 1], 0]]
    made = case({"stateful": {"fields": ["acc", "p"], "max_gap": "2s"}}, {"m": StatefulScorer.bind(recurrent_model(), "numba")})
    got = scores_of(opened(made).on_block("in", events(rows, [0, 1, 2, 1.5, 4.5])))
    np.testing.assert_array_equal(got, by_history([*rows[:4], ["another a", *rows[4][1:]]]))


def test_one_field_may_feed_the_series_and_a_null_is_a_null() -> None:
    schema = "device*:string, series:float32[3]"
    keys = {"kind": "score", "model": "m", "stateful": True, "output": {"p": "scores"}}
    scorers = {"m": StatefulScorer.bind(recurrent_model(), "numpy")}
    window = opened(Case("", keys, stream(schema), lambda: None, Environment(WHERE, {"m": recurrent_model()}), lambda: scorers))
    block = block_of(schema, [["a", [1, 2, 3]], ["a", None], ["a", [0, 1, 0]]], ts_s=[0, 1, 2], raw=raw_block([b"", b"", b""]))
    (_, out), (_, dead) = window.on_block("in", block)
    assert dead.reasons == ("input 'series' is null",)
    np.testing.assert_allclose(out.column("scores"), by_history([["a", [1, 2], 3], ["a", [0, 1], 0]]), atol=1e-6)


def token_model() -> Astore:
    """A GRU over the rows that tokens [length] name in a table of five."""
    m = Maker(1)
    m.inputs = (Value("x0", "int64", (None, 4)),)
    x = m.add("Transpose", m.add("Gather", m.weight(5, CHANNELS), "x0"), perm=(1, 0, 2))
    m.add("GRU", x, m.weight(1, 6, CHANNELS), m.weight(1, 6, 2), outputs=2, hidden_size=2)
    graph = m.graph(m.add("Squeeze", m.nodes[-1].outputs[1], m.const(np.array([0]))))
    return Astore("tokens", graph, (Input("token", "int64", (4,)),), (Output("p", "float32", (2,)),), digest="d4" * 32)


@pytest.mark.parametrize("backend", ["numba", "onnxruntime", "numpy"])
def test_tokens_are_steps_and_a_block_without_events_is_none(backend: str) -> None:
    schema, keys = "device*:string, token:int64", {"kind": "score", "model": "m", "stateful": True, "output": {"p": "scores"}}
    scorers = {"m": StatefulScorer.bind(token_model(), backend)}
    window = opened(Case("", keys, stream(schema), lambda: None, Environment(WHERE, {"m": token_model()}), lambda: scorers))
    rows = [["a", 4], ["a", 5], ["b", 0]]
    (_, out), (_, dead) = window.on_block("in", block_of(schema, rows, ts_s=[0, 1, 2], raw=raw_block([b""] * 3)))
    assert dead.reasons == ("input 'x0' is 5 at [0], wanted -5 to 4: it names a row of a table",)
    ((_, none),) = window.on_block("in", block_of(schema, [], ts_s=[], end_ns=9))
    assert (len(out), len(none)) == (2, 0)


def test_a_model_of_every_event_gives_its_output_at_that_event() -> None:
    astore = recurrent_model(every=True)
    window = opened(case({}, {"m": StatefulScorer.bind(astore, "numba")}, astore))
    rows = [["a", [1, 2], 3], ["a", [0, 1], 0], ["a", [2, 1], 0]]
    series = np.array([[[*acc, p] for _, acc, p in rows]], np.float32)
    (wanted,) = Scorer.bind(recurrent_model(3, every=True), "numba").score([series], [None]).outputs
    np.testing.assert_allclose(scores_of(window.on_block("in", events(rows))), wanted[0], atol=1e-6)


def test_another_model_begins_all_keys_anew_and_the_same_one_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    rows, scorers = readings(3, 45), {"m": StatefulScorer.bind(recurrent_model(), "numba")}
    window, pieces = opened(case({}, scorers)), cut(events(rows), [15, 30])  # type: ignore[arg-type]
    ports = window.on_block("in", pieces[0])
    scorers["m"] = StatefulScorer.bind(recurrent_model(), "numba")  # the same digest
    ports += window.on_block("in", pieces[1])
    np.testing.assert_array_equal(scores_of(ports), by_history(rows[:30]))
    with caplog.at_level(logging.INFO):
        scorers["m"] = StatefulScorer.bind(recurrent_model(seed=7, digest="b2", units=9), "numba")
        ports = window.on_block("in", pieces[2])
    history = [
        Scorer.bind(recurrent_model(1, 7, units=9), "numba").score([np.array([[[*acc, p]]], np.float32)], [None])
        for _, acc, p in rows[30:]
    ]
    first = {row[0]: at for at, row in reversed([*enumerate(rows[30:])])}
    for at in first.values():
        np.testing.assert_array_equal(scores_of(ports)[at], history[at].outputs[0][0])
    assert "the states of 3 keys begin anew with model b2b2b2b2b2b2" in caplog.text


def test_a_restart_after_a_deployment_begins_anew_as_the_deployment_did() -> None:
    """The checkpoint of the deployment holds the states of the old model; what is made again is the same."""
    rows, scorers = readings(4, 40), {"m": StatefulScorer.bind(recurrent_model(), "numba")}
    tables, pieces = Tables(), cut(events(rows), [20])
    window = opened(case({}, scorers), tables)  # type: ignore[arg-type]
    window.on_block("in", pieces[0])
    saved = tables.dump(changed_only=False)
    scorers["m"] = StatefulScorer.bind(recurrent_model(seed=7, digest="b2"), "numba")
    first = scores_of(window.on_block("in", pieces[1]))
    more = tables.dump(changed_only=True)
    restored = Tables()
    restored.load(saved)
    again = scores_of(opened(case({}, scorers), restored).on_block("in", pieces[1]))  # type: ignore[arg-type]
    np.testing.assert_array_equal(again, first)
    later = Tables()
    later.load(saved)
    later.load(more)  # a checkpoint after the deployment: the new model's states are there
    third = events(readings(5, 10))
    got = opened(case({}, scorers), later).on_block("in", third)  # type: ignore[arg-type]
    np.testing.assert_array_equal(scores_of(got), scores_of(window.on_block("in", third)))


def _series(shape: tuple[int, ...], *steps: Step, dtype: str = "float32") -> Astore:
    return replace(recurrent_model(), inputs=(Input("series", dtype, shape, steps),))


def _no_channels() -> Astore:
    """[channels, length] with numbers for each step."""
    m = Maker(1, (CHANNELS, 4))
    m.add("RNN", m.add("Transpose", "x0", perm=(2, 0, 1)), m.weight(1, 4, CHANNELS), m.weight(1, 4, 4), outputs=2)
    graph = m.graph(m.add("Squeeze", m.nodes[-1].outputs[1], m.const(np.array([0]))))
    step = Step("normalise", {"mean": [0.0, 1.0, 2.0, 3.0], "std": 1.0})
    return Astore("n", graph, (Input("series", "float32", (CHANNELS, 4), (step,)),), (Output("h", "float32", (4,)),))


@pytest.mark.parametrize(
    ("keys", "where", "astore", "message"),
    [
        ({"by": ["lane"]}, {}, None, r"windows.scored.by: there is no field 'lane'"),
        ({}, {"partitioned_by": None}, None, r"not known whether all events of one key \(device\) lie on one partition"),
        ({"by": ["p"]}, {}, None, r"lie on several partitions, for the source is partitioned by device; add device to by"),
        ({}, {"retracts": True}, None, r"windows.scored.from: a stateful score window takes no updates or deletes"),
        ({"sequence": {"length": 8}}, {}, None, r"windows.scored.stateful: sequence and stateful exclude each other; take one"),
        (
            {"stateful": {"fields": ["acc"]}},
            {},
            None,
            r"stateful.fields: acc: 2 channels, but an event of input 'series' of model 'm' has 3",
        ),
        ({"stateful": {"fields": ["device"]}}, {}, None, r"stateful.fields: field 'device' is a string; take numbers"),
        ({"stateful": True}, {}, None, r"windows.scored.input.series: there is no field 'series'; fields here"),
        (
            {"stateful": True, "input": {"series": "acc"}},
            {},
            None,
            r"field 'acc' is float32\[2\], but input 'series' .* takes float32\[3\]",
        ),
        ({"input": {"series": "acc"}}, {}, None, r"stateful.fields: input 'series' is fed twice: by input and by stateful.fields"),
        ({"input": {"sries": "acc"}}, {}, None, r"model 'm' has no input 'sries'; its inputs: series"),
        (
            {},
            {},
            convolutional_model(),
            r"windows.scored.stateful: model 'm' keeps no state: it has no RNN, GRU or LSTM; score windows",
        ),
        ({}, {}, _no_channels(), r"keeps no state: 'normalise' of its input has numbers for each step; give it one number"),
        ({"stateful": False}, {}, recurrent_model(), r"windows.scored.input.series: there is no field"),
    ],
)
def test_what_does_not_fit_is_said_at_load(
    keys: dict[str, Any], where: dict[str, Any], astore: Astore | None, message: str
) -> None:
    settings = ScoreSettings.model_validate({**KEYS, "from": "before", **keys})
    with pytest.raises(QueryError, match=message) as caught:
        settings.resolve(stream(**where), Environment(WHERE, {"m": astore or recurrent_model()}))
    assert "; " in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"stateful": "yes"}, "stateful: input should be true or a table, got 'yes'"),
        ({"stateful": 1}, "stateful: input should be true or a table, got 1"),
        ({"stateful": ["p"]}, "stateful: input should be a table;"),
        ({"sequence": True}, "sequence: input should be a table, got True"),
        ({"sequence": {"length": 4, "fields": "p"}}, "sequence.fields: input should be a list, got 'p'"),
        ({"sequence": {"length": 4, "hop": 2**63}}, "sequence.hop: input should be less than or equal to 1000000"),
    ],
)
def test_what_is_no_series_is_said_in_the_words_of_the_file(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(QueryError) as caught:
        checked(ScoreSettings, {"kind": "score", "from": "before", "model": "m", **keys}, WHERE, QueryError)
    assert f"{WHERE}.{message}" in str(caught.value)


@pytest.mark.parametrize("key", [{"by": ["device"]}, {"scope": "partition"}])
def test_a_key_without_state_is_refused(key: dict[str, Any]) -> None:
    settings = ScoreSettings.model_validate({"kind": "score", "from": "before", "model": "m", **key})
    with pytest.raises(QueryError, match=rf"windows.scored.{next(iter(key))}: nothing is kept by key here; take it out"):
        settings.resolve(stream(), Environment(WHERE, {"m": recurrent_model()}))


class Planned:
    settings = ScoreSettings.model_validate({**KEYS, "from": "before"})
    stream: Stream | None = stream()
    environment = Environment(WHERE, {"m": recurrent_model()})


def test_a_model_of_another_length_and_width_may_be_swapped_in_and_one_without_state_not() -> None:
    check_swap(recurrent_model(), recurrent_model(length=30, seed=2, units=40), Planned())
    with pytest.raises(QueryError, match=r"deploying 'series'.stateful: model 'm' keeps no state"):
        check_swap(recurrent_model(), convolutional_model(), Planned())


def test_an_infinite_reading_is_a_dead_letter_and_the_key_goes_on_as_if_it_had_not_come() -> None:
    rows = readings(3, 40, nulls=0.1)
    whole = [row for row in rows if None not in row]
    endless = [["a", [float("inf")] * 2, float("inf")], ["b", [float("inf"), float("-inf")], 1.0]]
    mixed = [*rows[:7], endless[0], *rows[7:20], endless[1], *rows[20:]]
    window = opened(case({}, {"m": StatefulScorer.bind(recurrent_model(), "numba")}))
    ports = [port for piece in cut(events(mixed), [5, 10, 27]) for port in window.on_block("in", piece)]
    np.testing.assert_array_equal(scores_of(ports), by_history(whole))
    dead = [(int(row), why) for port, block in ports if isinstance(block, DeadBlock) for row, why in zip(block.row, block.reasons)]
    reason = "the states of its key would not be finite after it (an infinite or huge reading)"
    assert [row for row, why in dead if why == reason] == [7, 21]
    assert len(dead) == 2 + len(rows) - len(whole)
    assert [row for row, _ in dead] == sorted(row for row, _ in dead)
