"""What single rows of the op table mean, with numbers worked out by hand."""

import numpy as np
import pytest

from esp.astore.graph import Node, complete_attrs
from esp.astore.ops import OPS
from esp.astore.ops.dims import Rows
from esp.astore.ops.rules import show
from esp.errors import GraphError


def run(op, *inputs, outputs=1, dtype=np.float32, **attrs):
    arrays = [None if array is None else np.asarray(array, dtype) for array in inputs]
    with np.errstate(all="ignore"):
        return OPS[op].reference(complete_attrs(Node(op, (), (), attrs)), arrays, outputs)


def rule(op, *shapes, constants=None, **attrs):
    return OPS[op].shapes(complete_attrs(Node(op, (), (), attrs)), shapes, constants or [None] * len(shapes))


def work(op, *shapes, **attrs):
    complete = complete_attrs(Node(op, (), (), attrs))
    return OPS[op].flops(complete, shapes, OPS[op].shapes(complete, shapes, [None] * len(shapes)))


def reshape_rule(shape, *target, **attrs):
    return rule("Reshape", shape, (len(target),), constants=[None, np.array(target, np.int64)], **attrs)[0]


def test_integer_division_rounds_towards_zero():
    assert run("Div", [-7, 7, -7, 7, 6], [2, -2, -2, 2, -3], dtype=np.int64)[0].tolist() == [-3, -3, 3, 3, -2]


def test_sigmoid_of_large_numbers_is_0_or_1_without_overflow():
    with np.errstate(all="raise", under="ignore"):
        got = OPS["Sigmoid"].reference({}, [np.float32([-1000, 0, 1000])], 1)[0]
    assert got.tolist() == [0.0, 0.5, 1.0]


def test_not_a_number_passes_through_activations():
    for op in ("Relu", "LeakyRelu", "Tanh", "Sigmoid"):
        assert np.isnan(run(op, [[np.nan, 1.0]])[0]).tolist() == [[True, False]]


def test_softmax_of_equal_numbers_is_even_however_large():
    np.testing.assert_allclose(run("Softmax", [[1e4, 1e4], [0.0, np.log(3)]])[0], [[0.5, 0.5], [0.25, 0.75]], rtol=1e-6)


def test_gemm_scales_product_and_bias():
    assert run("Gemm", [[1, 2]], [[3, 4]], [10], transB=1, alpha=2.0, beta=0.5)[0].tolist() == [[2 * 11 + 5]]


def test_convolution_is_a_cross_correlation():
    x, w = [[[1, 2, 3, 4]]], [[[1, 0, -1]]]
    assert run("Conv", x, w)[0].tolist() == [[[-2, -2]]]
    assert run("Conv", x, w, [10], pads=(1, 1))[0].tolist() == [[[8, 8, 8, 13]]]
    assert run("Conv", x, [[[1, -1]]], dilations=(3,))[0].tolist() == [[[-3]]]


def test_groups_of_a_convolution_do_not_mix():
    x, w = [[[1, 2], [10, 20]]], [[[1, 1]], [[1, -1]]]
    assert run("Conv", x, w, group=2)[0].tolist() == [[[3], [-10]]]


@pytest.mark.parametrize(("auto_pad", "wanted"), [("VALID", [3, 7]), ("SAME_UPPER", [3, 7, 5]), ("SAME_LOWER", [1, 5, 9])])
def test_same_pads_fall_on_the_named_side(auto_pad, wanted):
    assert run("Conv", [[[1, 2, 3, 4, 5]]], [[[1, 1]]], strides=(2,), auto_pad=auto_pad)[0].tolist() == [[wanted]]


def test_pads_do_not_count_in_an_average_unless_asked():
    x = [[[2, 4, 6]]]
    assert run("AveragePool", x, kernel_shape=(2,), pads=(1, 0), strides=(2,))[0].tolist() == [[[2, 5]]]
    assert run("AveragePool", x, kernel_shape=(2,), pads=(1, 0), strides=(2,), count_include_pad=1)[0].tolist() == [[[1, 5]]]


def test_ceil_mode_keeps_a_last_part_window_and_averages_what_is_there():
    x = [[[1, 2, 3, 4, 5]]]
    assert run("MaxPool", x, kernel_shape=(2,), strides=(2,), ceil_mode=1)[0].tolist() == [[[2, 4, 5]]]
    for include in (0, 1):
        got = run("AveragePool", x, kernel_shape=(2,), strides=(2,), ceil_mode=1, count_include_pad=include)[0]
        assert got.tolist() == [[[1.5, 3.5, 5]]]


def test_batch_normalisation_uses_the_stored_statistics():
    got = run("BatchNormalization", [[3.0, 8.0]], [1, 2], [0, 1], [1, 2], [4, 9], epsilon=0.0)[0]
    assert got.tolist() == [[1.0, 5.0]]  # (3 - 1) / 2; (8 - 2) / 3 * 2 + 1


def test_dropout_passes_everything_when_scoring():
    out, mask = run("Dropout", [[1, 2]], 0.9, outputs=2)
    assert out.tolist() == [[1, 2]]
    assert mask.tolist() == [[True, True]]


X, ONE = [[[1], [1]], [[2], [2]], [[4], [4]]], [[[1]]]  # steps 3, batch 2, inputs 1


def test_affine_rnn_sums_up_the_steps_up_to_each_rows_length():
    every, last = run("RNN", X, ONE, ONE, None, [2, 3], outputs=2, activations=("Affine",))
    assert every[:, 0, :, 0].tolist() == [[1, 1], [3, 3], [0, 7]]
    assert last[0, :, 0].tolist() == [3, 7]


def test_reverse_rnn_begins_at_each_rows_own_end():
    every, last = run("RNN", X, ONE, ONE, None, [2, 3], [[[10], [20]]], outputs=2, activations=("Affine",), direction="reverse")
    assert every[:, 0, :, 0].tolist() == [[13, 27], [12, 26], [0, 24]]
    assert last[0, :, 0].tolist() == [13, 27]


def test_both_ways_put_forward_before_reverse():
    two = [[[1]], [[1]]]
    every, last = run("RNN", X, two, two, outputs=2, activations=("Affine",) * 2, direction="bidirectional")
    assert every[:, :, 0, 0].tolist() == [[1, 7], [3, 6], [7, 4]]
    assert last[:, 0, 0].tolist() == [7, 7]


def test_clip_bounds_what_goes_into_the_activation():
    assert run("RNN", [[[9]]], ONE, ONE, activations=("Affine",), clip=2.5)[0].tolist() == [[[[2.5]]]]


def test_alpha_and_beta_go_to_the_activations_that_take_them():
    attrs = {"activations": ("HardSigmoid",), "activation_alpha": (0.25,), "activation_beta": (0.5,)}
    assert run("RNN", [[[1], [9]]], ONE, ONE, **attrs)[0].ravel().tolist() == [0.75, 1.0]


def test_gru_with_zero_weights_keeps_half_of_its_state():
    zero = np.zeros((1, 3, 1))
    assert run("GRU", [[[5]]], zero, zero, None, None, [[[8]]])[0].ravel().tolist() == [4]


@pytest.mark.parametrize(
    ("linear", "wanted"), [(1, 0.5 * np.tanh(3 + 0.5 * (2 + 4)) + 0.5), (0, 0.5 * np.tanh(3 + 0.5 * 2 + 4) + 0.5)]
)
def test_gru_resets_before_or_after_the_product(linear, wanted):
    w, r, bias = [[[0], [0], [3]]], [[[0], [0], [2]]], [[0, 0, 0, 0, 0, 4]]
    got = run("GRU", [[[1]]], w, r, bias, None, [[[1]]], linear_before_reset=linear)[0]
    np.testing.assert_allclose(got.ravel(), [wanted], rtol=1e-6)


def test_lstm_with_zero_weights_halves_its_cell():
    zero = np.zeros((1, 4, 1))
    _, h, c = run("LSTM", [[[5]]], zero, zero, None, None, None, [[[1]]], outputs=3)
    np.testing.assert_allclose([h.item(), c.item()], [0.5 * np.tanh(0.5), 0.5], rtol=1e-6)


def test_coupled_gates_keep_what_they_do_not_take():
    zero, bias = np.zeros((1, 4, 1)), [[np.log(3), 0, 0, 0, 0, 0, 0, 0]]  # takes 3/4, so keeps 1/4
    c = run("LSTM", [[[5]]], zero, zero, bias, None, None, [[[8]]], outputs=3, input_forget=1)[2]
    np.testing.assert_allclose(c.item(), 2, rtol=1e-6)


def test_shapes_keep_the_batch_symbolic():
    assert rule("Conv", (None, 3, 32, 32), (8, 3, 3, 3), strides=(2, 2), pads=(1, 1, 1, 1)) == [(None, 8, 16, 16)]
    assert rule("Flatten", (None, 8, 4, 4)) == [(None, 128)]
    assert rule("GRU", (50, None, 6), (2, 12, 6), (2, 12, 4), direction="bidirectional") == [(50, 2, None, 4), (2, None, 4)]
    assert rule("Transpose", (50, 2, None, 4), perm=(2, 0, 1, 3)) == [(None, 50, 2, 4)]
    assert rule("Concat", (None, 2), (None, 3), axis=1) == [(None, 5)]
    assert rule("MatMul", (None, 7, 3), (3, 4)) == [(None, 7, 4)]
    assert rule("Add", (None, 5, 1), (4,)) == [(None, 5, 4)]


def test_reshape_keeps_the_batch_by_0_or_by_minus_1():
    assert reshape_rule((None, 2, 3, 4), 0, -1) == (None, 24)
    assert reshape_rule((None, 2, 3, 4), -1, 6, 4) == (None, 6, 4)
    assert reshape_rule((2, None, 3), 2, -1, 1, 3) == (2, None, 1, 3)
    assert reshape_rule((4, 6), 3, -1) == (3, 8)
    assert reshape_rule((None, 6), -1, 6, allowzero=1) == (None, 6)
    assert reshape_rule((None, 4), -1, 2) == (Rows(2), 2)
    assert reshape_rule((Rows(2), 2), -1, 4) == (None, 4)


@pytest.mark.parametrize(
    ("shape", "target"),
    [((None, 4), (3, 2)), ((None, 4), (1, 4)), ((None, 4), (4,)), ((2, None, 3), (-1, 6)), ((2, None, 3), (2, 3, -1))],
)
def test_reshape_that_loses_the_batch_is_refused(shape, target):
    with pytest.raises(GraphError, match=r"batch of .* is lost"):
        reshape_rule(shape, *target)


@pytest.mark.parametrize("target", [(0, -1, -1), (0, 5), (0, -1, 5), (0, -2), (0, 0, 0, 0)])
def test_reshape_to_a_shape_that_does_not_fit_is_refused(target):
    with pytest.raises(GraphError, match=r"does not fit|one -1|lacks"):
        reshape_rule((None, 2, 3), *target)


REFUSED = [
    ("Add", [(None, 3), (4,)], {}, r"\[N, 3\] and \[4\] do not broadcast"),
    ("Add", [(None, 3), (7, 3)], {}, "do not broadcast"),
    ("Gemm", [(None, 3), (4, 5)], {}, "sums over 3 and 4"),
    ("Gemm", [(None, 3), (3, 5)], {"transA": 1}, "mix the rows"),
    ("Gemm", [(None, 3, 2), (3, 5)], {}, "two matrices"),
    ("Gemm", [(None, 3), (3, 5), (4,)], {}, "broadcast"),
    ("Gemm", [(None, 3), (3, 5), (2, 5)], {}, "broadcast"),
    ("MatMul", [(None, 3), (4, 3)], {}, "sums over 3 and 4"),
    ("MatMul", [(), (3,)], {}, "one axis or more"),
    ("MatMul", [(4,), (None,)], {}, "mix the rows"),
    ("Softmax", [(None, 3)], {"axis": 0}, "mix the rows"),
    ("Softmax", [(None, 3)], {"axis": 2}, r"axis 2 is not in \[-2, 1\]"),
    ("Concat", [(None, 3), (None, 3)], {"axis": 0}, "mix the rows"),
    ("Concat", [(None, 3), (None, 3, 1)], {"axis": 1}, "differ off axis 1"),
    ("Concat", [(None, 3), None], {"axis": 1}, "left out"),
    ("Transpose", [(None, 3)], {"perm": (0, 0)}, "no order of the axes"),
    ("Conv", [(None, 3, 8), (4, 2, 3)], {}, "3 channels in 1 groups"),
    ("Conv", [(None, 4, 8), (3, 2, 3)], {"group": 2}, "4 channels in 2 groups"),
    ("Conv", [(None, 3, 8), (4, 3, 9)], {}, "larger than the padded input"),
    ("Conv", [(None, 3, 8), (4, 3, 3)], {"kernel_shape": (5,)}, "not the weight's"),
    ("Conv", [(None, 3, 8), (4, 3, 3), (3,)], {}, r"bias wants shape \[4\], got \[3\]"),
    ("Conv", [(None, 3, 8), (4, 3, 3, 3)], {}, "does not fit input"),
    ("Conv", [(3, None, 8), (4, 3, 3)], {}, "wants .N, channels, axis"),
    ("Conv", [(None, 3, 8), (4, 3, 3)], {"pads": (1,)}, "are not 2 sizes"),
    ("Conv", [(None, 3, 8), (4, 3, 3)], {"strides": (0,)}, "above 0"),
    ("MaxPool", [(None, 3, 8)], {"kernel_shape": (2, 2)}, "does not fit 1 spatial"),
    ("MaxPool", [(None, 3, 8)], {"kernel_shape": (2,), "pads": (2, 0)}, "pad less"),
    ("BatchNormalization", [(None, 3), (3,), (3,), (2,), (3,)], {}, r"mean wants shape \[3\]"),
    ("BatchNormalization", [(None,), (3,), (3,), (2,), (3,)], {}, "channels"),
    ("RNN", [(None, 5, 3), (1, 4, 3), (1, 4, 4)], {}, "steps, batch, inputs"),
    ("GRU", [(5, None, 3), (1, 12, 3), (1, 12, 4)], {"hidden_size": 5}, "hidden_size 5 is not the 4"),
    ("GRU", [(5, None, 3), (1, 12, 2), (1, 12, 4)], {}, r"W wants shape \[1, 12, 3\]"),
    ("LSTM", [(5, None, 3), (1, 16, 3), (1, 12, 4)], {}, r"R wants shape \[1, 16, 4\]"),
    ("LSTM", [(5, None, 3), (1, 16, 3), (1, 16, 4), (1, 16)], {}, r"B wants shape \[1, 32\]"),
    ("RNN", [(5, None, 3), (1, 4, 3), (1, 4, 4)], {"activations": ("Tahn",)}, "unknown activation 'Tahn'"),
    ("RNN", [(5, None, 3), (1, 4, 3), (1, 4, 4)], {"activations": ("Tanh",) * 2}, "2 activations given, 1 wanted"),
    ("RNN", [(5, None, 3), (1, 4, 3), (1, 4, 4)], {"activation_alpha": (1.0,)}, "more activation_alpha"),
]


@pytest.mark.parametrize(("op", "shapes", "attrs", "words"), REFUSED)
def test_shapes_that_do_not_fit_are_refused(op, shapes, attrs, words):
    with pytest.raises(GraphError, match=words) as caught:
        rule(op, *shapes, **attrs)
    assert caught.value.mend


def test_flops_count_a_multiply_add_as_two_for_one_row():
    assert work("Gemm", (None, 10), (10, 5), (5,)) == 2 * 10 * 5 + 5
    assert work("MatMul", (None, 7, 10), (10, 5)) == 7 * 2 * 10 * 5
    assert work("Conv", (None, 4, 8, 8), (6, 2, 3, 3), group=2) == 6 * 6 * 6 * 2 * (2 * 9)
    assert work("MaxPool", (None, 4, 8, 8), kernel_shape=(2, 2), strides=(2, 2)) == 4 * 8 * 8
    assert work("GlobalAveragePool", (None, 4, 8, 8)) == 4 * 8 * 8
    assert work("RNN", (9, None, 3), (1, 4, 3), (1, 4, 4)) == 9 * 4 * (2 * (3 + 4) + 2 + 1)


def test_a_shape_is_shown_with_its_batch():
    assert show((None, 3)) == "[N, 3]"
    assert show(None) == "nothing"
