"""What ops that work number by number, fold axes or turn dtypes mean, with numbers worked out by hand."""

import numpy as np
import pytest

from esp.astore.graph import Node, complete_attrs
from esp.astore.ops import OPS
from esp.astore.ops.dims import Rows, Unknown
from esp.errors import GraphError

FLOAT, INT8, INT32, INT64, STRING, BOOL = 1, 3, 6, 7, 8, 9  # ONNX's numbers of element types


def run(op, *inputs, dtype=np.float32, **attrs):
    arrays = [None if array is None else np.asarray(array, getattr(array, "dtype", dtype)) for array in inputs]
    with np.errstate(all="ignore"):
        return OPS[op].reference(complete_attrs(Node(op, (), (), attrs)), arrays, 1)[0]


def rule(op, *shapes, constants=None, **attrs):
    return OPS[op].shapes(complete_attrs(Node(op, (), (), attrs)), shapes, constants or [None] * len(shapes))[0]


def along(*axes):
    return [None, np.array(axes, np.int64)]


def made_dtype(op, *dtypes, **attrs):
    return OPS[op].dtypes.infer(complete_attrs(Node(op, (), (), attrs)), dtypes, 1)[0]


def test_whole_numbers_to_a_negative_power_round_towards_zero():
    assert run("Pow", [2, -2, 1, -1], [-1, -1, -3, -3], dtype=np.int64).tolist() == [0, 0, 1, -1]
    assert run("Pow", np.int64([3, 10]), np.float32([0.5, 2])).tolist() == [1, 100]


def test_powers_of_large_whole_numbers_are_exact():
    assert run("Pow", np.int64([3]), np.uint64([39])).tolist() == [3**39]


def test_modulo_takes_the_sign_of_the_divisor_and_fmod_that_of_the_dividend():
    left, right = np.int32([-4, 7, 5, 4, -7, 8]), np.int32([2, -3, 8, -2, 3, 5])
    assert run("Mod", left, right).tolist() == [0, -2, 5, 0, 2, 3]
    assert run("Mod", left, right, fmod=1).tolist() == [0, 1, 5, 0, -1, 3]


def test_mean_of_tensors_that_broadcast():
    made = run("Mean", [[1, 2], [3, 4]], [3], [[2], [5]])
    np.testing.assert_allclose(made, [[2, 7 / 3], [11 / 3, 4]], rtol=1e-6)


def test_maximum_of_several_keeps_what_is_not_a_number():
    made = run("Max", [1, np.nan, 3], [2, 0, 0], [0, 0, 9])
    np.testing.assert_equal(made, [2, np.nan, 9])


def test_halves_round_to_the_even_neighbour():
    assert run("Round", [0.5, 1.5, 2.5, -0.5, -1.5]).tolist() == [0, 2, 2, 0, -2]


def test_error_function_of_known_points():
    np.testing.assert_allclose(run("Erf", [0, 1, -1, np.inf]), [0, 0.8427008, -0.8427008, 1], rtol=1e-6)


def test_clip_with_crossed_bounds_gives_the_upper_one():
    assert run("Clip", [-5, 0, 5], np.float32(2), np.float32(1)).tolist() == [1, 1, 1]
    assert run("Clip", [-5, 0, 5], None, np.float32(1)).tolist() == [-5, 0, 1]
    assert run("Clip", [-5, 0, 5], np.float32(-1)).tolist() == [-1, 0, 5]


def test_clip_bounds_are_single_numbers():
    with pytest.raises(GraphError, match=r"max of shape \[3\] is not one number"):
        rule("Clip", (None, 3), None, (3,))


def test_activations_at_points_where_they_are_known():
    x = [-2, 0, 3]
    np.testing.assert_allclose(run("Elu", x, alpha=2.0), [2 * (np.exp(-2) - 1), 0, 3], rtol=1e-6)
    np.testing.assert_allclose(run("Celu", x, alpha=2.0), [2 * (np.exp(-1) - 1), 0, 3], rtol=1e-6)
    np.testing.assert_allclose(run("Selu", x), [1.05070102 * 1.67326319 * (np.exp(-2) - 1), 0, 3.15210306], rtol=1e-6)
    np.testing.assert_allclose(run("Swish", x, alpha=0.5), [-2 / (1 + np.e), 0, 3 / (1 + np.exp(-1.5))], rtol=1e-6)
    np.testing.assert_allclose(run("Mish", [0, 1]), [0, np.tanh(np.log(1 + np.e))], rtol=1e-6)
    np.testing.assert_allclose(run("Gelu", [1, -1]), [0.8413447, -0.1586553], rtol=1e-5)  # x times the normal distribution
    np.testing.assert_allclose(run("Gelu", [1], approximate="tanh"), [0.841192], rtol=1e-5)
    assert run("Softsign", x).tolist() == [np.float32(-2 / 3), 0, 0.75]
    np.testing.assert_allclose(run("HardSigmoid", x), [0.1, 0.5, 1], rtol=1e-6)
    assert run("HardSwish", [-4, 0, 4]).tolist() == [0, 0, 4]
    assert run("ThresholdedRelu", [1, 1.5, -2]).tolist() == [0, 1.5, 0]
    assert run("Shrink", [-2, -0.25, 0.25, 2], bias=1.5).tolist() == [-0.5, 0, 0, 0.5]
    assert run("PRelu", [[-1, -2], [3, -4]], [10, 100]).tolist() == [[-10, -200], [3, -400]]


@pytest.mark.parametrize("op", ["Softplus", "Elu", "Selu", "Mish", "Swish", "Gelu"])
def test_large_numbers_do_not_overflow_an_activation(op):
    with np.errstate(over="raise", invalid="raise"):
        made = OPS[op].reference(complete_attrs(Node(op, (), ())), [np.float32([-1e4, 1e4])], 1)[0]
    assert np.isfinite(made).all()


ACTIVATIONS = ["Elu", "Selu", "Celu", "Softplus", "Softsign", "HardSigmoid", "HardSwish", "Mish", "Swish", "Gelu", "Shrink"]


@pytest.mark.parametrize("op", [*ACTIVATIONS, "ThresholdedRelu", "Clip"])
def test_not_a_number_passes_through(op):
    assert np.isnan(run(op, [[np.nan, 1.0]])).tolist() == [[True, False]]


def test_slopes_may_not_widen_what_they_bend():
    with pytest.raises(GraphError, match="do not spread"):
        rule("PRelu", (None, 1), (None, 3))


def test_log_softmax_of_large_numbers_is_finite():
    np.testing.assert_allclose(run("LogSoftmax", [[1e4, 1e4]]), [[-np.log(2)] * 2], rtol=1e-6)


def test_hardmax_marks_the_first_of_equal_numbers():
    assert run("Hardmax", [[1, 5, 5], [2, 0, 1]]).tolist() == [[0, 1, 0], [1, 0, 0]]


@pytest.mark.parametrize("op", ["Softmax", "LogSoftmax", "Hardmax", "ArgMax", "ArgMin"])
@pytest.mark.parametrize("batch", [None, Rows(3)])
def test_rows_of_a_batch_are_not_searched_or_normalised_across(op, batch):
    with pytest.raises(GraphError, match="would mix the rows of a batch"):
        rule(op, (batch, 4), axis=0)


def test_reductions_at_points_where_they_are_known():
    x = [[1, 2, 2], [-3, 0, 4]]
    wanted = {
        "ReduceSum": [5, 1],
        "ReduceMean": [5 / 3, 1 / 3],
        "ReduceProd": [4, 0],
        "ReduceMax": [2, 4],
        "ReduceMin": [1, -3],
        "ReduceL1": [5, 7],
        "ReduceL2": [3, 5],
        "ReduceSumSquare": [9, 25],
        "ReduceLogSum": [np.log(5), 0],
        "ReduceLogSumExp": [np.log(np.e + 2 * np.e**2), np.log(np.exp(-3) + 1 + np.exp(4))],
    }
    for op, numbers in wanted.items():
        made = run(op, x, np.array([-1]), keepdims=0)
        assert made.shape == (2,)
        np.testing.assert_allclose(made, numbers, rtol=1e-6)


def test_reduction_without_axes_takes_all_or_none_as_the_attribute_says():
    assert run("ReduceSumSquare", [[1, 2], [3, 4]]).tolist() == [[30]]
    assert run("ReduceSumSquare", [[1, 2], [3, 4]], noop_with_empty_axes=1).tolist() == [[1, 4], [9, 16]]
    assert run("ReduceSum", [[1, 2]], np.zeros(0, np.int64), keepdims=0).tolist() == 3


def test_folding_nothing_gives_what_changes_nothing():
    empty = np.zeros((2, 0), np.float32)
    axes = np.array([1])
    assert run("ReduceSum", empty, axes).tolist() == [[0], [0]]
    assert run("ReduceProd", empty, axes).tolist() == [[1], [1]]
    assert run("ReduceMax", empty, axes).tolist() == [[-np.inf]] * 2
    assert run("ReduceMin", empty.astype(np.int8), axes).tolist() == [[127]] * 2
    assert run("ReduceLogSumExp", empty, axes).tolist() == [[-np.inf]] * 2


def test_mean_of_whole_numbers_rounds_towards_zero():
    assert run("ReduceMean", np.int32([[1, 2], [-1, -2]]), np.array([1])).tolist() == [[1], [-1]]


def test_log_of_a_sum_of_large_powers_is_finite():
    np.testing.assert_allclose(run("ReduceLogSumExp", [[1000, 1000]], np.array([1])), [[1000 + np.log(2)]], rtol=1e-6)


@pytest.mark.parametrize("op", [op for op in OPS if op.startswith("Reduce")])
def test_reduction_of_the_batch_is_refused(op):
    assert rule(op, (None, 3, 4), (1,), constants=along(-1)) == (None, 3, 1)
    assert rule(op, (None, 3, 4), (2,), constants=along(1, 2), keepdims=0) == (None,)
    assert rule(op, (Rows(2), 3), (1,), constants=along(1), keepdims=0) == (Rows(2),)
    for shape, axes in (((None, 3), (0,)), ((2, None), (1,)), ((Rows(2), 3), (0, 1)), ((None, 3), ())):
        with pytest.raises(GraphError, match="would mix the rows of a batch"):
            rule(op, shape, (len(axes),), constants=along(*axes))


def test_axes_of_a_reduction_are_known_and_named_once():
    with pytest.raises(GraphError, match="not a constant"):
        rule("ReduceSum", (None, 3), (1,))
    with pytest.raises(GraphError, match="whole numbers are wanted"):
        rule("ReduceSum", (None, 3), (1,), constants=[None, np.float32([np.nan])])
    with pytest.raises(GraphError, match="name one twice"):
        rule("ReduceSum", (None, 3), (2,), constants=along(1, -1))


def test_the_last_of_equal_numbers_is_found_when_asked():
    x = [[1, 5, 5], [0, 0, -1]]
    assert run("ArgMax", x, axis=1).tolist() == [[1], [0]]
    assert run("ArgMax", x, axis=1, select_last_index=1, keepdims=0).tolist() == [2, 1]
    assert run("ArgMin", [[0, 0, 3]], axis=-1, select_last_index=1).tolist() == [[1]]


def test_running_sums_and_products_leave_out_and_turn_around():
    wanted = {(0, 0): ([1, 3, 6], [1, 2, 6]), (1, 0): ([0, 1, 3], [1, 1, 2])}
    wanted |= {(0, 1): ([6, 5, 3], [6, 6, 3]), (1, 1): ([5, 3, 0], [6, 3, 1])}
    for (exclusive, reverse), numbers in wanted.items():
        for op, row in zip(("CumSum", "CumProd"), numbers):
            assert run(op, [[1, 2, 3]], np.array(1), exclusive=exclusive, reverse=reverse).tolist() == [row]


def test_running_along_the_batch_is_refused():
    assert rule("CumSum", (None, 3), (), constants=[None, np.array(1)]) == (None, 3)
    for axis, match in ((np.array(0), "would mix"), (np.array([1, 1]), "2 numbers"), (None, "not a constant")):
        with pytest.raises(GraphError, match=match):
            rule("CumSum", (None, 3), (), constants=[None, axis])


def test_infinities_are_told_by_their_sign():
    x = [np.inf, -np.inf, 1, np.nan]
    assert run("IsInf", x).tolist() == [True, True, False, False]
    assert run("IsInf", x, detect_negative=0).tolist() == [True, False, False, False]
    assert run("IsInf", x, detect_positive=0).tolist() == [False, True, False, False]
    assert run("IsNaN", x).tolist() == [False, False, False, True]


def test_bits_that_leave_a_number_are_lost():
    assert run("BitShift", [16, 4, 255], [1, 2, 1], dtype=np.uint8, direction="LEFT").tolist() == [32, 16, 254]
    assert run("BitShift", [-8, 4, -1], [1, 8, 9], dtype=np.int8, direction="RIGHT").tolist() == [-4, 0, -1]


def test_cast_drops_fractions_and_takes_any_number_but_0_for_true():
    assert run("Cast", [-1.9, 1.9, 0], to=INT32).tolist() == [-1, 1, 0]
    assert run("Cast", [-0.5, 0, 2], to=BOOL).tolist() == [True, False, True]
    assert run("Cast", np.int64([300, -1]), to=INT8).tolist() == [44, -1]
    assert run("Cast", np.array([True, False]), to=FLOAT).dtype == np.float32


def test_output_of_a_cast_has_the_dtype_that_is_asked_for():
    assert made_dtype("Cast", "float32", to=INT64) == "int64"
    assert made_dtype("CastLike", "float32", "uint8") == "uint8"
    for code, name in ((STRING, "string"), (16, "bfloat16"), (17, "float8"), (99, "no element type")):
        with pytest.raises(GraphError, match=rf"element type {code} \({name}\) is not supported"):
            made_dtype("Cast", "float32", to=code)


def test_comparison_gives_bool_and_a_choice_the_dtype_of_what_is_chosen():
    assert made_dtype("Less", "float16", "float16") == made_dtype("Equal", "bool", "bool") == "bool"
    assert made_dtype("Where", "bool", "int8", "int8") == "int8"
    for op, dtypes in (("Where", ("bool", "int8", "int32")), ("Where", ("int8", "int8", "int8")), ("Not", ("int8",))):
        with pytest.raises(GraphError, match="wants"):
            made_dtype(op, *dtypes)


@pytest.mark.parametrize(
    ("op", "allowed", "refused"), [("Add", "uint8", "bool"), ("Relu", "int8", "uint8"), ("Exp", "float16", "int32")]
)
def test_dtypes_are_those_of_onnx(op, allowed, refused):
    count = OPS[op].inputs[0]
    assert made_dtype(op, *[allowed] * count) == allowed
    with pytest.raises(GraphError, match=f"got {refused}"):
        made_dtype(op, *[refused] * count)


def test_all_inputs_of_a_variadic_op_broadcast_together():
    assert rule("Sum", (None, 1, 3), (4, 1), (1,)) == (None, 4, 3)
    assert rule("Where", (3,), (None, 1), ()) == (None, 3)
    assert rule("Max", (Rows(4), 2), (2,)) == (Rows(4), 2)
    for shapes in (((None, 3), (2,)), ((Rows(4), 3), (None, 3)), ((Unknown(), 3), (Unknown(), 3)), ((None, 3), None)):
        with pytest.raises(GraphError):
            rule("Sum", *shapes)
