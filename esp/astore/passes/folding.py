"""What scales and shifts channels moves into the weights of the product before it."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from esp.astore.graph import Array, Node, complete_attrs
from esp.astore.ops.rules import is_batch
from esp.astore.passes.net import Net

PRODUCTS = ("Conv", "ConvTranspose", "Gemm")


def fold_normalisation(net: Net) -> None:
    """BatchNormalization goes into the weights of the product before it: w * s, (b - mean) * s + beta, computed in float64."""
    _fold_all(net, _normalised)


def fold_bias(net: Net) -> None:
    """An Add of a constant, one number a channel, becomes the bias of the product before it."""
    _fold_all(net, _biased)


def _fold_all(net: Net, fold: Callable[[Net, Node, Node], Node | None]) -> None:
    """Lets ``fold(net, product, user)`` make one node of two, wherever the user is the product's only one."""
    for node in net.nodes:
        product: Node | None = node if node.op in PRODUCTS else None
        while product is not None:
            product = _folded(net, product, fold)


def _folded(net: Net, node: Node, fold: Callable[[Net, Node, Node], Node | None]) -> Node | None:
    """The node made of a product and its user; None where it is left as it is."""
    user = net.only_user(node.outputs[0])
    one = fold(net, node, user) if user is not None else None
    if one is not None and user is not None:
        net.merge([node, user], one)
    return one


def _normalised(net: Net, node: Node, user: Node) -> Node | None:
    weight, statistics = net.weight(node, 1), [net.weight(user, index) for index in range(1, 5)]
    if user.op != "BatchNormalization" or user.inputs[0] != node.outputs[0] or weight is None or _has_moving_bias(net, node):
        return None
    if any(array is None for array in statistics):
        return None
    gamma, beta, mean, variance = (np.asarray(array, np.float64) for array in statistics)
    scale = gamma / np.sqrt(variance + complete_attrs(user)["epsilon"])
    attrs, old = complete_attrs(node), net.weight(node, 2)
    bias = np.zeros(len(scale)) if old is None else np.asarray(old, np.float64) * attrs.get("beta", 1.0)
    if node.op == "Gemm" and bias.shape not in ((len(scale),), (1, len(scale)), (1,), ()):
        return None
    names = (
        net.put(node.inputs[1], np.asarray(_scaled(node, weight, scale), weight.dtype)),
        net.put(node.inputs[1], np.asarray((bias.reshape(-1) - mean) * scale + beta, weight.dtype)),
    )
    plain = {key: value for key, value in node.attrs.items() if key not in ("alpha", "beta")}
    return replace(node, inputs=(node.inputs[0], *names), outputs=user.outputs[:1], attrs=plain)


def _scaled(node: Node, weight: Array, scale: Array) -> Array:
    """The weight of a product, what makes each channel multiplied by its scale."""
    attrs = complete_attrs(node)
    if node.op == "Gemm":
        return np.asarray(attrs["alpha"] * weight * (scale[:, None] if attrs["transB"] else scale))
    spatial = (1,) * (weight.ndim - 2)
    if node.op == "Conv":
        return np.asarray(weight * scale.reshape(-1, 1, *spatial))
    grouped = weight.reshape(attrs["group"], -1, *weight.shape[1:])  # [group, in / group, out / group, kernel...]
    return np.asarray(grouped * scale.reshape(attrs["group"], 1, -1, *spatial)).reshape(weight.shape)


def _has_moving_bias(net: Net, node: Node) -> bool:
    return len(node.inputs) > 2 and bool(node.inputs[2]) and net.weight(node, 2) is None


def _biased(net: Net, node: Node, user: Node) -> Node | None:
    weight = net.weight(node, 1)
    if user.op != "Add" or (len(node.inputs) > 2 and node.inputs[2]) or weight is None:
        return None
    other = net.weight(user, 1 if user.inputs[0] == node.outputs[0] else 0)
    shape = net.shape(node.outputs[0])
    if other is None or net.shape(user.outputs[0]) != shape or is_batch(shape[1]):
        return None
    sizes = (1,) * (len(shape) - other.ndim) + other.shape
    if any(size != 1 for axis, size in enumerate(sizes) if axis != 1):
        return None
    columns = shape[1]
    assert isinstance(columns, int)
    bias = np.ascontiguousarray(np.broadcast_to(other.reshape(-1), (columns,)), weight.dtype)
    return replace(node, inputs=(*node.inputs[:2], net.put(user.outputs[0] + ".bias", bias)), outputs=user.outputs)
