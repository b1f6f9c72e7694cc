"""What opset 6 meant and 7 says otherwise: broadcasting along a named axis, a channel's slope, and whether a node trains."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from esp.astore.graph import Attr
from esp.astore.onnx.draft import Draft
from esp.astore.onnx.scope import Scope
from esp.errors import GraphError

PAIRWISE = ("Add", "Sub", "Mul", "Div", "Pow", "And", "Or", "Xor", "Equal", "Less", "Greater")


def along_axis(draft: Draft, scope: Scope) -> Sequence[Draft]:
    """``broadcast`` laid the second tensor along the first from ``axis`` on; without it their shapes were equal."""
    left, right = (scope.shape(name) for name in draft.inputs)
    rest = _without(draft, "broadcast", "axis")
    axis = draft.attrs.get("axis")
    if not draft.attrs.get("broadcast") or not isinstance(axis, int):
        return [replace(draft, attrs=rest)]
    axis = axis + len(left) if axis < 0 else axis
    after = len(left) - axis - len(right)
    if axis < 0 or after < 0:
        raise GraphError(f"axis {axis} leaves no room for {len(right)} axes", where=draft.where, mend="export the model anew")
    name, made = _widened(draft, scope, after)
    return [*made, replace(draft, inputs=(draft.inputs[0], name), attrs=rest)]


def slope_of_channels(draft: Draft, scope: Scope) -> Sequence[Draft]:
    """PRelu's slope was one number, or one a channel of axis 1."""
    x, slope = (scope.shape(name) for name in draft.inputs)
    if len(slope) != 1 or slope == (1,):
        return [draft]
    name, made = _widened(draft, scope, max(len(x) - 2, 0))
    return [*made, replace(draft, inputs=(draft.inputs[0], name))]


def not_trained(draft: Draft, scope: Scope) -> Sequence[Draft]:
    """BatchNormalization and Dropout trained unless ``is_test`` was set."""
    if not draft.attrs.get("is_test"):
        raise GraphError("is_test is not set: it trains", where=draft.where, mend="export the model for inference")
    return [replace(draft, attrs=_without(draft, "is_test"))]


def broadcast_bias(draft: Draft, scope: Scope) -> Sequence[Draft]:
    """Gemm's bias is broadcast without being told to."""
    return [replace(draft, attrs=_without(draft, "broadcast"))]


def _widened(draft: Draft, scope: Scope, axes: int) -> tuple[str, list[Draft]]:
    """The second input with so many axes of size 1 after its own."""
    if not axes:
        return draft.inputs[1], []
    rank = len(scope.shape(draft.inputs[1]))
    name = scope.fresh(f"{draft.outputs[0]}/wide")
    at = scope.constant(np.arange(rank, rank + axes), f"{draft.outputs[0]}/axes")
    return name, [draft.sibling("Unsqueeze", [draft.inputs[1], at], [name])]


def _without(draft: Draft, *names: str) -> Mapping[str, Attr]:
    return {name: value for name, value in draft.attrs.items() if name not in names}
