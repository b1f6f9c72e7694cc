"""The recipes of windows/, trained anew on the real data to the accuracy that they state."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from esp.astore.graph import run_reference
from esp.astore.preprocess import prepare
from esp.astore.validation import flops
from esp.train.progress import quiet
from esp.train.recipe import TrainedModel, held_out, run_recipe
from esp.train.recipe_file import read_recipe

WINDOWS = Path(__file__).parents[2] / "windows"
DIGITS, SHOULDER = WINDOWS / "digits_camera" / "recipe.toml", WINDOWS / "shoulder_imu" / "recipe.toml"

needs_digits = pytest.mark.skipif(importlib.util.find_spec("sklearn") is None, reason="scikit-learn is not installed")
needs_shoulder = pytest.mark.skipif(importlib.util.find_spec("seglearn") is None, reason="seglearn is not installed")


def accuracy_of(trained: TrainedModel) -> float:
    assert trained.metrics is not None
    assert trained.metrics.accuracy is not None
    return trained.metrics.accuracy


@pytest.mark.train
@needs_digits
def test_digits_recipe_reaches_its_accuracy_on_the_third_held_out() -> None:
    trained = run_recipe(DIGITS, quiet)
    assert len(trained.held_out) == 599
    assert accuracy_of(trained) >= 0.975
    assert flops(trained.astore.graph) <= 80_000
    astore = trained.astore
    (scores,) = run_reference(astore.graph, [prepare(astore.inputs[0], trained.held_out.array).array])
    assert (scores.argmax(axis=1) == trained.held_out.targets).mean() == pytest.approx(accuracy_of(trained))
    np.testing.assert_allclose(scores.sum(axis=1), 1, rtol=1e-5)


@pytest.mark.train
@needs_shoulder
def test_shoulder_recipe_reaches_its_accuracy_on_the_subjects_left_out() -> None:
    trained = run_recipe(SHOULDER, quiet)
    assert set(trained.held_out.groups) == {"9", "10"}
    assert accuracy_of(trained) > 0.85
    assert flops(trained.astore.graph) <= 1_000_000


@needs_digits
def test_held_out_digits_are_images_with_labels_and_were_not_trained_on() -> None:
    data = held_out(DIGITS)
    assert data.array.shape == (599, 8, 8, 1)
    assert data.array.dtype == np.uint8
    assert set(data.labels) == set("0123456789")


@needs_shoulder
def test_held_out_recordings_are_whole_and_know_subject_and_exercise() -> None:
    data = held_out(SHOULDER)
    assert len(data) == 28  # two subjects, seven exercises, two arms
    assert set(data.groups) == {"9", "10"}
    assert all(row.dtype == np.float32 and row.shape[1] == 6 and len(row) > 900 for row in data.rows)
    assert sorted(set(data.labels)) == ["ABD", "ER", "FEL", "IR", "PEN", "ROW", "TRAP"]


def test_windows_recipes_can_be_read_without_their_data() -> None:
    assert read_recipe(DIGITS).input.name == "pixels"
    assert read_recipe(SHOULDER).input.name == "motion"
