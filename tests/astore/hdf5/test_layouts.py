"""Layouts by hand: each conversion against the sum that the layer computes, and each inverse against its conversion."""

import numpy as np
import pytest

from esp.astore.graph import Node, complete_attrs
from esp.astore.hdf5 import keras1, layouts
from esp.astore.ops import OPS
from esp.errors import FileError
from tests.astore.hdf5.files import random


def conv_transpose_of_keras(x: np.ndarray, kernel: np.ndarray, stride: int) -> np.ndarray:
    """Each pixel of [N, H, W, in] spreads its products with the kernel [h, w, out, in] over the output."""
    rows, columns, height, width = *x.shape[1:3], *kernel.shape[:2]
    y = np.zeros((len(x), (rows - 1) * stride + height, (columns - 1) * stride + width, kernel.shape[2]))
    for row in range(rows):
        for column in range(columns):
            spread = np.einsum("ni,hwoi->nhwo", x[:, row, column], kernel)
            y[:, row * stride : row * stride + height, column * stride : column * stride + width] += spread
    return y


def test_a_transposed_convolution_spreads_as_keras_does() -> None:
    x, kernel = random(2, 3, 4, 5), random(3, 2, 6, 5)
    attrs = complete_attrs(Node("ConvTranspose", ("x", "w"), ("y",), {"strides": (2, 2)}))
    (y,) = OPS["ConvTranspose"].reference(attrs, [np.moveaxis(x, -1, 1), layouts.conv_transpose(kernel)], 1)
    np.testing.assert_allclose(np.moveaxis(y, 1, -1), conv_transpose_of_keras(x, kernel, 2), atol=1e-5)
    np.testing.assert_array_equal(layouts.conv_transpose_to_keras(layouts.conv_transpose(kernel)), kernel)


@pytest.mark.parametrize("shape", [(3, 4, 5), (3, 2, 4, 5), (2, 3, 2, 4, 5)])
def test_convolutions_of_one_to_three_axes_go_there_and_back(shape: tuple[int, ...]) -> None:
    kernel = random(*shape)
    made = layouts.conv(kernel)
    assert made.shape == (5, 4, *shape[:-2])
    assert made[(3, 2, *(size - 1 for size in shape[:-2]))] == kernel[(*(size - 1 for size in shape[:-2]), 2, 3)]
    np.testing.assert_array_equal(layouts.conv_to_keras(made), kernel)


def test_depthwise_kernels_lie_channel_by_channel() -> None:
    kernel = random(3, 2, 4, 2)
    made = layouts.depthwise(kernel)
    assert made.shape == (8, 1, 3, 2)
    np.testing.assert_array_equal(made[2 * 3 + 1, 0], kernel[:, :, 3, 1])
    np.testing.assert_array_equal(layouts.depthwise_to_keras(made, 4), kernel)


@pytest.mark.parametrize("gates", [1, 3, 4])
def test_recurrent_weights_go_there_and_back(gates: int) -> None:
    kernel, recurrent, bias = random(3, gates * 2), random(2, gates * 2), random(gates * 2)
    if gates == 3:
        back = layouts.gru_to_keras(*layouts.gru(kernel, recurrent, bias), is_reset_after=False)
    else:
        there, again = (layouts.simple_rnn, layouts.simple_rnn_to_keras) if gates == 1 else (layouts.lstm, layouts.lstm_to_keras)
        back = again(*there(kernel, recurrent, bias))
    for one, other in zip(back, (kernel, recurrent, bias), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_two_biases_of_a_gru_stay_two() -> None:
    kernel, recurrent, bias = random(3, 6), random(2, 6), random(2, 6)
    w, r, b = layouts.gru(kernel, recurrent, bias)
    assert b.tolist() == [[*bias[0], *bias[1]]]
    np.testing.assert_array_equal(layouts.gru_to_keras(w, r, b, is_reset_after=True)[2], bias)


def test_gates_of_an_lstm_change_places() -> None:
    i, f, c, o = (np.full((1, 1), value, np.float32) for value in (1, 2, 3, 4))
    w, _, b = layouts.lstm(np.hstack([i, f, c, o]), np.hstack([i, f, c, o]), None)
    assert w[0, :, 0].tolist() == [1, 4, 2, 3]  # i o f c
    assert b.tolist() == [[0.0] * 8]


def test_batch_normalisation_fills_in_what_is_left_out() -> None:
    mean, variance, other = random(3), random(3, seed=5), random(3, seed=6)
    gamma, beta, *rest = layouts.batch_norm([other, mean, variance], has_scale=False)
    assert (gamma.tolist(), beta.tolist()) == ([1.0] * 3, other.tolist())
    assert [array.tolist() for array in rest] == [mean.tolist(), variance.tolist()]
    assert len(layouts.batch_norm_to_keras(gamma, beta, mean, variance, has_scale=False)) == 3
    with pytest.raises(FileError, match="wants 4 arrays, got 3"):
        layouts.batch_norm([other, mean, variance])


def test_rows_after_a_flatten_turn_channels_first_and_back() -> None:
    x, kernel = random(4, 2, 3, 5), random(2 * 3 * 5, 7)  # channels last: 2 x 3 of 5 channels
    wanted = x.reshape(4, -1) @ kernel
    made = layouts.flattened_rows(kernel, (5, 2, 3))
    np.testing.assert_allclose(np.moveaxis(x, -1, 1).reshape(4, -1) @ made, wanted, atol=1e-5)
    np.testing.assert_array_equal(layouts.flattened_rows_to_keras(made, (5, 2, 3)), kernel)


def test_convolutions_of_keras_1() -> None:
    kernel = random(3, 2, 4, 5)  # rows, columns, in, out
    np.testing.assert_array_equal(keras1.keras1_conv(np.einsum("hwio->oihw", kernel), True), kernel)
    np.testing.assert_array_equal(keras1.keras1_conv_transpose(kernel, False), np.einsum("hwio->hwoi", kernel))
    np.testing.assert_array_equal(
        keras1.keras1_conv_transpose(np.einsum("hwio->oihw", kernel), True), np.einsum("hwio->hwoi", kernel)
    )
    steps = random(3, 4, 5)
    np.testing.assert_array_equal(keras1.keras1_conv1d(steps[:, None], 3, 5), steps)
    np.testing.assert_array_equal(keras1.keras1_conv1d(np.einsum("sio->ois", steps)[..., None], 3, 5), steps)
    with pytest.raises(FileError, match=r"wants a kernel \[3, 1, in, 5\]"):
        keras1.keras1_conv1d(steps, 3, 5)
    assert keras1.flipped(np.arange(6).reshape(3, 2, 1, 1))[:, :, 0, 0].tolist() == [[5, 4], [3, 2], [1, 0]]


def test_kernels_of_keras_1_that_are_joined_already_stay_so() -> None:
    three = (random(2, 8), random(2, 8), random(8))
    assert keras1.keras1_lstm(three) == three
    with pytest.raises(FileError, match="wants 12 arrays, W, U and b of each gate, got 9"):
        keras1.keras1_lstm([random(2)] * 9)
