"""The ops of pictures beside plain convolution: transposed convolution, pooling, normalising by statistics, regions, boxes."""

from collections.abc import Callable

import numpy as np

from tests.astore.op_cases.case import BATCH, Case, flip, floats, sizes
from tests.astore.op_cases.networks import sliding


def some(rng, low, high, count):
    return tuple(int(size) for size in rng.integers(low, high, count))


def conv_transpose(rng):
    rank, group = int(rng.integers(1, 4)), int(rng.integers(1, 3))
    kernel, strides, dilations = some(rng, 1, 4, rank), some(rng, 1, 4, rank), some(rng, 1, 3, rank)
    spatial = some(rng, 2, 5, rank)
    attrs = {"strides": strides, "dilations": dilations, "group": group, "kernel_shape": kernel}
    how = int(rng.integers(4))
    if how == 0:
        attrs["auto_pad"] = str(rng.choice(["SAME_UPPER", "SAME_LOWER", "VALID"]))
    elif how == 1:
        reach = [(size - 1) * stride + (k - 1) * d + 1 for size, stride, k, d in zip(spatial, strides, kernel, dilations)]
        attrs["output_shape"] = tuple(max(size - int(rng.integers(0, 3)), 1) for size in reach)
    elif how == 2:
        attrs["pads"] = tuple(int(rng.integers(0, (size + 1) // 2 + 1)) for size in kernel * 2)
        attrs["output_padding"] = tuple(int(rng.integers(0, max(stride, dilation))) for stride, dilation in zip(strides, dilations))
    inputs = [floats(rng, BATCH, 2 * group, *spatial), floats(rng, 2 * group, int(rng.integers(1, 3)), *kernel)]
    return Case("ConvTranspose", [*inputs, floats(rng, inputs[1].shape[1] * group)] if flip(rng) else inputs, attrs)


def max_pool(rng):
    attrs, kernel, spatial = sliding(rng, int(rng.integers(1, 4)), True)
    attrs["kernel_shape"] = tuple(kernel)
    dtype = rng.choice(["float32", "float64", "uint8", "int8"])
    x = (floats(rng, BATCH, int(rng.integers(1, 4)), *spatial) * 20).astype(np.int8 if dtype == "uint8" else dtype).astype(dtype)
    if flip(rng) and not attrs.get("auto_pad", "").startswith("SAME"):
        attrs["ceil_mode"] = 1
    if dtype[0] == "f" and flip(rng):
        attrs |= {"storage_order": 1} if len(kernel) > 1 and flip(rng) else {}
        return Case("MaxPool", [x], attrs, outputs=2)
    return Case("MaxPool", [x], attrs)


def lp_pool(rng):
    attrs, kernel, spatial = sliding(rng, int(rng.integers(1, 4)), True)
    attrs |= {"kernel_shape": tuple(kernel), "p": int(rng.integers(1, 4))}
    return Case("LpPool", [floats(rng, BATCH, 2, *spatial)], attrs)


def max_unpool(rng):
    """Indices as a MaxPool with a window of 2 gives them."""
    rows, channels, (height, width) = BATCH, 2, sizes(rng, 2)
    x = floats(rng, rows, channels, height, width)
    pictures = np.arange(rows * channels).reshape(rows, channels, 1, 1) * 4 * height * width
    corner = 2 * np.arange(height)[:, None] * 2 * width + 2 * np.arange(width)
    at = pictures + corner + rng.integers(0, 2, x.shape) * 2 * width + rng.integers(0, 2, x.shape)
    return Case("MaxUnpool", [x, at.astype(np.int64)], {"kernel_shape": (2, 2), "strides": (2, 2)}, {0: 0, 1: 0})


def whole_picture(op, **attrs):
    def draw(rng):
        given = {name: make(rng) for name, make in attrs.items() if flip(rng)}
        return Case(op, [floats(rng, BATCH, *sizes(rng, int(rng.integers(2, 5))))], given)

    return draw


def local(rng):
    attrs = {"size": int(rng.integers(1, 6)) * 2 - 1}  # onnxruntime sums over odd sizes alone
    if flip(rng):
        attrs |= {"alpha": 0.5, "beta": 0.5, "bias": 2.0}
    return Case("LRN", [floats(rng, BATCH, *sizes(rng, 3, 8))], attrs)


def unit(rng):
    rank = int(rng.integers(1, 4))
    x = floats(rng, BATCH, *sizes(rng, rank)) * (0 if rng.integers(6) == 0 else 1)
    return Case("LpNormalization", [x], {"axis": int(rng.integers(1, rank + 1)), "p": int(rng.integers(1, 3))})


def trailing(op, outputs):
    def draw(rng):
        shape = [BATCH, *sizes(rng, int(rng.integers(1, 4)))]
        axis = int(rng.integers(1, len(shape)))
        attrs = {"axis": axis if flip(rng) else axis - len(shape)} | ({"epsilon": 1e-2} if flip(rng) else {})
        inputs = [floats(rng, *shape), floats(rng, *shape[axis:])]
        if outputs > 1 and flip(rng):
            inputs.append(floats(rng, *shape[axis:]))
        return Case(op, inputs, attrs, outputs=int(rng.integers(1, outputs + 1)), judge=outputs > 1)

    return draw


def by_channel(op):
    def draw(rng):
        channels, groups = int(rng.integers(1, 4)), int(rng.integers(1, 4))
        attrs = {"num_groups": groups} if op == "GroupNormalization" else {}
        shape = (BATCH, channels * groups, *some(rng, 3, 6, int(rng.integers(1, 4))))
        if flip(rng):
            attrs["epsilon"] = 1e-2
        return Case(op, [floats(rng, *shape), floats(rng, shape[1]), floats(rng, shape[1])], attrs)

    return draw


def mean_variance(rng):
    rank = int(rng.integers(2, 5))
    axes = rng.permutation(rank - 1)[: int(rng.integers(1, rank))] + 1
    x = floats(rng, BATCH, *sizes(rng, rank - 1, 6)) * 3
    x += np.arange(x.size, dtype=np.float32).reshape(x.shape) % 5  # apart, even along short axes
    return Case("MeanVarianceNormalization", [x], {"axes": tuple(int(axis) for axis in sorted(axes))}, judge=False)


def boxes(rng):
    pictures, classes, count = int(rng.integers(1, 3)), int(rng.integers(1, 4)), int(rng.integers(1, 12))
    corners = rng.random((pictures, count, 4)).astype(np.float32)
    scores = rng.random((pictures, classes, count)).astype(np.float32)
    inputs = [corners, scores, np.array([int(rng.integers(0, 6))], np.int64)]
    inputs += [np.float32([rng.random() * 0.6]), np.float32([rng.random() * 0.5])][: int(rng.integers(3))]
    return Case("NonMaxSuppression", inputs, {"center_point_box": int(flip(rng))}, {})


def region_corners(rng, size):
    ends = np.sort(rng.random((BATCH, 2, 2)) * size * 1.4 - 2, axis=1).reshape(BATCH, 4)
    return ends.astype(np.float32)


def roi_align(rng):
    x = floats(rng, BATCH, 2, *(int(size) for size in rng.integers(4, 9, 2)))
    attrs = {"output_height": int(rng.integers(1, 4)), "output_width": int(rng.integers(1, 4)), "spatial_scale": 0.5}
    attrs |= {"sampling_ratio": int(rng.integers(0, 4)), "mode": str(rng.choice(["avg", "max"]))}
    attrs["coordinate_transformation_mode"] = str(rng.choice(["half_pixel", "output_half_pixel"]))
    return Case("RoiAlign", [x, region_corners(rng, 14), np.arange(BATCH)], attrs, {0: 0, 1: 0, 2: 0})


def max_roi_pool(rng):
    x = floats(rng, BATCH, 2, *(int(size) for size in rng.integers(4, 9, 2)))
    rois = np.concatenate([np.arange(BATCH, dtype=np.float32)[:, None], np.abs(region_corners(rng, 14))], axis=1)
    return Case("MaxRoiPool", [x, rois], {"pooled_shape": some(rng, 1, 4, 2), "spatial_scale": 0.5}, {0: 0, 1: 0})


def grid_sample(rng):
    rank = int(rng.integers(2, 4))
    x = floats(rng, BATCH, 2, *(int(size) for size in rng.integers(1, 6, rank)))
    grid = (rng.random((BATCH, *sizes(rng, rank), rank)) * 3 - 1.5).astype(np.float32)
    modes = ["linear", "nearest", "cubic"][: 3 if rank == 2 else 2]
    attrs = {"mode": str(rng.choice(modes)), "padding_mode": str(rng.choice(["zeros", "border", "reflection"]))}
    return Case("GridSample", [x, grid], {**attrs, "align_corners": int(flip(rng))}, {0: 0, 1: 0})


def power(rng):
    return int(rng.integers(1, 4))


SPATIAL: dict[str, Callable] = {
    "ConvTranspose": conv_transpose,
    "MaxPool": max_pool,
    "LpPool": lp_pool,
    "MaxUnpool": max_unpool,
    "GlobalMaxPool": whole_picture("GlobalMaxPool"),
    "GlobalLpPool": whole_picture("GlobalLpPool", p=power),
    "LRN": local,
    "LpNormalization": unit,
    "LayerNormalization": trailing("LayerNormalization", 3),
    "RMSNormalization": trailing("RMSNormalization", 1),
    "InstanceNormalization": by_channel("InstanceNormalization"),
    "GroupNormalization": by_channel("GroupNormalization"),
    "MeanVarianceNormalization": mean_variance,
    "NonMaxSuppression": boxes,
    "RoiAlign": roi_align,
    "MaxRoiPool": max_roi_pool,
    "GridSample": grid_sample,
}
