"""The nine networks of the literature that come with the onnx package: true graphs, expected outputs (onnx/backend/test/data/light)."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from esp.astore.graph import Graph, run_reference
from esp.astore.onnx import read_onnx
from esp.astore.summary import layer_rows, totals

LIGHT = Path(onnx.__file__).parent / "backend/test/data/light"
PARAMETERS = {  # FACTS: weights of Conv, Gemm and batch normalisation (two a channel)
    "bvlc_alexnet": 60_965_224, "densenet121": 7_978_856, "inception_v1": 5_974_552, "inception_v2": 11_194_984,
    "resnet50": 25_557_032, "shufflenet": 1_393_320, "squeezenet": 1_235_496, "vgg19": 143_667_240, "zfnet512": 87_250_536,
}  # fmt: skip


def picture(rows: int) -> np.ndarray:
    """What the runner of the onnx package feeds: numbers that climb from 0 to 1, for each row."""
    count = 3 * 224 * 224
    one = (np.arange(count).reshape(1, 3, 224, 224) / count).astype(np.float32)
    return np.repeat(one, rows, axis=0)


def expected(name: str) -> np.ndarray:
    return numpy_helper.to_array(onnx.TensorProto.FromString((LIGHT / f"light_{name}_output_0.pb").read_bytes()))


def in_double(graph: Graph) -> Graph:
    weights = {name: array.astype(np.float64) if array.dtype == np.float32 else array for name, array in graph.weights.items()}
    inputs, outputs = (tuple(replace(value, dtype="float64") for value in ends) for ends in (graph.inputs, graph.outputs))
    return replace(graph, weights=weights, inputs=inputs, outputs=outputs)


@pytest.mark.parametrize("name", PARAMETERS)
def test_network_has_its_parameter_count_and_gives_its_expected_output(name: str) -> None:
    graph = read_onnx(LIGHT / f"light_{name}.onnx")
    assert [value.shape for value in graph.inputs] == [(None, 3, 224, 224)]
    assert totals(graph, layer_rows(graph)).parameters == PARAMETERS[name]
    if name == "squeezenet":  # its last numbers are 1e10 before the softmax: in single precision their rounding alone decides
        (got,) = run_reference(in_double(graph), [picture(1).astype(np.float64)])
    else:
        (got,) = run_reference(graph, [picture(1)])
    np.testing.assert_allclose(got, expected(name), rtol=1e-3, atol=1e-7)


def test_two_rows_give_the_expected_output_twice() -> None:
    (got,) = run_reference(read_onnx(LIGHT / "light_shufflenet.onnx"), [picture(2)])
    np.testing.assert_allclose(got, np.repeat(expected("shufflenet"), 2, axis=0), rtol=1e-3, atol=1e-7)
