"""What ``auto`` keeps: measured by a clock that only the fake backends move, remembered in a folder of the test's own."""

import json
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from esp.runtime.backends import choice
from esp.runtime.backends.choice import LIMIT_S, PAIRS, Case, Choice, Chooser

DIGEST = "ab" * 32
CASE = Case(DIGEST, 512, 2)
Costs = Callable[[int], float]


class Bench:
    """Two fake backends: a call costs what their functions of the batch size say, and moves the clock by as much."""

    def __init__(self, ours: Costs, theirs: Costs) -> None:
        self.costs, self.now, self.calls = (ours, theirs), 0.0, list[tuple[str, int]]()

    def clock(self) -> float:
        return self.now

    def trials(self, size: int) -> tuple[Callable[[], object], Callable[[], object]]:
        def run(index: int) -> None:
            self.now += self.costs[index](size)
            self.calls.append(("ab"[index], size))

        return lambda: run(0), lambda: run(1)

    def measure(self, max_batch: int = 1024) -> Choice:
        return Chooser(Path("unused"), self.clock).measure(self.trials, max_batch)


def test_ratios_are_those_of_the_two_backends_at_each_batch_size() -> None:
    found = Bench(lambda n: 1e-5 * n, lambda n: 2e-5 * n if n < 64 else 1.5e-5 * n).measure()
    assert {size: round(ratio, 6) for size, ratio in found.ratios.items()} == {1: 2, 8: 2, 64: 1.5, 512: 1.5}
    assert found.backend == "numba"


@pytest.mark.parametrize(("large", "backend"), [(0.51, "numba"), (0.49, "onnxruntime")])
def test_the_geometric_mean_decides(large: float, backend: str) -> None:
    ratios = {1: 2.0, 8: 1.0, 64: 1.0, 512: large}  # the product is about 1
    found = Bench(lambda n: 1e-6 * n, lambda n: 1e-6 * n * ratios[n]).measure()
    assert found.backend == backend


def test_only_batches_that_the_scorer_takes_are_measured() -> None:
    assert set(Bench(lambda n: 1e-5, lambda n: 1e-5).measure(64).ratios) == {1, 8, 64}
    assert set(Bench(lambda n: 1e-5, lambda n: 1e-5).measure(7).ratios) == {1}


def test_one_slow_sample_does_not_count() -> None:
    slow = iter([1e-3, 1e-3, 0.3])
    found = Bench(lambda n: next(slow, 1e-3), lambda n: 2e-3).measure(1)
    assert round(found.ratios[1], 6) == 2


def test_samples_of_the_two_take_turns() -> None:
    bench = Bench(lambda n: 1e-3, lambda n: 1e-3)
    bench.measure(1)
    assert bench.calls == [("a", 1), ("b", 1)] * (PAIRS + 1)


def test_short_calls_are_timed_several_at_once() -> None:
    bench = Bench(lambda n: 2**-14, lambda n: 2**-12)  # 61 and 244 microseconds; a sample takes 200
    bench.measure(1)
    assert bench.calls[2:6] == [("a", 1), ("a", 1), ("a", 1), ("b", 1)]


@pytest.mark.parametrize("row_s", [1e-5, 1e-3, 2e-2, 0.1, 0.4])
def test_measuring_ends_in_time_and_leaves_out_large_batches_of_a_large_model(row_s: float) -> None:
    bench = Bench(lambda n: row_s * n, lambda n: 1.1 * row_s * n)
    found = bench.measure()
    assert bench.now <= LIMIT_S + 2.2 * row_s  # and a pair begun before the end
    assert list(found.ratios) == [1, 8, 64, 512][: len(found.ratios)]
    assert (len(found.ratios) == 4) == (row_s == 1e-5)
    assert {round(ratio, 6) for ratio in found.ratios.values()} == {1.1}


def test_first_calls_that_take_all_the_time_are_the_measure() -> None:
    bench = Bench(lambda n: 3.0, lambda n: 2.0)
    found = bench.measure()
    assert (found.backend, len(bench.calls)) == ("onnxruntime", 2)
    assert found.ratios == {1: 2 / 3}


def test_backends_that_take_equally_long_leave_it_to_numba_even_by_a_clock_that_stands_still() -> None:
    assert Bench(lambda n: 0.0, lambda n: 0.0).measure() == Choice("numba", {1: 1.0, 8: 1.0, 64: 1.0, 512: 1.0})


# ---- memory -------------------------------------------------------------------------------------------------------------


def test_a_choice_is_remembered_by_model_and_versions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Choice("onnxruntime", {1: 0.5, 8: 0.75})
    Chooser(tmp_path / "new" / "folder").keep(CASE, kept)
    again = Chooser(tmp_path / "new" / "folder")
    assert again.recall(CASE) == kept
    assert again.recall(replace(CASE, digest="cd" * 32)) is None
    assert [path.name for path in again.folder.iterdir()] == [CASE.file]  # nothing half is left beside it
    monkeypatch.setattr(choice, "_versions", lambda: {"esp": "0.0.0"})
    assert again.recall(CASE) is None


def test_what_depends_on_versions_names_them() -> None:
    import numba
    import onnxruntime

    import esp
    from esp.kernels.compile import SOURCES

    own = {"esp": esp.__version__, "kernels": SOURCES}
    assert choice._versions() == own | {"numba": numba.__version__, "onnxruntime": onnxruntime.__version__}


def test_a_model_without_a_digest_is_not_remembered(tmp_path: Path) -> None:
    chooser = Chooser(tmp_path)
    chooser.keep(Case(""), Choice("numba"))
    assert chooser.recall(Case("")) is None
    assert list(tmp_path.iterdir()) == []


GOOD = {"versions": {}, "max_batch": 512, "threads": 2, "backend": "numba", "ratios": {"1": 2.0}}
DAMAGED = {
    "empty": b"",
    "cut short": json.dumps(GOOD).encode()[:20],
    "no text": b"\xff\xfe\x00",
    "another shape": b"[1, 2]",
    "a backend that is none": json.dumps(GOOD | {"backend": "numpy"}).encode(),
    "a ratio that is none": json.dumps(GOOD | {"ratios": {"one": 2.0}}).encode(),
    "deep": b"[" * 100_000,
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_file_is_no_choice_and_the_log_says_so(name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / CASE.file).write_bytes(DAMAGED[name])
    chooser = Chooser(tmp_path)
    assert chooser.recall(CASE) is None
    (record,) = caplog.records
    assert (record.levelno, CASE.file in record.message, "measured anew" in record.message) == (logging.WARNING, True, True)
    chooser.keep(CASE, Choice("numba", {1: 2.0}))
    assert chooser.recall(CASE) == Choice("numba", {1: 2.0})


def test_a_folder_that_cannot_be_written_is_no_failure(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    chooser = Chooser(tmp_path / "file" / "backends")
    chooser.keep(CASE, Choice("numba", {1: 2.0}))
    assert "cannot be kept (Not a directory)" in caplog.text
    assert chooser.recall(CASE) is None


def test_the_log_line_tells_the_ratios() -> None:
    assert str(Choice("numba", {1: 2.345, 8: 1.5})) == "numba (onnxruntime's time by numba's: 2.35 at batch 1, 1.50 at batch 8)"
    assert str(Choice("numba")) == "numba (onnxruntime cannot take it)"


def test_a_choice_is_that_of_one_batch_size_and_one_number_of_threads(tmp_path: Path) -> None:
    chooser, other = Chooser(tmp_path), replace(CASE, threads=1)
    chooser.keep(CASE, Choice("numba", {1: 2.0}))
    assert chooser.recall(other) is None
    assert chooser.recall(replace(CASE, max_batch=64)) is None
    chooser.keep(other, Choice("onnxruntime", {1: 0.5}))
    assert chooser.recall(CASE) == Choice("numba", {1: 2.0})
    assert chooser.recall_all(DIGEST) == {other: Choice("onnxruntime", {1: 0.5}), CASE: Choice("numba", {1: 2.0})}
    assert chooser.recall_all("cd" * 32) == chooser.recall_all("") == {}


def test_versions_are_told_where_onnxruntime_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        raise choice.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(choice.metadata, "version", version)
    assert choice._version("onnxruntime") == "none"
