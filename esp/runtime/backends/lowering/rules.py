"""The table of rules: how each op becomes rows of a plan."""

from collections.abc import Mapping
from types import MappingProxyType

from esp.runtime.backends.lowering.dense import gemm, matmul
from esp.runtime.backends.lowering.elementwise import arithmetic, softmax
from esp.runtime.backends.lowering.folding import FOLDS, channel_norm, global_max, local_norm, reduction, trailing_norm
from esp.runtime.backends.lowering.looking import cast, gather, one_hot
from esp.runtime.backends.lowering.lowering import Rule
from esp.runtime.backends.lowering.moving import expand, moved, pad
from esp.runtime.backends.lowering.pointwise import FORMS, activation, clip, power, several
from esp.runtime.backends.lowering.pooling import average_pool, global_average, max_pool
from esp.runtime.backends.lowering.recurrent import recurrent
from esp.runtime.backends.lowering.resampling import resize
from esp.runtime.backends.lowering.residual import add
from esp.runtime.backends.lowering.shaping import concat, reshape, transpose
from esp.runtime.backends.lowering.spatial import conv, conv_transpose, normalisation

RULES: Mapping[str, Rule] = MappingProxyType(
    {
        "Add": add, "Sub": arithmetic, "Mul": arithmetic, "Div": arithmetic, "PRelu": arithmetic,
        **dict.fromkeys(FORMS, activation), "Clip": clip, "Pow": power, "Softmax": softmax, "LogSoftmax": softmax,
        "Sum": several, "Mean": several, "Max": several, "Min": several,
        "Gemm": gemm, "MatMul": matmul, "Conv": conv, "ConvTranspose": conv_transpose, "BatchNormalization": normalisation,
        "MaxPool": max_pool, "AveragePool": average_pool, "GlobalAveragePool": global_average, "GlobalMaxPool": global_max,
        **dict.fromkeys(FOLDS, reduction), "LayerNormalization": trailing_norm, "RMSNormalization": trailing_norm,
        "InstanceNormalization": channel_norm, "GroupNormalization": channel_norm, "LRN": local_norm,
        "Flatten": reshape, "Reshape": reshape, "Squeeze": reshape, "Unsqueeze": reshape, "Transpose": transpose, "Concat": concat,
        "Slice": moved, "Split": moved, "Tile": moved, "Trilu": moved, "CenterCropPad": moved, "DepthToSpace": moved, "SpaceToDepth": moved,
        "Gather": gather, "OneHot": one_hot, "Cast": cast,
        "Pad": pad, "Resize": resize, "Expand": expand,
        "RNN": recurrent, "GRU": recurrent, "LSTM": recurrent,
    }
)  # fmt: skip
# A Relu or Clip after one of these is part of it.
CLAMPED = ("Gemm", "MatMul", "Conv", "ConvTranspose", "BatchNormalization", "Add")
