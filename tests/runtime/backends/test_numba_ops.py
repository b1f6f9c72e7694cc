"""Every op with every kind of attributes: what the numba backend takes it computes as the references do, the rest it refuses."""

import numpy as np
import pytest

from esp.astore.graph import run_reference
from esp.errors import BackendError
from esp.runtime.backends import numba
from tests.astore.op_cases import CASES
from tests.astore.test_ops import drawn, one_node

SEEDS = range(12)


@pytest.mark.parametrize("op", CASES)
def test_node_is_computed_as_the_reference_does_or_refused(op: str) -> None:
    for seed in SEEDS:
        graph, feeds = one_node(drawn(op, seed))
        try:
            bound = numba.bind(graph, 8)
        except BackendError:
            continue
        for rows in (1, 7):
            part = [np.ascontiguousarray(array[:rows]) for array in feeds]
            for got, wanted in zip(bound.run(part), run_reference(graph, part), strict=True):
                np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5, err_msg=f"seed {seed}")


def test_ops_that_are_taken_are_those_of_the_rules() -> None:
    from esp.runtime.backends.lowering.rules import RULES

    assert set(RULES) <= set(CASES)
