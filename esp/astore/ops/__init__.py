"""The op table: every operator that a graph may hold, with its meaning, one row each."""

from collections.abc import Mapping

from esp.astore.ops.activations import ACTIVATIONS
from esp.astore.ops.arithmetic import ARITHMETIC
from esp.astore.ops.cast import CAST
from esp.astore.ops.convolution import CONVOLUTION
from esp.astore.ops.cutting import CUTTING
from esp.astore.ops.dense import DENSE
from esp.astore.ops.detection import DETECTION
from esp.astore.ops.einsum import EINSUM
from esp.astore.ops.features import FEATURES
from esp.astore.ops.functions import FUNCTIONS
from esp.astore.ops.indexing import INDEXING
from esp.astore.ops.linear import LINEAR
from esp.astore.ops.logic import LOGIC
from esp.astore.ops.moving import MOVING
from esp.astore.ops.normalisation import NORMALISATION
from esp.astore.ops.pooling import POOLING
from esp.astore.ops.quantisation import QUANTISATION
from esp.astore.ops.recurrent import RECURRENT
from esp.astore.ops.reductions import REDUCTIONS
from esp.astore.ops.resize import RESIZE
from esp.astore.ops.row import Op
from esp.astore.ops.sampling import SAMPLING
from esp.astore.ops.shapes import SHAPES
from esp.astore.ops.shaping import SHAPING
from esp.astore.ops.statistics import STATISTICS
from esp.astore.ops.trees import TREES

OPS: Mapping[str, Op] = {
    **STATISTICS,
    **DETECTION,
    **SAMPLING,
    **QUANTISATION,
    **TREES,
    **LINEAR,
    **FEATURES,
    **ARITHMETIC,
    **FUNCTIONS,
    **LOGIC,
    **CAST,
    **REDUCTIONS,
    **ACTIVATIONS,
    **DENSE,
    **CONVOLUTION,
    **POOLING,
    **NORMALISATION,
    **SHAPING,
    **SHAPES,
    **INDEXING,
    **CUTTING,
    **MOVING,
    **RESIZE,
    **EINSUM,
    **RECURRENT,
}

__all__ = ["OPS"]
