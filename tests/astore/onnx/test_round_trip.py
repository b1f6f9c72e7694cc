"""A graph written as ONNX and read again is the same network: every network of the zoo, and astores with their preprocessing."""

import numpy as np
import onnx
import onnxruntime
import pytest

from esp.astore.graph import Graph, run_reference
from esp.astore.onnx import read_onnx, to_onnx
from esp.astore.summary import layer_rows, totals
from esp.train.zoo import SMALL, ZOO, build

ROWS = 7


def rows_for(graph: Graph) -> list[np.ndarray]:
    """Random rows of each input; whole numbers are within the vocabularies and lengths of SMALL."""
    rng = np.random.default_rng(11)
    shapes = [((ROWS, *value.shape[1:]), value.dtype) for value in graph.inputs]
    return [
        rng.standard_normal(shape).astype(dtype) if dtype.startswith("float") else rng.integers(1, 6, shape).astype(dtype)
        for shape, dtype in shapes
    ]


def in_onnxruntime(model: bytes, graph: Graph, inputs: list[np.ndarray], rows: int) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    session = onnxruntime.InferenceSession(model, options, ["CPUExecutionProvider"])
    made: list[np.ndarray] = session.run(None, {value.name: x[:rows] for value, x in zip(graph.inputs, inputs)})
    return made


def floats(graph: Graph) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in graph.weights.items() if array.dtype.kind == "f"}


@pytest.mark.parametrize("name", ZOO)
def test_network_keeps_outputs_and_weights_through_onnx_and_runs_in_onnxruntime_at_batch_1_and_7(name: str) -> None:
    graph = build(name, seed=9, **SMALL[name])
    inputs = rows_for(graph)
    wanted = run_reference(graph, inputs)
    model = to_onnx(graph)
    onnx.checker.check_model(model, full_check=True)
    for rows in (1, ROWS):
        for ours, theirs in zip(wanted, in_onnxruntime(model.SerializeToString(), graph, inputs, rows), strict=True):
            np.testing.assert_allclose(theirs, ours[:rows], rtol=1e-4, atol=1e-4 * np.abs(ours).max())
    again = read_onnx(model)
    for before, after in zip(wanted, run_reference(again, inputs), strict=True):
        np.testing.assert_allclose(after, before, rtol=0, atol=1e-6)
    assert floats(again) == floats(graph)
    assert totals(again, layer_rows(again)).parameters == totals(graph, layer_rows(graph)).parameters
