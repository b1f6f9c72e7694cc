"""Trains the models of the demonstration from the recipes beside their queries."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from esp.astore.binary import write
from esp.demo.folders import QueryFolder
from esp.train.data import Dataset, split_fraction
from esp.train.progress import quiet
from esp.train.recipe import TrainedModel, run_recipe, train
from esp.train.recipe_file import read_recipe


@dataclass(frozen=True, slots=True)
class Model:
    """A trained model on disk, what was held out, and how good it is on that."""

    path: Path
    digest: str
    accuracy: float
    held_out: Dataset

    @property
    def short_digest(self) -> str:
        return self.digest[:12]


def train_model(query: QueryFolder) -> Model:
    """The model that the query names, with a progress bar (lines, where there is no terminal)."""
    with _one_thread():
        return _written(run_recipe(query.recipe), query.astore)


def train_second(query: QueryFolder) -> Model:
    """The same recipe on the same split from another seed, for the place where a query finds no model by itself."""
    recipe = read_recipe(query.recipe)
    split = split_fraction(recipe.data.load(query.path), recipe.data.hold_out, recipe.seed)
    other = recipe.model_copy(update={"seed": recipe.seed + 1})
    with _one_thread():
        return _written(train(other, split, recipe.name, quiet), query.path / "second" / query.astore.name)


def _one_thread() -> AbstractContextManager[Any]:
    """One thread of linear algebra: such small products gain nothing from a second one, and it would fight with the compiler."""
    from threadpoolctl import threadpool_limits  # comes with scikit-learn

    limits: AbstractContextManager[Any] = threadpool_limits(1)
    return limits


def _written(trained: TrainedModel, path: Path) -> Model:
    path.parent.mkdir(exist_ok=True)
    astore = write(trained.astore, path)
    accuracy = trained.metrics.accuracy if trained.metrics is not None else None
    return Model(path, astore.digest, float("nan") if accuracy is None else accuracy, trained.held_out)
