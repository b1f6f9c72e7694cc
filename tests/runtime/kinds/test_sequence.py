"""The sequence window against lists of the last events a key."""

import random
from collections import defaultdict
from typing import Any

import numpy as np
import pydantic
import pytest

from esp.errors import QueryError
from esp.runtime.events import EventBlock
from esp.runtime.kinds.sequence import SequenceSettings
from esp.runtime.kinds.window import Environment, Stream
from esp.runtime.schema import Schema
from tests.runtime.kinds.laws import Case, block_of, opened

SCHEMA = "device*:string, acc:float32[2], level:int32, label:string"
STREAM = Stream(Schema.parse(SCHEMA), partitioned_by=("device",))
ENV = Environment("query.toml: windows.seq")
NAN = float("nan")


def events(seed: int, n: int) -> tuple[list[list[Any]], list[float]]:
    rng = random.Random(seed)
    rows = [
        [rng.choice("ab"), rng.choice([None, [i + 0.5, -i]]), rng.choice([None, i]), rng.choice([None, f"label {i}"])]
        for i in range(n)
    ]
    steps = [rng.choice([0.1, 0.2, 1.0]) for _ in range(n)]
    return rows, np.cumsum(steps).round(6).tolist()


def expected(
    rows: list[list[Any]], times: list[float], length: int, hop: int, max_gap: float
) -> list[tuple[float, Any, list[list[float]]]]:
    """Event time, label and tensor of each sequence, event by event."""
    held: dict[str, list[list[float]]] = defaultdict(list)
    last: dict[str, float] = {}
    out = []
    for (device, acc, level, label), time in zip(rows, times, strict=True):
        if device in last and time - last[device] > max_gap + 1e-9:
            held[device] = []
        last[device] = time
        held[device].append([*(acc or [NAN, NAN]), NAN if level is None else level])
        if len(held[device]) >= length and (len(held[device]) - length) % hop == 0:
            out.append((time, label, held[device][-length:]))
    return out


@pytest.mark.parametrize(
    ("length", "hop", "max_gap"), [(1, 1, None), (4, 1, None), (4, 3, None), (3, 5, None), (3, 1, "1200ms"), (5, 2, "1s")]
)
def test_sequences_are_those_of_a_list_a_key(length: int, hop: int, max_gap: str | None) -> None:
    rows, times = events(length * hop, 80)
    settings = {"kind": "sequence", "fields": ["acc", "level"], "length": length, "hop": hop, "name": "x", "max_gap": max_gap}
    block = block_of(SCHEMA, rows, ts_s=times)
    [(_, out)] = opened(Case("", settings, STREAM, lambda: block)).on_block("in", block)
    assert isinstance(out, EventBlock)
    gap = {"1200ms": 1.2, "1s": 1.0, None: 1e9}[max_gap]
    wanted = expected(rows, times, length, hop, gap)
    assert str(out.schema) == f"device*:string, label:string, x:float32[{length},3]"
    assert (out.ts_ns / 1e9).tolist() == [time for time, _, _ in wanted]
    labels, there = out.column("label"), out.valid("label")
    assert [labels.value(i).decode() if there[i] else None for i in range(len(out))] == [label for _, label, _ in wanted]
    np.testing.assert_array_equal(out.column("x"), np.array([tensor for _, _, tensor in wanted], np.float32))
    assert len(wanted) > 3


def test_an_empty_block_passes_its_watermark_on() -> None:
    window = opened(Case("", {"kind": "sequence", "fields": ["acc"], "length": 2}, STREAM, lambda: None))
    [(_, out)] = window.on_block("in", block_of(SCHEMA, [], ts_s=[], end_ns=77))
    assert (len(out), out.end_watermark_ns, out.column("sequence").shape) == (0, 77, (0, 2, 2))


def refusal(**settings: Any) -> str:
    with pytest.raises(QueryError) as caught:
        SequenceSettings.model_validate({"kind": "sequence", "fields": ["acc"], "length": 2, **settings}).resolve(STREAM, ENV)
    return str(caught.value)


def test_text_cannot_be_stacked() -> None:
    assert "field 'label' is a string" in refusal(fields=["label"])


def test_a_misspelt_field_names_the_nearest() -> None:
    assert "windows.seq.fields: there is no field 'levle'; did you mean 'level'?" in refusal(fields=["levle"])


def test_a_hop_is_a_number_that_a_stream_can_count_to() -> None:
    with pytest.raises(ValueError, match=r"hop\n.*less than or equal to 1000000"):
        SequenceSettings.model_validate({"kind": "sequence", "fields": ["acc"], "length": 2, "hop": 2**63})


def test_a_name_that_is_taken_is_refused() -> None:
    assert "field 'label' is there already" in refusal(name="label")
    SequenceSettings.model_validate({"kind": "sequence", "fields": ["acc"], "length": 2, "name": "acc"}).resolve(STREAM, ENV)


def test_a_stacked_partition_field_leaves_the_partitioning_unknown() -> None:
    stream = Stream(STREAM.schema, partitioned_by=("level",))
    settings = SequenceSettings.model_validate({"kind": "sequence", "fields": ["level"], "length": 2, "by": ["device", "level"]})
    assert settings.resolve(stream, ENV)["out"].partitioned_by is None


def test_a_ring_past_all_sense_is_refused() -> None:
    wide = Stream(Schema.parse("device*:string, acc:float32[300]"), partitioned_by=("device",))
    settings = SequenceSettings.model_validate({"kind": "sequence", "fields": ["acc"], "length": 1_000_000})
    with pytest.raises(QueryError, match=r"windows.seq.length: 1200000000 bytes are to be kept of each key"):
        settings.resolve(wide, ENV)


def test_the_tensors_name_is_that_of_a_field() -> None:
    with pytest.raises(pydantic.ValidationError, match="pattern"):
        SequenceSettings.model_validate({"kind": "sequence", "fields": ["acc"], "length": 2, "name": "a b"})
