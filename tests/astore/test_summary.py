"""The summary counts what textbooks count."""

import numpy as np

from esp.astore.graph import Graph, Layer, Node, Value
from esp.astore.summary import LayerRow, layer_rows, totals


def zeros(*shape):
    return np.zeros(shape, np.float32)


WEIGHTS = {
    "kernel": zeros(8, 1, 3, 3), "b0": zeros(8), "gamma": zeros(8), "beta": zeros(8), "mean": zeros(8), "variance": zeros(8),
    "dense": zeros(10, 128), "b1": zeros(10), "ratio": np.asarray(np.float32(0.5)), "flat": np.array([0, -1], np.int64),
}  # fmt: skip
NODES = (
    Node("Conv", ("x", "kernel", "b0"), ("c",), {"pads": (1, 1, 1, 1)}),
    Node("BatchNormalization", ("c", "gamma", "beta", "mean", "variance"), ("n",)),
    Node("Relu", ("n",), ("r",)),
    Node("MaxPool", ("r",), ("p",), {"kernel_shape": (2, 2), "strides": (2, 2)}),
    Node("Dropout", ("p", "ratio"), ("d",)),
    Node("Reshape", ("d", "flat"), ("f",)),
    Node("Gemm", ("f", "dense", "b1"), ("g",), {"transB": 1}),
    Node("Softmax", ("g",), ("y",)),
)
LAYERS = (
    Layer("conv1", "Conv2d", (0,)),
    Layer("bn1", "BN", (1, 2)),
    Layer("pool1", "Pooling", (3,)),
    Layer("output", "Dense", (5, 6, 7)),
)


def graph(layers=LAYERS):
    return Graph(NODES, (Value("x", "float32", (None, 1, 8, 8)),), (Value("y", "float32", (None, 10)),), WEIGHTS, layers)


def test_layers_and_stray_nodes_come_in_running_order():
    assert layer_rows(graph()) == [
        LayerRow("conv1", "Conv2d", (None, 8, 8, 8), (3, 3), (1, 1), "", 8 * 9 + 8, 8 * 64 * (2 * 9 + 1)),
        LayerRow("bn1", "BN", (None, 8, 8, 8), (), (), "Relu", 2 * 8, 8 * 64 * 2 + 8 * 64),
        LayerRow("pool1", "Pooling", (None, 8, 4, 4), (2, 2), (2, 2), "", 0, 8 * 16 * 4),
        LayerRow("d", "Dropout", (None, 8, 4, 4), (), (), "", 0, 0),
        LayerRow("output", "Dense", (None, 10), (), (), "Softmax", 128 * 10 + 10, 10 * (2 * 128 + 1) + 50),
    ]


def test_totals_are_sums_and_all_weights_weigh():
    rows = layer_rows(graph())
    found = totals(graph(), rows)
    assert (found.layers, found.parameters) == (5, 80 + 16 + 1290)
    assert found.flops == sum(row.flops for row in rows)
    assert found.weight_bytes == 4 * (72 + 8 + 4 * 8 + 1280 + 10 + 1) + 2 * 8


def test_without_a_layer_table_each_node_is_a_row():
    rows = layer_rows(graph(()))
    assert [(row.name, row.kind) for row in rows] == [(node.outputs[0], node.op) for node in NODES]


def test_shared_weight_is_counted_once():
    nodes = (Node("MatMul", ("x", "w"), ("a",)), Node("MatMul", ("a", "w"), ("y",)))
    value = Value("x", "float32", (None, 3))
    shared = Graph(nodes, (value,), (Value("y", "float32", (None, 3)),), {"w": zeros(3, 3)})
    assert [row.parameters for row in layer_rows(shared)] == [9, 0]


def test_activation_is_what_a_layer_ends_with():
    nodes = (
        Node("Softmax", ("x",), ("a",)),
        Node("Add", ("a", "x"), ("b",)),
        Node("Sigmoid", ("b",), ("c",)),
        Node("Mul", ("b", "c"), ("y",)),
    )
    layers = (Layer("attention", "Attention", (0, 1)), Layer("swish", "Activation", (2, 3)))
    value = Value("x", "float32", (None, 3))
    rows = layer_rows(Graph(nodes, (value,), (Value("y", "float32", (None, 3)),), {}, layers))
    assert [row.activation for row in rows] == ["", "Swish"]


def test_layer_without_nodes_is_an_input_of_its_name():
    first = layer_rows(graph((Layer("x", "InputLayer", ()), *LAYERS)))[0]
    assert first == LayerRow("x", "InputLayer", (None, 1, 8, 8), (), (), "", 0, 0)
