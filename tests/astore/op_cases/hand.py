"""One op of the table called directly: its reference, its shape rule, what it refuses, its dtypes."""

import numpy as np
import pytest

from esp.astore.graph import Node, complete_attrs
from esp.astore.ops import OPS
from esp.errors import GraphError


def run(op, *inputs, outputs=1, dtype=np.float32, **attrs):
    arrays = [array if array is None or isinstance(array, np.ndarray) else np.asarray(array, dtype) for array in inputs]
    with np.errstate(all="ignore"):
        return OPS[op].reference(complete_attrs(Node(op, (), (), attrs)), arrays, outputs)


def rule(op, *shapes, constants=None, **attrs):
    return OPS[op].shapes(complete_attrs(Node(op, (), (), attrs)), shapes, constants or [None] * len(shapes))


def refused(op, *shapes, constants=None, **attrs):
    with pytest.raises(GraphError) as caught:
        rule(op, *shapes, constants=constants, **attrs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def dtypes(op, *kinds, outputs=1, **attrs):
    return OPS[op].dtypes.infer(complete_attrs(Node(op, (), (), attrs)), kinds, outputs)


def work(op, *shapes, **attrs):
    complete = complete_attrs(Node(op, (), (), attrs))
    return OPS[op].flops(complete, shapes, OPS[op].shapes(complete, shapes, [None] * len(shapes)))
