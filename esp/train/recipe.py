"""Runs a recipe: data in, a trained astore with its card out; once with rows held out, or in folds."""

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from esp.astore.graph import Graph
from esp.astore.model import Astore, Input, Output, Step, check
from esp.astore.preprocess import prepare, prepared_shape
from esp.astore.validation import flops
from esp.errors import FileError, GraphError
from esp.train.augment import Augment
from esp.train.blas import limit_threads
from esp.train.data import Array, Dataset, Split, folds, group_names, split_fraction, split_groups, statistics
from esp.train.evaluate import Metrics, evaluate
from esp.train.fit import Epoch, Fitted, Rows, Transform, fit
from esp.train.layers import InputLayer, build_graph
from esp.train.progress import ProgressMaker, default_progress
from esp.train.recipe_file import Recipe, layers_of, read_recipe
from esp.train.settings import StopSettings
from esp.train.tape import trainable_weights


@dataclass(frozen=True, slots=True)
class TrainedModel:
    """What a recipe gives: the astore, how training went, and how good it is on what was held out (None = nothing was).

    ``held_out`` are the rows held out as the source gives them: recordings are whole, not cut into windows.
    """

    astore: Astore
    history: tuple[Epoch, ...]
    metrics: Metrics | None
    held_out: Dataset


@dataclass(frozen=True, slots=True)
class FoldResult:
    """One fold: the groups that were held out, and how good a model trained on the others is on them."""

    held_out: tuple[str, ...]
    metrics: Metrics


def held_out(path: Path) -> Dataset:
    """The rows that a recipe's model never sees, as the source gives them (recordings whole)."""
    return _split(read_recipe(path), path).held_out


def run_recipe(path: Path, progress: ProgressMaker | None = None) -> TrainedModel:
    """Trains what a recipe says. FileError and GraphError say what is wrong with it, in one line.

    ``progress(title, epochs)`` is a context that gives what is called after each epoch; None = a bar on a terminal, lines elsewhere.
    """
    recipe = read_recipe(path)
    return train(recipe, _split(recipe, path), recipe.name, progress or default_progress())


def run_folds(path: Path, count: int = 5, progress: ProgressMaker | None = None) -> tuple[FoldResult, ...]:
    """Trains anew for each fold of the data's groups (say, subjects), and judges by the groups held out."""
    recipe, show = read_recipe(path), progress or default_progress()
    results = []
    for i, split in enumerate(folds(recipe.data.load(path.parent), count)):
        trained = train(recipe, split, f"{recipe.name}, fold {i + 1} of {count}", show)
        if trained.metrics is not None:
            results.append(FoldResult(tuple(group_names(split.held_out)), trained.metrics))
    return tuple(results)


def mean_accuracy(results: tuple[FoldResult, ...]) -> float:
    """The mean over folds."""
    return float(np.mean([result.metrics.accuracy for result in results]))


def train(recipe: Recipe, split: Split, title: str, progress: ProgressMaker) -> TrainedModel:
    """Trains on one part of a split and judges by the other."""
    held = _windowed(recipe, split.held_out, is_training=False) if len(split.held_out) else None
    rows, watched = _watched(recipe, split.train)
    data = _windowed(recipe, rows, is_training=True)
    source = _input(recipe, data)
    data = _fit_to_train(source, data)
    graph = _graph(recipe, source, data)
    transform = _transform(recipe, source, data)
    stop: tuple[StopSettings, Rows] | None = None
    if recipe.stop is not None and watched is not None:
        seen = _windowed(recipe, watched, is_training=False)
        stop = recipe.stop, Rows(seen.array, seen.targets)
    with limit_threads(recipe.fit.threads), progress(title, recipe.fit.epochs) as on_epoch:
        target = Rows(data.array, data.targets)
        fitted = fit(graph, target, recipe.fit, recipe.optimizer, stop, transform, recipe.seed + 1, on_epoch)
        metrics = None if held is None else evaluate(fitted.graph, held.array, held.targets, recipe.fit.loss, transform)
    astore = _astore(recipe, source, fitted, data, metrics)
    return TrainedModel(astore, fitted.history, metrics, split.held_out)


def _split(recipe: Recipe, path: Path) -> Split:
    data = recipe.data.load(path.parent)
    if recipe.data.leave_out:
        return split_groups(data, recipe.data.leave_out)
    return split_fraction(data, recipe.data.hold_out, recipe.seed)


def _watched(recipe: Recipe, data: Dataset) -> tuple[Dataset, Dataset | None]:
    """What is trained on, and what early stopping watches."""
    if recipe.stop is None:
        return data, None
    split = split_fraction(data, recipe.stop.validation, recipe.seed + 2)
    if not len(split.held_out) or not len(split.train):
        raise FileError("no rows to watch, or none to train on", where="stop.validation", mend="give another share, or more data")
    return split.train, split.held_out


def _windowed(recipe: Recipe, data: Dataset, is_training: bool) -> Dataset:
    windows = recipe.data.windows
    if windows is None:
        return data
    return data.windows(windows.length, (windows.train_hop or windows.hop) if is_training else windows.hop)


def _input(recipe: Recipe, data: Dataset) -> Input:
    """The input variable: type and shape of the data, what its steps learn from it, and its reference statistics."""
    rows, settings = data.array, recipe.input
    dtype = str(rows.dtype)
    source = Input(settings.name, dtype, rows.shape[1:], (), settings.missing, settings.impute, statistics(rows))
    for table in settings.steps:
        params = {key: value for key, value in table.items() if key != "op"}
        if table.get("op") == "normalise" and not params:
            params = _learn_scale(source, rows)
        source = replace(source, steps=(*source.steps, Step(table.get("op", ""), params)))
    prepared_shape(source)
    return source


def _learn_scale(source: Input, rows: Array) -> dict[str, list[float]]:
    """Mean and standard deviation of each channel (or feature: the last axis) of rows that the input takes; a constant one is divided by 1."""
    prepared = prepare(source, rows)
    rows = prepared.array if prepared.refused is None else prepared.array[~prepared.refused]
    values = np.asarray(rows, np.float64).reshape(-1, rows.shape[-1] if rows.ndim > 1 else 1)
    mean, std = np.nanmean(values, axis=0), np.nanstd(values, axis=0)
    return {"mean": [float(value) for value in mean], "std": [float(value) or 1.0 for value in std]}


def _fit_to_train(source: Input, data: Dataset) -> Dataset:
    """Without the rows that the input refuses (a missing value): the model would never be asked for them."""
    refused = prepare(source, data.array).refused
    return data if refused is None else data.take(np.flatnonzero(~refused))


def _graph(recipe: Recipe, source: Input, data: Dataset) -> Graph:
    first = InputLayer(prepared_shape(source), channels_first=False, name=source.name)
    graph = build_graph([first, *layers_of(recipe)], recipe.seed, output=recipe.output.name)
    made = math.prod(size for size in graph.outputs[0].shape if isinstance(size, int))
    if data.classes and recipe.fit.loss == "cross_entropy" and made != len(data.classes):
        raise GraphError(
            f"{made} outputs for {len(data.classes)} classes",
            where="layers",
            mend=f"give the last layer units = {len(data.classes)}",
        )
    return graph


def _transform(recipe: Recipe, source: Input, data: Dataset) -> Transform:
    """Rows as events give them to what the graph takes, changed at random on the way while training."""
    augment = Augment(recipe.augment, np.asarray(source.statistics["std"]))

    def transform(rows: Array, rng: np.random.Generator | None) -> Array:
        return prepare(source, augment(rows, rng) if rng is not None else rows).array

    return transform


def _astore(recipe: Recipe, source: Input, fitted: Fitted, data: Dataset, metrics: Metrics | None) -> Astore:
    graph = fitted.graph
    value = graph.outputs[0]
    shape = tuple(size for size in value.shape if isinstance(size, int))
    is_classifier = bool(data.classes) and recipe.fit.loss == "cross_entropy"
    output = Output(
        value.name, value.dtype, shape, "probabilities" if is_classifier else "tensor", data.classes if is_classifier else ()
    )
    card = {
        "data": {"source": recipe.data.source, "sha256": data.digest, "rows": len(data)},
        "settings": recipe.model_dump(mode="json", exclude_none=True),
        "training": {"epochs": len(fitted.history), "best_epoch": fitted.best, "loss": fitted.history[fitted.best - 1].loss},
        "metrics": {} if metrics is None else {"held_out": metrics.as_dict()},
        "parameters": parameters(graph),
        "flops": flops(graph),
    }
    astore = Astore(recipe.name, graph, (source,), (output,), card)
    check(astore)
    return astore


def parameters(graph: Graph) -> int:
    """How many numbers training may change."""
    return sum(int(np.asarray(graph.weights[name]).size) for name in trainable_weights(graph))
