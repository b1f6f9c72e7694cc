"""For every op of the table, a function that draws a case of it from a random generator."""

from collections.abc import Callable

from tests.astore.op_cases.elementwise import ELEMENTWISE
from tests.astore.op_cases.indexing import INDEXING
from tests.astore.op_cases.learners import LEARNERS
from tests.astore.op_cases.networks import NETWORKS
from tests.astore.op_cases.quantised import QUANTISED
from tests.astore.op_cases.reductions import REDUCTIONS
from tests.astore.op_cases.shapes import SHAPES
from tests.astore.op_cases.spatial import SPATIAL

CASES: dict[str, Callable] = {**NETWORKS, **SPATIAL, **QUANTISED, **LEARNERS, **ELEMENTWISE, **REDUCTIONS, **SHAPES, **INDEXING}
