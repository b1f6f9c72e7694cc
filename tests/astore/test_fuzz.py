"""The fuzzer runs, finds what it is there to find, and finds nothing in the reader."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from esp.astore.ops import OPS
from tests.astore import fuzz
from tests.astore.fuzz import Count, Crash, judge, packed, unpacked, with_op, with_tensors
from tests.astore.hostile.forge import TINY, sections
from tests.astore.op_cases import CASES

HUGE = ((1 << 62) + 1, (1 << 31) - 1, -(1 << 63))


def test_twenty_seconds_of_fuzzing_find_no_crash_no_hang_and_no_memory_above_the_bound(tmp_path: Path) -> None:
    count = fuzz.fuzz(20, 7, tmp_path, at_least=len(fuzz.seeds()) + 100)
    assert count.read > 0
    assert len(count.ways) > 50


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (lambda *_, **__: [][0], "IndexError"),
        (lambda *_, **__: bytes(300 << 20), "bytes for 776"),
    ],
)
def test_what_is_no_refusal_is_found_and_its_input_written(
    fault: Any, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fuzz, "outcome", fault)
    monkeypatch.setattr(fuzz, "seeds", lambda: [TINY])
    with pytest.raises(Crash, match=said):
        fuzz.fuzz(0, 0, tmp_path, at_least=1)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [TINY]


def test_what_takes_too_long_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([0.0, 2.5])
    monkeypatch.setattr(fuzz.time, "process_time", lambda: next(times))
    with pytest.raises(Crash, match=r"it took 2\.5 s of CPU"):
        judge(TINY, Count())


@pytest.mark.parametrize("op", CASES)
def test_an_op_over_huge_numbers_costs_no_more_than_its_file_to_judge(op: str) -> None:
    """Every whole number among attributes and constants made huge, one at a time, for every op of the table."""
    fuzz.tracemalloc.start()
    try:
        for data in huge(op):
            judge(data, Count())
    finally:
        fuzz.tracemalloc.stop()


def huge(op: str) -> list[bytes]:
    head, _, weights = sections(with_op(op, 0))
    arrays = {entry["name"]: array_of(entry, weights) for entry in unpacked(head)["tensors"]}
    found = []
    for number in HUGE:
        for name, spec in OPS[op].attrs.items():
            header = unpacked(head)
            attrs = header["graph"]["nodes"][-1]["attrs"]
            if spec.type in ("int", "ints"):
                had = attrs.get(name, spec.default)
                attrs[name] = number if spec.type == "int" else [number] * (len(had) if isinstance(had, list | tuple) else 2)
                found.append(with_tensors(header, arrays))
        for name, array in arrays.items():
            if array.dtype == np.int64:
                found.append(with_tensors(unpacked(head), arrays | {name: np.full_like(array, number)}))
    return found


def array_of(entry: Any, weights: bytes) -> np.ndarray:
    part = weights[entry["offset"] : entry["offset"] + entry["size"]]
    return np.frombuffer(part, entry["dtype"]).reshape(entry["shape"])


def test_a_file_that_is_only_packed_again_is_the_same() -> None:
    head, _, _ = sections(TINY)
    assert packed(unpacked(head)) == head
