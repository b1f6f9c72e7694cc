"""How good a model is: loss, accuracy, confusion, mean squared error over rows."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from esp.astore.graph import Graph
from esp.train.gradients.row import Array
from esp.train.losses import Loss, LossName
from esp.train.tape import Tape

BATCH = 256


@dataclass(frozen=True, slots=True)
class Metrics:
    """``confusion[i][j]`` counts rows of class i that were taken for j; ``mse`` is for regression."""

    rows: int
    loss: float
    accuracy: float | None = None
    confusion: tuple[tuple[int, ...], ...] = ()
    mse: float | None = None

    def __str__(self) -> str:
        second = f"accuracy {self.accuracy:.4f}" if self.accuracy is not None else f"mse {self.mse:.4g}"
        return f"loss {self.loss:.4f} {second}"

    def as_dict(self) -> dict[str, Any]:
        """What a training card holds."""
        found: dict[str, Any] = {"rows": self.rows, "loss": self.loss}
        if self.accuracy is not None:
            return {**found, "accuracy": self.accuracy, "confusion": [list(row) for row in self.confusion]}
        return {**found, "mse": self.mse}


def predict(graph: Graph, x: Array, transform: Callable[[Array, None], Array]) -> Array:
    """The output for every row, in batches."""
    return _run(graph, graph.outputs[0].name, x, transform)


def _run(graph: Graph, tensor: str, x: Array, transform: Callable[[Array, None], Array]) -> Array:
    tape, rng = Tape.of(graph), np.random.default_rng(0)
    parts = [
        tape.run({graph.inputs[0].name: transform(x[start : start + BATCH], None)}, rng)[tensor]
        for start in range(0, len(x), BATCH)
    ]
    return np.concatenate(parts)


def evaluate(graph: Graph, x: Array, y: Array, loss: LossName, transform: Callable[[Array, None], Array]) -> Metrics:
    """Scores every row and compares with what it should be."""
    chosen = Loss.of(graph, loss)
    values = _run(graph, chosen.tensor, x, transform)
    value, _ = chosen.compute(values, y, 0.0)
    if loss == "squared_error":
        return Metrics(len(y), value, mse=value)
    found, classes = values.argmax(axis=1), values.shape[1]
    confusion = np.zeros((classes, classes), np.int64)
    np.add.at(confusion, (y, found), 1)
    table = tuple(tuple(int(count) for count in row) for row in confusion)
    return Metrics(len(y), value, float((found == y).mean()), table)
