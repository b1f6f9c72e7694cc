"""Faster R-CNN: proposals of a region network, thinned out at a fixed size, classified and refined one by one."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from esp.train.layers import Conv2d, Dense, Dropout, OutputLayer, RegressionLayer
from esp.train.network import FloatArray, Network, Tensor
from esp.train.zoo.classic import VGG_BLOCKS, vgg_features
from esp.train.zoo.draft import Draft, Outputs, chosen, wide

STRIDE = 16  # of the maps that regions are cut from
LARGEST = math.log(1000 / STRIDE)  # bound of a change of size, before the exponential


def faster_rcnn(
    draft: Draft,
    *,
    size: int = 512,
    channels: int = 3,
    classes: int = 20,
    width: float = 1.0,
    hidden: int = 4096,
    depth: int = 16,
    scales: Sequence[float] = (128, 256, 512),
    ratios: Sequence[float] = (0.5, 1.0, 2.0),
    ranked: int = 300,
    regions: int = 64,
    overlap: float = 0.7,
    align: bool = True,
) -> Outputs:
    """Faster R-CNN over a VGG (Ren et al. 2015): probabilities [N, regions, classes + 1] (0 = background) and boxes
    [N, regions, 4 * classes] (left, top, right, bottom in pixels).

    Of the ``ranked`` best proposals those that a better one covers by more than ``overlap`` get the score 0 (each suppressed
    by any better one, itself kept or not), and the best ``regions`` of them are looked at. ``align`` cuts them out by
    interpolation (He et al. 2017), else by the largest value of each bin.
    """
    maps = vgg_features(draft, draft.input("image", channels, size, size), chosen(VGG_BLOCKS, depth, "depth"), width)
    shared = draft.conv(maps, wide(512, width))
    anchors = _anchors(size // STRIDE, scales, ratios)
    count = len(scales) * len(ratios)
    objectness = draft(Conv2d(count, 1, activation="sigmoid"), shared)
    changes = draft(Conv2d(4 * count, 1), shared)
    regional = _Regional(draft.net, size, ranked, regions, overlap)
    boxes = draft.block("RegionProposal", lambda: regional.propose(objectness, changes, anchors))
    x = draft.block("ROIPooling", lambda: regional.cut(maps, boxes, align))
    for _ in range(2):
        x = draft(Dropout(0.5), draft(Dense(hidden, "relu"), x))
    probabilities, refined = draft(OutputLayer(classes + 1), x), draft(RegressionLayer(4 * classes), x)
    listed = draft.block("Reshape", lambda: regional.by_row(probabilities, (classes + 1,)))
    return {"probabilities": listed, "boxes": draft.block("FastRCNN", lambda: regional.refine(boxes, refined, classes))}


def _anchors(cells: int, scales: Sequence[float], ratios: Sequence[float]) -> FloatArray:
    """Boxes about the centres of a square grid [cells * cells * anchors, 4]; ratios are of height to width."""
    sides = np.array([(scale / ratio**0.5, scale * ratio**0.5) for scale in scales for ratio in ratios])
    centres = (np.stack(np.meshgrid(np.arange(cells), np.arange(cells)), -1).reshape(-1, 1, 2) + 0.5) * STRIDE
    return np.concatenate([centres - sides / 2, centres + sides / 2], -1).reshape(-1, 4)


@dataclass(frozen=True, slots=True)
class _Regional:
    """The steps between the two networks, over boxes [.., 4] as left, top, right, bottom."""

    net: Network
    size: int
    ranked: int
    regions: int
    overlap: float

    def propose(self, objectness: Tensor, changes: Tensor, anchors: FloatArray) -> Tensor:
        """The best regions [N, regions, 4]."""
        net, ranked = self.net, min(self.ranked, len(anchors))
        best, places = self._top(self._listed(objectness, (-1,)), ranked)
        moved = self._pick(self._listed(changes, (-1, 4)), places)
        starts = net.add_node("Gather", [net.add_constant(anchors), places], axis=0)
        boxes = self._change(starts, moved)
        _, places = self._top(self._thin(boxes, best, ranked), min(self.regions, ranked))
        return self._pick(boxes, places)

    def cut(self, maps: Tensor, boxes: Tensor, align: bool) -> Tensor:
        """The maps under each box [N * regions, channels, 7, 7]."""
        net, regions = self.net, boxes.dims[0]
        batch = net.add_node("Shape", [maps], start=0, end=1)
        scalar = net.add_node("Squeeze", [batch, net.add_constant([0])])
        rows = net.add_node("Range", [net.add_constant(0), scalar, net.add_constant(1)])
        columns = net.add_node("Unsqueeze", [rows, net.add_constant([1])])
        sizes = net.add_node("Concat", [batch, net.add_constant([regions])], axis=0)
        of_row = net.add_node("Reshape", [net.add_node("Expand", [columns, sizes]), net.add_constant([-1])])
        flat = net.add_node("Reshape", [boxes, net.add_constant([-1, 4])])
        if not align:
            numbers = net.add_node("Unsqueeze", [net.add_node("Cast", [of_row], to=1), net.add_constant([1])])
            numbered = net.add_node("Concat", [numbers, flat], axis=1)
            return net.add_node("MaxRoiPool", [maps, numbered], pooled_shape=(7, 7), spatial_scale=1 / STRIDE)
        return net.add_node(
            "RoiAlign", [maps, flat, of_row], output_height=7, output_width=7, sampling_ratio=2, spatial_scale=1 / STRIDE
        )

    def by_row(self, x: Tensor, shape: tuple[int, ...]) -> Tensor:
        """What was made of each region as [N, regions, *shape]."""
        return self.net.add_node("Reshape", [x, self.net.add_constant([-1, self.regions, *shape])])

    def refine(self, boxes: Tensor, changes: Tensor, classes: int) -> Tensor:
        """A box of its own for each class [N, regions, 4 * classes]."""
        starts = self.net.add_node("Unsqueeze", [boxes, self.net.add_constant([2])])
        refined = self._change(starts, self.by_row(changes, (classes, 4)))
        return self.net.add_node("Reshape", [refined, self.net.add_constant([0, self.regions, 4 * classes])])

    def _listed(self, x: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Maps as one list a row, in the order of the anchors."""
        last = self.net.add_node("Transpose", [x], perm=(0, 2, 3, 1))
        return self.net.add_node("Reshape", [last, self.net.add_constant([0, *shape])])

    def _top(self, scores: Tensor, count: int) -> tuple[Tensor, Tensor]:
        best, places = self.net.add_nodes("TopK", [scores, self.net.add_constant([count])], [True, True], axis=1)
        return best, places

    def _pick(self, boxes: Tensor, places: Tensor) -> Tensor:
        net = self.net
        columns = net.add_node("Unsqueeze", [places, net.add_constant([2])])
        return net.add_node("GatherElements", [boxes, net.add_node("Expand", [columns, net.add_constant([1, 1, 4])])], axis=1)

    def _halves(self, boxes: Tensor) -> tuple[Tensor, Tensor]:
        first, second = self.net.add_nodes("Split", [boxes, self.net.add_constant([2, 2])], [True, True], axis=-1)
        return first, second

    def _change(self, boxes: Tensor, changes: Tensor) -> Tensor:
        """Boxes moved by shares of their size and grown by powers of e, within the picture."""
        net, half = self.net, self.net.add_constant(0.5)
        (low, high), (move, grow) = self._halves(boxes), self._halves(changes)
        extent = net.add_node("Sub", [high, low])
        centre = net.add_node("Add", [low, net.add_node("Mul", [extent, half])])
        centre = net.add_node("Add", [centre, net.add_node("Mul", [move, extent])])
        factor = net.add_node("Exp", [net.add_node("Min", [grow, net.add_constant(LARGEST)])])
        reach = net.add_node("Mul", [net.add_node("Mul", [extent, factor]), half])
        made = net.add_node("Concat", [net.add_node("Sub", [centre, reach]), net.add_node("Add", [centre, reach])], axis=-1)
        return net.add_node("Clip", [made, net.add_constant(0.0), net.add_constant(float(self.size))])

    def _thin(self, boxes: Tensor, scores: Tensor, count: int) -> Tensor:
        """Scores from best to worst, 0 for each box that a better one overlaps too much."""
        net = self.net
        better = np.tril(np.ones((count, count)), -1)[None]  # box i is held against each box j before it
        overlaps = net.add_node("Mul", [self._overlaps(boxes), net.add_constant(better)])
        worst = net.add_node("ReduceMax", [overlaps, net.add_constant([2])], keepdims=0)
        is_covered = net.add_node("Greater", [worst, net.add_constant(self.overlap)])
        return net.add_node("Where", [is_covered, net.add_constant(0.0), scores])

    def _overlaps(self, boxes: Tensor) -> Tensor:
        """Intersection over union of each pair of boxes [N, count, count]."""
        net, last = self.net, self.net.add_constant([-1])
        low, high = self._halves(boxes)
        area = net.add_node("ReduceProd", [net.add_node("Sub", [high, low]), last], keepdims=0)
        pairs = [[net.add_node("Unsqueeze", [x, net.add_constant([axis])]) for axis in (2, 1)] for x in (low, high, area)]
        gap = net.add_node("Sub", [net.add_node("Min", pairs[1]), net.add_node("Max", pairs[0])])
        shared = net.add_node("ReduceProd", [net.add_node("Relu", [gap]), last], keepdims=0)
        union = net.add_node("Sub", [net.add_node("Add", pairs[2]), shared])
        return net.add_node("Div", [shared, net.add_node("Add", [union, net.add_constant(1e-6)])])
