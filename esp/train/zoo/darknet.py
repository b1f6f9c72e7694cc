"""The networks of Redmon's darknet: classifiers, and the YOLO detectors of versions 1 and 2."""

from collections.abc import Sequence

import numpy as np

from esp.train.layers import Concat, Conv2d, Dense, Dropout, GlobalAveragePool, MaxPool, OutputLayer
from esp.train.network import Network, Tensor
from esp.train.zoo.draft import DAMPED, Draft, Outputs, wide

DARKNET19 = ((32,), (64,), (128, 64, 128), (256, 128, 256), (512, 256, 512, 256, 512), (1024, 512, 1024, 512, 1024))
DARKNET53 = (1, 2, 8, 8, 4)
YOLOV1 = (  # filters and kernel size; a pool before each group but the first
    ((64, 7),),
    ((192, 3),),
    ((128, 1), (256, 3), (256, 1), (512, 3)),
    (*((256, 1), (512, 3)) * 4, (512, 1), (1024, 3)),
    (*((512, 1), (1024, 3)) * 2, (1024, 3)),
)
VOC_ANCHORS = ((1.3221, 1.73145), (3.19275, 4.00944), (5.05587, 8.09892), (9.47112, 4.84053), (11.2364, 10.0071))
TINY_ANCHORS = ((1.08, 1.19), (3.42, 4.41), (6.63, 11.38), (9.42, 5.11), (16.62, 10.52))
Anchors = Sequence[tuple[float, float]]


def darknet19(draft: Draft, *, size: int = 224, channels: int = 3, classes: int = 1000, width: float = 1.0) -> Outputs:
    """Darknet-19 (Redmon and Farhadi 2017)."""
    x, _ = _darknet19(draft, draft.input("image", channels, size, size), width)
    x = draft(Conv2d(classes, 1), x)
    return {"probabilities": draft(OutputLayer(), draft(GlobalAveragePool(), x))}


def _darknet19(draft: Draft, x: Tensor, width: float) -> tuple[Tensor, Tensor]:
    """The convolutions of Darknet-19: the last maps, and those before the last pool."""
    fine = x
    for at, block in enumerate(DARKNET19):
        fine, x = x, draft(MaxPool(), x) if at else x
        for deep, filters in enumerate(block):
            x = draft.conv_bn(x, wide(filters, width), 1 if deep % 2 else 3, activation="leaky")
    return x, fine


def darknet53(draft: Draft, *, size: int = 256, channels: int = 3, classes: int = 1000, width: float = 1.0) -> Outputs:
    """Darknet-53 (Redmon and Farhadi 2018)."""
    x = draft.conv_bn(draft.input("image", channels, size, size), wide(32, width), activation="leaky")
    for stage, blocks in enumerate(DARKNET53):
        filters = wide(64 * 2**stage, width)
        x = draft.conv_bn(x, filters, 3, 2, "leaky", padding=1)
        for _ in range(blocks):
            y = draft.conv_bn(x, max(1, filters // 2), 1, activation="leaky")
            x = draft.residual(x, draft.conv_bn(y, filters, activation="leaky", start=DAMPED / 2))
    return draft.classes(x, classes)


def yolov1(
    draft: Draft,
    *,
    size: int = 448,
    channels: int = 3,
    classes: int = 20,
    boxes: int = 2,
    width: float = 1.0,
    hidden: int = 4096,
) -> Outputs:
    """YOLO version 1 (Redmon et al. 2016): for each cell its boxes (x, y, w, h, confidence), then the classes."""
    x = draft.input("image", channels, size, size)
    for at, group in enumerate(YOLOV1):
        x = draft(MaxPool(), x) if at else x
        for filters, window in group:
            x = draft.conv(x, wide(filters, width), window, 1 if at else 2, "leaky", 3 if window == 7 else "same")
    x = draft.conv(x, wide(1024, width), 3, 2, "leaky", padding=1)
    for _ in range(2):
        x = draft.conv(x, wide(1024, width), activation="leaky")
    cells = x.dims[1]
    x = draft(Dropout(0.5), draft(Dense(hidden, "leaky"), x))
    return _cells(draft, x, cells, 5 * boxes + classes)


def tiny_yolov1(
    draft: Draft, *, size: int = 448, channels: int = 3, classes: int = 20, boxes: int = 2, width: float = 1.0
) -> Outputs:
    """The small YOLO version 1: eight convolutions and one dense layer."""
    x = draft.input("image", channels, size, size)
    for filters in (16, 32, 64, 128, 256, 512):
        x = draft(MaxPool(), draft.conv_bn(x, wide(filters, width), activation="leaky"))
    for filters in (1024, 256):
        x = draft.conv_bn(x, wide(filters, width), activation="leaky")
    return _cells(draft, x, x.dims[1], 5 * boxes + classes)


def _cells(draft: Draft, x: Tensor, cells: int, depth: int) -> Outputs:
    """A dense layer whose numbers are ``depth`` for each cell of a square grid."""
    x = draft(Dense(cells * cells * depth), x)
    shape = np.array([0, cells, cells, depth])
    made = draft.block("Detection", lambda: draft.net.add_node("Reshape", [x, draft.net.add_constant(shape)]))
    return {"cells": made}


def yolov2(
    draft: Draft,
    *,
    size: int = 416,
    channels: int = 3,
    classes: int = 20,
    width: float = 1.0,
    anchors: Anchors = VOC_ANCHORS,
) -> Outputs:
    """YOLO version 2 (Redmon and Farhadi 2017): Darknet-19, finer maps passed through, boxes about anchors."""
    x, fine = _darknet19(draft, draft.input("image", channels, size, size), width)
    for _ in range(2):
        x = draft.conv_bn(x, wide(1024, width), activation="leaky")
    fine = draft.conv_bn(fine, wide(64, width), 1, activation="leaky")
    passed = draft.block("Reorg", lambda: draft.net.add_node("SpaceToDepth", [fine], blocksize=2))
    x = draft.conv_bn(draft(Concat(), passed, x), wide(1024, width), activation="leaky")
    return _detect(draft, draft(Conv2d(len(anchors) * (5 + classes), 1), x), classes, anchors)


def tiny_yolov2(
    draft: Draft,
    *,
    size: int = 416,
    channels: int = 3,
    classes: int = 20,
    width: float = 1.0,
    last: int = 512,
    anchors: Anchors = TINY_ANCHORS,
    conv_bias: bool = False,
) -> Outputs:
    """The small YOLO version 2: nine convolutions; ``last`` filters in the eighth, ``conv_bias`` for the ninth."""
    x = draft.input("image", channels, size, size)
    for at, filters in enumerate((16, 32, 64, 128, 256, 512)):
        x = draft.conv_bn(x, wide(filters, width), activation="leaky")
        x = draft(MaxPool(2, 2) if at < 5 else MaxPool(2, 1, "same"), x)
    for filters in (1024, last):
        x = draft.conv_bn(x, wide(filters, width), activation="leaky")
    x = draft(Conv2d(len(anchors) * (5 + classes), 1, bias=conv_bias), x)
    return _detect(draft, x, classes, anchors)


def _detect(draft: Draft, x: Tensor, classes: int, anchors: Anchors) -> Outputs:
    """Boxes [N, cells * anchors, 4] (centre and size, in shares of the picture) and scores [N, cells * anchors, classes]."""
    boxes, scores = draft.block("Detection", lambda: _decode(draft.net, x, classes, anchors))
    return {"boxes": boxes, "scores": scores}


def _decode(net: Network, x: Tensor, classes: int, anchors: Anchors) -> tuple[Tensor, Tensor]:
    rows, columns = x.dims[1:]
    count = len(anchors) * rows * columns
    by_anchor = net.add_node("Reshape", [x, net.add_constant([0, len(anchors), 5 + classes, rows, columns])])
    last = net.add_node("Transpose", [by_anchor], perm=(0, 1, 3, 4, 2))  # [N, anchors, rows, columns, 5 + classes]
    sizes = net.add_constant([2, 2, 1, classes])
    centre, extent, confidence, logits = net.add_nodes("Split", [last, sizes], [True] * 4, axis=-1)
    cells = net.add_constant(np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), -1).astype(np.float32))
    grid = net.add_constant(np.array([columns, rows], np.float32))
    middle = net.add_node("Div", [net.add_node("Add", [net.add_node("Sigmoid", [centre]), cells]), grid])
    priors = net.add_constant((np.array(anchors) / (columns, rows)).reshape(-1, 1, 1, 2))
    spread = net.add_node("Mul", [net.add_node("Exp", [extent]), priors])
    boxes = net.add_node("Concat", [middle, spread], axis=-1)
    kinds = net.add_node("Softmax", [logits], axis=-1)
    scores = net.add_node("Mul", [net.add_node("Sigmoid", [confidence]), kinds])
    return (
        net.add_node("Reshape", [boxes, net.add_constant([0, count, 4])]),
        net.add_node("Reshape", [scores, net.add_constant([0, count, classes])]),
    )
