"""Graphs for the backend tests: one a case of an op, small networks, and random ones."""

from collections.abc import Callable
from typing import Any

import numpy as np

from esp.astore.graph import Array, Graph, Node, Shape, Value
from esp.astore.validation import validate


class Maker:
    """Builds a graph node by node; weights are random, seeded."""

    def __init__(self, seed: int, *shapes: Shape) -> None:
        self.rng, self.count = np.random.default_rng(seed), 0
        self.nodes: list[Node] = []
        self.weights: dict[str, Array] = {}
        self.inputs = tuple(Value(f"x{at}", "float32", (None, *shape)) for at, shape in enumerate(shapes))

    def name(self) -> str:
        self.count += 1
        return f"t{self.count}"

    def weight(self, *shape: int, fan: int = 1) -> str:
        return self.const(self.rng.standard_normal(shape).astype(np.float32) / np.float32(np.sqrt(fan)))

    def const(self, array: Any) -> str:
        name = self.name()
        self.weights[name] = np.asarray(array)
        return name

    def add(self, op: str, *inputs: str, outputs: int = 1, **attrs: Any) -> str:
        made = tuple(self.name() for _ in range(outputs))
        self.nodes.append(Node(op, inputs, made, attrs))
        return made[0]

    def shape(self, name: str) -> Shape:
        return self._shapes()[name]

    def graph(self, *outputs: str) -> Graph:
        names, shapes = outputs or self.nodes[-1].outputs[:1], self._shapes()
        values = tuple(Value(name, "float32", shapes[name]) for name in names)
        return Graph(tuple(self.nodes), self.inputs, values, self.weights)

    def _shapes(self) -> dict[str, Shape]:
        """All shapes so far; the inputs stand in for outputs."""
        return validate(Graph(tuple(self.nodes), self.inputs, self.inputs, self.weights))


def events(graph: Graph, n: int, seed: int = 7) -> list[Array]:
    rng = np.random.default_rng(seed)
    return [rng.standard_normal((n, *value.shape[1:])).astype(np.float32) for value in graph.inputs]


def one_node(op: str, *shapes: Any, seed: int = 1, outputs: int = 1, **attrs: Any) -> Graph:
    """One node; shapes that begin with None are inputs, others weights."""
    made = Maker(seed, *[shape[1:] for shape in shapes if shape[:1] == (None,)])
    names, at = [], 0
    for shape in shapes:
        if shape[:1] == (None,):
            names.append(f"x{at}")
            at += 1
        else:
            names.append(made.weight(*shape, fan=shape[-1] if shape else 1))
    made.add(op, *names, outputs=outputs, **attrs)
    return made.graph(*made.nodes[-1].outputs)


def _conv_net() -> Graph:
    m = Maker(11, (1, 8, 8))
    x = m.add("Relu", m.add("Conv", "x0", m.weight(8, 1, 3, 3, fan=9), m.weight(8), pads=(1, 1, 1, 1)))
    x = m.add("MaxPool", x, kernel_shape=(2, 2), strides=(2, 2))
    x = m.add("Conv", x, m.weight(20, 8, 3, 3, fan=72), pads=(1, 1, 1, 1))
    x = m.add(
        "Relu", m.add("BatchNormalization", x, *[m.const(np.abs(m.rng.standard_normal(20)).astype("f") + 0.5) for _ in range(4)])
    )
    x = m.add("Dropout", m.add("Flatten", x))
    x = m.add("Relu", m.add("Gemm", x, m.weight(64, 320, fan=320), m.weight(64), transB=1))
    m.add("Softmax", m.add("Add", m.add("MatMul", x, m.weight(64, 10, fan=64)), m.weight(10)))
    return m.graph()


def _residual_net() -> Graph:
    m = Maker(12, (5, 7, 6))
    x = m.add("LeakyRelu", m.add("Conv", "x0", m.weight(12, 5, 3, 3, fan=45), pads=(1, 1, 1, 1)), alpha=0.2)
    y = m.add("Conv", x, m.weight(12, 1, 3, 3, fan=9), m.weight(12), pads=(1, 1, 1, 1), group=12)
    y = m.add("Conv", y, m.weight(12, 3, 1, 1, fan=3), group=4)
    scale = m.add("Sigmoid", m.add("Conv", m.add("GlobalAveragePool", y), m.weight(12, 12, 1, 1, fan=12)))
    z = m.add("Relu", m.add("Add", m.add("Mul", y, scale), x))
    both = m.add("Concat", z, x, axis=1)
    norm = m.add("BatchNormalization", both, *[m.const(np.abs(m.rng.standard_normal(24)).astype("f") + 0.5) for _ in range(4)])
    pooled = m.add("AveragePool", norm, kernel_shape=(3, 2), strides=(2, 2), pads=(1, 0, 1, 0), ceil_mode=1)
    m.add("Tanh", m.add("Reshape", pooled, m.const(np.array([0, -1]))))
    return m.graph(z, m.nodes[-1].outputs[0])


def _sequence_net() -> Graph:
    m = Maker(13, (11, 3))
    x = m.add("Transpose", "x0", perm=(0, 2, 1))
    x = m.add("Relu", m.add("Conv", x, m.weight(10, 3, 3, fan=9), m.weight(10), pads=(2, 2), dilations=(2,)))
    steps = m.add("Transpose", x, perm=(2, 0, 1))
    m.add(
        "GRU",
        steps,
        m.weight(2, 15, 10, fan=10),
        m.weight(2, 15, 5, fan=5),
        m.weight(2, 30),
        outputs=2,
        direction="bidirectional",
        hidden_size=5,
    )
    y, _ = m.nodes[-1].outputs
    flat = m.add("Reshape", m.add("Transpose", y, perm=(2, 0, 1, 3)), m.const(np.array([0, 11, 10])))
    turned = m.add("Transpose", flat, perm=(1, 0, 2))
    m.add("LSTM", turned, m.weight(1, 28, 10, fan=10), m.weight(1, 28, 7, fan=7), "", outputs=3, hidden_size=7)
    last = m.add("Reshape", m.add("Transpose", m.nodes[-1].outputs[1], perm=(1, 0, 2)), m.const(np.array([-1, 7])))
    m.add("Softmax", m.add("Gemm", last, m.weight(7, 3, fan=7), alpha=0.5))
    return m.graph()


def _attention_net() -> Graph:
    m = Maker(14, (9, 8))
    heads = [m.add("Reshape", m.add("MatMul", "x0", m.weight(8, 8, fan=8)), m.const(np.array([0, 9, 2, 4]))) for _ in range(3)]
    q, k, v = (m.add("Transpose", head, perm=(0, 2, 1, 3)) for head in heads)
    scores = m.add("MatMul", q, m.add("Transpose", k, perm=(0, 1, 3, 2)))
    weights = m.add("Softmax", m.add("Div", scores, m.const(np.float32(2))))
    mixed = m.add("Transpose", m.add("MatMul", weights, v), perm=(0, 2, 1, 3))
    m.add("Add", m.add("Reshape", mixed, m.const(np.array([0, 9, 8]))), "x0")
    return m.graph()


def _decoder_net() -> Graph:
    m = Maker(15, (6, 5, 4))
    x = m.add("Conv", "x0", m.weight(18, 6, 1, 1, fan=6), m.weight(18))
    x = m.add("Clip", x, m.const(np.float32(0)), m.const(np.float32(1.5)))
    x = m.add("Clip", m.add("Conv", x, m.weight(18, 1, 3, 3, fan=9), pads=(1, 1, 1, 1), group=18), m.const(np.float32(-1)))
    x = m.add("PRelu", m.add("InstanceNormalization", x, m.weight(18), m.weight(18)), m.weight(18, 1, 1))
    left = m.add("ConvTranspose", x, m.weight(18, 6, 3, 3, fan=40), m.weight(6), strides=(2, 2), pads=(1, 1, 0, 0))
    m.add("Split", x, m.const(np.array([6, 12])), outputs=2, axis=1)
    near, deep = m.nodes[-1].outputs
    right = m.add("Resize", near, "", m.const(np.array([1, 1, 2, 2], np.float32)), mode="nearest")
    wide = m.add(
        "Pad", m.add("DepthToSpace", deep, blocksize=2), m.const(np.array([0, 1, 0, 0, 0, 2, 0, 0])), m.const(np.float32(0.5))
    )
    x = m.add("Sum", m.add("Elu", left), m.add("Gelu", right), m.add("Softplus", wide))
    x = m.add("LRN", m.add("Max", x, m.weight(6, 1, 1)), size=3)
    rows = m.add("ReduceMean", x, m.const(np.array([3])), keepdims=0)
    m.add("LayerNormalization", rows, m.weight(10, fan=50), m.weight(10))
    return m.graph(m.nodes[-1].outputs[0], m.add("GlobalMaxPool", m.add("Erf", x)))


NETS: dict[str, Callable[[], Graph]] = {
    "convolutional": _conv_net, "residual": _residual_net, "sequence": _sequence_net, "attention": _attention_net,
    "decoder": _decoder_net,
}  # fmt: skip


def random_net(seed: int) -> Graph:
    """A chain of random layers over a random picture, with a branch here and there, and a dense end."""
    rng = np.random.default_rng(seed)
    m = Maker(seed, (int(rng.integers(1, 7)), int(rng.integers(5, 10)), int(rng.integers(5, 10))))
    x = "x0"
    for _ in range(int(rng.integers(2, 7))):
        x = _random_layer(m, rng, x)
    x = m.add("Flatten", x)
    size = m.shape(x)[1] or 1
    m.add("Gemm", x, m.weight(size, 5, fan=size), m.weight(5))
    return m.graph()


def _random_layer(m: Maker, rng: np.random.Generator, x: str) -> str:
    _, channels, height, width = (size or 0 for size in m.shape(x))
    kind = rng.integers(0, 15)
    if kind < 3:
        out, pad = int(rng.integers(1, 40)), int(rng.integers(0, 2))
        size = (min(3, height + 2 * pad), min(int(rng.integers(1, 4)), width + 2 * pad))
        weight = m.weight(out, channels, *size, fan=channels * size[0] * size[1])
        return m.add("Conv", x, weight, m.weight(out), pads=(pad, pad, pad, pad), strides=(int(rng.integers(1, 3)), 1))
    if kind == 3 and min(height, width) >= 2:
        op = str(rng.choice(["MaxPool", "AveragePool"]))
        return m.add(op, x, kernel_shape=(2, 2), strides=(int(rng.integers(1, 3)), 2), ceil_mode=int(rng.integers(0, 2)))
    if kind == 4:
        return m.add(
            "BatchNormalization", x, *[m.const(np.abs(m.rng.standard_normal(channels)).astype("f") + 0.5) for _ in range(4)]
        )
    if kind == 5:
        return m.add("Transpose", x, perm=tuple(int(axis) for axis in (0, *(1 + rng.permutation(3)))))
    if kind == 6:
        return m.add("Reshape", x, m.const(np.array([0, width, channels, height])))
    if kind == 7:
        side = m.add(str(rng.choice(["Tanh", "Sigmoid"])), x)
        return m.add(str(rng.choice(["Add", "Sub", "Mul"])), x, side)
    if kind == 8:
        shape = [(channels, 1, 1), (1, height, width), (width,), ()][int(rng.integers(0, 4))]
        pair = [x, m.weight(*shape)]
        return m.add(str(rng.choice(["Add", "Sub", "Mul"])), *(pair[:: int(rng.choice([-1, 1]))]))
    if kind == 9:
        return m.add("Concat", x, m.add("Relu", x), axis=int(rng.integers(1, 4)))
    return _random_move(m, rng, x)


def _random_move(m: Maker, rng: Any, x: str) -> str:
    """A layer that moves, folds or normalises what lies in any order."""
    _, channels, _, width = (size or 0 for size in m.shape(x))
    kind, axis = int(rng.integers(0, 8)), int(rng.integers(1, 4))
    if kind == 0:
        return m.add("Pad", x, m.const(np.array([0, *rng.integers(0, 3, 3), 0, *rng.integers(0, 3, 3)])), m.const(np.float32(0.5)))
    if kind == 1:
        return m.add(
            "Slice", x, m.const(np.array([-1])), m.const(np.array([-99])), m.const(np.array([axis])), m.const(np.array([-2]))
        )
    if kind == 2:
        return m.add("Max", x, m.add("ReduceMean", x, m.const(rng.permutation([1, 2, 3])[: int(rng.integers(1, 4))])))
    if kind == 3:
        return m.add("Clip", m.add("PRelu", x, m.weight(channels, 1, 1)), m.const(np.float32(-0.5)), m.const(np.float32(2)))
    if kind == 4:
        return m.add("LayerNormalization", m.add("Mul", x, x), m.weight(width, fan=9), axis=3)
    if kind == 5:
        return m.add("ConvTranspose", x, m.weight(channels, 5, 2, 2, fan=channels), m.weight(5), strides=(2, 1), pads=(0, 1, 0, 0))
    if kind == 6:
        return m.add("Resize", x, "", m.const(np.array([1, 1, 1.5, 2], np.float32)), mode="nearest")
    return m.add("LRN", m.add("Swish", x), size=int(rng.integers(1, 6)))
