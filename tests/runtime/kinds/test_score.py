"""The score kind: what it adds, what it refuses at load, deletes, dead events and swaps."""

import random
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from esp.astore.model import Astore, Input, Output
from esp.errors import QueryError
from esp.runtime.events import DeadBlock, EventBlock, VarColumn, raw_block
from esp.runtime.kinds.score import ScoreSettings, check_swap
from esp.runtime.kinds.window import Environment, Stream
from esp.runtime.schema import Schema
from esp.runtime.scorer import Scorer
from esp.runtime.state.tables import Tables
from tests.runtime.backends.nets import Maker
from tests.runtime.kinds.laws import Case, LawContext, block_of, random_borders, rows_of, run, run_with_crashes

SCHEMA = "id*:int64, x:float32[2]"
WHERE = "q.toml: windows.scored"


def model(
    labels: tuple[str, ...] = ("low", "high"), digest: str = "a1", weights: Any = ((4, 0), (0, 4)), name: str = "x"
) -> Astore:
    """Softmax of x @ weights: the class of the larger component, if the weights are the diagonal."""
    m = Maker(1, (2,))
    out = m.add("Softmax", m.add("MatMul", "x0", m.const(np.array(weights, np.float32))))
    return Astore(
        "tiny",
        m.graph(out),
        (Input(name, "float32", (2,)),),
        (Output("probs", "float32", (2,), "probabilities", labels),),
        digest=digest * 32,
    )


def stream(schema: str = SCHEMA) -> Stream:
    return Stream(Schema.parse(schema), partitioned_by=("id",))


def settings(**keys: Any) -> ScoreSettings:
    return ScoreSettings.model_validate({"kind": "score", "from": "before", "model": "m", **keys})


def env(astore: Astore) -> Environment:
    return Environment(WHERE, {"m": astore})


def window(astore: Astore, scorers: dict[str, Scorer] | None = None, schema: str = SCHEMA, **keys: Any) -> Any:
    made = settings(**keys)
    made.resolve(stream(schema), env(astore))
    built = made.build(stream(schema), env(astore))
    built.open(LawContext(Tables(), {"m": Scorer.bind(astore)} if scorers is None else scorers))
    return built


def events(*x: Any, opcode: Any = None, with_raw: bool = True) -> EventBlock:
    raw = raw_block([b"%d" % at for at in range(len(x))], offsets=[10 + at for at in range(len(x))]) if with_raw else None
    return block_of(SCHEMA, [[at, one] for at, one in enumerate(x)], ts_s=list(range(len(x))), opcode=opcode, raw=raw, end_ns=9)


def values(block: EventBlock, name: str) -> list[Any]:
    """A column as Python values, None for null."""
    column, valid = block.column(name), block.valid(name)
    rows = [column.value(row).decode() for row in range(len(block))] if isinstance(column, VarColumn) else list(column)
    return [value if valid is None or valid[row] else None for row, value in enumerate(rows)]


def test_label_and_probability_are_added_and_the_digest_is_noted() -> None:
    ((port, block),) = window(model()).on_block("in", events([1, 0], [0, 2]))
    assert port == "out"
    assert str(block.schema) == f"{SCHEMA}, label:string, probability:float32"
    assert values(block, "label") == ["low", "high"]
    np.testing.assert_allclose(values(block, "probability"), [1 / (1 + np.exp(-4)), 1 / (1 + np.exp(-8))], rtol=1e-5)
    assert block.models == ("a1" * 6,)
    assert block.end_watermark_ns == 9


def test_outputs_take_the_names_that_are_said_and_the_tensor_is_added_when_named() -> None:
    made = window(model(), output={"label": "activity", "probability": "", "probs": "scores"}, model_field="by")
    ((_, block),) = made.on_block("in", events([0, 0]))
    assert str(block.schema) == f"{SCHEMA}, activity:string, scores:float32[2], by:string"
    assert block.column("scores").tolist() == [[0.5, 0.5]]
    assert values(block, "by") == ["a1" * 6]


def test_a_tensor_without_labels_is_added_by_its_name() -> None:
    astore = replace(model(), outputs=(Output("probs", "float32", (2,)),))
    ((_, block),) = window(astore).on_block("in", events([0, 0]))
    assert str(block.schema) == f"{SCHEMA}, probs:float32[2]"


def test_several_labelled_outputs_are_told_apart_by_name() -> None:
    m = Maker(1, (2,))
    first, second = m.add("Softmax", "x0"), m.add("Sigmoid", "x0")
    outputs = Output("a", "float32", (2,), "probabilities", ("u", "v")), Output("b", "float32", (2,), "probabilities", ("r", "s"))
    astore = Astore("two", m.graph(first, second), (Input("x", "float32", (2,)),), outputs, digest="b2" * 32)
    ((_, block),) = window(astore, output={"b.label": "colour", "b.probability": ""}).on_block("in", events([1, 3]))
    assert block.schema.names == ("id", "x", "a_label", "a_probability", "colour")
    assert (values(block, "a_label"), values(block, "colour")) == (["v"], ["s"])


def test_another_field_may_feed_the_input() -> None:
    ((_, block),) = window(model(name="acc"), input={"acc": "x"}).on_block("in", events([1, 0]))
    assert values(block, "label") == ["low"]


def test_an_empty_block_goes_on_for_its_watermark() -> None:
    ((_, block),) = window(model(), model_field="by").on_block("in", events([1, 0]).take(np.zeros(0, np.int64)))
    assert len(block) == 0
    assert block.end_watermark_ns == 9
    assert len(block.columns) == 5


def test_deletes_pass_unscored_with_nulls_and_updates_are_scored() -> None:
    opcode = [0, 1, 3, 2, 4]
    block = events([1, 0], [0, 1], [1, 0], [0, 1], [1, 0], opcode=opcode)
    ((_, scored),) = window(model(), model_field="by", output={"probs": "p"}).on_block("in", block)
    assert scored.opcode.tolist() == opcode
    assert values(scored, "label") == ["low", "high", None, "high", None]
    for name in ("probability", "by", "p"):
        assert [value is None for value in values(scored, name)] == [False, False, True, False, True]
    assert values(scored, "id") == [0, 1, 2, 3, 4]


def test_refused_events_leave_by_dead_with_the_reason() -> None:
    ports = window(model()).on_block("in", events([1, 0], None, [0, np.nan], [0, 1]))
    (_, scored), (port, dead) = ports
    assert port == "dead"
    assert isinstance(dead, DeadBlock)
    assert (values(scored, "id"), values(scored, "label")) == ([0, 3], ["low", "high"])
    assert dead.raw.offset[dead.row].tolist() == [11, 12]
    assert dead.reasons == ("input 'x' is null", "input 'x' is NaN at [1]")
    assert dead.window == "w"


def test_a_refused_event_that_may_be_taken_back_is_a_dead_letter_and_passes_with_nulls() -> None:
    logic = settings().build(replace(stream(), retracts=True), env(model()))
    logic.open(LawContext(Tables(), {"m": Scorer.bind(model())}))
    (_, scored), (port, dead) = logic.on_block("in", events([1, 0], [0, np.nan], [0, 1]))
    assert port == "dead"
    assert isinstance(dead, DeadBlock)
    assert dead.row.tolist() == [1]
    assert (values(scored, "id"), values(scored, "label")) == ([0, 1, 2], ["low", None, "high"])


def test_a_refused_event_without_a_record_passes_with_nulls() -> None:
    ((port, scored),) = window(model()).on_block("in", events([1, 0], None, with_raw=False))
    assert port == "out"
    assert values(scored, "label") == ["low", None]


def test_a_delete_among_refused_events_is_not_refused() -> None:
    ports = window(model()).on_block("in", events(None, None, [1, 0], opcode=[3, 0, 0]))
    assert [(port, len(block)) for port, block in ports] == [("out", 2), ("dead", 1)]
    assert values(ports[0][1], "label") == [None, "low"]


def test_a_score_that_is_nan_has_no_label() -> None:
    astore = replace(model(), inputs=(Input("x", "float32", (2,), missing="nan"),))
    ((_, block),) = window(astore).on_block("in", events([np.nan, 0], [1, 0]))
    assert values(block, "label") == [None, "low"]
    assert np.isnan(values(block, "probability")[0])


def test_the_scorer_is_asked_anew_for_every_block() -> None:
    scorers = {"m": Scorer.bind(model())}
    made = window(model(), scorers)
    ((_, before),) = made.on_block("in", events([1, 0]))
    scorers["m"] = Scorer.bind(model(("small", "large"), "c3", ((0, 4), (4, 0))))
    ((_, after),) = made.on_block("in", events([1, 0]))
    assert (values(before, "label"), before.models) == (["low"], ("a1" * 6,))
    assert (values(after, "label"), after.models) == (["large"], ("c3" * 6,))


@pytest.mark.parametrize(
    ("keys", "schema", "message"),
    [
        ({"model": "n"}, SCHEMA, r"windows.scored.model: there is no model 'n'; models here: m"),
        ({}, "id*:int64", r"windows.scored.input.x: there is no field 'x'"),
        ({}, "x:float64[2]", r"field 'x' is float64\[2\], but input 'x' of model 'm' takes float32\[2\]"),
        ({}, "x:float32[3]", r"field 'x' is float32\[3\]"),
        ({"input": {"y": "x"}}, SCHEMA, r"model 'm' has no input 'y'; its inputs: x"),
        ({"output": {"lable": "l"}}, SCHEMA, r"model 'm' gives no 'lable'; it gives: label, probability, probs"),
        ({"output": {"label": "x"}}, SCHEMA, r"the field 'x' is there already"),
        ({"model_field": "label"}, SCHEMA, r"the field 'label' is there already"),
        ({"model_field": "a b"}, SCHEMA, r"'a b' is no name of a field"),
    ],
)
def test_what_does_not_fit_is_said_at_load(keys: dict[str, Any], schema: str, message: str) -> None:
    with pytest.raises(QueryError, match=message):
        settings(**keys).resolve(stream(schema), env(model()))


@dataclass(frozen=True)
class Planned:
    settings: ScoreSettings
    stream: Stream
    environment: Environment


def planned(**keys: Any) -> Planned:
    return Planned(settings(**keys), stream(), env(model()))


def test_a_model_with_other_labels_may_be_swapped_in() -> None:
    check_swap(model(), model(("a", "b"), "d4"), planned())


def test_a_model_with_another_input_is_refused() -> None:
    with pytest.raises(QueryError, match=r"deploying 'tiny'.*there is no field 'y'"):
        check_swap(model(), model(name="y"), planned())


def test_a_model_with_another_output_is_refused() -> None:
    other = replace(model(), outputs=(Output("probs", "float32", (2,)),))
    with pytest.raises(
        QueryError, match=r"would be \(.*probs:float32\[2\]\), but others rely on \(.*label:string.*; deploy a model"
    ):
        check_swap(model(), other, planned())


def law_case() -> Case:
    """Events with updates, deletes, nulls and NaN among them."""
    rng = np.random.default_rng(5)
    x = [None if rng.random() < 0.1 else rng.choice([np.nan, 1.0, -1.0, 0.3], 2, p=[0.05, 0.35, 0.3, 0.3]) for _ in range(70)]
    opcode = rng.choice([0, 1, 2, 3, 4], 70)
    scorers = {"m": Scorer.bind(model(), "numba", max_batch=16)}
    keys = {"kind": "score", "model": "m", "model_field": "by", "output": {"probs": "p"}}
    return Case("score", keys, replace(stream(), retracts=True), lambda: events(*x, opcode=opcode), env(model()), lambda: scorers)


def test_any_cutting_into_blocks_gives_the_same_scores() -> None:
    case, rng = law_case(), random.Random(3)
    whole = rows_of(run(case, []))
    assert set(whole) == {"out", "dead"}
    for borders in [list(range(1, 70)), *(random_borders(70, rng) for _ in range(8))]:
        assert rows_of(run(case, borders)) == whole


def test_crash_anywhere_and_go_on_gives_the_same_scores(tmp_path: Path) -> None:
    case, rng = law_case(), random.Random(4)
    whole = rows_of(run(case, []))
    assert rows_of(run_with_crashes(case, random_borders(70, rng), tmp_path, rng)) == whole
