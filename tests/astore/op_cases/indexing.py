"""The ops that pick, put, cut and resample numbers, and Einsum."""

from collections.abc import Callable

import numpy as np

from tests.astore.op_cases.case import BATCH, Case, flip, floats, sizes
from tests.astore.op_cases.shapes import wholes


def places(rng, below, *shape):
    """Indices, some of them counted from the end."""
    return rng.integers(-below, below, shape).astype(str(rng.choice(["int32", "int64"])))


def gather(rng):
    if flip(rng):
        words, wide = (int(size) for size in rng.integers(1, 6, 2))
        return Case("Gather", [floats(rng, words, wide), places(rng, words, BATCH, *sizes(rng, 1))], {}, {1: 0})
    shape = sizes(rng, int(rng.integers(1, 4)))
    axis = int(rng.integers(1, len(shape) + 1))
    indices = places(rng, shape[axis - 1], *sizes(rng, int(rng.integers(0, 3))))
    return Case("Gather", [floats(rng, BATCH, *shape), indices], {"axis": axis - (len(shape) + 1 if flip(rng) else 0)})


def beside(rng, shape, axis):
    """Sizes of indices beside data of ``shape``: any along ``axis``, at most as many elsewhere, the batch whole."""
    return [BATCH, *(int(rng.integers(1, (5 if at == axis else size) + 1)) for at, size in enumerate(shape, 1))]


def gather_elements(rng):
    shape = sizes(rng, int(rng.integers(1, 4)))
    axis = int(rng.integers(1, len(shape) + 1))
    indices = places(rng, shape[axis - 1], *beside(rng, shape, axis))
    attrs = {"axis": axis - (len(shape) + 1 if flip(rng) else 0)}
    return Case("GatherElements", [floats(rng, BATCH, *shape), indices], attrs, {0: 0, 1: 0})


def gather_nd(rng):
    shape = sizes(rng, 3)
    length = int(rng.integers(1, 4))
    if flip(rng):
        indices = np.stack([rng.integers(-size, size, (BATCH, 2)) for size in shape[:length]], -1)
        return Case("GatherND", [floats(rng, *shape), indices], {}, {1: 0})
    lead = int(rng.integers(1, 3))
    full = [BATCH, *shape]
    length = int(rng.integers(1, 5 - lead))
    indices = np.stack([rng.integers(-size, size, (*full[:lead], 2)) for size in full[lead : lead + length]], -1)
    return Case("GatherND", [floats(rng, *full), indices], {"batch_dims": lead}, {0: 0, 1: 0})


def scatter_elements(rng):
    shape = sizes(rng, int(rng.integers(1, 4)))
    axis, reduction = int(rng.integers(1, len(shape) + 1)), str(rng.choice(["none", "add", "mul", "min", "max"]))
    at = beside(rng, shape, axis)
    at[axis] = min(at[axis], shape[axis - 1])
    order = np.argsort(rng.random((*at[:axis], shape[axis - 1], *at[axis + 1 :])), axis)
    indices = np.take(order, np.arange(at[axis]), axis)  # no place twice: which of two comes last is not said
    inputs = [floats(rng, BATCH, *shape), indices, floats(rng, *at)]
    return Case(
        "ScatterElements", inputs, {"axis": axis, "reduction": reduction} if flip(rng) else {"axis": axis}, {0: 0, 1: 0, 2: 0}
    )


def scatter_nd(rng):
    shape, reduction = sizes(rng, 2), str(rng.choice(["none", "add", "mul", "min", "max"]))
    indices = wholes(*rng.permutation(shape[0])[: int(rng.integers(1, shape[0] + 1))])[:, None]
    inputs = [floats(rng, *shape, BATCH), indices, floats(rng, len(indices), shape[1], BATCH)]
    return Case("ScatterND", inputs, {"reduction": reduction} if flip(rng) else {}, {0: 2, 2: 2})


def one_hot(rng):
    depth, rank = int(rng.integers(1, 6)), int(rng.integers(0, 3))
    indices = rng.integers(-depth - 1, depth + 2, (BATCH, *sizes(rng, rank)))
    attrs = {"axis": int(rng.integers(-rank - 2, rank + 2))} if flip(rng) else {}
    return Case("OneHot", [indices, np.array(depth), floats(rng, 2)], attrs)


def compress(rng):
    shape = sizes(rng, int(rng.integers(1, 4)))
    axis = int(rng.integers(1, len(shape) + 1))
    return Case("Compress", [floats(rng, BATCH, *shape), rng.random(shape[axis - 1]) < 0.6], {"axis": axis})


def cut(rng):
    shape = sizes(rng, int(rng.integers(1, 4)), 7)
    axes = rng.permutation(np.arange(1, len(shape) + 1))[: int(rng.integers(1, len(shape) + 1))]
    starts, ends = (rng.integers(-8, 9, len(axes)) for _ in range(2))
    inputs = [floats(rng, BATCH, *shape), starts, ends, axes - (len(shape) + 1 if flip(rng) else 0)]
    if flip(rng):
        inputs.append(rng.choice([-2, -1, 1, 2, 3], len(axes)))
    elif flip(rng):
        every = (wholes(0, 1), wholes(2**31 - 1, -1))
        inputs = [inputs[0], *every]
    kind = str(rng.choice(["int32", "int64"]))
    return Case("Slice", [inputs[0], *(array.astype(kind) for array in inputs[1:])])


def split(rng):
    shape = sizes(rng, int(rng.integers(1, 4)), 7)
    axis = int(rng.integers(1, len(shape) + 1))
    if flip(rng):
        first = int(rng.integers(0, shape[axis - 1] + 1))
        return Case("Split", [floats(rng, BATCH, *shape), wholes(first, shape[axis - 1] - first)], {"axis": axis}, outputs=2)
    count = int(rng.choice([n for n in range(1, shape[axis - 1] + 1) if -(-shape[axis - 1] // n) * (n - 1) < shape[axis - 1]]))
    return Case("Split", [floats(rng, BATCH, *shape)], {"axis": axis, "num_outputs": count}, outputs=count)


def top_k(rng):
    shape = sizes(rng, int(rng.integers(1, 4)), 7)
    axis = int(rng.integers(1, len(shape) + 1))
    x = rng.integers(-3, 4, (BATCH, *shape)).astype(str(rng.choice(["float32", "float64", "int32", "int64"])))  # with ties
    attrs = {"axis": axis, "largest": int(rng.integers(2))} if flip(rng) else {}
    most = shape[axis - 1] if attrs else shape[-1]
    return Case("TopK", [x, wholes(int(rng.integers(1, most + 1)))], attrs, outputs=2)


def triangle(rng):
    x = floats(rng, BATCH, *sizes(rng, int(rng.integers(2, 4))))
    k = [np.array(int(rng.integers(-3, 4)))] if flip(rng) else []
    return Case("Trilu", [x, *k], {"upper": int(rng.integers(2))} if flip(rng) else {})


def middle(rng):
    rank = int(rng.integers(1, 4))
    axes = rng.permutation(np.arange(1, rank + 1))[: int(rng.integers(1, rank + 1))]
    return Case(
        "CenterCropPad",
        [floats(rng, BATCH, *sizes(rng, rank, 7)), rng.integers(1, 8, len(axes))],
        {"axes": tuple(int(axis) for axis in axes)},
    )


PLACES = ["half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric", "tf_crop_and_resize"]


def resize(rng):
    """By sizes, or by scales that give whole sizes: elsewhere ONNX and onnxruntime differ in what align_corners means.

    Nor does onnxruntime crop an axis that keeps its size.
    """
    mode, places = str(rng.choice(["nearest", "linear", "cubic"])), str(rng.choice(PLACES))
    height, width = (int(size) * 2 for size in rng.integers(1, 4, 2))
    attrs = {"mode": mode, "coordinate_transformation_mode": places}
    if mode == "nearest" and flip(rng):
        attrs["nearest_mode"] = str(rng.choice(["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"]))
    if mode == "cubic":
        attrs |= {"cubic_coeff_a": -0.5, "exclude_outside": int(places != "tf_crop_and_resize" and flip(rng))}
    roi = np.float32([0, 0, 0.1, 0.25, 1, 1, 0.8, 1.25]) if places == "tf_crop_and_resize" else None
    if roi is not None:
        attrs["extrapolation_value"] = 2.5
    x = floats(rng, BATCH, int(rng.integers(1, 3)), height, width)
    if flip(rng) or places == "half_pixel_symmetric":
        scales = rng.choice([0.5, 1, 1.5, 2], 2)
        return Case("Resize", [x, roi, np.float32([1, 1, *scales])], attrs, judge=roi is None or 1 not in scales)
    attrs["axes"] = (2, 3)
    ends, wanted = None if roi is None else roi[[2, 3, 6, 7]], rng.integers(1, 9, 2)
    return Case("Resize", [x, ends, None, wanted], attrs, judge=roi is None or not np.any(wanted == x.shape[2:]))


def einsum(rng):
    a, b, c, d = sizes(rng, 4)
    equation, *shapes = [
        ("nij,njk->nik", (BATCH, a, b), (BATCH, b, c)),
        ("bhid, bhjd -> bhij", (BATCH, a, b, d), (BATCH, a, c, d)),
        ("nij,jk", (BATCH, a, b), (b, c)),
        ("...ij,jk->...ki", (BATCH, d, a, b), (b, c)),
        ("nii->ni", (BATCH, a, a)),
        ("nij->n", (BATCH, a, b)),
        ("n...->...n", (BATCH, a, b)),
        ("ni,ni,i->n", (BATCH, a), (BATCH, a), (a,)),
    ][int(rng.integers(8))]
    fed = {at: 0 for at, shape in enumerate(shapes) if shape[0] == BATCH}
    return Case("Einsum", [floats(rng, *shape) for shape in shapes], {"equation": equation}, fed)


INDEXING: dict[str, Callable] = {
    "Gather": gather,
    "GatherElements": gather_elements,
    "GatherND": gather_nd,
    "ScatterElements": scatter_elements,
    "ScatterND": scatter_nd,
    "OneHot": one_hot,
    "Compress": compress,
    "Slice": cut,
    "Split": split,
    "TopK": top_k,
    "Trilu": triangle,
    "CenterCropPad": middle,
    "Resize": resize,
    "Einsum": einsum,
}
