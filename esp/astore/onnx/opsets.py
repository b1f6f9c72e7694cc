"""Which operator sets a graph needs when it is written as an ONNX model."""

from collections.abc import Mapping, Sequence
from typing import Any

import onnx
from onnx import helper

from esp.astore.graph import Node
from esp.astore.ops import OPS
from esp.errors import GraphError

OPSET = 21
LATEST = 26
ML_OPSET = 4
TREES_OPSET = 5  # of TreeEnsemble, in which the older tree ops are no more
_OLD_TREES = ("TreeEnsembleRegressor", "TreeEnsembleClassifier")


def opsets_for(nodes: Sequence[Node], opset: int | None) -> list[Any]:
    """The operator sets to declare, the default one first.

    ``opset`` None takes 21, or the first newer one that has every op: what sets 22 to 26 change about the older ops of the
    table is dtypes that no graph holds and attributes whose default is the old meaning, so a file of set 21 says the same
    and loads in more runtimes. Raises GraphError for one that is not among them, or that lacks an op of the nodes.
    """
    if opset is not None and not OPSET <= opset <= LATEST:
        raise GraphError(f"opset {opset} cannot be written", mend=f"use one of {OPSET} to {LATEST}")
    firsts = {node.op: _first(node.op) for node in nodes if not OPS[node.op].domain}
    for op, first in firsts.items():
        if opset is not None and first > opset:
            raise GraphError(f"opset {opset} has no {op}", mend=f"use opset {max(firsts.values())} or newer")
    declared = {"": opset or max([OPSET, *firsts.values()]), **_learned(nodes)}
    return [helper.make_opsetid(domain, version) for domain, version in declared.items()]


def _first(op: str) -> int:
    """The first operator set from 21 on that has the op."""
    return next(version for version in range(OPSET, LATEST + 1) if onnx.defs.has(op, version, ""))


def _learned(nodes: Sequence[Node]) -> Mapping[str, int]:
    """The set of ai.onnx.ml, where a node is of it."""
    ops = {node.op for node in nodes if OPS[node.op].domain}
    if not ops:
        return {}
    old = [op for op in _OLD_TREES if op in ops]
    if old and "TreeEnsemble" in ops:
        raise GraphError(f"no opset of ai.onnx.ml has both TreeEnsemble and {old[0]}", mend="write the trees in one way")
    return {"ai.onnx.ml": TREES_OPSET if "TreeEnsemble" in ops else ML_OPSET}
