"""The table of rules: how each op becomes rows of a plan."""

from collections.abc import Mapping
from types import MappingProxyType

from esp.runtime.backends.lowering.dense import gemm, matmul
from esp.runtime.backends.lowering.elementwise import activation, arithmetic, softmax
from esp.runtime.backends.lowering.lowering import Rule
from esp.runtime.backends.lowering.recurrent import recurrent
from esp.runtime.backends.lowering.shaping import concat, reshape, transpose
from esp.runtime.backends.lowering.spatial import average_pool, conv, global_average, max_pool, normalisation

RULES: Mapping[str, Rule] = MappingProxyType(
    {
        "Add": arithmetic, "Sub": arithmetic, "Mul": arithmetic, "Div": arithmetic,
        "Relu": activation, "LeakyRelu": activation, "Tanh": activation, "Sigmoid": activation, "Softmax": softmax,
        "Gemm": gemm, "MatMul": matmul, "Conv": conv, "BatchNormalization": normalisation,
        "MaxPool": max_pool, "AveragePool": average_pool, "GlobalAveragePool": global_average,
        "Flatten": reshape, "Reshape": reshape, "Transpose": transpose, "Concat": concat,
        "RNN": recurrent, "GRU": recurrent, "LSTM": recurrent,
    }
)  # fmt: skip
CLAMPED = ("Gemm", "MatMul", "Conv", "BatchNormalization")  # a Relu after one of these is part of it
