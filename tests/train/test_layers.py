"""Layers: which nodes they make, of which shapes, and what they refuse."""

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
    ConvNd,
    Dense,
    Dropout,
    Flatten,
    GlobalAveragePool,
    InputLayer,
    LayerSettings,
    MaxPool,
    OutputLayer,
    RegressionLayer,
    Res,
    Softmax,
    build_graph,
)
from esp.train.layers.spatial import same_pads


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
        ([], "a network needs layers"),
    ],
)
def test_layer_that_does_not_fit_is_named_in_one_line(layers: list[LayerSettings], message: str) -> None:
    with pytest.raises(GraphError, match=message) as caught:
        build_graph(layers)
    assert "\n" not in str(caught.value)
