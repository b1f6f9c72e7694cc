"""Losses with their gradients: cross-entropy, fused with the softmax before it, and squared error."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from esp.astore.graph import Graph
from esp.errors import GraphError
from esp.train.gradients.row import Array

LossName = Literal["cross_entropy", "squared_error"]


def log_softmax(logits: Array) -> Array:
    """log(softmax(logits)) along the last axis, without overflow."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)))


def cross_entropy(logits: Array, labels: Array, smoothing: float = 0.0) -> tuple[float, Array]:
    """The mean of -log p(label) over rows, and its gradient by the logits (softmax(logits) - target) / rows.

    ``labels`` are class indices; ``smoothing`` gives that share of a row's target to all classes alike.
    """
    logs, rows, classes = log_softmax(logits), len(logits), logits.shape[-1]
    target = np.full_like(logits, smoothing / classes)
    target[np.arange(rows), labels] += 1 - smoothing
    return float(-(target * logs).sum() / rows), (np.exp(logs) - target) / logits.dtype.type(rows)


def squared_error(predicted: Array, target: Array, smoothing: float = 0.0) -> tuple[float, Array]:
    """The mean over rows and outputs of (predicted - target)^2, and its gradient."""
    error = predicted - target.reshape(predicted.shape).astype(predicted.dtype)
    return float((error * error).mean()), error * predicted.dtype.type(2 / error.size)


@dataclass(frozen=True, slots=True)
class Loss:
    """A loss on a graph: ``tensor`` is what it looks at, ``compute(values, targets, smoothing)`` gives loss and gradient."""

    name: LossName
    tensor: str
    compute: Callable[[Array, Any, float], tuple[float, Array]]

    @classmethod
    def of(cls, graph: Graph, name: LossName) -> "Loss":
        """Cross-entropy looks at the logits that the graph's last softmax takes; squared error at the output."""
        output = graph.outputs[0].name
        if name == "squared_error":
            return cls(name, output, squared_error)
        maker = next((node for node in graph.nodes if output in node.outputs), None)
        if maker is None or maker.op != "Softmax" or len(graph.outputs[0].shape) != 2:
            raise GraphError("cross_entropy wants a network that ends in a softmax over classes", mend="end it with an OutputLayer")
        return cls(name, maker.inputs[0], cross_entropy)
