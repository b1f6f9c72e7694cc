"""Activations by the words of Keras and darknet, each as one to three nodes."""

from collections.abc import Mapping
from typing import Literal

import numpy as np

from esp.astore.graph import Attr
from esp.train.network import Network, Tensor

ActivationName = Literal[
    "linear",
    "relu",
    "relu6",
    "leaky_relu",
    "leaky",
    "prelu",
    "elu",
    "selu",
    "gelu",
    "swish",
    "silu",
    "hard_swish",
    "hard_sigmoid",
    "mish",
    "tanh",
    "sigmoid",
    "softplus",
    "softsign",
    "exponential",
    "softmax",
    "log_softmax",
]

_NODES: Mapping[str, tuple[str, Mapping[str, Attr]]] = {
    "relu": ("Relu", {}),
    "leaky_relu": ("LeakyRelu", {"alpha": 0.01}),
    "leaky": ("LeakyRelu", {"alpha": 0.1}),  # darknet's
    "elu": ("Elu", {}),
    "selu": ("Selu", {}),
    "gelu": ("Gelu", {}),
    "hard_swish": ("HardSwish", {}),
    "hard_sigmoid": ("HardSigmoid", {"alpha": 1 / 6, "beta": 0.5}),
    "mish": ("Mish", {}),
    "tanh": ("Tanh", {}),
    "sigmoid": ("Sigmoid", {}),
    "softplus": ("Softplus", {}),
    "softsign": ("Softsign", {}),
    "exponential": ("Exp", {}),
}
RECTIFIERS = ("relu", "relu6", "leaky_relu", "leaky", "prelu", "elu", "gelu", "swish", "silu", "hard_swish", "mish")


def activate(net: Network, x: Tensor, activation: ActivationName) -> Tensor:
    """The activation as nodes of its own; ``linear`` adds none."""
    if activation == "linear":
        return x
    if activation in ("softmax", "log_softmax"):
        op = "Softmax" if activation == "softmax" else "LogSoftmax"
        return net.add_node(op, [x], axis=-1 if len(x.dims) == 1 else 1)
    if activation in ("swish", "silu"):
        return net.add_node("Mul", [x, net.add_node("Sigmoid", [x])])
    if activation == "relu6":
        return net.add_node("Clip", [x, net.add_constant(0.0), net.add_constant(6.0)])
    if activation == "prelu":  # one slope a channel
        shape = (x.dims[0], *(1 for _ in x.dims[1:]))
        return net.add_node("PRelu", [x, net.add_weight("slope", np.full(shape, 0.25))])
    op, attrs = _NODES[activation]
    return net.add_nodes(op, [x], [True], **attrs)[0]
