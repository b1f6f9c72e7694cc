"""Runs a graph forward for training or evaluation, and back: reverse-mode differentiation over the gradient table."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from esp.astore.graph import Graph, Node, complete_attrs
from esp.astore.ops import OPS
from esp.errors import GraphError
from esp.train.gradients.row import Array, Call
from esp.train.gradients.table import GRADIENTS


def trainable_weights(graph: Graph) -> tuple[str, ...]:
    """The names of the weights that training may change, in the order in which they are first used."""
    names: dict[str, None] = {}
    for node in graph.nodes:
        allowed = OPS[node.op].trainable
        for i, name in enumerate(node.inputs):
            value = graph.weights.get(name)
            if value is not None and value.dtype.kind == "f" and (allowed is None or i in allowed):
                names[name] = None
    return tuple(names)


@dataclass(slots=True)
class Tape:
    """One graph with weights that change. ``run`` records what ``back`` goes through in reverse."""

    graph: Graph
    weights: dict[str, Array]
    trainable: tuple[str, ...]
    attrs: tuple[Mapping[str, object], ...]
    live: frozenset[str]
    values: dict[str, Array] = field(default_factory=dict)
    calls: list[tuple[Node, Call]] = field(default_factory=list)

    @classmethod
    def of(cls, graph: Graph) -> "Tape":
        for node in graph.nodes:
            if node.op not in GRADIENTS:
                raise GraphError(f"cannot train through op {node.op}", mend=f"use ops out of {', '.join(sorted(GRADIENTS))}")
        trainable = trainable_weights(graph)
        weights: dict[str, Array] = {name: np.array(value) for name, value in graph.weights.items()}
        return cls(graph, weights, trainable, tuple(complete_attrs(node) for node in graph.nodes), _live(graph, trainable))

    def run(self, inputs: Mapping[str, Array], rng: np.random.Generator, training: bool = False) -> dict[str, Array]:
        """Every tensor of the graph for these inputs; in training the running averages move on."""
        self.values, self.calls = {**self.weights, **inputs}, []
        for node, attrs in zip(self.graph.nodes, self.attrs):
            given = [self.values[name] if name else None for name in node.inputs]
            wanted = [name in self.live for name in node.inputs]
            call = Call(attrs, given, len(node.outputs), rng, training, wanted)
            row = GRADIENTS[node.op]
            made = row.forward(call)
            self.values.update((name, value) for name, value in zip(node.outputs, made) if name)
            if training:
                self.calls.append((node, call))
                self.weights.update({node.inputs[i]: made[at] for i, at in row.running.items()})
        return self.values

    def back(self, seeds: Mapping[str, Array]) -> dict[str, Array]:
        """The gradients of the trainable weights, given those of some tensors."""
        grads = dict(seeds)
        for node, call in reversed(self.calls):
            outer = [grads.pop(name, None) if name else None for name in node.outputs]
            if all(grad is None for grad in outer) or not any(call.wanted):
                continue
            for name, grad in zip(node.inputs, GRADIENTS[node.op].backward(call, outer)):
                if grad is not None and name in self.live:
                    grads[name] = grads[name] + grad if name in grads else grad
        self.calls = []
        return {name: grads[name] if name in grads else np.zeros_like(self.weights[name]) for name in self.trainable}


def _live(graph: Graph, trainable: tuple[str, ...]) -> frozenset[str]:
    """Tensors that depend on what is trained: only their gradients are computed."""
    live = set(trainable)
    for node in graph.nodes:
        if live.intersection(node.inputs):
            live.update(name for name in node.outputs if name)
    return frozenset(live)
