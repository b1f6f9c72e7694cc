"""What operators of older sets meant, in the words of opset 21: a table of changes by op and by the set that made them.

Source: the ONNX operator change log (Operators.md, Changelog.md of onnx).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from esp.astore.graph import Attr
from esp.astore.onnx.draft import Draft
from esp.astore.onnx.opset6 import PAIRWISE, along_axis, broadcast_bias, not_trained, slope_of_channels
from esp.astore.onnx.scope import Scope
from esp.astore.onnx.tensors import kind_of
from esp.errors import GraphError

Change = Callable[[Draft, Scope], Sequence[Draft]]
EVERY = 1 << 30  # a change that holds for every version


@dataclass(frozen=True, slots=True)
class Upgrade:
    """``change`` makes of a node of a set before ``before`` nodes of that set; of several the first that applies is taken."""

    before: int
    change: Change


def upgraded(draft: Draft, scope: Scope) -> list[Draft] | None:
    """The node one step nearer to opset 21; None where it is there."""
    for upgrade in UPGRADES.get(draft.op, ()) if draft.domain == "" else ():
        if draft.version < upgrade.before:
            made = upgrade.change(draft, scope)
            return [replace(new, version=max(new.version, upgrade.before)) if new.op == draft.op else new for new in made]
    return None


def without(draft: Draft, *names: str) -> Mapping[str, Attr]:
    """The attributes but for those."""
    return {name: value for name, value in draft.attrs.items() if name not in names}


def to_input(attr: str, at: int, dtype: str | None = "int64") -> Change:
    """An attribute that became input ``at``; ``dtype`` None = that of input 0."""

    def change(draft: Draft, scope: Scope) -> Sequence[Draft]:
        if attr not in draft.attrs:
            return [draft]
        value = np.array(draft.attrs[attr], dtype or scope.dtype(draft.inputs[0]))
        inputs = [*draft.inputs, *[""] * (at - len(draft.inputs))][:at]
        name = scope.constant(value, f"{_base(draft)}/{attr}")
        return [replace(draft, inputs=(*inputs, name), attrs=without(draft, attr))]

    return change


def then(*changes: Change) -> Change:
    """Changes of one node, one after the other."""

    def change(draft: Draft, scope: Scope) -> Sequence[Draft]:
        for one in changes:
            (draft,) = one(draft, scope)
        return [draft]

    return change


def says(**attrs: Attr) -> Change:
    """Attributes whose default became another, or that are new: what was meant before is written out."""
    return lambda draft, scope: [replace(draft, attrs={**attrs, **draft.attrs})]


def forgets(*names: str) -> Change:
    """Attributes that say nothing about the dtypes that a graph holds."""
    return lambda draft, scope: [replace(draft, attrs=without(draft, *names))]


def over_halves(draft: Draft, scope: Scope) -> Sequence[Draft]:
    """Softmax before 13: over all axes from ``axis`` on at once."""
    axis, rank = _number(draft, "axis", 1), len(scope.shape(draft.inputs[0]))
    if not -rank <= axis < max(rank, 1):
        raise GraphError(f"axis {axis} is none of {rank}", where=draft.where, mend="export the model anew")
    wide = [at for at in range(axis % max(rank, 1), rank) if scope.shape(draft.inputs[0])[at] != 1]
    if len(wide) < 2:
        return [replace(draft, attrs={"axis": wide[0] if wide else -1})]
    (x,), (y,) = draft.inputs, draft.outputs
    flat, shape, made = (scope.fresh(f"{y}/{part}") for part in ("flat", "shape", "made"))
    return [
        draft.sibling("Shape", [x], [shape]),
        draft.sibling("Flatten", [x], [flat], {"axis": axis % rank}),
        draft.sibling(draft.op, [flat], [made], {"axis": -1}),
        draft.sibling("Reshape", [made, shape], [y]),
    ]


def split_evenly(draft: Draft, scope: Scope) -> Sequence[Draft]:
    """Split before 18 took the number of its outputs for granted."""
    if len(draft.inputs) > 1 and draft.inputs[1]:
        return [draft]
    return [replace(draft, attrs={**draft.attrs, "num_outputs": len(draft.outputs)})]


def upsample(draft: Draft, scope: Scope) -> Sequence[Draft]:
    """Upsample is a Resize that counts from the corner."""
    x, scales = draft.inputs
    return [draft.sibling("Resize", [x, "", scales], draft.outputs, {**_CORNER, **draft.attrs})]


def resize_10(draft: Draft, scope: Scope) -> Sequence[Draft]:
    x, scales = draft.inputs
    return [replace(draft, inputs=(x, "", scales), attrs={**_CORNER, **draft.attrs})]


def resize_empty(draft: Draft, scope: Scope) -> Sequence[Draft]:
    """Inputs without elements say nothing: roi, scales or sizes that the set of their time did not let be left out."""
    inputs = [name if at == 0 or not name or 0 not in scope.shape(name) else "" for at, name in enumerate(draft.inputs)]
    if draft.attrs.get("coordinate_transformation_mode") != "tf_crop_and_resize":
        inputs[1:2] = [""] * len(inputs[1:2])
    return [replace(draft, inputs=tuple(inputs))]


def not_spatial(draft: Draft, scope: Scope) -> Sequence[Draft]:
    if not _number(draft, "spatial", 1):
        raise GraphError("spatial = 0 is not supported", where=draft.where, mend="export it with a newer opset")
    return [replace(draft, attrs=without(draft, "spatial"))]


def not_training(draft: Draft, scope: Scope) -> Sequence[Draft]:
    """Dropout's third input says whether it trains: a graph is for scoring."""
    if len(draft.inputs) < 3 or not draft.inputs[2]:
        return [draft]
    mode = scope.numbers(draft.inputs[2])
    if mode is None or mode.any():
        raise GraphError("training_mode is set, or depends on the data", where=draft.where, mend="export the model for inference")
    return [replace(draft, inputs=draft.inputs[:2])]


def scale_a_group(draft: Draft, scope: Scope) -> Sequence[Draft]:
    """GroupNormalization 18 had one scale and one bias a group, 21 one a channel."""
    x, *affine = draft.inputs
    (channels,), groups = scope.shape(x)[1:2] or (None,), _number(draft, "num_groups", 1)
    if not isinstance(channels, int) or groups < 1 or channels % groups:
        raise GraphError(f"{channels} channels in {groups} groups", where=draft.where, mend="give it a multiple of num_groups")
    known = [scope.numbers(name) for name in affine]
    if all(array is not None and array.shape == (groups,) for array in known):
        wide_ = [
            scope.constant(np.repeat(array, channels // groups), name) for array, name in zip(known, affine) if array is not None
        ]
        return [replace(draft, inputs=(x, *wide_))]
    column = scope.constant(np.array([groups, 1]), f"{_base(draft)}/column")
    wide = scope.constant(np.array([groups, channels // groups]), f"{_base(draft)}/wide")
    flat = scope.constant(np.array([channels]), f"{_base(draft)}/flat")
    made, names = [], []
    for name in affine:
        one, many, all_ = (scope.fresh(f"{_base(draft)}/{name}_{step}") for step in ("column", "wide", "flat"))
        made += [
            draft.sibling("Reshape", [name, column], [one]),
            draft.sibling("Expand", [one, wide], [many]),
            draft.sibling("Reshape", [many, flat], [all_]),
        ]
        names.append(all_)
    return [*made, replace(draft, inputs=(x, *names))]


def batch_first(draft: Draft, scope: Scope) -> Sequence[Draft]:
    """Recurrent layout 1 is layout 0 between Transposes."""
    if not _number(draft, "layout", 0):
        return [replace(draft, attrs=without(draft, "layout"))]
    before, inputs = [], list(draft.inputs)
    for at in (0, 5, 6):  # X, initial_h, initial_c
        if at < len(inputs) and inputs[at]:
            turned = scope.fresh(f"{_base(draft)}/turned_{at}")
            before.append(draft.sibling("Transpose", [inputs[at]], [turned], {"perm": (1, 0, 2)}))
            inputs[at] = turned
    after, outputs = [], list(draft.outputs)
    for at, name in enumerate(draft.outputs):
        if name:
            outputs[at] = scope.fresh(f"{name}/turned")
            perm = (2, 0, 1, 3) if at == 0 else (1, 0, 2)
            after.append(draft.sibling("Transpose", [outputs[at]], [name], {"perm": perm}))
    attrs = without(draft, "layout")
    return [*before, replace(draft, inputs=tuple(inputs), outputs=tuple(outputs), attrs=attrs), *after]


def cast_like(draft: Draft, scope: Scope) -> Sequence[Draft]:
    return [draft.sibling("Cast", draft.inputs[:1], draft.outputs, {"to": kind_of(scope.dtype(draft.inputs[1]))})]


def scatter(draft: Draft, scope: Scope) -> Sequence[Draft]:
    return [draft.sibling("ScatterElements", draft.inputs, draft.outputs, draft.attrs)]


def grid_modes(draft: Draft, scope: Scope) -> Sequence[Draft]:
    """GridSample 20 calls its modes as Resize does."""
    mode = str(draft.attrs.get("mode", "bilinear"))
    return [replace(draft, attrs={**draft.attrs, "mode": {"bilinear": "linear", "bicubic": "cubic"}.get(mode, mode)})]


def columns_first(draft: Draft, scope: Scope) -> Sequence[Draft]:
    """SpaceToDepth 28 may put a block's places after the channel (mode CRD)."""
    if draft.attrs.get("mode", "DCR") == "DCR":
        return [replace(draft, attrs=without(draft, "mode"))]
    (x,), (y,), block = draft.inputs, draft.outputs, _number(draft, "blocksize", 1)
    shape = scope.shape(x)
    if len(shape) != 4 or not all(isinstance(size, int) and block > 0 for size in shape[1:]):
        raise GraphError(f"blocks of {block} do not fit {len(shape)} axes", where=draft.where, mend="give it [N, C, H, W]")
    _, channels, height, width = (size if isinstance(size, int) else -1 for size in shape)
    apart = scope.constant(np.array([-1, channels, height // block, block, width // block, block]), f"{y}/apart")
    together = scope.constant(np.array([-1, channels * block * block, height // block, width // block]), f"{y}/together")
    blocks, turned = (scope.fresh(f"{y}/{part}") for part in ("blocks", "turned"))
    return [
        draft.sibling("Reshape", [x, apart], [blocks]),
        draft.sibling("Transpose", [blocks], [turned], {"perm": (0, 1, 3, 5, 2, 4)}),
        draft.sibling("Reshape", [turned, together], [y]),
    ]


def _base(draft: Draft) -> str:
    return next(name for name in draft.outputs if name)


def _number(draft: Draft, name: str, default: int) -> int:
    value = draft.attrs.get(name, default)
    if not isinstance(value, int):
        raise GraphError(f"attribute {name!r} wants int, got {value!r}", where=draft.where, mend="write it as that")
    return value


_CORNER: Mapping[str, Attr] = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
_AXES = to_input("axes", 1)
_REDUCE = {
    f"Reduce{kind}": (Upgrade(18, _AXES),)
    for kind in ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "SumSquare")
}
_HALVES = {op: (Upgrade(13, over_halves),) for op in ("Softmax", "LogSoftmax", "Hardmax")}
_RECURRENT = {op: (Upgrade(EVERY, batch_first),) for op in ("RNN", "GRU", "LSTM")}

_PAIRWISE = {op: (Upgrade(7, along_axis),) for op in PAIRWISE}

UPGRADES: Mapping[str, tuple[Upgrade, ...]] = {
    **_PAIRWISE,
    **_REDUCE,
    **_HALVES,
    **_RECURRENT,
    "BatchNormalization": (
        Upgrade(7, not_trained),
        Upgrade(9, not_spatial),
    ),
    "Cast": (Upgrade(EVERY, forgets("saturate", "round_mode")),),
    "CastLike": (Upgrade(EVERY, cast_like),),
    "Clip": (Upgrade(11, then(to_input("min", 1, None), to_input("max", 2, None))),),
    "Dropout": (Upgrade(7, not_trained), Upgrade(12, to_input("ratio", 1, "float32")), Upgrade(EVERY, not_training)),
    "Gemm": (Upgrade(7, broadcast_bias),),
    "GridSample": (Upgrade(20, grid_modes),),
    "GroupNormalization": (Upgrade(21, scale_a_group),),
    "PRelu": (Upgrade(7, slope_of_channels),),
    "Pad": (Upgrade(11, then(to_input("pads", 1), to_input("value", 2, None))),),
    "ReduceSum": (Upgrade(13, _AXES),),
    "Resize": (Upgrade(11, resize_10), Upgrade(EVERY, resize_empty)),
    "RoiAlign": (Upgrade(16, says(coordinate_transformation_mode="output_half_pixel")),),
    "Scatter": (Upgrade(EVERY, scatter),),
    "Slice": (Upgrade(10, then(to_input("starts", 1), to_input("ends", 2), to_input("axes", 3))),),
    "SpaceToDepth": (Upgrade(EVERY, columns_first),),
    "Split": (Upgrade(13, to_input("split", 1)), Upgrade(18, split_evenly)),
    "Squeeze": (Upgrade(13, _AXES),),
    "TopK": (Upgrade(10, to_input("k", 1)),),
    "Unsqueeze": (Upgrade(13, _AXES),),
    "Upsample": (Upgrade(9, to_input("scales", 1, "float32")), Upgrade(EVERY, upsample)),
}
