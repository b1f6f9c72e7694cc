"""Drift of model inputs against the statistics of the training data."""

import numpy as np
import pytest

from esp.astore.model import Input
from esp.errors import GraphError
from esp.runtime.drift import EVERY_BLOCKS, MEMORY_ROWS, SAMPLE_ROWS, Drift
from esp.runtime.events import VarColumn

STATISTICS = {"mean": [1.0, -2.0], "std": [0.5, 4.0]}


def _drift(dtype: str = "float32") -> Drift:
    return Drift(Input("x", dtype, (10, 2), statistics=STATISTICS))


def test_the_shift_is_counted_in_standard_deviations_of_the_training_data() -> None:
    drift = _drift()
    assert drift.shifts() == []
    drift.observe(np.tile(np.array([2.0, -2.0], np.float32), (5, 10, 1)))
    assert drift.shifts() == pytest.approx([2.0, 0.0])


def test_missing_values_do_not_count() -> None:
    drift = _drift()
    column = np.full((1, 10, 2), np.nan, np.float32)
    column[0, 0] = [1.5, np.inf]
    drift.observe(column)
    assert drift.shifts() == pytest.approx([1.0, 0.0])


@pytest.mark.parametrize("dtype", ["uint8", "bool", "int32", "int64", "float32", "float64"])
@pytest.mark.parametrize("stride", [1, 2])
def test_the_mean_is_that_of_numpy_for_numbers_of_every_type(dtype: str, stride: int) -> None:
    drift = _drift(dtype)
    column = np.random.default_rng(4).integers(0, 200, (2 * SAMPLE_ROWS, 10, 2)).astype(dtype)[::stride]
    drift.observe(column)
    recent = column[:SAMPLE_ROWS].astype(np.float64).mean(axis=(0, 1))
    assert drift.shifts() == pytest.approx(np.abs(recent - STATISTICS["mean"]) / STATISTICS["std"])


def test_only_every_few_blocks_are_looked_at() -> None:
    drift = _drift()
    for value in [1.0, *[9.0] * (EVERY_BLOCKS - 1)]:
        drift.observe(np.full((1, 10, 2), value, np.float32))
    assert drift.shifts()[0] == 0.0


def test_old_events_fade() -> None:
    drift, blocks = _drift(), 40 * EVERY_BLOCKS * MEMORY_ROWS // SAMPLE_ROWS
    drift.observe(np.full((SAMPLE_ROWS, 10, 2), 1000.0, np.float32))
    for _ in range(blocks):
        drift.observe(np.ones((SAMPLE_ROWS, 10, 2), np.float32))
    assert drift.shifts()[0] < 1e-3


@pytest.mark.parametrize("lacking", ["mean", "std"])
def test_mean_without_std_or_std_without_mean_is_passed_over(lacking: str) -> None:
    known = {key: value for key, value in STATISTICS.items() if key != lacking}
    drift = Drift(Input("x", "float32", (10, 2), statistics=known))
    drift.observe(np.ones((3, 10, 2), np.float32))
    assert drift.shifts() == []


@pytest.mark.parametrize("shape", [(), (7,)])
def test_rows_of_fewer_than_two_axes_are_one_channel(shape: tuple[int, ...]) -> None:
    drift = Drift(Input("x", "float64", shape, statistics={"mean": [1.0], "std": [2.0]}))
    drift.observe(np.full((5, *shape), 5.0))
    assert drift.shifts() == [2.0]


def test_statistics_of_another_number_of_channels_are_refused_before_any_event() -> None:
    with pytest.raises(GraphError, match=r"input 'x'.statistics.mean: 7 numbers for a last axis of 1"):
        Drift(Input("x", "float32", (8, 8, 1), statistics={"mean": [0.0] * 7, "std": [1.0] * 7}))


def test_blobs_and_inputs_without_statistics_are_passed_over() -> None:
    blob = Drift(Input("image", "blob", ()))
    blob.observe(VarColumn.of([b"a"]))
    assert blob.shifts() == []
