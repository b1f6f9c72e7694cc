"""Gradients of what behaves otherwise in training than in scoring: BatchNormalization and Dropout."""

from collections.abc import Sequence

import numpy as np

from esp.train.gradients.row import Array, Call, Gradient, Grads, only


def _axes(x: Array) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The axes a batch normalisation averages over, and the shape that lays a channel's number along them."""
    return (0, *range(2, x.ndim)), (1, -1, *(1,) * (x.ndim - 2))


def batch_norm(call: Call) -> list[Array]:
    """In training, also the next running mean and variance (momentum * running + (1 - momentum) * batch, as ONNX has it)."""
    x, scale, bias, mean, variance = (call.input(i) for i in range(5))
    axes, lay = _axes(x)
    extra: list[Array] = []
    if call.training:
        keep = mean.dtype.type(call.attrs["momentum"])
        now_mean, now_variance = x.mean(axis=axes), x.var(axis=axes)
        extra = [mean * keep + now_mean * (1 - keep), variance * keep + now_variance * (1 - keep)]
        mean, variance = now_mean, now_variance
    inverse = 1 / np.sqrt(variance + x.dtype.type(call.attrs["epsilon"]))
    normal = (x - mean.reshape(lay)) * inverse.reshape(lay)
    call.saved = (normal, inverse)
    return [normal * scale.reshape(lay) + bias.reshape(lay), *extra]


def batch_norm_back(call: Call, grads: Sequence[Array | None]) -> Grads:
    """With batch statistics the mean and the variance depend on x; with running ones they do not."""
    grad, scale, (normal, inverse) = only(grads), call.input(1), call.saved
    axes, lay = _axes(grad)
    by_bias, by_scale = grad.sum(axis=axes), (grad * normal).sum(axis=axes)
    factor = (scale * inverse).reshape(lay)
    if not call.training:
        return [grad * factor, by_scale, by_bias, None, None]
    count = grad.size // grad.shape[1]
    share = grad.dtype.type(1 / count)
    centred = grad - (by_bias * share).reshape(lay) - normal * (by_scale * share).reshape(lay)
    return [centred * factor, by_scale, by_bias, None, None]


def dropout(call: Call) -> list[Array]:
    """In training each value is dropped with probability ``ratio``, and the others are scaled up by 1 / (1 - ratio)."""
    x, given = call.input(0), call.optional(1)
    ratio = 0.5 if given is None else float(given)
    if not call.training or ratio == 0.0:
        call.saved = None
        return [x]
    kept = call.rng.random(x.shape, dtype=np.float32) >= ratio
    call.saved = np.multiply(kept, x.dtype.type(1 / (1 - ratio)), dtype=x.dtype)
    return [x * call.saved]


def dropout_back(call: Call, grads: Sequence[Array | None]) -> Grads:
    grad = only(grads)
    return [grad if call.saved is None else grad * call.saved]


NORM = {
    "BatchNormalization": Gradient(batch_norm, batch_norm_back, running={3: 1, 4: 2}),
    "Dropout": Gradient(dropout, dropout_back),
}
