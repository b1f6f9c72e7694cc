"""Layers: which nodes they make, of which shapes, what they compute, and what they refuse."""

import math
from collections.abc import Callable
from typing import Any, get_args

import numpy as np
import pytest

from esp.astore.graph import Graph, run_reference
from esp.astore.validation import validate
from esp.errors import GraphError
from esp.train.layers import (
    BN,
    GRU,
    LSTM,
    RNN,
    Activation,
    Add,
    AveragePool,
    Concat,
    Conv1d,
    Conv2d,
    Conv2dTranspose,
    ConvNd,
    ConvTransposeNd,
    Dense,
    DepthwiseConv2d,
    Dropout,
    Embedding,
    Flatten,
    GlobalAveragePool,
    GlobalMaxPool,
    InputLayer,
    LayerNorm,
    LayerSettings,
    MaxPool,
    MultiHeadAttention,
    Multiply,
    OutputLayer,
    Permute,
    RegressionLayer,
    Res,
    Reshape,
    Scale,
    SeparableConv2d,
    Softmax,
    TimeDense,
    UpSampling,
    ZeroPad,
    build_graph,
)
from esp.train.layers.activations import ActivationName
from esp.train.layers.spatial import same_pads
from esp.train.network import Network


def made_of(*layers: LayerSettings) -> Graph:
    return build_graph(layers, seed=5)


def ops(graph: Graph) -> list[str]:
    return [node.op for node in graph.nodes]


def test_input_layer_puts_the_channels_of_an_event_first() -> None:
    assert made_of(InputLayer((8, 6, 3), name="x"), Flatten()).inputs[0].shape == (None, 3, 8, 6)
    assert made_of(InputLayer((8, 6, 3), name="x", channels_first=False), Flatten()).inputs[0].shape == (None, 8, 6, 3)


def test_small_network_makes_the_nodes_that_its_layers_name() -> None:
    graph = made_of(
        InputLayer((8, 8, 1), name="x"),
        Conv2d(4, activation="relu"),
        BN(),
        MaxPool(),
        Dropout(0.2),
        Dense(6, "tanh"),
        OutputLayer(3),
    )
    assert ops(graph) == ["Conv", "Relu", "BatchNormalization", "MaxPool", "Dropout", "Flatten", "Gemm", "Tanh", "Gemm", "Softmax"]
    assert [layer.name for layer in graph.layers] == [
        "x",
        "conv2d_1",
        "bn_1",
        "maxpool_1",
        "dropout_1",
        "dense_1",
        "outputlayer_1",
    ]
    assert graph.layers[1].nodes == (0, 1)
    assert graph.outputs[0].shape == (None, 3)


@pytest.mark.parametrize(
    ("sizes", "kernel", "strides", "dilations", "pads"),
    [
        ((8, 8), (3, 3), (1, 1), (1, 1), (1, 1, 1, 1)),
        ((8,), (4,), (1,), (1,), (1, 2)),  # the odd one goes behind, as in Keras
        ((7,), (3,), (2,), (1,), (1, 1)),
        ((8,), (3,), (2,), (1,), (0, 1)),
        ((9,), (3,), (1,), (2,), (2, 2)),
        ((4,), (1,), (2,), (1,), (0, 0)),
    ],
)
def test_same_padding_becomes_explicit_pads(sizes, kernel, strides, dilations, pads) -> None:  # type: ignore[no-untyped-def]
    assert same_pads(sizes, kernel, strides, dilations) == pads


def test_same_padding_keeps_ceil_of_size_over_stride() -> None:
    graph = made_of(InputLayer((9, 7, 2), name="x"), Conv2d(3, size=(4, 3), stride=(2, 3), name="c"), Flatten())
    assert validate(graph)[graph.nodes[0].outputs[0]] == (None, 3, 5, 3)


def test_residual_and_concat_join_the_layers_that_they_name() -> None:
    graph = made_of(
        InputLayer((10, 4), name="x"),
        Conv1d(4, name="a"),
        Conv1d(4, name="b"),
        Res(inputs=("a", "b"), activation="relu"),
        Concat(inputs=("res_1", "x")),
        Add(inputs=("concat_1", "concat_1")),
        GlobalAveragePool(),
    )
    assert ops(graph) == ["Conv", "Conv", "Add", "Relu", "Concat", "Add", "GlobalAveragePool", "Flatten"]
    assert graph.outputs[0].shape == (None, 8)


def test_conv_of_three_axes_with_groups_has_weights_of_its_groups() -> None:
    graph = made_of(InputLayer((4, 4, 4, 6), name="x"), ConvNd(9, size=2, groups=3, bias=False, name="c"), AveragePool(), Flatten())
    assert graph.weights["c.weight"].shape == (9, 2, 2, 2, 2)
    assert graph.outputs[0].shape == (None, 9 * 2 * 2 * 2)


@pytest.mark.parametrize(("layer", "gates"), [(RNN, 1), (GRU, 3), (LSTM, 4)])
def test_recurrent_layer_gives_its_last_state_or_all_of_them(layer, gates: int) -> None:  # type: ignore[no-untyped-def]
    last = made_of(InputLayer((7, 2), name="x"), layer(5, bidirectional=True, name="r"))
    assert ops(last) == ["Transpose", layer.__name__, "Transpose", "Flatten"]
    assert last.outputs[0].shape == (None, 10)
    assert last.weights["r.weight"].shape == (2, gates * 5, 2)
    every = made_of(InputLayer((7, 2), name="x"), layer(5, sequences=True))
    assert every.outputs[0].shape == (None, 5, 7)  # channels x time


def test_sequences_of_a_recurrent_layer_end_with_its_last_state() -> None:
    layers = [InputLayer((7, 2), name="x")]
    x = np.random.default_rng(1).standard_normal((3, 2, 7)).astype(np.float32)
    (last,) = run_reference(build_graph([*layers, GRU(4, name="g")], seed=2), [x])
    (every,) = run_reference(build_graph([*layers, GRU(4, name="g", sequences=True)], seed=2), [x])
    np.testing.assert_array_equal(every[:, :, -1], last)


def test_initial_weights_follow_the_seed_and_he_s_spread() -> None:
    one, two, other = (build_graph([InputLayer((400,), name="x"), Dense(300, "relu", name="d")], seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.weights["d.weight"], two.weights["d.weight"])
    assert not np.array_equal(one.weights["d.weight"], other.weights["d.weight"])
    assert one.weights["d.weight"].std() == pytest.approx((2 / 400) ** 0.5, rel=0.02)


def test_graph_output_has_the_name_that_was_asked_for() -> None:
    graph = build_graph([InputLayer((4,), name="x"), RegressionLayer(2)], output="force")
    assert graph.outputs[0].name == "force"
    assert build_graph([InputLayer((4,), name="x"), Activation("sigmoid"), Softmax()]).nodes[-1].outputs == ("output",)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([Dense(3)], "begin with an InputLayer"),
        ([InputLayer((4,), name="x"), Dense(3, inputs=("y",))], "no layer y before it"),
        ([InputLayer((4,), name="x"), Dense(3, name="x")], "two layers of that name"),
        ([InputLayer((4, 3), name="x"), Conv2d(3)], "Conv2d wants 2 axes"),
        ([InputLayer((4, 3), name="x"), Conv1d(3, groups=2)], "2 groups do not divide"),
        ([InputLayer((4,), name="x"), GRU(3)], "channels x time"),
        ([InputLayer((4,), name="x"), MaxPool()], "at least one axis"),
        ([InputLayer((4,), name="x"), Res(inputs=("x",))], "takes two inputs"),
        ([InputLayer((4, 2), name="x"), Conv1d(2, size=(3, 3))], "size has 2 numbers for 1 axes"),
        ([InputLayer((4, 2), name="x"), Conv2dTranspose(2)], "Conv2dTranspose does not fit"),
        ([InputLayer((4, 6), name="x"), MultiHeadAttention(3)], "3 heads divide"),
        ([InputLayer((4, 2), name="x"), Multiply()], "Multiply takes two inputs"),
        ([], "a network needs layers"),
    ],
)
def test_layer_that_does_not_fit_is_named_in_one_line(layers: list[LayerSettings], message: str) -> None:
    with pytest.raises(GraphError, match=message) as caught:
        build_graph(layers)
    assert "\n" not in str(caught.value)


X = np.random.default_rng(7).standard_normal((2, 3, 4, 5)).astype(np.float32)  # rows, channels, height, width


def made_by(layer: LayerSettings, x: np.ndarray = X) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """What one layer makes of ``x``, and its weights by their short names."""
    first = InputLayer(x.shape[1:], channels_first=False, dtype=x.dtype.name, name="x")
    graph = build_graph([first, layer], seed=5)
    name = graph.layers[1].name
    (y,) = run_reference(graph, [x])
    return y, {key.removeprefix(f"{name}."): value for key, value in graph.weights.items()}


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


FORMULAS: dict[str, Callable[[float], float]] = {
    "linear": lambda x: x,
    "relu": lambda x: max(x, 0),
    "relu6": lambda x: min(max(x, 0), 6),
    "leaky_relu": lambda x: x if x > 0 else 0.01 * x,
    "leaky": lambda x: x if x > 0 else 0.1 * x,
    "prelu": lambda x: x if x > 0 else 0.25 * x,
    "elu": lambda x: x if x > 0 else math.expm1(x),
    "selu": lambda x: 1.0507009873554805 * (x if x > 0 else 1.6732632423543772 * math.expm1(x)),
    "gelu": lambda x: x * (1 + math.erf(x / math.sqrt(2))) / 2,
    "swish": lambda x: x * sigmoid(x),
    "silu": lambda x: x * sigmoid(x),
    "hard_swish": lambda x: x * min(max(x + 3, 0), 6) / 6,
    "hard_sigmoid": lambda x: min(max(x / 6 + 0.5, 0), 1),
    "mish": lambda x: x * math.tanh(math.log1p(math.exp(x))),
    "tanh": math.tanh,
    "sigmoid": sigmoid,
    "softplus": lambda x: math.log1p(math.exp(x)),
    "softsign": lambda x: x / (1 + abs(x)),
    "exponential": math.exp,
}


@pytest.mark.parametrize("name", FORMULAS)
def test_activation_computes_its_formula(name: Any) -> None:
    x = np.array([[-7.5, -2.0, -0.3, 0.0, 0.4, 2.5, 7.0]], np.float32)
    y, _ = made_by(Activation(name), x)
    np.testing.assert_allclose(y[0], [FORMULAS[name](float(value)) for value in x[0]], rtol=1e-5, atol=1e-6)


def test_every_activation_has_its_formula_tested() -> None:
    assert {*get_args(ActivationName)} == {*FORMULAS, "softmax", "log_softmax"}


def test_softmax_of_a_picture_goes_over_its_channels() -> None:
    y, _ = made_by(Activation("softmax"))
    np.testing.assert_allclose(y.sum(axis=1), 1, rtol=1e-6)
    logs, _ = made_by(Activation("log_softmax"))
    np.testing.assert_allclose(np.exp(logs), y, rtol=1e-5)


def test_numbers_as_padding_are_taken_as_they_stand() -> None:
    y, _ = made_by(Conv2d(2, padding=(0, 1, 2, 3)))  # above, left, below, right
    assert y.shape == (2, 2, 4 + 2 - 2, 5 + 4 - 2)
    assert made_by(MaxPool(2, 1, padding=1))[0].shape == (2, 3, 5, 6)


def test_depthwise_convolution_keeps_channels_apart() -> None:
    y, weights = made_by(DepthwiseConv2d(3, padding="valid", multiplier=2, bias=False))
    assert weights["weight"].shape == (6, 1, 3, 3)
    for filter_, (row, column) in ((0, (0, 0)), (5, (1, 2))):
        window = X[:, filter_ // 2, row : row + 3, column : column + 3]
        np.testing.assert_allclose(y[:, filter_, row, column], (window * weights["weight"][filter_, 0]).sum((1, 2)), rtol=1e-5)


def test_separable_convolution_is_a_depthwise_and_a_pointwise_one() -> None:
    y, weights = made_by(SeparableConv2d(7, multiplier=2))
    assert sorted(value.shape for value in weights.values()) == [(6, 1, 3, 3), (7,), (7, 6, 1, 1)]
    assert y.shape == (2, 7, 4, 5)


@pytest.mark.parametrize(("size", "stride"), [(2, 2), (3, 2), (4, 2), (3, 1), (1, 2), (5, 3)])
def test_transposed_convolution_of_same_padding_makes_axes_stride_times_as_long(size: int, stride: int) -> None:
    y, weights = made_by(Conv2dTranspose(2, size, stride))
    assert y.shape == (2, 2, 4 * stride, 5 * stride)
    assert weights["weight"].shape == (3, 2, size, size)


def test_transposed_convolution_spreads_each_value_over_its_kernel() -> None:
    y, weights = made_by(ConvTransposeNd(2, 2, 2, bias=False))
    np.testing.assert_allclose(y[:, 1, 5, 8], X[:, :, 2, 4] @ weights["weight"][:, 1, 1, 0], rtol=1e-5)


def test_upsampling_repeats_values_or_draws_lines_between_them() -> None:
    np.testing.assert_array_equal(made_by(UpSampling((2, 3)))[0], X.repeat(2, axis=2).repeat(3, axis=3))
    y, _ = made_by(UpSampling(2, "linear"), np.array([[[0.0, 4.0, 8.0]]], np.float32))
    np.testing.assert_allclose(y, [[[0, 1, 3, 5, 7, 8]]])


def test_zeros_go_around_each_axis() -> None:
    y, _ = made_by(ZeroPad((1, 0, 2, 3)))
    np.testing.assert_array_equal(y, np.pad(X, [(0, 0), (0, 0), (1, 2), (0, 3)]))


def test_largest_value_of_each_channel_is_pooled() -> None:
    np.testing.assert_array_equal(made_by(GlobalMaxPool())[0], X.max((2, 3)))
    np.testing.assert_array_equal(made_by(GlobalMaxPool(keep_axes=True))[0], X.max((2, 3), keepdims=True))


def test_rows_are_reshaped_permuted_and_scaled_by_channel() -> None:
    np.testing.assert_array_equal(made_by(Reshape((5, -1)))[0], X.reshape(2, 5, 12))
    np.testing.assert_array_equal(made_by(Permute((3, 1, 2)))[0], X.transpose(0, 3, 1, 2))
    y, weights = made_by(Scale())
    np.testing.assert_allclose(y, X * weights["factor"] + weights["offset"], rtol=1e-6)
    assert weights["factor"].shape == (3, 1, 1)


def test_product_of_two_layers_meets_sizes_of_one() -> None:
    layers = [InputLayer((4, 5, 3), name="x"), GlobalMaxPool(keep_axes=True), Multiply(inputs=("x", "globalmaxpool_1"))]
    (y,) = run_reference(build_graph(layers), [X])
    np.testing.assert_allclose(y, X * X.max((2, 3), keepdims=True))


def test_embedding_looks_up_the_vector_of_each_number() -> None:
    indices = np.array([[2, 0, 2], [1, 5, 4]], np.int64)
    y, weights = made_by(Embedding(6, 4), indices)
    np.testing.assert_array_equal(y, weights["table"][indices])


def test_layer_normalisation_works_over_the_last_axis() -> None:
    y, _ = made_by(LayerNorm(epsilon=1e-3))
    wide = X.astype(np.float64)
    deviation = np.sqrt(wide.var(-1, keepdims=True) + 1e-3)
    np.testing.assert_allclose(y, (wide - wide.mean(-1, keepdims=True)) / deviation, rtol=1e-4, atol=1e-6)


def test_dense_layer_over_time_is_the_same_at_each_step() -> None:
    y, weights = made_by(TimeDense(7, "relu"), X[:, 0])
    np.testing.assert_allclose(y, np.maximum(X[:, 0] @ weights["weight"] + weights["bias"], 0), rtol=1e-5, atol=1e-6)


def test_attention_weighs_values_head_by_head() -> None:
    x = np.random.default_rng(9).standard_normal((2, 5, 6)).astype(np.float32)
    y, weights = made_by(MultiHeadAttention(3), x)
    query, key, value = (x @ weights[f"weight{end}"] + weights[f"bias{end}"] for end in ("", "_2", "_3"))
    expected = np.zeros_like(x)
    for row in range(2):
        for head in range(3):
            part = slice(2 * head, 2 * head + 2)
            scores = np.exp(query[row, :, part] @ key[row, :, part].T / math.sqrt(2))
            expected[row, :, part] = scores / scores.sum(1, keepdims=True) @ value[row, :, part]
    np.testing.assert_allclose(y, expected @ weights["weight_4"] + weights["bias_4"], rtol=1e-4, atol=1e-5)


def test_network_of_several_inputs_and_outputs_names_them_all() -> None:
    net = Network(np.random.default_rng(0))
    x = net.add_input("x", (3,))
    places = net.add_input("places", (2,), "int64")
    table = net.add_weight("table", np.arange(8.0).reshape(4, 2))
    looked = net.add_node("Gather", [table, places], axis=0)
    low, high = net.add_nodes("Split", [x, net.add_constant([1, 2])], [True, True], axis=1)
    graph = net.freeze({"low": low, "looked": looked, "high": high})
    rows = [np.array([[1, 2, 3]], np.float32), np.array([[3, 0]])]
    made = run_reference(graph, rows)
    assert [value.name for value in graph.outputs] == ["low", "looked", "high"]
    assert [array.tolist() for array in made] == [[[1]], [[[6, 7], [0, 1]]], [[2, 3]]]


def test_input_and_one_tensor_twice_may_be_outputs() -> None:
    net = Network(np.random.default_rng(0))
    x = net.add_input("x", (3,))
    y = net.add_layer("layer", "Activation", lambda: net.add_node("Relu", [x]))
    made = run_reference(net.freeze({"same": x, "one": y, "two": y}), [np.array([[1, -2, 3]], np.float32)])
    assert [array.tolist() for array in made] == [[[1, -2, 3]], [[1, 0, 3]], [[1, 0, 3]]]


def test_zeros_as_first_weights_keep_every_shape() -> None:
    graphs = []
    for init in ("fresh", "zeros"):
        net = Network(np.random.default_rng(0), init=init)  # type: ignore[arg-type]
        Conv2d(4).build(net, [net.add_input("x", (3, 8, 8))])
        graphs.append(net.graph.weights)
    fresh, zeros = graphs
    assert {name: value.shape for name, value in fresh.items()} == {name: value.shape for name, value in zeros.items()}
    assert not any(value.any() for value in zeros.values())
