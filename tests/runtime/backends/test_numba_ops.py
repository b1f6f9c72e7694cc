"""Every op with every kind of attributes: what the numba backend takes it computes as the references do, the rest it refuses."""

import numpy as np
import pytest

from esp.astore.graph import Graph, run_reference
from esp.astore.validation import validate
from esp.errors import BackendError
from esp.runtime.backends import numba
from tests.astore.op_cases import CASES
from tests.astore.test_ops import drawn, one_node

SEEDS = range(12)
# Taken with every attribute and shape that is drawn, where all that is fed is float32.
TAKEN = {
    "Add", "Sub", "Mul", "Div", "PRelu", "Sum", "Mean", "Max", "Min", "Clip", "Relu", "LeakyRelu", "ThresholdedRelu", "Shrink", "Elu",
    "Selu", "Celu", "HardSigmoid", "HardSwish", "Tanh", "Sigmoid", "Swish", "Gelu", "Mish", "Softplus", "Softsign", "Exp", "Log",
    "Sqrt", "Abs", "Neg", "Reciprocal", "Erf", "Softmax", "LogSoftmax", "CenterCropPad", "Conv", "ConvTranspose", "BatchNormalization", "AveragePool",
    "GlobalAveragePool", "GlobalMaxPool", "ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2",
    "ReduceSumSquare", "ReduceLogSum", "RMSNormalization", "InstanceNormalization", "GroupNormalization", "LRN", "Flatten",
    "Reshape", "Squeeze", "Unsqueeze", "Transpose", "Concat", "Slice", "Split", "Gather", "Tile", "Expand", "Trilu", "DepthToSpace",
    "SpaceToDepth", "Pad", "RNN", "GRU", "LSTM",
}  # fmt: skip
SOME = {"LayerNormalization", "MatMul", "Gemm", "Pow", "Resize", "MaxPool"}  # taken in some of their forms


def is_within(graph: Graph) -> bool:
    """Whether a plan could hold it at all: float32 alone comes in and goes out, and no tensor is empty."""
    dtypes = {value.dtype for value in (*graph.inputs, *graph.outputs)}
    return dtypes == {"float32"} and not any(0 in shape for shape in validate(graph).values())


@pytest.mark.parametrize("op", CASES)
def test_node_is_computed_as_the_reference_does_or_refused(op: str) -> None:
    taken = 0
    for seed in SEEDS:
        graph, feeds = one_node(drawn(op, seed))
        try:
            bound = numba.bind(graph, 8)
        except BackendError:
            assert op not in TAKEN or not is_within(graph)
            continue
        taken += 1
        for rows in (1, 7):
            part = [np.ascontiguousarray(array[:rows]) for array in feeds]
            for got, wanted in zip(bound.run(part), run_reference(graph, part), strict=True):
                np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5, err_msg=f"seed {seed}")

    assert taken or op not in TAKEN | SOME


def test_ops_that_are_taken_are_those_of_the_rules() -> None:
    from esp.runtime.backends.lowering.rules import RULES

    assert set(RULES) <= set(CASES)
