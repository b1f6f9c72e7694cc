"""Ops of detectors: boxes that do not cover one another, and pictures cut at regions of interest."""

from collections.abc import Iterator, Sequence

import numpy as np

from esp.astore.ops.dims import Unknown
from esp.astore.ops.regions import ALIGN_ATTRS, MAX_POOL_ATTRS, MAX_SAMPLES, align, pool_largest
from esp.astore.ops.row import Array, Attrs, AttrSpec, Dtypes, Op, Shape, given, given_shape
from esp.astore.ops.rules import is_batch, show, size_of
from esp.astore.ops.sliding import image_shape
from esp.errors import GraphError

_KNOWN_SCORES = 4096  # of more the boxes kept are not counted ahead of the data


def _suppress_shapes(attrs: Attrs, shapes: Sequence[Shape | None], constants: Sequence[Array | None]) -> list[Shape]:
    boxes, scores = given_shape(shapes[0]), given_shape(shapes[1])
    if any(map(is_batch, (*boxes, *scores))):
        raise GraphError(
            "how many boxes it keeps depends on every row of a batch", mend="cut the graph before it, at the boxes and scores"
        )
    if len(boxes) != 3 or len(scores) != 3 or boxes[2] != 4 or scores[0] != boxes[0] or scores[2] != boxes[1]:
        what = f"boxes {show(boxes)} and scores {show(scores)} do not fit"
        raise GraphError(what, mend="give [pictures, boxes, 4] and [pictures, classes, boxes]")
    for what, shape in zip(("max_output_boxes_per_class", "iou_threshold", "score_threshold"), shapes[2:]):
        if shape not in (None, (), (1,)):
            raise GraphError(f"{what} wants one number, got {show(shape)}", mend="give it the shape [] or [1]")
    known = [array for array, shape in zip(constants, shapes) if array is not None and array.shape == shape]
    if len(known) < sum(shape is not None for shape in shapes) or size_of(scores) > _KNOWN_SCORES:
        return [(Unknown(), 3)]
    return [(len(_suppress(attrs, constants, 1)[0]), 3)]


def _suppress(attrs: Attrs, inputs: Sequence[Array | None], outputs: int) -> list[Array]:
    boxes, scores = _corners(given(inputs[0]), bool(attrs["center_point_box"])), given(inputs[1])
    most, overlap, least = (_number(inputs, at) for at in (2, 3, 4))
    kept = [
        (picture, kind, box)
        for picture in range(scores.shape[0])
        for kind in range(scores.shape[1])
        for box in _select(boxes[picture], scores[picture, kind], int(most or 0), overlap or 0.0, least)
    ]
    return [np.array(kept, np.int64).reshape(-1, 3)]


def _number(inputs: Sequence[Array | None], at: int) -> float | None:
    array = inputs[at] if at < len(inputs) else None
    return None if array is None else array.reshape(-1)[0].item()


def _corners(boxes: Array, is_centred: bool) -> Array:
    """Boxes as [..., (low, low, high, high)]."""
    if is_centred:
        middle, half = boxes[..., :2], boxes[..., 2:] / 2
        return np.concatenate([middle - half, middle + half], axis=-1)
    one, other = boxes[..., :2], boxes[..., 2:]
    return np.concatenate([np.minimum(one, other), np.maximum(one, other)], axis=-1)


def _select(boxes: Array, scores: Array, most: int, overlap: float, least: float | None) -> Iterator[int]:
    """The boxes of one class that are kept, best first: none that overlaps a better one by more than ``overlap``."""
    left = np.argsort(-scores, kind="stable")
    left = left[~np.isnan(scores[left]) if least is None else scores[left] > least]
    for _ in range(most):
        if not len(left):
            return
        best, left = left[0], left[1:]
        yield int(best)
        left = left[_shared(boxes[best], boxes[left]) <= overlap]


def _shared(box: Array, others: Array) -> Array:
    """Intersection over union of a box with others; 0 where one has no area."""
    sides = np.maximum(np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2]), 0)
    common = sides.prod(axis=1)
    areas = (others[:, 2:] - others[:, :2]).prod(axis=1)
    area = (box[2:] - box[:2]).prod()
    is_real = (areas > 0) & (area > 0)
    return np.where(is_real, common / np.where(is_real, area + areas - common, 1), 0)


def _suppress_flops(attrs: Attrs, ins: Sequence[Shape | None], outs: Sequence[Shape]) -> int:
    return 8 * size_of(ins[0]) * size_of(ins[1])


def _region_shapes(x: Shape, rois: Shape, columns: int, size: Sequence[int]) -> list[Shape]:
    channels, spatial = image_shape(x)
    if len(spatial) != 2 or min(spatial) < 1 or len(rois) != 2 or rois[1] != columns:
        what = f"input {show(x)} and regions {show(rois)} do not fit"
        raise GraphError(what, mend=f"give [N, channels, height, width] and [regions, {columns}]")
    if is_batch(x[0]) and not is_batch(rois[0]):
        raise GraphError(f"regions {show(rois)} are the same however many rows there are", mend="give each row its regions")
    if len(size) != 2 or min(size) < 1:
        raise GraphError(f"the output of a region would be {list(size)}", mend="give a height and a width above 0")
    return [(rois[0], channels, *size)]


def _align_shapes(attrs: Attrs, shapes: Sequence[Shape | None], constants: Sequence[Array | None]) -> list[Shape]:
    x, rois, rows = (given_shape(shape) for shape in shapes[:3])
    if rows != rois[:1]:
        raise GraphError(f"batch_indices {show(rows)} are not one a region of {show(rois)}", mend="give each region its row")
    if not 0 <= attrs["sampling_ratio"] <= MAX_SAMPLES:
        raise GraphError(f"sampling_ratio is {attrs['sampling_ratio']}", mend=f"give 0 (as many as fit) to {MAX_SAMPLES}")
    return _region_shapes(x, rois, 4, (attrs["output_height"], attrs["output_width"]))


def _align(attrs: Attrs, inputs: Sequence[Array | None], outputs: int) -> list[Array]:
    x, rois, rows = (given(array) for array in inputs[:3])
    made = [align(attrs, x[row], roi) for roi, row in zip(rois, _rows_of(x, rows))]
    size = (attrs["output_height"], attrs["output_width"])
    return [np.array(made, x.dtype).reshape(len(rois), x.shape[1], *size)]


def _rows_of(x: Array, rows: Array) -> Array:
    """The row of each region. Raises GraphError for one that the input does not have."""
    if rows.size and not (rows.min() >= 0 and rows.max() < x.shape[0]):
        raise GraphError(f"a region lies in row {rows.max()} of {x.shape[0]}", mend="give rows that the input has")
    return rows.astype(np.int64)


def _align_flops(attrs: Attrs, ins: Sequence[Shape | None], outs: Sequence[Shape]) -> int:
    return 8 * size_of(outs[0]) * int(max(attrs["sampling_ratio"], 1)) ** 2


def _largest_shapes(attrs: Attrs, shapes: Sequence[Shape | None], constants: Sequence[Array | None]) -> list[Shape]:
    return _region_shapes(given_shape(shapes[0]), given_shape(shapes[1]), 5, attrs["pooled_shape"])


def _largest(attrs: Attrs, inputs: Sequence[Array | None], outputs: int) -> list[Array]:
    x, rois = given(inputs[0]), given(inputs[1])
    made = [pool_largest(attrs, x[row], roi[1:]) for roi, row in zip(rois, _rows_of(x, rois[:, 0]))]
    return [np.array(made, x.dtype).reshape(len(rois), x.shape[1], *attrs["pooled_shape"])]


def _largest_flops(attrs: Attrs, ins: Sequence[Shape | None], outs: Sequence[Shape]) -> int:
    return size_of(ins[0])


_SUPPRESS_DTYPES = Dtypes(("float32",), {2: ("int64",), 3: ("float32",), 4: ("float32",)}, {0: "int64"})

DETECTION = {
    "NonMaxSuppression": Op(
        "NonMaxSuppression", (2, 5), _suppress_shapes, _suppress, _suppress_flops,
        {"center_point_box": AttrSpec("int", 0, choices=(0, 1))}, dtypes=_SUPPRESS_DTYPES, trainable=(),
    ),
    "RoiAlign": Op(
        "RoiAlign", (3, 3), _align_shapes, _align, _align_flops, ALIGN_ATTRS, dtypes=Dtypes(inputs={2: ("int64",)}), trainable=()
    ),
    "MaxRoiPool": Op("MaxRoiPool", (2, 2), _largest_shapes, _largest, _largest_flops, MAX_POOL_ATTRS, trainable=()),
}  # fmt: skip
