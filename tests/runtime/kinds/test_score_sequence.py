"""A score window with ``sequence``, against a sequence window with a score window behind it."""

from typing import Any

import numpy as np
import pytest

from esp.astore.graph import Array
from esp.astore.model import Astore
from esp.errors import QueryError
from esp.runtime.events import EventBlock, raw_block
from esp.runtime.kinds import KINDS
from esp.runtime.kinds.score import ScoreSettings, check_swap
from esp.runtime.kinds.window import Environment, Ports, Stream
from esp.runtime.schema import Schema
from esp.runtime.scorer import Scorer
from esp.runtime.windowed import WindowScorer
from tests.runtime.backends.nets import Maker
from tests.runtime.kinds.laws import Case, block_of, cut, opened, rows_of
from tests.runtime.kinds.series import convolutional_model, readings, recurrent_model

SCHEMA = "device*:string, acc:float32[2], p:float32"
WHERE = "q.toml: windows.scored"


def stream(**more: Any) -> Stream:
    return Stream(Schema.parse(SCHEMA), **{"partitioned_by": ("device",), **more})


def events(rows: list[list[Any]], gap_at: int | None = None) -> EventBlock:
    seconds = [at * 0.1 + (60.0 if gap_at is not None and at >= gap_at else 0.0) for at in range(len(rows))]
    raw = raw_block([b"%d" % at for at in range(len(rows))], offsets=[*range(len(rows))])
    return block_of(SCHEMA, rows, ts_s=seconds, raw=raw)


def environment(astore: Astore) -> Environment:
    return Environment(WHERE, {"m": astore})


def in_one(astore: Astore, scorer: Scorer, sequence: dict[str, Any], block: EventBlock, borders: list[int]) -> Ports:
    keys = {"kind": "score", "model": "m", "sequence": {"fields": ["acc", "p"], **sequence}, "output": {"p": "scores"}}
    window = opened(Case("", keys, stream(), lambda: block, environment(astore), lambda: {"m": scorer}))
    return [port for piece in cut(block, borders) for port in window.on_block("in", piece)]


def in_two(astore: Astore, scorer: Scorer, sequence: dict[str, Any], block: EventBlock) -> Ports:
    """A copy of the fields is stacked, so that they are still there behind the sequence."""
    copied = {"kind": "compute", "fields": {"x": "acc[0]", "y": "acc[1]", "z": "p"}}
    stack = {"kind": "sequence", "fields": ["x", "y", "z"], "name": "series", **sequence}
    score = {"kind": "score", "model": "m", "output": {"p": "scores"}}
    at, ports = stream(), [("out", block)]
    for keys in (copied, stack, score):
        window = opened(Case("", keys, at, lambda: block, environment(astore), lambda: {"m": scorer}))
        at = KINDS[str(keys["kind"])].model_validate({"from": "x", **keys}).resolve(at, environment(astore))["out"]
        ports = [made for port, one in ports if port == "out" for made in window.on_block("in", one)]
    return ports


def kept(ports: Ports) -> dict[str, list[Any]]:
    """The rows without the schema, and without the tensor, which only one of the two ways has."""
    found = {}
    for port, rows in rows_of(ports).items():
        found[port] = [(*row[:5], *row[6:9], *row[-3:]) if port == "out" else row for row in rows]
    return found


@pytest.mark.parametrize("backend", ["numba", "numpy"])
@pytest.mark.parametrize("sequence", [{"length": 12}, {"length": 12, "hop": 2}, {"length": 12, "hop": 9, "max_gap": "30s"}])
@pytest.mark.parametrize("made", [convolutional_model, recurrent_model])
def test_it_scores_as_a_sequence_window_before_a_score_window(made: Any, sequence: dict[str, Any], backend: str) -> None:
    astore, block = made(12), events(readings(6, 200, nulls=0.01), gap_at=90)
    wanted = kept(in_two(astore, Scorer.bind(astore, backend), sequence, block))
    for borders in ([], [1, 2, 30, 80, 80], [*range(1, 200)]):
        scorer = WindowScorer.bind(astore, backend, hop=sequence.get("hop", 1), max_batch=16)
        is_incremental = backend == "numba" and made is convolutional_model and sequence.get("hop") != 9
        assert (scorer.way == "windows incrementally") == is_incremental
        got = kept(in_one(astore, scorer, sequence, block, borders))
        if backend == "numba":  # others may differ by their batches
            assert got == wanted
        assert {port: len(rows) for port, rows in got.items()} == {port: len(rows) for port, rows in wanted.items()}
    assert len(wanted["out"]) > 8
    assert "dead" in wanted or sequence.get("hop") == 9


def test_the_events_that_complete_a_sequence_leave_with_their_own_fields() -> None:
    astore, rows = convolutional_model(), [["a", [at, -at], at / 2] for at in range(9)]
    scorer = WindowScorer.bind(astore, "numpy", hop=2)
    ((_, out),) = in_one(astore, scorer, {"length": 6, "hop": 2}, events(rows), [])
    assert str(out.schema) == f"{SCHEMA}, label:string, probability:float32, scores:float32[2]"
    assert out.column("acc").tolist() == [[5, -5], [7, -7]]
    assert out.models == ("c3" * 6,)
    windows = np.array([[[at, -at, at / 2] for at in range(first, first + 6)] for first in (0, 2)], np.float32)
    wanted = Scorer.bind(astore, "onnxruntime").score([windows], [None]).outputs[0]
    np.testing.assert_allclose(out.column("scores"), wanted, atol=1e-6)


class Noted:
    """Stands for what scores incrementally: scores whole windows, and notes what it is told of them."""

    def __init__(self, scorer: WindowScorer) -> None:
        self.scorer = scorer
        self.told: list[tuple[int, int, Array]] = []
        self.refused: list[int] = []  # rows

    def score(self, windows: Array, rows: Array, counts: Array) -> tuple[Array, ...]:
        told = [(int(row), int(count), window) for row, count, window in zip(rows, counts, windows, strict=True)]
        self.told += [one for one in told if one[1] >= 0]
        self.refused += [row for row, count, _ in told if count < 0]
        return self.scorer.bound.run([np.ascontiguousarray(windows)])


def test_what_scores_incrementally_is_told_the_row_of_every_window_and_the_count_of_those_that_are_not_refused() -> None:
    astore, rows = convolutional_model(), readings(8, 90, nulls=0.02)
    scorer = WindowScorer.bind(astore, "numba", max_batch=7)
    noted = Noted(scorer)
    scorer.sliding = lambda: noted  # type: ignore[assignment, return-value, method-assign]
    ports = in_one(astore, scorer, {"length": 6, "max_gap": "30s"}, events(rows, gap_at=50), [20, 21])
    assert sum(len(block) for port, block in ports if port == "dead") > 0
    wanted, refused, gone, histories = [], list[int](), set[str](), dict[str, list[list[float]]]()
    order = list(dict.fromkeys(row[0] for row in rows))
    for at, (device, acc, p) in enumerate(rows):
        if at >= 50 and device not in gone:
            gone.add(device)
            histories[device] = []
        history = histories.setdefault(device, [])
        history.append([*(acc or [np.nan] * 2), np.nan if p is None else p])
        if len(history) >= 6 and np.isnan(history[-6:]).any():
            refused.append(order.index(device))
        elif len(history) >= 6:
            wanted.append(
                (order.index(device), len(history), (np.array(history[-6:], np.float32) - [0.5, 0.2, 0.0]) / [0.5, 1.5, 2.0])
            )
    assert noted.refused == refused
    assert [told[:2] for told in noted.told] == [told[:2] for told in wanted]
    np.testing.assert_allclose([told[2] for told in noted.told], [told[2] for told in wanted], atol=1e-5)


def test_each_task_has_memory_of_its_own() -> None:
    scorer = WindowScorer.bind(convolutional_model(), "numba")
    made = [scorer.sliding(), scorer.sliding()]
    assert made[0] is not made[1] or made == [None, None]


@pytest.mark.parametrize(("backend", "way"), [("numpy", r"whole windows \(on numpy always\)"), ("onnxruntime", "whole windows")])
def test_it_is_said_why_whole_windows_are_scored(backend: str, way: str) -> None:
    scorer = WindowScorer.bind(convolutional_model(), backend)
    assert scorer.way.startswith(way.replace("\\", ""))
    assert scorer.sliding() is None


def _two_inputs() -> Astore:
    m = Maker(1, (6, 3), (2,))
    graph = m.graph(m.add("Concat", m.add("Flatten", "x0"), "x1", axis=1))
    series, other = convolutional_model().inputs[0], convolutional_model().inputs[0]
    return Astore("two", graph, (series, type(other)("level", "float32", (2,))), convolutional_model().outputs)


@pytest.mark.parametrize(
    ("keys", "where", "astore", "message"),
    [
        (
            {"length": 5},
            {},
            None,
            r"sequence.length: a sequence has 5 events, but input 'series' of model 'm' takes 6; say length = 6",
        ),
        (
            {"fields": ["acc"]},
            {},
            None,
            r"sequence.fields: acc: 2 channels, but input 'series' of model 'm' takes 3; name the fields",
        ),
        ({"fields": ["device"]}, {}, None, r"sequence.fields: field 'device' is a string"),
        ({"fields": ["acc", "q"]}, {}, None, r"sequence.fields: there is no field 'q'"),
        ({"fields": []}, {}, None, r"sequence.fields: there is no field 'series'; fields here"),
        ({}, {"partitioned_by": None}, None, r"not known whether all events of one key \(device\) lie on one partition"),
        ({}, {"retracts": True}, None, r"windows.scored.from: a sequence score window takes no updates or deletes"),
        ({}, {}, _two_inputs(), r"sequence: model 'm' has the inputs series, level, and a series feeds one"),
    ],
)
def test_what_does_not_fit_is_said_at_load(
    keys: dict[str, Any], where: dict[str, Any], astore: Astore | None, message: str
) -> None:
    sequence = {"length": 6, "fields": ["acc", "p"], **keys}
    settings = ScoreSettings.model_validate({"kind": "score", "from": "before", "model": "m", "sequence": sequence})
    with pytest.raises(QueryError, match=message) as caught:
        settings.resolve(stream(**where), environment(astore or convolutional_model()))
    assert "; " in str(caught.value)


def test_a_model_that_takes_no_series_is_refused() -> None:
    m = Maker(1, (4,))
    graph = m.graph(m.add("Softmax", "x0"))
    astore = Astore("row", graph, (type(convolutional_model().inputs[0])("row", "float32", (4,)),), convolutional_model().outputs)
    settings = ScoreSettings.model_validate(
        {"kind": "score", "from": "b", "model": "m", "sequence": {"length": 6, "fields": ["acc"]}}
    )
    with pytest.raises(
        QueryError, match=r"input 'row' of model 'm' takes float32\[4\], and a sequence is float32\[length, channels\]"
    ):
        settings.resolve(stream(), environment(astore))


def test_a_model_of_another_length_cannot_be_swapped_in() -> None:
    class Planned:
        settings = ScoreSettings.model_validate(
            {"kind": "score", "from": "b", "model": "m", "sequence": {"length": 6, "fields": ["acc", "p"]}}
        )
        stream: Stream | None = Stream(Schema.parse(SCHEMA), partitioned_by=("device",))
        environment = Environment(WHERE, {"m": convolutional_model()})

    check_swap(convolutional_model(), recurrent_model(6), Planned())
    with pytest.raises(QueryError, match=r"deploying 'series'.sequence.length: a sequence has 6 events, but input .* takes 7"):
        check_swap(convolutional_model(), convolutional_model(7), Planned())
