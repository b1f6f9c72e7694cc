"""The passes over every network of the zoo: smaller graphs, the same outputs."""

import numpy as np
import pytest

from esp.astore.graph import Graph, run_reference
from esp.astore.passes import simplify
from esp.astore.validation import validate
from esp.train.zoo import SMALL, ZOO, build
from tests.astore.passes.test_passes import EXACT
from tests.train.zoo.test_zoo import rows_for


def outputs(graph: Graph) -> list[np.ndarray]:
    rng = np.random.default_rng(3)
    return run_reference(graph, [rows_for(value, rng) for value in graph.inputs])


@pytest.mark.parametrize("name", sorted(ZOO))
def test_network_keeps_its_outputs(name: str) -> None:
    before = build(name, **SMALL[name])
    wanted = outputs(before)
    exact = simplify(before, EXACT)
    for got, want in zip(outputs(exact), wanted, strict=True):
        np.testing.assert_array_equal(got, want)
    after = simplify(before)
    validate(after)
    assert len(after.nodes) <= len(before.nodes)
    for got, want in zip(outputs(after), wanted, strict=True):
        scale = float(np.abs(want).max()) if want.size and want.dtype.kind == "f" else 0
        np.testing.assert_allclose(got, want, rtol=2e-4, atol=2e-4 * scale)


@pytest.mark.parametrize("name", ["resnet18", "vgg11_bn", "mobilenet", "mobilenet_v2", "darknet19", "inception_v3"])
def test_no_batch_normalisation_is_left_where_each_follows_a_convolution(name: str) -> None:
    before = build(name, **SMALL[name])
    ops = [node.op for node in simplify(before).nodes]
    assert "BatchNormalization" in {node.op for node in before.nodes}
    assert not {"BatchNormalization", "Dropout", "Identity"} & set(ops)
