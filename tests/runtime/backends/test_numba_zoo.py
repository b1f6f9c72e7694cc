"""The networks of the zoo on the numba backend: computed as the references do, or refused with the op that a plan cannot express."""

import numpy as np
import pytest

from esp.astore.graph import run_reference
from esp.errors import BackendError
from esp.runtime.backends import numba
from esp.train.zoo import SMALL, ZOO, build
from tests.train.zoo.test_zoo import rows_for

REFUSED = {"faster_rcnn", "faster_rcnn_max"}  # boxes of the data's choice


@pytest.mark.parametrize("name", ZOO)
def test_network_is_computed_as_the_reference_does_or_refused(name: str) -> None:
    graph = build(name, **SMALL[name])
    try:
        bound = numba.bind(graph, 8)
    except BackendError:
        assert name in REFUSED
        return
    assert name not in REFUSED
    rng = np.random.default_rng(1)
    inputs = [rows_for(value, rng) for value in graph.inputs]
    for rows in (1, 7):
        part = [np.ascontiguousarray(array[:rows]) for array in inputs]
        for got, wanted in zip(bound.run(part), run_reference(graph, part), strict=True):
            np.testing.assert_allclose(got, wanted, rtol=2e-4, atol=2e-4 * np.abs(wanted).max())
