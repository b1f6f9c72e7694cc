"""Every folder of windows/ replayed: its sample through its query must give what an independent computation expects."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest

from esp.runtime.events import DeadBlock, RawBlock, raw_block
from esp.runtime.headers import decode_headers
from esp.runtime.query import Query, load_query, models_used
from esp.runtime.scorer import Scorer
from esp.runtime.state.tables import Tables
from esp.runtime.task import Outputs, Task

WINDOWS = Path(__file__).parents[2] / "windows"
FOLDERS = sorted(path.parent.name for path in WINDOWS.glob("*/query.toml"))
Rows = dict[str, list[dict[str, Any]]]


def sample(query: Query, source: str) -> RawBlock:
    """The records of a sample file, encoded by the msgpack library as any producer would."""
    entries = [json.loads(line) for line in (query.path.parent / "sample" / f"{source}.jsonl").read_text().splitlines()]
    schema = query.windows[source].ports["out"].schema
    values = []
    for entry in entries:
        if "text" in entry:
            values.append(entry["text"].encode())
            continue
        event = dict(entry["value"])
        for field in schema:
            if field.type.shape:
                event[field.name] = np.array(event[field.name], field.type.dtype).tobytes()
        values.append(msgpack.packb(event))
    return raw_block(
        values,
        topic=f"{source}-sample",
        keys=[entry["key"].encode() for entry in entries],
        ts_ms=[entry["ts_ms"] for entry in entries],
    )


def rows_of(query: Query, outputs: Outputs) -> Rows:
    """What came out of each sink, and the dead events, as plain values."""
    rows: Rows = {}
    for name, block in outputs:
        if isinstance(block, DeadBlock):
            for row in block.row.tolist():
                text = (block.raw.value(row) or b"").decode()
                rows.setdefault("dead", []).append({"window": block.window, "offset": int(block.raw.offset[row]), "text": text})
            continue
        decode: Callable[[Any], Any] = (
            msgpack.unpackb if query.windows[name].settings.model_dump()["format"] == "msgpack" else json.loads
        )
        for row in range(len(block)):
            rows.setdefault(name, []).append(decode(block.value(row)))
    return rows


def replay(query: Query, cuts: list[int], *, restores: bool = False) -> Rows:
    """Runs the sample cut at some rows; with ``restores`` each piece is run by a new task on the state of the one before."""
    (source,) = query.sources
    scorers = {
        window: Scorer.bind(query.models[model], query.windows[window].settings.model_dump()["backend"])
        for window, model in models_used(query).items()
    }
    raw, outputs = sample(query, source), []
    task = Task(query, source, 0, scorers)
    for start, end in zip([0, *cuts], [*cuts, len(raw)], strict=True):
        outputs += task.process(raw.take(slice(start, end)))
        if restores:
            tables = Tables()
            tables.load(task.tables.dump(changed_only=False))
            task = Task(query, source, 0, scorers, tables=tables, next_offset=task.next_offset)
    return rows_of(query, outputs)


def expected(folder: str) -> Rows:
    files = sorted((WINDOWS / folder / "expected").glob("*.jsonl"))
    return {file.stem: [json.loads(line) for line in file.read_text().splitlines()] for file in files}


def assert_same(found: Rows, wanted: Rows) -> None:
    assert found.keys() == wanted.keys()
    for name, rows in wanted.items():
        assert len(found[name]) == len(rows), name
        for got, want in zip(found[name], rows, strict=True):
            assert got == {**want, **_approximate(want)}, name


def _approximate(row: dict[str, Any]) -> dict[str, Any]:
    return {key: pytest.approx(value, rel=1e-5, abs=1e-5) for key, value in row.items() if isinstance(value, float)}


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_sample_gives_what_is_expected(folder: str) -> None:
    query = load_query(WINDOWS / folder)
    assert_same(replay(query, []), expected(folder))


@pytest.mark.parametrize("folder", FOLDERS)
def test_cut_anywhere_and_restored_it_gives_the_same(folder: str) -> None:
    query, rng = load_query(WINDOWS / folder), np.random.default_rng(4)
    size = len(sample(query, query.sources[0]))
    whole = replay(query, [])
    assert replay(query, list(range(1, size))) == whole
    for _ in range(3):
        cuts = sorted(rng.choice(np.arange(1, size), 12, replace=False).tolist())
        assert replay(query, cuts, restores=True) == whole


def test_activities_carry_key_time_and_model_of_what_they_come_from() -> None:
    query = load_query(WINDOWS / "shoulder_imu")
    (source,) = query.sources
    scorer = Scorer.bind(query.models["shoulder"], "numba")
    outputs = Task(query, source, 0, {"scored": scorer}).process(sample(query, source))
    block = outputs[0][1]
    assert isinstance(block, RawBlock)
    assert block.key(0) == b"watch-9"
    assert decode_headers(block.headers(0)) == [("esp-model", query.models["shoulder"].short_digest.encode())]
    assert block.ts_ms[0] == json.loads(block.value(0) or b"")["ts"]
