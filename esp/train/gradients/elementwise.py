"""Gradients of the elementwise ops and of Softmax."""

from collections.abc import Callable, Sequence

import numpy as np

from esp.train.gradients.row import Array, Call, Gradient, Grads, only, unbroadcast


def _two(call: Call, left: Callable[[], Array], right: Callable[[], Array]) -> Grads:
    """The gradients of both operands, each summed to its operand's shape, as far as wanted."""
    return [unbroadcast(make(), call.input(i).shape) if call.wants(i) else None for i, make in enumerate((left, right))]


def add(call: Call) -> list[Array]:
    return [call.input(0) + call.input(1)]


def add_back(call: Call, grads: Sequence[Array | None]) -> Grads:
    grad = only(grads)
    return _two(call, lambda: grad, lambda: grad)


def sub(call: Call) -> list[Array]:
    return [call.input(0) - call.input(1)]


def sub_back(call: Call, grads: Sequence[Array | None]) -> Grads:
    grad = only(grads)
    return _two(call, lambda: grad, lambda: -grad)


def mul(call: Call) -> list[Array]:
    return [call.input(0) * call.input(1)]


def mul_back(call: Call, grads: Sequence[Array | None]) -> Grads:
    grad, (a, b) = only(grads), (call.input(0), call.input(1))
    return _two(call, lambda: grad * b, lambda: grad * a)


def div(call: Call) -> list[Array]:
    return [call.input(0) / call.input(1)]


def div_back(call: Call, grads: Sequence[Array | None]) -> Grads:
    grad, (a, b) = only(grads), (call.input(0), call.input(1))
    return _two(call, lambda: grad / b, lambda: -grad * a / (b * b))


def relu(call: Call) -> list[Array]:
    y = np.maximum(call.input(0), 0)
    call.saved = y
    return [y]


def relu_back(call: Call, grads: Sequence[Array | None]) -> Grads:
    return [only(grads) * (call.saved > 0)]


def leaky_relu(call: Call) -> list[Array]:
    x = call.input(0)
    return [np.where(x < 0, x * x.dtype.type(call.attrs["alpha"]), x)]


def leaky_relu_back(call: Call, grads: Sequence[Array | None]) -> Grads:
    grad = only(grads)
    return [np.where(call.input(0) < 0, grad * grad.dtype.type(call.attrs["alpha"]), grad)]


def tanh(call: Call) -> list[Array]:
    call.saved = np.tanh(call.input(0))
    return [call.saved]


def tanh_back(call: Call, grads: Sequence[Array | None]) -> Grads:
    return [only(grads) * (1 - call.saved * call.saved)]


def stable_sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)) by way of tanh, which does not overflow."""
    half = x.dtype.type(0.5)
    return np.asarray(np.tanh(x * half) * half + half)


def sigmoid(call: Call) -> list[Array]:
    call.saved = stable_sigmoid(call.input(0))
    return [call.saved]


def sigmoid_back(call: Call, grads: Sequence[Array | None]) -> Grads:
    return [only(grads) * call.saved * (1 - call.saved)]


def softmax(call: Call) -> list[Array]:
    x, axis = call.input(0), call.attrs["axis"]
    y = np.exp(x - x.max(axis=axis, keepdims=True))
    call.saved = y / y.sum(axis=axis, keepdims=True)
    return [call.saved]


def softmax_back(call: Call, grads: Sequence[Array | None]) -> Grads:
    grad, y = only(grads), call.saved
    return [y * (grad - (grad * y).sum(axis=call.attrs["axis"], keepdims=True))]


ELEMENTWISE = {
    "Add": Gradient(add, add_back),
    "Sub": Gradient(sub, sub_back),
    "Mul": Gradient(mul, mul_back),
    "Div": Gradient(div, div_back),
    "Relu": Gradient(relu, relu_back),
    "LeakyRelu": Gradient(leaky_relu, leaky_relu_back),
    "Tanh": Gradient(tanh, tanh_back),
    "Sigmoid": Gradient(sigmoid, sigmoid_back),
    "Softmax": Gradient(softmax, softmax_back),
}
