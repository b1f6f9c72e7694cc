"""The gradient table: every op of the op table can be trained through."""

from esp.train.gradients.dense import DENSE
from esp.train.gradients.elementwise import ELEMENTWISE
from esp.train.gradients.norm import NORM
from esp.train.gradients.recurrent import RECURRENT
from esp.train.gradients.row import Gradient
from esp.train.gradients.shape import SHAPE
from esp.train.gradients.spatial import SPATIAL

GRADIENTS: dict[str, Gradient] = {**ELEMENTWISE, **DENSE, **SPATIAL, **NORM, **SHAPE, **RECURRENT}
