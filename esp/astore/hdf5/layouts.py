"""Weights from Keras' layouts to those of ONNX and back: pure functions of arrays, one pair a kind of layer."""

from collections.abc import Sequence

import numpy as np

from esp.astore.graph import Array
from esp.errors import FileError

Three = tuple[Array, Array, Array]
Maybe = tuple[Array, Array, Array | None]
_LSTM_GATES = (0, 3, 1, 2)  # of Keras' i f c o those that make ONNX' i o f c
_LSTM_BACK = (0, 2, 3, 1)
_AS_IS = (0, 1, 2)


def dense(kernel: Array, is_transposed: bool = False) -> Array:
    """[in, out] as MatMul and Gemm have it; [out, in] for a Gemm with transB. Its own inverse."""
    return np.ascontiguousarray(kernel.T) if is_transposed else kernel


def flattened_rows(kernel: Array, shape: Sequence[int]) -> Array:
    """Rows of a dense kernel [in, out] from the order of a flattened channels-last tensor to that of [channels, axes...].

    ``shape`` is the flattened tensor's, channels first, without the batch.
    """
    channels, *axes = shape
    return np.moveaxis(kernel.reshape(*axes, channels, -1), len(axes), 0).reshape(kernel.shape)


def flattened_rows_to_keras(kernel: Array, shape: Sequence[int]) -> Array:
    """The inverse of ``flattened_rows``; ``shape`` is channels first here too."""
    return np.moveaxis(kernel.reshape(*shape, -1), 0, len(shape) - 1).reshape(kernel.shape)


def conv(kernel: Array) -> Array:
    """[axes..., in / groups, out] to [out, in / groups, axes...]."""
    return np.ascontiguousarray(np.moveaxis(kernel, (-1, -2), (0, 1)))


def conv_to_keras(kernel: Array) -> Array:
    """[out, in / groups, axes...] to [axes..., in / groups, out]."""
    return np.ascontiguousarray(np.moveaxis(kernel, (0, 1), (-1, -2)))


def conv_transpose(kernel: Array) -> Array:
    """[axes..., out, in] to [in, out, axes...]."""
    return conv(kernel)


def conv_transpose_to_keras(kernel: Array) -> Array:
    """[in, out, axes...] to [axes..., out, in]."""
    return conv_to_keras(kernel)


def depthwise(kernel: Array) -> Array:
    """[axes..., channels, multiplier] to [channels * multiplier, 1, axes...] of a Conv with as many groups as channels."""
    return np.ascontiguousarray(np.moveaxis(kernel, (-2, -1), (0, 1)).reshape(-1, 1, *kernel.shape[:-2]))


def depthwise_to_keras(kernel: Array, channels: int) -> Array:
    """[channels * multiplier, 1, axes...] to [axes..., channels, multiplier]."""
    split = kernel.reshape(channels, -1, *kernel.shape[2:])
    return np.ascontiguousarray(np.moveaxis(split, (0, 1), (-2, -1)))


def lstm(kernel: Array, recurrent: Array, bias: Array | None) -> Three:
    """W, R, B of one direction out of [in, 4u], [u, 4u], [4u]."""
    return _recurrent(kernel, recurrent, bias, _LSTM_GATES)


def lstm_to_keras(w: Array, r: Array, b: Array | None) -> Maybe:
    """Kernel, recurrent kernel and bias out of W, R, B of one direction."""
    return _recurrent_to_keras(w, r, b, _LSTM_BACK)


def gru(kernel: Array, recurrent: Array, bias: Array | None) -> Three:
    """W, R, B of one direction out of [in, 3u], [u, 3u] and [3u], or [2, 3u] of ``reset_after`` (linear_before_reset = 1)."""
    if bias is not None and bias.ndim == 2:
        w, r, _ = _recurrent(kernel, recurrent, None, _AS_IS)
        return w, r, bias.reshape(1, -1)
    return _recurrent(kernel, recurrent, bias, _AS_IS)


def gru_to_keras(w: Array, r: Array, b: Array | None, is_reset_after: bool) -> Maybe:
    """Kernel, recurrent kernel and bias out of W, R, B of one direction; the bias is [2, 3u] where ``is_reset_after``."""
    kernel, recurrent, bias = _recurrent_to_keras(w, r, b, _AS_IS)
    return kernel, recurrent, b.reshape(2, -1) if is_reset_after and b is not None else bias


def simple_rnn(kernel: Array, recurrent: Array, bias: Array | None) -> Three:
    """W, R, B of one direction out of [in, u], [u, u], [u]."""
    return _recurrent(kernel, recurrent, bias, (0,))


def simple_rnn_to_keras(w: Array, r: Array, b: Array | None) -> Maybe:
    """Kernel, recurrent kernel and bias out of W, R, B of one direction."""
    return _recurrent_to_keras(w, r, b, (0,))


def bidirectional(forward: Three, backward: Three) -> Three:
    """W, R, B of both directions."""
    w, r, b = (np.concatenate(pair) for pair in zip(forward, backward, strict=True))
    return w, r, b


def batch_norm(arrays: Sequence[Array], has_scale: bool = True, has_center: bool = True) -> tuple[Array, Array, Array, Array]:
    """Gamma, beta, mean and variance out of those that the file has: ones for gamma and zeros for beta left out."""
    wanted = 2 + has_scale + has_center
    if len(arrays) != wanted:
        what = f"batch normalisation wants {wanted} arrays, got {len(arrays)}"
        raise FileError(what, mend="set scale and center as they were when it was saved")
    rest = list(arrays)
    mean, variance = rest[-2:]
    gamma = rest.pop(0) if has_scale else np.ones_like(mean)
    beta = rest.pop(0) if has_center else np.zeros_like(mean)
    return gamma, beta, mean, variance


def batch_norm_to_keras(
    gamma: Array, beta: Array, mean: Array, variance: Array, has_scale: bool = True, has_center: bool = True
) -> tuple[Array, ...]:
    """The arrays that Keras keeps: gamma and beta only where the layer has them."""
    return (*([gamma] if has_scale else []), *([beta] if has_center else []), mean, variance)


def without_epsilon(variance: Array, epsilon: float) -> Array:
    """The variance to give a layer with ``epsilon`` where the file (DLPy's) holds variance + epsilon."""
    return (variance.astype(np.float64) - epsilon).astype(variance.dtype)


def _recurrent(kernel: Array, recurrent: Array, bias: Array | None, gates: Sequence[int]) -> Three:
    w, r = (_regated(array.T, gates)[None] for array in (kernel, recurrent))
    b = np.zeros(w.shape[1], kernel.dtype) if bias is None else _regated(bias, gates)
    return w, r, np.concatenate([b, np.zeros_like(b)])[None]


def _recurrent_to_keras(w: Array, r: Array, b: Array | None, gates: Sequence[int]) -> Maybe:
    kernel, recurrent = (np.ascontiguousarray(_regated(array.reshape(array.shape[-2:]), gates).T) for array in (w, r))
    return kernel, recurrent, None if b is None else _regated(b.reshape(2, -1).sum(axis=0), gates)


def _regated(array: Array, gates: Sequence[int]) -> Array:
    """The gates along axis 0 in another order."""
    parts = np.split(array, len(gates))
    return np.concatenate([parts[gate] for gate in gates])
