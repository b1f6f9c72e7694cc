"""Every op's gradient against central differences in float64, its forward against the op's reference, and the law that none is missing."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from esp.astore.graph import Node, complete_attrs
from esp.astore.ops import OPS
from esp.errors import GraphError
from esp.train.gradients.row import Call
from esp.train.gradients.table import GRADIENTS

RNG = np.random.default_rng(20)


def draw(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape)


@dataclass(frozen=True)
class Case:
    """An op on some inputs; ``by`` are the inputs differentiated, ``training`` what the call says."""

    op: str
    inputs: Sequence[np.ndarray | None]
    attrs: dict[str, Any] = field(default_factory=dict)
    by: tuple[int, ...] = (0,)
    outputs: int = 1
    training: bool = False

    def call(self, inputs: Sequence[np.ndarray | None]) -> Call:
        names = tuple("" if value is None else f"i{i}" for i, value in enumerate(inputs))
        node = Node(self.op, names, tuple(f"o{i}" for i in range(self.outputs)), self.attrs)
        wanted = [i in self.by for i in range(len(inputs))]
        return Call(complete_attrs(node), list(inputs), self.outputs, np.random.default_rng(4), self.training, wanted)

    def __str__(self) -> str:
        text = "-".join(f"{key}{value}" for key, value in self.attrs.items())
        shapes = "x".join("none" if value is None else ",".join(map(str, value.shape)) for value in self.inputs)
        return f"{self.op}-{shapes}-{text}{'-training' if self.training else ''}"


def distinct(*shape: int) -> np.ndarray:
    """Values far from each other, so that a small step changes no maximum."""
    return RNG.permutation(int(np.prod(shape))).reshape(shape) * 0.1


def positive(*shape: int) -> np.ndarray:
    return RNG.uniform(0.5, 2.0, shape)


def recurrent(op: str, gates: int, ways: int, times: int = 4, batch: int = 3, width: int = 2, size: int = 3) -> list[Any]:
    return [
        draw(times, batch, width),
        draw(ways, gates * size, width) * 0.5,
        draw(ways, gates * size, size) * 0.5,
        draw(ways, 2 * gates * size) * 0.5,
        None,
        draw(ways, batch, size) * 0.5,
    ]


def lengths(inputs: list[Any], *values: int) -> list[Any]:
    return [*inputs[:4], np.array(values, np.int32), *inputs[5:]]


LSTM_STATE = [draw(2, 3, 3) * 0.5, draw(2, 9) * 0.5]
CASES = [
    Case("Add", [draw(3, 4), draw(4)], by=(0, 1)),
    Case("Sub", [draw(3, 1, 2), draw(4, 2)], by=(0, 1)),
    Case("Mul", [draw(3, 4), draw(3, 1)], by=(0, 1)),
    Case("Div", [draw(3, 4), positive(1, 4)], by=(0, 1)),
    Case("Relu", [distinct(3, 4) - 0.55]),
    Case("LeakyRelu", [distinct(3, 4) - 0.55], {"alpha": 0.2}),
    Case("Tanh", [draw(3, 4)]),
    Case("Sigmoid", [draw(3, 4)]),
    Case("Softmax", [draw(3, 4)]),
    Case("Softmax", [draw(3, 4, 2)], {"axis": 1}),
    Case("Gemm", [draw(3, 4), draw(4, 2), draw(2)], by=(0, 1, 2)),
    Case("Gemm", [draw(4, 3), draw(2, 4), draw(3, 1)], {"transA": 1, "transB": 1, "alpha": 0.7, "beta": 1.3}, by=(0, 1, 2)),
    Case("Gemm", [draw(3, 4), draw(4, 2)], by=(0, 1)),
    Case("MatMul", [draw(2, 3, 4), draw(4, 5)], by=(0, 1)),
    Case("MatMul", [draw(2, 1, 3, 4), draw(3, 4, 2)], by=(0, 1)),
    Case("MatMul", [draw(3, 4), draw(4)], by=(0, 1)),
    Case("MatMul", [draw(4), draw(2, 4, 3)], by=(0, 1)),
    Case("Conv", [draw(2, 3, 9), draw(4, 3, 3), draw(4)], {"pads": (1, 1)}, by=(0, 1, 2)),
    Case("Conv", [draw(2, 3, 9), draw(4, 3, 3)], {"strides": (2,), "dilations": (2,), "pads": (2, 1)}, by=(0, 1)),
    Case("Conv", [draw(2, 4, 5, 6), draw(6, 2, 3, 2), draw(6)], {"group": 2, "strides": (2, 1), "pads": (1, 0, 1, 1)}, by=(0, 1, 2)),
    Case("Conv", [draw(2, 3, 5, 4), draw(3, 1, 3, 3)], {"group": 3, "auto_pad": "SAME_UPPER"}, by=(0, 1)),
    Case("Conv", [draw(2, 2, 4, 3, 3), draw(3, 2, 2, 2, 2), draw(3)], {"pads": (0, 1, 0, 0, 1, 1)}, by=(0, 1, 2)),
    Case("MaxPool", [distinct(2, 3, 8)], {"kernel_shape": (2,), "strides": (2,)}),
    Case("MaxPool", [distinct(2, 2, 5, 6)], {"kernel_shape": (3, 2), "strides": (2, 1), "pads": (1, 0, 1, 1), "dilations": (1, 2)}),
    Case("MaxPool", [distinct(1, 2, 6, 6)], {"kernel_shape": (3, 3), "strides": (2, 2), "ceil_mode": 1}),
    Case("AveragePool", [draw(2, 3, 8)], {"kernel_shape": (3,), "strides": (2,), "pads": (1, 1)}),
    Case("AveragePool", [draw(2, 2, 5, 6)], {"kernel_shape": (3, 2), "strides": (2, 2), "pads": (1, 0, 1, 1), "count_include_pad": 1}),
    Case("AveragePool", [draw(1, 2, 6)], {"kernel_shape": (3,), "strides": (2,), "ceil_mode": 1, "count_include_pad": 1}),
    Case("GlobalAveragePool", [draw(2, 3, 4, 5)]),
    Case("BatchNormalization", [draw(4, 3, 5), draw(3), draw(3), draw(3), positive(3)], by=(0, 1, 2)),
    Case("BatchNormalization", [draw(4, 3, 5), draw(3), draw(3), draw(3), positive(3)], by=(0, 1, 2), training=True),
    Case("BatchNormalization", [draw(6, 2), draw(2), draw(2), draw(2), positive(2)], {"epsilon": 0.1}, by=(0, 1, 2), training=True),
    Case("Identity", [draw(2, 3)]),
    Case("Flatten", [draw(2, 3, 4)]),
    Case("Flatten", [draw(2, 3, 4)], {"axis": -1}),
    Case("Reshape", [draw(2, 3, 4), np.array([0, -1])]),
    Case("Transpose", [draw(2, 3, 4)], {"perm": (1, 2, 0)}),
    Case("Transpose", [draw(2, 3, 4)]),
    Case("Concat", [draw(2, 3), draw(2, 1), draw(2, 4)], {"axis": -1}, by=(0, 1, 2)),
    Case("Dropout", [draw(3, 4), np.array(0.4)]),
    Case("Dropout", [draw(3, 4), np.array(0.4)], training=True),
    Case("RNN", recurrent("RNN", 1, 1), by=(0, 1, 2, 3, 5), outputs=2),
    Case("RNN", recurrent("RNN", 1, 1), {"direction": "reverse", "activations": ("Sigmoid",)}, by=(0, 1, 2, 3, 5), outputs=2),
    Case("RNN", lengths(recurrent("RNN", 1, 2), 4, 2, 1), {"direction": "bidirectional"}, by=(0, 1, 2, 3, 5), outputs=2),
    Case("RNN", recurrent("RNN", 1, 1)[:3], by=(0, 1, 2), outputs=1),
    Case("GRU", recurrent("GRU", 3, 1), by=(0, 1, 2, 3, 5), outputs=2),
    Case("GRU", recurrent("GRU", 3, 1), {"linear_before_reset": 1}, by=(0, 1, 2, 3, 5), outputs=2),
    Case("GRU", lengths(recurrent("GRU", 3, 2), 4, 2, 1), {"direction": "bidirectional"}, by=(0, 1, 2, 3, 5), outputs=2),
    Case("GRU", recurrent("GRU", 3, 1), {"direction": "reverse", "linear_before_reset": 1}, by=(0, 1, 2, 3, 5), outputs=2),
    Case("LSTM", recurrent("LSTM", 4, 1), by=(0, 1, 2, 3, 5), outputs=3),
    Case("LSTM", recurrent("LSTM", 4, 1), {"direction": "reverse"}, by=(0, 1, 2, 3, 5), outputs=3),
    Case(
        "LSTM", [*recurrent("LSTM", 4, 2), *LSTM_STATE], {"direction": "bidirectional"}, by=(0, 1, 2, 3, 5, 6, 7), outputs=3
    ),
    Case(
        "LSTM",
        [*lengths(recurrent("LSTM", 4, 2), 3, 4, 1), *LSTM_STATE],
        {"direction": "bidirectional"},
        by=(0, 1, 2, 3, 5, 6, 7),
        outputs=3,
    ),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=str)
def test_forward_equals_the_reference_of_the_op(case: Case) -> None:
    if case.training:
        pytest.skip("the reference is that of scoring")
    made = GRADIENTS[case.op].forward(case.call(case.inputs))
    expected = OPS[case.op].reference(case.call(case.inputs).attrs, case.inputs, case.outputs)
    for got, want in zip(made, expected, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_gradient_equals_central_differences(case: Case) -> None:
    call = case.call(case.inputs)
    row = GRADIENTS[case.op]
    made = row.forward(call)[: case.outputs]
    directions = [RNG.standard_normal(value.shape) for value in made]
    found = row.backward(call, directions)

    def scalar(index: int, value: np.ndarray) -> float:
        inputs = [value if i == index else given for i, given in enumerate(case.inputs)]
        outputs = row.forward(case.call(inputs))[: case.outputs]
        return float(sum((output * direction).sum() for output, direction in zip(outputs, directions)))

    for index in case.by:
        grad = found[index]
        assert grad is not None
        np.testing.assert_allclose(grad, central_differences(scalar, index, case.inputs[index]), rtol=1e-6, atol=1e-7)


def central_differences(scalar: Any, index: int, at: Any, step: float = 1e-5) -> np.ndarray:
    """(f(x + h) - f(x - h)) / 2h, value by value."""
    grad = np.zeros_like(at)
    for place in np.ndindex(*at.shape):
        up, down = at.copy(), at.copy()
        up[place] += step
        down[place] -= step
        grad[place] = (scalar(index, up) - scalar(index, down)) / (2 * step)
    return grad


def test_every_gradient_is_of_an_op_of_the_op_table_and_has_a_case_here() -> None:
    assert set(OPS) >= set(GRADIENTS) == {case.op for case in CASES}


def test_batch_normalization_moves_its_running_averages_as_onnx_says() -> None:
    x = np.array([[1.0], [3.0]])
    inputs = [x, np.ones(1), np.zeros(1), np.array([10.0]), np.array([5.0])]
    made = GRADIENTS["BatchNormalization"].forward(
        Case("BatchNormalization", inputs, {"momentum": 0.75}, training=True).call(inputs)
    )
    assert made[1] == pytest.approx(10 * 0.75 + 2 * 0.25)  # the batch's mean is 2
    assert made[2] == pytest.approx(5 * 0.75 + 1 * 0.25)  # and its variance 1


def test_dropout_in_training_keeps_the_expected_share_and_scales_it_up() -> None:
    x = np.ones((100, 100))
    made = GRADIENTS["Dropout"].forward(Case("Dropout", [x, np.array(0.25)], training=True).call([x, np.array(0.25)]))[0]
    assert set(np.unique(made)) == {0.0, 1 / 0.75}
    assert (made == 0).mean() == pytest.approx(0.25, abs=0.02)


def test_max_pool_gives_the_gradient_of_a_tie_to_one_value() -> None:
    x = np.ones((1, 1, 4))
    call = Case("MaxPool", [x], {"kernel_shape": (2,), "strides": (2,)}).call([x])
    GRADIENTS["MaxPool"].forward(call)
    (grad,) = GRADIENTS["MaxPool"].backward(call, [np.array([[[5.0, 7.0]]])])
    assert grad is not None
    assert grad.tolist() == [[[5.0, 0.0, 7.0, 0.0]]]


@pytest.mark.parametrize("attrs", [{"activations": ("Softsign",)}, {"clip": 3.0}])
def test_recurrent_op_that_cannot_be_trained_says_so(attrs: dict[str, Any]) -> None:
    inputs = recurrent("RNN", 1, 1)
    with pytest.raises(GraphError, match="cannot train through"):
        GRADIENTS["RNN"].forward(Case("RNN", inputs, attrs).call(inputs))
