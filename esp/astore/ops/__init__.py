"""The op table: every operator that a graph may hold, with its meaning, one row each."""

from collections.abc import Mapping

from esp.astore.ops.activations import ACTIVATIONS
from esp.astore.ops.arithmetic import ARITHMETIC
from esp.astore.ops.convolution import CONVOLUTION
from esp.astore.ops.dense import DENSE
from esp.astore.ops.normalisation import NORMALISATION
from esp.astore.ops.recurrent import RECURRENT
from esp.astore.ops.row import Op
from esp.astore.ops.shaping import SHAPING

OPS: Mapping[str, Op] = {**ARITHMETIC, **ACTIVATIONS, **DENSE, **CONVOLUTION, **NORMALISATION, **SHAPING, **RECURRENT}

__all__ = ["OPS"]
