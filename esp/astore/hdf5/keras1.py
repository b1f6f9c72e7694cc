"""Weights in the layouts of Keras 1, and of backends that flip kernels, made those of Keras 2: pure functions of arrays."""

from collections.abc import Sequence

import numpy as np

from esp.astore.graph import Array
from esp.errors import FileError


def keras1_conv(kernel: Array, is_channels_first: bool) -> Array:
    """[axes..., in, out] of a convolution, also a depthwise one; with dim_ordering "th" the file has [out, in, axes...]."""
    return np.ascontiguousarray(np.moveaxis(kernel, (1, 0), (-2, -1))) if is_channels_first else kernel


def keras1_conv1d(kernel: Array, steps: int, filters: int) -> Array:
    """[steps, in, out] of Convolution1D, which was a convolution over a picture one pixel wide.

    The file has [steps, 1, in, out], in Keras 1.0 [out, in, steps, 1].
    """
    if kernel.ndim == 4 and kernel.shape[:2] == (steps, 1) and kernel.shape[3] == filters:
        return kernel[:, 0]
    if kernel.ndim == 4 and kernel.shape[0] == filters and kernel.shape[2:] == (steps, 1):
        return np.ascontiguousarray(kernel.transpose(2, 3, 1, 0)[:, 0])
    what = f"wants a kernel [{steps}, 1, in, {filters}], got shape {list(kernel.shape)}"
    raise FileError(what, mend="save the model with Keras 1.2")


def keras1_conv_transpose(kernel: Array, is_channels_first: bool) -> Array:
    """[rows, columns, out, in] of Deconvolution2D out of [rows, columns, in, out], or with "th" [out, in, rows, columns]."""
    return np.ascontiguousarray(kernel.transpose((2, 3, 0, 1) if is_channels_first else (0, 1, 3, 2)))


def keras1_lstm(arrays: Sequence[Array]) -> tuple[Array, Array, Array]:
    """Kernel, recurrent kernel and bias out of W, U, b of each gate, which stand in the order i, c, f, o."""
    return _joined(arrays, (0, 2, 1, 3))


def keras1_gru(arrays: Sequence[Array]) -> tuple[Array, Array, Array]:
    """Kernel, recurrent kernel and bias out of W, U, b of each gate, which stand in the order z, r, h."""
    return _joined(arrays, (0, 1, 2))


def flipped(kernel: Array) -> Array:
    """A kernel [axes..., in, out] turned round: Theano's convolutions walk it backwards, all others forwards."""
    return np.ascontiguousarray(np.flip(kernel, tuple(range(kernel.ndim - 2))))


def _joined(arrays: Sequence[Array], gates: Sequence[int]) -> tuple[Array, Array, Array]:
    if len(arrays) == 3:  # consume_less = "gpu": they are joined already
        return arrays[0], arrays[1], arrays[2]
    if len(arrays) != 3 * len(gates):
        what = f"wants {3 * len(gates)} arrays, W, U and b of each gate, got {len(arrays)}"
        raise FileError(what, mend="save the model again")
    kernel, recurrent, bias = (np.concatenate([arrays[3 * gate + kind] for gate in gates], axis=-1) for kind in range(3))
    return kernel, recurrent, bias
