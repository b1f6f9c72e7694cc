"""Small models of series for the score kind: one that keeps a state, and one that looks at windows."""

from dataclasses import replace
from typing import Literal

import numpy as np

from esp.astore.graph import Graph
from esp.astore.model import Astore, Input, Output, Step
from tests.astore.stepping.stacks import recurrent
from tests.runtime.backends.nets import Maker

CHANNELS = 3
Missing = Literal["refuse", "impute"]
STEPS = (Step("normalise", {"mean": [0.5, 0.2, 0.0], "std": [0.5, 1.5, 2.0]}),)


def recurrent_model(length: int = 8, seed: int = 1, digest: str = "a1", units: int = 5, every: bool = False) -> Astore:
    """A GRU over [length, channels], normalised: probabilities of two classes at the last event, or (``every``) at each."""
    m = Maker(seed, (length, CHANNELS))
    y = recurrent(m, "GRU", m.add("Transpose", "x0", perm=(1, 0, 2)), CHANNELS, units, every, initial=1.0)
    p = m.add("Softmax", m.add("Add", m.add("MatMul", y, m.weight(units, 2)), m.weight(2)), axis=-1)
    if every:
        p = m.add("Transpose", p, perm=(1, 0, 2))
    return _astore(m.graph(p), length, digest, (length, 2) if every else (2,))


def convolutional_model(length: int = 6, seed: int = 2, digest: str = "c3", missing: Missing = "refuse") -> Astore:
    """Two convolutions over [length, channels], normalised and turned to channels first."""
    m = Maker(seed, (CHANNELS, length))
    y = m.add("Relu", m.add("Conv", "x0", m.weight(4, CHANNELS, 3, fan=6), m.weight(4), pads=(1, 1)))
    y = m.add("Relu", m.add("Conv", y, m.weight(4, 4, 2, fan=6), m.weight(4)))
    flat = m.add("Flatten", y, axis=1)
    p = m.add("Softmax", m.add("Gemm", flat, m.weight(4 * (length - 1), 2, fan=8), m.weight(2)), axis=-1)
    astore = _astore(m.graph(p), length, digest, (2,), Step("channels_first"))
    return replace(astore, inputs=(replace(astore.inputs[0], missing=missing),))


def _astore(graph: Graph, length: int, digest: str, shape: tuple[int, ...], *layout: Step) -> Astore:
    output = Output("p", "float32", shape, "probabilities", ("still", "moving"))
    item = Input("series", "float32", (length, CHANNELS), (*STEPS, *layout))
    return Astore("series", graph, (item,), (output,), digest=digest * 32)


def readings(seed: int, n: int, nulls: float = 0.0) -> list[list[object]]:
    """Rows of (device, acc, p): keys in bursts, some readings null."""
    rng = np.random.default_rng(seed)
    devices = np.repeat(rng.choice(list("abc"), n), rng.integers(1, 3, n))[:n]
    rows: list[list[object]] = []
    for device in devices:
        acc = None if rng.random() < nulls else rng.standard_normal(2).astype(np.float32).tolist()
        rows.append([str(device), acc, None if rng.random() < nulls else float(np.float32(rng.standard_normal()))])
    return rows
