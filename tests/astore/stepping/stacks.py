"""Random recurrent networks of a series, of any length with the same weights, in the layouts that importers and layers make."""

from collections.abc import Callable

import numpy as np

from esp.astore.graph import Array, Graph
from tests.runtime.backends.nets import Maker

CHANNELS = 3
GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}


def recurrent(m: Maker, op: str, x: str, inputs: int, units: int, every: bool, initial: float = 0.0) -> str:
    """One node over x [steps, N, inputs]: h of every step [steps, N, units], or of the last [N, units]."""
    gates = GATES[op]
    weights = [
        m.weight(1, gates * units, inputs, fan=inputs),
        m.weight(1, gates * units, units, fan=units),
        m.weight(1, 2 * gates * units),
    ]
    attrs = {"hidden_size": units} | ({"linear_before_reset": int(m.rng.integers(2))} if op == "GRU" else {})
    starts: list[str] = []
    if initial:  # as PyTorch exports a first state: expanded to the batch
        size = m.add("Gather", m.add("Shape", x), m.const(np.array([1])))
        shape = m.add("Concat", m.const(np.array([1])), size, m.const(np.array([units])), axis=0)
        starts = ["", *(m.add("Expand", m.weight(1, 1, units), shape) for _ in range(2 if op == "LSTM" else 1))]
    m.add(op, x, *weights, *starts, outputs=3 if op == "LSTM" else 2, **attrs)
    y, last = m.nodes[-1].outputs[:2]
    return m.add("Squeeze", y, m.const(np.array([1]))) if every else m.add("Squeeze", last, m.const(np.array([0])))


def last_of(m: Maker, y: str, steps: int, how: int) -> str:
    """The last step of y [steps, N, units], as different exporters take it."""
    if how == 0:
        return m.add("Gather", y, m.const(np.array(-1)), axis=0)
    if how == 1:
        cut = m.add("Slice", y, m.const(np.array([steps - 1])), m.const(np.array([steps])), m.const(np.array([0])))
        return m.add("Squeeze", cut, m.const(np.array([0])))
    rows = m.add("Transpose", y, perm=(1, 0, 2))
    cut = m.add("Slice", rows, m.const(np.array([-1])), m.const(np.array([2**31])), m.const(np.array([1])))
    return m.add("Flatten", cut, axis=1)


def between(m: Maker, y: str, units: int, steps: int, how: int) -> str:
    """Something done to every step of y [steps, N, units], in the layouts in which it comes."""
    if how == 0:
        return m.add("Relu", y)
    if how == 1:  # dense over the rows of all steps, as Keras' TimeDistributed
        rows = m.add("Reshape", m.add("Transpose", y, perm=(1, 0, 2)), m.const(np.array([-1, units])))
        dense = m.add("Gemm", rows, m.weight(units, units, fan=units), m.weight(units))
        return m.add("Transpose", m.add("Reshape", dense, m.const(np.array([-1, steps, units]))), perm=(1, 0, 2))
    if how == 2:  # a product, a norm and a sum along the way
        dense = m.add("Add", m.add("MatMul", y, m.weight(units, units, fan=units)), m.weight(1, 1, units))
        return m.add("Add", y, m.add("LayerNormalization", dense, m.weight(units), m.weight(units), axis=-1))
    channels = m.add("Transpose", y, perm=(1, 2, 0))  # a convolution of one step, channels first
    conv = m.add("Tanh", m.add("Conv", channels, m.weight(units, units, 1, fan=units), m.weight(units)))
    return m.add("Transpose", conv, perm=(2, 0, 1))


def random_stack(seed: int) -> Callable[[int], Graph]:
    """Length -> the network of series of that length: [length, channels] or [channels, length] a row."""

    def made(length: int) -> Graph:
        rng = np.random.default_rng(seed)
        is_channels_first, depth = bool(rng.integers(2)), int(rng.integers(1, 4))
        m = Maker(seed, (CHANNELS, length) if is_channels_first else (length, CHANNELS))
        x = m.add("Transpose", "x0", perm=(2, 0, 1) if is_channels_first else (1, 0, 2))
        width = CHANNELS
        for layer in range(depth):
            op, units = str(rng.choice(["RNN", "GRU", "LSTM"])), int(rng.integers(1, 12))
            is_last, initial = layer == depth - 1, float(rng.random() < 0.3)
            every, how, to_last = not is_last or bool(rng.integers(2)), int(rng.integers(4)), int(rng.integers(3))
            x = recurrent(m, op, x, width, units, every, initial)
            if every:
                x = between(m, x, units, length, how)
            if is_last and every:
                x = last_of(m, x, length, to_last)
            width = units
        return m.graph(m.add("Softmax", m.add("Gemm", x, m.weight(width, 4, fan=width), m.weight(4)), axis=-1))

    return made


def fed(made: Callable[[int], Graph], series: Array) -> Array:
    """Series [n, events, channels] as a network of ``random_stack`` takes them."""
    is_channels_first = made(CHANNELS + 1).inputs[0].shape[1] == CHANNELS
    return np.ascontiguousarray(np.swapaxes(series, 1, 2) if is_channels_first else series)
