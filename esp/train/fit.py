"""The training loop: batches, gradients, steps, early stopping with the best weights restored, and the history."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from esp.astore.graph import Graph
from esp.errors import GraphError
from esp.train.evaluate import Metrics, evaluate
from esp.train.gradients.row import Array
from esp.train.losses import Loss
from esp.train.optimizers import rate_at
from esp.train.settings import AdamSettings, FitSettings, SgdSettings, StopSettings
from esp.train.tape import Tape

Transform = Callable[[Array, np.random.Generator | None], Array]  # rows -> what the graph takes; no generator = as in scoring


@dataclass(frozen=True, slots=True)
class Epoch:
    """One line of the history: mean training loss, and the metrics of the validation rows where there are any."""

    number: int
    epochs: int
    loss: float
    rate: float
    validation: Metrics | None
    seconds: float

    def __str__(self) -> str:
        watched = "" if self.validation is None else f"  validation {self.validation}"
        return f"epoch {self.number}/{self.epochs}  loss {self.loss:.4f}{watched}  {self.seconds:.1f} s"


@dataclass(frozen=True, slots=True)
class Fitted:
    """The graph with its trained weights, and how it got there."""

    graph: Graph
    history: tuple[Epoch, ...]
    best: int  # the epoch whose weights these are


@dataclass(frozen=True, slots=True)
class Rows:
    """What is trained on or judged by: rows and targets of equal length."""

    x: Array
    y: Array


def _as_float32(rows: Array, rng: np.random.Generator | None) -> Array:
    return rows.astype(np.float32, copy=False)


def fit(
    graph: Graph,
    train: Rows,
    settings: FitSettings,
    optimizer: AdamSettings | SgdSettings,
    stop: tuple[StopSettings, Rows] | None = None,
    transform: Transform = _as_float32,
    seed: int = 0,
    on_epoch: Callable[[Epoch], None] = lambda epoch: None,
) -> Fitted:
    """Trains a graph of one input and one output; the same seed gives the same weights.

    With ``stop`` the best epoch's weights (by its rows) are restored and training ends when patience does. Raises GraphError
    where the graph cannot be trained, or the loss is no longer a number.
    """
    if len(graph.inputs) != 1 or len(graph.outputs) != 1:
        raise GraphError(
            f"{len(graph.inputs)} inputs and {len(graph.outputs)} outputs", mend="train a graph of one input and one output"
        )
    tape, loss, rng, maker = Tape.of(graph), Loss.of(graph, settings.loss), np.random.default_rng(seed), optimizer.make()
    history: list[Epoch] = []
    best, best_weights = 0, tape.weights
    for number in range(1, settings.epochs + 1):
        started, total = time.perf_counter(), 0.0
        for progress, picked in _batches(len(train.y), settings, number, rng):
            rate = _rate(optimizer, progress)
            values = tape.run({graph.inputs[0].name: transform(train.x[picked], rng)}, rng, training=True)
            value, grad = loss.compute(values[loss.tensor], train.y[picked], settings.label_smoothing)
            total += value * len(picked)
            grads = tape.back({loss.tensor: grad})
            maker.step(tape.weights, _with_l2(tape, grads, optimizer.l2), rate)
        watched = None if stop is None else evaluate(_trained(tape), stop[1].x, stop[1].y, settings.loss, transform)
        epoch = Epoch(number, settings.epochs, total / len(train.y), rate, watched, time.perf_counter() - started)
        _refuse_divergence(epoch)
        history.append(epoch)
        on_epoch(epoch)
        if stop is None or best == 0 or _is_better(epoch, history[best - 1], stop[0]):
            best, best_weights = number, {name: value.copy() for name, value in tape.weights.items()}
        elif number - best >= stop[0].patience:
            break
    return Fitted(replace(graph, weights=best_weights), tuple(history), best)


def _batches(rows: int, settings: FitSettings, number: int, rng: np.random.Generator) -> Iterator[tuple[float, Array]]:
    """Shuffled batches, each with the share of the whole training that lies behind it; a last batch of one row joins its neighbour."""
    order, size = rng.permutation(rows), settings.batch_size
    starts = list(range(0, rows - 1 if rows > size else rows, size))
    for i, start in enumerate(starts):
        end = rows if i + 1 == len(starts) else start + size
        yield (number - 1 + i / len(starts)) / settings.epochs, order[start:end]


def _rate(optimizer: AdamSettings | SgdSettings, progress: float) -> float:
    rate = rate_at(optimizer.rate, optimizer.schedule, progress)
    return rate * min(1.0, (progress + 1e-3) / optimizer.warmup) if optimizer.warmup else rate


def _with_l2(tape: Tape, grads: dict[str, Array], l2: float) -> dict[str, Array]:
    """Weights of one axis are biases and scales: they are let be."""
    if not l2:
        return grads
    return {
        name: grad + tape.weights[name] * grad.dtype.type(l2) if grad.ndim > 1 and not name.endswith(".bias") else grad
        for name, grad in grads.items()
    }


def _trained(tape: Tape) -> Graph:
    return replace(tape.graph, weights=tape.weights)


def _is_better(epoch: Epoch, best: Epoch, stop: StopSettings) -> bool:
    now, before = epoch.validation, best.validation
    if now is None or before is None:
        return True
    if stop.monitor == "accuracy" and now.accuracy is not None and before.accuracy is not None:
        return now.accuracy > before.accuracy
    return now.loss < before.loss


def _refuse_divergence(epoch: Epoch) -> None:
    if not np.isfinite(epoch.loss):
        raise GraphError(f"the loss became {epoch.loss} in epoch {epoch.number}", mend="lower the rate, or scale the input")
