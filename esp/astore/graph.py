"""The graph: nodes in ONNX words over named tensors, frozen, with its weights and its layer table."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Attr = int | float | str | tuple[int, ...] | tuple[float, ...] | tuple[str, ...]
Shape = tuple[int | None, ...]  # None = the symbolic batch axis, always first at inputs and outputs
Array = npt.NDArray[np.generic]


@dataclass(frozen=True, slots=True)
class Node:
    """One ONNX operator: ``inputs`` and ``outputs`` name tensors ("" = an optional one left out), ``attrs`` as in ONNX."""

    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attrs: Mapping[str, Attr] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Value:
    """A named input or output of a graph; ``shape[0]`` is None, the batch."""

    name: str
    dtype: str
    shape: Shape


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer as its builder knew it: its name, its kind (Keras/DLPy word) and the indices of its nodes."""

    name: str
    kind: str
    nodes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Graph:
    """Nodes in an order in which they can run, opset 21 meaning; weights by tensor name.

    ``validate`` in this module checks one and names what is wrong; every astore that is written or read has passed it.
    """

    nodes: tuple[Node, ...]
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    weights: Mapping[str, Array]
    layers: tuple[Layer, ...] = ()
