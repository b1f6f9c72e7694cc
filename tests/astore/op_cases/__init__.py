"""For every op of the table, a function that draws a case of it from a random generator."""

from collections.abc import Callable

from tests.astore.op_cases.networks import NETWORKS

CASES: dict[str, Callable] = {**NETWORKS}
