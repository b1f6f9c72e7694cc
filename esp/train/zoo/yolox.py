"""A detector without anchors in the manner of YOLOX and YOLOv8: a path of three scales, decoupled heads, decoded boxes."""

import numpy as np

from esp.train.layers import Concat, Conv2d, MaxPool, UpSampling
from esp.train.network import Network, Tensor
from esp.train.zoo.draft import DAMPED, Draft, Outputs, wide


def yolox(draft: Draft, *, size: int = 416, channels: int = 3, classes: int = 80, width: float = 0.375, depth: int = 1) -> Outputs:
    """Boxes [N, cells, 4] (centre and size in pixels) and scores [N, cells, classes] over strides 8, 16 and 32 (Ge et al. 2021)."""
    image = draft.input("image", channels, size, size)
    x = draft.block("Reorg", lambda: draft.net.add_node("SpaceToDepth", [image], blocksize=2))
    x = draft.conv_bn(x, wide(64, width), activation="silu")
    maps: list[Tensor] = []
    for filters, repeats in ((128, 1), (256, 3), (512, 3), (1024, 1)):
        x = draft.conv_bn(x, wide(filters, width), 3, 2, "silu", padding=1)
        x = _spread(draft, x) if filters == 1024 else x
        x = _stage(draft, x, wide(filters, width), repeats * depth, is_residual=filters < 1024)
        maps.append(x)
    boxes, scores = zip(*(_head(draft, x, size, classes, wide(256, width)) for x in _merge(draft, maps[1:], depth)))
    return {"boxes": _join(draft, boxes), "scores": _join(draft, scores)}


def _stage(draft: Draft, x: Tensor, filters: int, depth: int, is_residual: bool) -> Tensor:
    """Half of the channels through bottlenecks, half beside them (cross stage partial)."""
    beside = draft.conv_bn(x, max(1, filters // 2), 1, activation="silu")
    x = draft.conv_bn(x, max(1, filters // 2), 1, activation="silu")
    for _ in range(depth):
        start = DAMPED if is_residual else 1.0
        y = draft.conv_bn(draft.conv_bn(x, x.dims[0], 1, activation="silu"), x.dims[0], activation="silu", start=start)
        x = draft.residual(x, y) if is_residual else y
    return draft.conv_bn(draft(Concat(), x, beside), filters, 1, activation="silu")


def _spread(draft: Draft, x: Tensor) -> Tensor:
    """Pools of three sizes side by side with what they pool (spatial pyramid pooling)."""
    filters = x.dims[0]
    x = draft.conv_bn(x, max(1, filters // 2), 1, activation="silu")
    pooled = [draft(MaxPool(window, 1, "same"), x) for window in (5, 9, 13)]
    return draft.conv_bn(draft(Concat(), x, *pooled), filters, 1, activation="silu")


def _merge(draft: Draft, maps: list[Tensor], depth: int) -> list[Tensor]:
    """The three scales joined from coarse to fine, then from fine to coarse."""
    fine, middle, coarse = maps
    passed_coarse = draft.conv_bn(coarse, middle.dims[0], 1, activation="silu")
    middle = _stage(draft, draft(Concat(), draft(UpSampling(), passed_coarse), middle), middle.dims[0], depth, False)
    passed_middle = draft.conv_bn(middle, fine.dims[0], 1, activation="silu")
    fine = _stage(draft, draft(Concat(), draft(UpSampling(), passed_middle), fine), fine.dims[0], depth, False)
    down = draft.conv_bn(fine, fine.dims[0], 3, 2, "silu", padding=1)
    middle = _stage(draft, draft(Concat(), down, passed_middle), middle.dims[0], depth, False)
    down = draft.conv_bn(middle, middle.dims[0], 3, 2, "silu", padding=1)
    return [fine, middle, _stage(draft, draft(Concat(), down, passed_coarse), coarse.dims[0], depth, False)]


def _head(draft: Draft, x: Tensor, size: int, classes: int, filters: int) -> tuple[Tensor, Tensor]:
    """Boxes and scores of one scale: two convolutions for the classes, two for box and objectness."""
    x = draft.conv_bn(x, filters, 1, activation="silu")
    kinds, places = x, x
    for _ in range(2):
        kinds = draft.conv_bn(kinds, filters, activation="silu")
        places = draft.conv_bn(places, filters, activation="silu")
    parts = draft(Conv2d(classes, 1), kinds), draft(Conv2d(4, 1), places), draft(Conv2d(1, 1), places)
    return draft.block("Detection", lambda: _decode(draft.net, *parts, size // x.dims[1]))


def _decode(net: Network, logits: Tensor, places: Tensor, objectness: Tensor, stride: int) -> tuple[Tensor, Tensor]:
    rows, columns = places.dims[1:]
    centre, extent = net.add_nodes("Split", [_listed(net, places), net.add_constant([2, 2])], [True, True], axis=-1)
    cells = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), -1).reshape(1, rows * columns, 2)
    pixels = net.add_constant(float(stride))
    centre = net.add_node("Mul", [net.add_node("Add", [centre, net.add_constant(cells, net.dtype)]), pixels])
    extent = net.add_node("Mul", [net.add_node("Exp", [extent]), pixels])
    scores = [net.add_node("Sigmoid", [_listed(net, x)]) for x in (objectness, logits)]
    return net.add_node("Concat", [centre, extent], axis=-1), net.add_node("Mul", scores)


def _listed(net: Network, x: Tensor) -> Tensor:
    """Maps [features, rows, columns] as a list [rows * columns, features]."""
    features, rows, columns = x.dims
    flat = net.add_node("Reshape", [x, net.add_constant([0, features, rows * columns])])
    return net.add_node("Transpose", [flat], perm=(0, 2, 1))


def _join(draft: Draft, parts: tuple[Tensor, ...]) -> Tensor:
    return draft.block("Concat", lambda: draft.net.add_node("Concat", parts, axis=1))
