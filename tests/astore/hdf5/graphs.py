"""The fixtures' networks built by hand as graphs with weights of zeros, for files to be loaded onto them."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from esp.astore.graph import Graph
from esp.train.network import Network, Tensor


class Builder:
    """Adds nodes layer by layer; every weight is zeros of the shape said."""

    def __init__(self) -> None:
        self.net = Network(np.random.default_rng(0))

    def layer(
        self, name: str, kind: str, op: str, x: Tensor, shapes: Sequence[tuple[int, ...] | None] = (), **attrs: Any
    ) -> Tensor:
        """A layer of one node over ``x`` and zeros of ``shapes``; "then" and "output" are not attributes of the node."""
        then, output = attrs.pop("then", None), attrs.pop("output", 0)

        def build() -> Tensor:
            weights = [None if shape is None else self.net.add_weight(f"w{at}", np.zeros(shape)) for at, shape in enumerate(shapes)]
            y = self.net.add_node(op, [x, *weights], output=output, outputs=output + 1, **attrs)
            return self.net.add_node(then, [y]) if then else y

        return self.net.add_layer(name, kind, build)

    def joined(self, x: Tensor, units: int) -> Tensor:
        """[steps, ways, N, units of each] to [steps, N, units]."""

        def build() -> Tensor:
            turned = self.net.add_node("Transpose", [x], perm=(0, 2, 1, 3))
            return self.net.add_node("Reshape", [turned, self.net.add_weight("shape", np.array([0, 0, units]))])

        return self.net.add_layer("joined", "Reshape", build)

    def last(self, x: Tensor) -> Tensor:
        """[1, N, units] to [N, units]."""
        turn = [x]
        return self.net.add_layer(
            "last", "Reshape", lambda: self.net.add_node("Flatten", [self.net.add_node("Transpose", turn, perm=(1, 0, 2))], axis=1)
        )

    def freeze(self, y: Tensor) -> Graph:
        return self.net.freeze({"y": y})

    def dense(self, name: str, x: Tensor, units: int, then: str | None = None, bias: bool = True) -> Tensor:
        width = x.dims[0]
        return self.layer(name, "Dense", "Gemm", x, [(width, units), (units,)][: 1 + bias], then=then)


def dense(names: Sequence[str] = ("hidden", "narrow", "out")) -> Graph:
    b = Builder()
    x = b.dense(names[0], b.net.add_input("x", (5,)), 7, "Relu")
    x = b.dense(names[1], x, 4, "Tanh", bias=False)
    return b.freeze(b.dense(names[2], x, 3, "Softmax"))


def picture() -> Graph:
    b = Builder()
    x = b.net.add_input("x", (3, 8, 9))
    x = b.layer("conv", "Conv2D", "Conv", x, [(4, 3, 3, 2)], kernel_shape=(3, 2), pads=(1, 0, 1, 1))
    x = b.layer("norm", "BatchNormalization", "BatchNormalization", x, [(4,)] * 4, epsilon=1e-3, then="Relu")
    x = b.layer("pool", "MaxPooling2D", "MaxPool", x, kernel_shape=(2, 2), strides=(2, 2))
    pads = (0, 0, 1, 1)  # "same" of 4 x 4 by 3 x 3 with stride 2: one, at the end
    x = b.layer("conv_two", "Conv2D", "Conv", x, [(5, 4, 3, 3), (5,)], kernel_shape=(3, 3), strides=(2, 2), pads=pads, then="Elu")
    x = b.layer("norm_two", "BatchNormalization", "BatchNormalization", x, [(5,)] * 4, epsilon=1e-2)
    x = b.layer("norm_three", "BatchNormalization", "BatchNormalization", x, [(5,)] * 4, epsilon=1e-3)
    x = b.layer("flat", "Flatten", "Flatten", x, axis=1)
    return b.freeze(b.dense("out", x, 3, "Softmax"))


def separable() -> Graph:
    b = Builder()
    x = b.net.add_input("x", (3, 7, 6))
    pads = (1 + 1, 2 + 1, 0 + 1, 1 + 1)  # the layer's padding and that of "same"
    conv = {"kernel_shape": (3, 3), "group": 3}
    x = b.layer("depthwise", "DepthwiseConv2D", "Conv", x, [(6, 1, 3, 3), (6,)], pads=pads, then="Relu", **conv)

    def build() -> Tensor:
        deep = b.net.add_weight("deep", np.zeros((12, 1, 3, 3)))
        y = b.net.add_node("Conv", [x, deep], kernel_shape=(3, 3), group=6, strides=(2, 2), pads=(0, 1, 1, 1))
        return b.net.add_node(
            "Conv", [y, b.net.add_weight("point", np.zeros((4, 12, 1, 1))), b.net.add_weight("bias", np.zeros(4))]
        )

    x = b.net.add_layer("separable", "SeparableConv2D", build)
    x = b.layer("leaky", "LeakyReLU", "LeakyRelu", x, alpha=0.1)
    x = b.layer("prelu", "PReLU", "PRelu", x, [(4, 1, 1)])
    x = b.net.add_layer("mean", "Mean", lambda: b.net.add_node("Flatten", [b.net.add_node("GlobalAveragePool", [x])], axis=1))
    return b.freeze(b.dense("out", x, 2, "Sigmoid"))


def gru(is_reset_after: bool) -> Graph:
    b, after = Builder(), int(is_reset_after)
    x = b.net.add_input("x", (6, 3))
    x = b.layer("turn", "Permute", "Transpose", x, perm=(1, 0, 2))
    both = [(2, 12, 3), (2, 12, 4), (2, 24)]
    x = b.layer("both", "Bidirectional", "GRU", x, both, direction="bidirectional", linear_before_reset=after)
    x = b.joined(x, 8)
    hard = {"activations": ("HardSigmoid", "Tanh"), "activation_alpha": (0.2,), "activation_beta": (0.5,)}
    back = [(1, 9, 8), (1, 9, 3), (1, 18)]
    x = b.layer("back", "GRU", "GRU", x, back, direction="reverse", linear_before_reset=after, output=1, **hard)
    return b.freeze(b.dense("out", b.last(x), 2))


def sequence() -> Graph:
    b = Builder()
    x = b.net.add_input("x", (3, 12))
    x = b.layer("conv", "Conv1D", "Conv", x, [(4, 3, 3), (4,)], kernel_shape=(3,), dilations=(2,), pads=(4, 0), then="Relu")
    x = b.layer("pool", "MaxPooling1D", "MaxPool", x, kernel_shape=(2,), strides=(2,))
    x = b.layer("turn", "Permute", "Transpose", x, perm=(2, 0, 1))
    x = b.layer("lstm", "LSTM", "LSTM", x, [(1, 20, 4), (1, 20, 5), (1, 40)])
    x = b.joined(x, 5)
    x = b.layer("rnn", "SimpleRNN", "RNN", x, [(1, 4, 5), (1, 4, 4), (1, 8)], output=1)
    return b.freeze(b.dense("out", b.last(x), 2))


def nested() -> Graph:
    b = Builder()
    x = b.net.add_input("x", (2, 6, 6))
    x = b.layer("inner/conv", "Conv2D", "Conv", x, [(3, 2, 3, 3), (3,)], kernel_shape=(3, 3))
    x = b.layer("inner/norm", "BatchNormalization", "BatchNormalization", x, [(3,)] * 4, epsilon=1e-3)
    x = b.net.add_layer("top", "Max", lambda: b.net.add_node("Flatten", [b.net.add_node("GlobalMaxPool", [x])], axis=1))
    x = b.dense("head/first", x, 4, "Relu")
    return b.freeze(b.dense("out", x, 2))


GRAPHS: dict[str, Callable[[], Graph]] = {
    "dense": dense,
    "picture": picture,
    "separable": separable,
    "gru_after": lambda: gru(True),
    "gru_before": lambda: gru(False),
    "sequence": sequence,
    "nested": nested,
}
