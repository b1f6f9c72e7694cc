"""Random graphs over series: layers along time with every kind of padding, stride, dilation and branch, and some that see it whole."""

from typing import Any

import numpy as np

from esp.astore.graph import Graph
from tests.runtime.backends.nets import Maker


def random_series(seed: int) -> tuple[Graph, int]:
    """A graph over windows, and how many events they have."""
    rng = np.random.default_rng(seed)
    length, channels = int(rng.integers(12, 50)), int(rng.integers(1, 5))
    if rng.integers(0, 2):
        m = Maker(seed, (length, channels))
        x = m.add("Transpose", "x0", perm=(0, 2, 1))
    else:
        channels += channels == length
        m = Maker(seed, (channels, length))
        x = "x0"
    for _ in range(int(rng.integers(2, 7))):
        x = _layer(m, rng, x)
    side = _layer(m, rng, x)
    return m.graph(_end(m, rng, x), *([_end(m, rng, side)] if rng.integers(0, 4) == 0 else [])), length


def _layer(m: Maker, rng: Any, x: str) -> str:
    _, channels, length = (size or 0 for size in m.shape(x))
    kind = int(rng.integers(0, 14))
    if kind < 5:
        return _conv(m, rng, x, int(rng.integers(1, 40)), 1)
    if kind == 5:
        return _conv(m, rng, x, channels, channels)
    if kind in (6, 7) and length > 3:
        size = int(rng.integers(2, 4))
        pads = (int(rng.integers(0, size)), int(rng.integers(0, size)))
        op = str(rng.choice(["MaxPool", "AveragePool"]))
        more = {"count_include_pad": int(rng.integers(0, 2))} if op == "AveragePool" else {}
        ceil = int(rng.integers(0, 2))
        return m.add(op, x, kernel_shape=(size,), strides=(int(rng.integers(1, 4)),), pads=pads, ceil_mode=ceil, **more)
    if kind == 8:
        return _residual(m, rng, x)
    if kind == 9:
        return m.add(str(rng.choice(["Tanh", "Relu", "Sigmoid", "Gelu"])), x)
    if kind == 10:
        numbers = [m.const(np.abs(m.rng.standard_normal(channels)).astype("f") + 0.5) for _ in range(4)]
        return m.add("BatchNormalization", x, *numbers)
    if kind == 11:
        return _moved(m, rng, x)
    if kind == 12:
        return _turned(m, rng, x)
    return _gated(m, rng, x)


def _conv(m: Maker, rng: Any, x: str, out: int, group: int) -> str:
    _, channels, length = (size or 0 for size in m.shape(x))
    size, dilation = int(rng.integers(1, 5)), int(rng.integers(1, 4))
    reach = (size - 1) * dilation
    pads = [(0, 0), (reach, 0), (reach // 2, reach - reach // 2), (int(rng.integers(0, 6)), int(rng.integers(0, 6)))][
        int(rng.integers(0, 4))
    ]
    if sum(pads) + length <= reach:
        pads = (reach, 0)
    stride = int(rng.choice([1, 1, 1, 2, 3]))
    weight = m.weight(out, channels // group, size, fan=channels // group * size)
    bias = [m.weight(out)] if rng.integers(0, 2) else []
    y = m.add("Conv", x, weight, *bias, pads=pads, dilations=(dilation,), strides=(stride,), group=group)
    return m.add("Relu", y) if rng.integers(0, 2) else y


def _residual(m: Maker, rng: Any, x: str) -> str:
    _, channels, _ = (size or 0 for size in m.shape(x))
    dilation = int(rng.integers(1, 5))
    y = m.add("Conv", x, m.weight(channels, channels, 3, fan=3 * channels), pads=(2 * dilation, 0), dilations=(dilation,))
    return m.add("Relu", m.add(str(rng.choice(["Add", "Max", "Mul"])), *([x, y] if rng.integers(0, 2) else [y, x])))


def _moved(m: Maker, rng: Any, x: str) -> str:
    """A cut or a pad along time."""
    _, _, length = (size or 0 for size in m.shape(x))
    before, after = int(rng.integers(0, 4)), int(rng.integers(0, 4))
    if rng.integers(0, 2) or length < 10:
        return m.add("Pad", x, m.const(np.array([0, 0, before, 0, 0, after])), m.const(np.float32(rng.choice([0, 0.5]))))
    bounds = (m.const(np.array([number])) for number in (before, length - after, 2, int(rng.integers(1, 3))))
    return m.add("Slice", x, *bounds)


def _turned(m: Maker, rng: Any, x: str) -> str:
    """Work on [time, channels], or on a picture of one row."""
    _, channels, length = (size or 0 for size in m.shape(x))
    if rng.integers(0, 2):
        y = m.add("Transpose", x, perm=(0, 2, 1))
        y = m.add("Add", m.add("MatMul", y, m.weight(channels, 9, fan=channels)), m.weight(9))
        if rng.integers(0, 2):
            y = m.add("LayerNormalization", y, m.weight(9), m.weight(9), axis=-1)
        return m.add("Transpose", m.add("Softmax", y, axis=-1) if rng.integers(0, 2) else y, perm=(0, 2, 1))
    y = m.add("Reshape", x, m.const(np.array([0, channels, 1, length])))
    y = m.add("Conv", y, m.weight(7, channels, 1, 3, fan=3 * channels), pads=(0, 1, 0, 1))
    return m.add("Squeeze", y, m.const(np.array([2])))


def _gated(m: Maker, rng: Any, x: str) -> str:
    """Two halves of the channels, or all that was so far beside what comes."""
    _, channels, _ = (size or 0 for size in m.shape(x))
    if rng.integers(0, 2) or channels < 2:
        return m.add("Concat", x, m.add("Tanh", x), axis=1)
    m.add("Split", x, m.const(np.array([channels // 2, channels // 2 + channels % 2])), outputs=2, axis=1)
    left, right = m.nodes[-1].outputs
    return m.add("Concat", m.add("Sigmoid", left), right, axis=1)


def _end(m: Maker, rng: Any, x: str) -> str:
    """What sees all of time."""
    _, channels, length = (size or 0 for size in m.shape(x))
    kind = int(rng.integers(0, 5))
    if kind == 0:
        return m.add("ReduceMax", x, m.const(np.array([2])), keepdims=0)
    if kind == 1:
        last = m.add("Slice", x, *(m.const(np.array([number])) for number in (length - 1, length, 2)))
        return m.add("Flatten", last)
    if kind == 2:
        gate = m.add("Sigmoid", m.add("GlobalAveragePool", x))
        x = m.add("Mul", x, gate)
    if kind == 3:
        return x
    flat = m.add("Flatten", x)
    return m.add("Gemm", flat, m.weight(channels * length, 5, fan=channels * length), m.weight(5))
