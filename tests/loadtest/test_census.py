"""The bars of a soak, on samples made by hand."""

import os
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from loadtest.census import Census, Held, breaches, held, tenths

STEADY = [Held(float(at), 200.0, 40, 12, 300, 8, 1.0, 100, at) for at in range(1, 101)]


def grown(name: str, share: float) -> list[Held]:
    """Something that grows along a line by a share over the whole run."""
    made = []
    for sample in STEADY:
        value = getattr(sample, name) * (1 + share * sample.at_s / 100)
        made.append(replace(sample, **{name: type(getattr(sample, name))(value)}))
    return made


def test_what_stays_holds_every_bar() -> None:
    assert breaches(STEADY, rate=1000) == []


def test_memory_may_move_by_five_percent_from_the_first_tenth_to_the_end() -> None:
    assert breaches(grown("memory_mb", 0.05), rate=1000) == []
    (line,) = breaches(grown("memory_mb", 0.08), rate=1000)
    assert line.startswith("memory")
    before = [replace(sample, memory_mb=90.0) if sample.at_s <= 10 else sample for sample in STEADY]
    assert breaches(before, rate=1000) == []  # a start may grow


@pytest.mark.parametrize(("name", "share"), [("files", 0.3), ("threads", 0.5), ("maps", 0.1), ("state_files", 2.0)])
def test_what_grows_beside_memory_is_named(name: str, share: float) -> None:
    (line,) = breaches(grown(name, share), rate=1000)
    assert line.startswith(name)


def test_input_that_waits_at_the_end_is_a_lag() -> None:
    behind = [*STEADY[:-4], *(replace(sample, lag=5000) for sample in STEADY[-4:])]
    assert breaches(behind, rate=1000)[0].startswith("lag")
    assert breaches(behind, rate=10_000) == []


def test_a_run_of_few_samples_tells_nothing() -> None:
    assert "too few" in breaches(STEADY[:10], rate=1000)[0]


def test_tenths_are_medians_of_their_samples() -> None:
    parts = tenths([replace(sample, lag=9999) if sample.at_s % 10 == 0 else sample for sample in STEADY])
    assert [part.at_s for part in parts] == [10.0 * part for part in range(1, 11)]
    assert {part.lag for part in parts} == {100}


def test_a_sample_counts_files_threads_and_what_lies_in_the_state_folder(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "one").write_bytes(b"x" * 1000)
    sample = held(psutil.Process(os.getpid()), 3.0, tmp_path, 7, 2)
    assert (sample.at_s, sample.state_files, sample.state_mb, sample.lag, sample.deploys) == (3.0, 1, 0.001, 7, 2)
    assert min(sample.memory_mb, sample.files, sample.threads, sample.maps) > 0


def test_what_sampling_raises_is_raised_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loadtest.census.SAMPLE_S", 0.0)

    def take() -> Held:
        raise psutil.NoSuchProcess(1)

    census = Census(take)
    census._thread.join()
    with pytest.raises(psutil.NoSuchProcess):
        census.stop()
