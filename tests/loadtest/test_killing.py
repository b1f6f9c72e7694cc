"""The verifier of the kill matrix: it sees what is lost, doubled, changed or out of turn; its arithmetic, by hand and by other code."""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgpack
import numpy as np
import pytest

from esp.astore.binary import read
from esp.astore.graph import run_reference
from loadtest.killing.kit import LABELS, OUTPUTS, SCORED, STEPS, Model, make_model
from loadtest.killing.matrix import Outcome
from loadtest.killing.reference import Record, Reference, Wanted
from loadtest.killing.schedule import schedule
from loadtest.killing.stream import records
from loadtest.killing.verify import Verdict, judge

Outputs = dict[str, list[list[Record]]]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Model]:
    """Each window's first model, and a second one of the plain scores."""
    folder = tmp_path_factory.mktemp("models")
    return [
        *(make_model(folder / f"{window}.astore", window, 0) for window in SCORED),
        make_model(folder / "new.astore", "plain", 1),
    ]


def source(n: int = 1500) -> list[Record]:
    made = records(1, 1)
    return [
        Record(0, at, sent.key, sent.value, tuple((name, value) for name, value in sent.headers if isinstance(value, bytes)), 1000 + at)
        for at, sent in zip(range(n), made)
    ]  # fmt: skip


def event(number: int, ts: int, acc: list[float] | None = None, load: float | None = None, device: str = "a") -> Record:
    value = {"device": device, "id": number, "ts": ts, "acc": acc or [0.0] * 4, "load": load}
    return Record(0, number, None, json.dumps(value).encode(), (), 0)


def reference(models: list[Model], sent: list[Record], switch: int = 1 << 62) -> Reference:
    """The reference after all records; the second plain model scores from offset ``switch`` on."""
    old = {model.window: model for model in reversed(models)}

    def at(window: str, _: int, offset: int) -> Model:
        return models[-1] if window == "plain" and offset >= switch else old[window]

    made = Reference(0, at)
    for record in sent:
        made.take(record)
    return made


def outputs(models: list[Model], sent: list[Record], switch: int = 1 << 62) -> Outputs:
    """What an engine without a fault writes."""
    made: Outputs = {short: [[]] for short in OUTPUTS}
    for (short, _, _), wanted in reference(models, sent, switch).lanes.items():
        for each in wanted:
            made[short][0].append(replace(_record(short, each), offset=len(made[short][0])))
    return made


def _record(short: str, wanted: Wanted) -> Record:
    fields = {**wanted.exact, **wanted.near}
    if short == "dead":
        headers = (*wanted.headers, ("esp-reason", b"why"), *((name, text.encode()) for name, text in wanted.exact.items()))
        return Record(0, 0, wanted.key, wanted.value or b"", headers, wanted.ts_ms)
    if wanted.shares:
        best = int(np.argmax(wanted.shares))
        fields |= {"label": LABELS[best], "probability": wanted.shares[best]}
    value = msgpack.packb(fields) if short == "motions" else json.dumps(fields).encode()
    return Record(0, 0, wanted.key, value, wanted.headers, wanted.ts_ms)


def verdict(models: list[Model], sent: list[Record], got: Outputs, is_once: bool = True) -> Verdict:
    return judge(Verdict(is_once), [sent], got, models)


def counts(found: Verdict) -> Counter[str]:
    kinds = ("lost", "doubled", "unexpected", "differing", "disordered")
    return +Counter({kind: getattr(found, kind) for kind in kinds})


@pytest.mark.parametrize("switch", [700, 1 << 62])
def test_outputs_without_a_fault_are_good_with_and_without_a_deployment(models: list[Model], switch: int) -> None:
    sent = source()
    found = verdict(models, sent, outputs(models, sent, switch))
    assert found.is_good
    assert not found.told
    assert found.events == 1500
    assert set(found.wanted) == set(OUTPUTS)


def test_an_outcome_goes_through_json(models: list[Model]) -> None:
    sent = source(50)
    found = verdict(models, sent, outputs(models, sent))
    told = json.loads(json.dumps(Outcome(verdict=found).as_dict()))
    assert told["is_good"]
    assert told["verdict"]["wanted"] == {short: found.wanted[short] for short in found.wanted}
    assert told["verdict"]["wanted"]["scores"] > 40


def test_a_record_that_is_missing_is_lost(models: list[Model]) -> None:
    sent = source()
    for short in OUTPUTS:
        got = outputs(models, sent)
        del got[short][0][3]
        assert counts(verdict(models, sent, got)) == {"lost": 1}, short


def test_a_record_that_comes_twice_is_a_fault_where_delivery_is_exactly_once(models: list[Model]) -> None:
    sent = source()
    got = outputs(models, sent)
    got["tallies"][0].append(replace(got["tallies"][0][5], offset=999))
    assert counts(verdict(models, sent, got)) == {"doubled": 1}
    assert not verdict(models, sent, got).is_good
    assert verdict(models, sent, got, is_once=False).is_good
    got["tallies"][0][-1] = replace(got["tallies"][0][-1], ts_ms=7)
    assert counts(verdict(models, sent, got, is_once=False)) == {"doubled": 1, "differing": 1}


def _other_value(record: Record) -> Record:
    fields = json.loads(record.value)
    fields["probability"] += 1e-3
    return replace(record, value=json.dumps(fields).encode())


@pytest.mark.parametrize(
    "change",
    [_other_value, lambda r: replace(r, key=b"x"), lambda r: replace(r, headers=()), lambda r: replace(r, ts_ms=r.ts_ms + 1)],
)
def test_a_record_with_another_value_key_header_or_stamp_differs(models: list[Model], change: Callable[[Record], Record]) -> None:
    sent = source()
    got = outputs(models, sent)
    got["scores"][0][8] = change(got["scores"][0][8])
    assert counts(verdict(models, sent, got)) == {"differing": 1}


def test_records_out_of_their_order_and_records_of_nothing_are_seen(models: list[Model]) -> None:
    sent = source()
    got = outputs(models, sent)
    steps = got["steps"][0]
    steps[4], steps[5] = steps[5], steps[4]
    assert counts(verdict(models, sent, got)) == {"disordered": 2}
    got["late"][0].append(replace(got["late"][0][0], value=b'{"device": "d1", "id": 99999, "ts": 0}'))
    assert counts(verdict(models, sent, got)) == {"disordered": 2, "unexpected": 1}


def test_a_score_by_the_old_model_behind_one_by_the_new_is_a_fault(models: list[Model]) -> None:
    sent = source()
    old, new = outputs(models, sent), outputs(models, sent, 300)
    new["scores"][0][900] = replace(old["scores"][0][900], offset=900)
    assert not verdict(models, sent, new).is_good


def test_tallies_are_folded_by_event_time_and_close_with_the_watermark(models: list[Model]) -> None:
    sent = [event(1, 10_500, load=2.0), event(2, 10_990, load=4.0), event(3, 10_100), event(4, 11_099), event(5, 11_100)]
    assert ("tallies", 0, "") not in reference(models, sent[:4]).lanes  # the watermark is at 10,999
    (closed,) = reference(models, [*sent, event(6, 10_700)]).lanes["tallies", 0, ""]
    assert closed.exact == {
        "device": "a", "window_start": 10_000, "window_end": 11_000, "n": 3, "loads": 2, "first": 1, "last": 3, "total": 6,
    }  # fmt: skip
    assert closed.near == {"mean": 3.0, "std": pytest.approx(2**0.5)}
    assert [late.name for late in reference(models, [*sent, event(6, 10_700)]).lanes["late", 0, ""]] == [(6,)]


def test_windows_move_by_their_hop_and_begin_anew_after_a_gap(models: list[Model]) -> None:
    sent = [event(n, 1000 + 100 * n) for n in range(6)] + [event(n, 9000 + 100 * n) for n in range(6, 10)]
    assert [each.name for each in reference(models, sent).lanes["motions", 0, ""]] == [(3,), (5,), (9,)]


def test_recurrent_scores_are_those_of_the_whole_network_over_all_events(tmp_path: Path) -> None:
    models = [make_model(tmp_path / f"{window}.astore", window, 0) for window in SCORED]
    rng = np.random.default_rng(1)
    readings = rng.normal(size=(STEPS, 4)).astype(np.float32)
    made = Reference(0, lambda window, *_: next(model for model in models if model.window == window))
    for number, reading in enumerate(readings):
        made.take(event(number, 1000 + number, [float(value) for value in reading]))
    (whole,) = run_reference(read(tmp_path / "stepped.astore").graph, [readings[None]])
    np.testing.assert_allclose(made.lanes["steps", 0, ""][-1].shares, whole[0], atol=1e-6)


def test_a_plan_is_that_of_its_seed_and_has_every_kind() -> None:
    assert schedule(20, 5, workers=3) == schedule(20, 5, workers=3)
    assert schedule(20, 5, workers=3) != schedule(20, 6, workers=3)
    assert {action.kind for action in schedule(4, 1, workers=1)} == {"kill", "stop", "broker", "deploy"}
    assert {action.kind for action in schedule(9, 1, workers=3)} >= {"join", "leave", "freeze", "deploy", "broker"}
    assert [action.kind for action in schedule(20, 5, workers=3)[:2]] == ["join", "join"]
    assert {action.kind for action in schedule(9, 1, 3, supervised=True)} == {
        "kill", "stop", "broker", "deploy", "freeze", "supervisor", "rollout",
    }  # fmt: skip
