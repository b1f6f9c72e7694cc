"""Recipes: a whole run on small data into an astore that scores as training did, and what is refused."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from esp.astore import binary
from esp.astore.graph import run_reference
from esp.astore.preprocess import prepare
from esp.errors import EspError, FileError
from esp.train.progress import quiet
from esp.train.recipe import held_out, mean_accuracy, run_folds, run_recipe
from esp.train.recipe_file import read_recipe

RECIPE = """
name = "blobs"
seed = 3

[data]
source = "npz"
path = "blobs.npz"
group = "who"
leave_out = [3]

[input]
name = "reading"
missing = "impute"
impute = 1.5
steps = [{ op = "normalise" }]

[[layers]]
kind = "Dense"
units = 8
activation = "relu"

[[layers]]
kind = "OutputLayer"
units = 3

[fit]
epochs = 15
batch_size = 16

[optimizer]
rate = 0.02
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """Three clouds of points, measured by three people; one value is missing."""
    rng = np.random.default_rng(9)
    y = np.arange(240) % 3
    x = (rng.normal(0, 0.6, (240, 4)) + np.eye(3, 4)[y] * 4 + 10).astype(np.float32)
    x[5, 2] = np.nan
    np.savez(tmp_path / "blobs.npz", x=x, y=np.array(["red", "green", "blue"])[y], who=np.arange(240) // 80 + 1)
    (tmp_path / "recipe.toml").write_text(RECIPE)
    return tmp_path / "recipe.toml"


def test_recipe_gives_an_astore_that_scores_the_held_out_rows(recipe: Path, tmp_path: Path) -> None:
    trained = run_recipe(recipe, quiet)
    assert trained.metrics is not None
    assert trained.metrics.accuracy is not None
    assert trained.metrics.accuracy > 0.97
    assert trained.metrics.rows == len(trained.held_out) == 80
    assert set(trained.held_out.groups) == {"3"}
    astore = binary.read(Path(tmp_path / "m.astore")) if binary.write(trained.astore, tmp_path / "m.astore") else trained.astore
    scores = run_reference(astore.graph, [prepare(astore.inputs[0], trained.held_out.array).array])[0]
    found = [astore.outputs[0].labels[i] for i in scores.argmax(axis=1)]
    right = np.mean([a == b for a, b in zip(found, trained.held_out.labels)])
    assert right == pytest.approx(trained.metrics.accuracy)


def test_card_names_data_settings_and_metrics_and_inputs_have_statistics(recipe: Path) -> None:
    astore = run_recipe(recipe, quiet).astore
    assert len(astore.card["data"]["sha256"]) == 64
    assert astore.card["settings"]["fit"]["epochs"] == 15
    assert astore.card["metrics"]["held_out"]["rows"] == 80
    assert astore.card["parameters"] == 4 * 8 + 8 + 8 * 3 + 3
    statistics = astore.inputs[0].statistics
    assert statistics["missing"] == [1]
    assert statistics["count"] == [160 * 4 - 1]
    assert astore.outputs[0].labels == ("blue", "green", "red")
    assert astore.inputs[0].missing == "impute"


def test_same_recipe_gives_the_same_bytes(recipe: Path) -> None:
    assert binary.to_bytes(run_recipe(recipe, quiet).astore) == binary.to_bytes(run_recipe(recipe, quiet).astore)


def test_held_out_rows_are_told_without_training(recipe: Path) -> None:
    np.testing.assert_array_equal(held_out(recipe).array, run_recipe(recipe, quiet).held_out.array)


def test_folds_hold_out_each_person_once(recipe: Path) -> None:
    results = run_folds(recipe, 3, quiet)
    assert [result.held_out for result in results] == [("1",), ("2",), ("3",)]
    assert mean_accuracy(results) > 0.95


def test_early_stopping_watches_a_person_of_the_training_data(recipe: Path) -> None:
    recipe.write_text(RECIPE + "\n[stop]\nvalidation = 0.5\npatience = 2\n")
    trained = run_recipe(recipe, quiet)
    assert all(epoch.validation is not None and epoch.validation.rows == 80 for epoch in trained.history)
    assert trained.astore.card["data"]["rows"] == 80


def test_rows_that_the_input_refuses_are_not_trained_on(recipe: Path) -> None:
    recipe.write_text(RECIPE.replace('missing = "impute"\nimpute = 1.5\n', ""))
    trained = run_recipe(recipe, quiet)
    assert trained.astore.card["data"]["rows"] == 159
    with np.load(recipe.parent / "blobs.npz") as blobs:
        seen = np.delete(blobs["x"][:160], 5, axis=0)  # the row with the missing value teaches no scale either
    np.testing.assert_allclose(trained.astore.inputs[0].steps[0].params["mean"], seen.mean(axis=0), rtol=1e-5)
    assert trained.metrics is not None
    assert np.isfinite(trained.metrics.loss)


def test_regression_recipe_gives_a_tensor(recipe: Path) -> None:
    text = RECIPE.replace('kind = "OutputLayer"\nunits = 3', 'kind = "RegressionLayer"').replace(
        'path = "blobs.npz"', 'path = "line.npz"'
    )
    x = np.random.default_rng(1).uniform(-1, 1, (90, 4)).astype(np.float32)
    np.savez(recipe.parent / "line.npz", x=x, y=x @ np.array([1.0, 2.0, 0.0, -1.0]), who=np.arange(90) // 30 + 1)
    text = text.replace('group = "who"', 'group = "who"\ntask = "regress"').replace("[fit]", '[fit]\nloss = "squared_error"')
    recipe.write_text(text.replace("epochs = 15", "epochs = 80"))
    trained = run_recipe(recipe, quiet)
    assert trained.metrics is not None
    assert trained.metrics.mse is not None
    assert trained.metrics.mse < 0.05  # the target's variance is 2
    assert trained.astore.outputs[0].kind == "tensor"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("seed = 3", "sed = 3", r"recipe.toml: unknown key 'sed'; did you mean 'seed'\?"),
        ('group = "who"', 'grup = "who"', r"recipe.toml: data: unknown key 'grup'; did you mean 'group'\?"),
        ('source = "npz"', 'source = "nzp"', r"recipe.toml: data.source: input should be one of .*'npz'.*, got 'nzp'"),
        ('path = "blobs.npz"', "", r"recipe.toml: data.path: field required"),
        ('path = "blobs.npz"', 'path = "gone.npz"', "gone.npz: cannot read"),
        ("leave_out = [3]", "leave_out = [4]", "no group 4"),
        ("units = 8", "unit = 8", r"recipe.toml: layers\[0\]: unknown key 'unit'; did you mean 'units'\?"),
        ("units = 8", 'units = "many"', r"recipe.toml: layers\[0\].units: .*valid integer.*, got 'many'"),
        ('kind = "Dense"', 'kind = "Dens"', r"recipe.toml: layers\[0\].kind: unknown layer kind 'Dens'; did you mean 'Dense'\?"),
        ('kind = "Dense"', "", r"recipe.toml: layers\[0\]: the layer has no kind; set kind to one of .*Dense"),
        ("units = 3", "units = 4", "4 outputs for 3 classes; give the last layer units = 3"),
        ("rate = 0.02", "rate = -1.0", r"recipe.toml: optimizer.rate: input should be greater than 0, got -1.0;"),
        ("rate = 0.02", 'kind = "adm"', r"recipe.toml: optimizer.kind: input should be one of 'adam', 'sgd', got 'adm'"),
        ("rate = 0.02", "momentum = 0.5", r"recipe.toml: optimizer: unknown key 'momentum'; known keys: rate, .*, beta1"),
        ("[fit]", "[fits]", r"recipe.toml: unknown key 'fits'; did you mean 'fit'\?"),
        ('op = "normalise"', 'op = "normalize"', "'normalize' is unknown"),
        ("epochs = 15", "epochs = ", "recipe.toml: this is not TOML"),
        ('kind = "Dense"', 'kind = { password = "s3cret" }', r"layers\[0\]: the layer has no kind"),
        ("impute = 1.5", 'impute = "much"', r"recipe.toml: input.impute: .*valid number.*, or a list, got 'much'"),
        (
            "[fit]",
            "[data.windows]\nlength = 3\nhpo = 1\n[fit]",
            r"recipe.toml: data.windows: unknown key 'hpo'; did you mean 'hop'\?",
        ),
        ("[fit]", "[data.windows]\nlength = 3\n[fit]", r"recipe.toml: data.windows.hop: field required"),
    ],
)
def test_recipe_with_a_fault_is_refused_in_one_line(recipe: Path, old: str, new: str, message: str) -> None:
    assert old in RECIPE
    recipe.write_text(RECIPE.replace(old, new))
    with pytest.raises(EspError, match=message) as caught:
        run_recipe(recipe, quiet)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_status == 2


def test_recipe_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"gone.toml: there is no such file; check the path"):
        read_recipe(tmp_path / "gone.toml")


def test_recipe_without_anything_held_out_has_no_metrics(recipe: Path) -> None:
    recipe.write_text(RECIPE.replace("leave_out = [3]", ""))
    trained = run_recipe(recipe, quiet)
    assert trained.metrics is None
    assert trained.astore.card["metrics"] == {}
    assert replace(trained.astore, digest="").name == "blobs"
