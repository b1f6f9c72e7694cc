"""The ops that tell and make shapes, and those that repeat, pad and regroup."""

from collections.abc import Callable

import numpy as np

from esp.astore.ops.row import Tensor
from tests.astore.op_cases.case import BATCH, Case, flip, floats, sizes, whole


def wholes(*numbers):
    return np.array(numbers, np.int64)


def any_dtype(rng, array):
    return (array * 3).astype(str(rng.choice(["float32", "float64", "int32", "int64", "uint8", "bool"])))


def shape(rng):
    x = any_dtype(rng, floats(rng, BATCH, *sizes(rng, int(rng.integers(1, 4)))))
    attrs = {}
    if flip(rng):
        attrs["start"] = int(rng.integers(-1, 2))
    if flip(rng):
        attrs["end"] = int(rng.integers(-1, 6))
    return Case("Shape", [x], attrs)


def size(rng):
    return Case("Size", [any_dtype(rng, floats(rng, BATCH, *sizes(rng, int(rng.integers(0, 4)))))])


def constant(rng):
    value = Tensor.of(any_dtype(rng, floats(rng, *sizes(rng, int(rng.integers(0, 3))))))
    choices = [
        {"value": value},
        {"value_int": int(rng.integers(-9, 9))},
        {"value_ints": (3, 1, 2)},
        {"value_float": 0.5},
        {"value_floats": (0.25, -1.0)},
    ]
    return Case("Constant", [], choices[int(rng.integers(5))], {})


def constant_of_shape(rng):
    value = any_dtype(rng, floats(rng, 1))
    return Case(
        "ConstantOfShape", [wholes(*sizes(rng, int(rng.integers(1, 4))))], {"value": Tensor.of(value)} if flip(rng) else {}, {}
    )


def spread(rng):
    dtype = str(rng.choice(["float32", "float64", "int16", "int32", "int64"]))
    start, step = int(rng.integers(-5, 6)), int(rng.choice([-3, -2, -1, 1, 2, 3]))
    numbers = [start, start + step * int(rng.integers(0, 5)) + int(rng.integers(-1, 2)), step]
    return Case("Range", [np.array(number, dtype) for number in numbers], {}, {})


def expand(rng):
    rank = int(rng.integers(0, 4))
    full = sizes(rng, rank)
    x = any_dtype(rng, floats(rng, BATCH, *(size if flip(rng) else 1 for size in full)))
    target = [1, *full] if flip(rng) else full[int(rng.integers(0, rank + 1)) :]
    return Case("Expand", [x, wholes(*target)])


def eye_like(rng):
    x = floats(rng, *sizes(rng, 2))
    attrs = {"k": int(rng.integers(-2, 3))} if flip(rng) else {}
    return Case("EyeLike", [x], attrs | ({"dtype": int(rng.choice([1, 7, 11]))} if flip(rng) else {}), {})


def tile(rng):
    x = any_dtype(rng, floats(rng, BATCH, *sizes(rng, int(rng.integers(0, 4)))))
    return Case("Tile", [x, wholes(1, *rng.integers(1, 4, x.ndim - 1))])


def pad(rng):
    mode = str(rng.choice(["constant", "reflect", "edge", "wrap"]))
    rank = int(rng.integers(1, 4))
    x = floats(rng, BATCH, *(rng.integers(3, 6, rank))).astype(str(rng.choice(["float32", "float64", "int32", "int64"])))
    axes = [int(axis) for axis in rng.permutation(np.arange(1, rank + 1))[: int(rng.integers(1, rank + 1))]]
    low = -1 if mode in ("constant", "edge") else 0
    if flip(rng):
        value = whole(rng, x.dtype)[()] if mode == "constant" and flip(rng) else None
        return Case(
            "Pad",
            [x, wholes(*rng.integers(low, 3, 2 * len(axes))), None if value is None else np.array(value), wholes(*axes)],
            {"mode": mode},
        )
    before, after = ([0, *rng.integers(low, 3, rank)] for _ in range(2))
    return Case("Pad", [x, wholes(*before, *after)], {"mode": mode} if mode != "constant" or flip(rng) else {})


def squeeze(rng):
    full = [size if flip(rng) else 1 for size in sizes(rng, int(rng.integers(1, 4)))] + [1]
    ones = [axis + 1 for axis, size in enumerate(full) if size == 1]
    axes = [axis - (len(full) + 1 if flip(rng) else 0) for axis in ones[: int(rng.integers(1, len(ones) + 1))]]
    return Case("Squeeze", [any_dtype(rng, floats(rng, BATCH, *full)), wholes(*axes)])


def unsqueeze(rng):
    x = any_dtype(rng, floats(rng, BATCH, *sizes(rng, int(rng.integers(0, 3)))))
    count = int(rng.integers(1, 3))
    axes = rng.permutation(x.ndim + count)[:count] - (x.ndim + count if flip(rng) else 0)
    return Case("Unsqueeze", [x, wholes(*axes)])


def depth_to_space(rng):
    block, deep, height, width = (int(size) for size in rng.integers(1, 4, 4))
    x = floats(rng, BATCH, block * block * deep, height, width)
    return Case("DepthToSpace", [x], {"blocksize": block} | ({"mode": str(rng.choice(["DCR", "CRD"]))} if flip(rng) else {}))


def space_to_depth(rng):
    block, deep, height, width = (int(size) for size in rng.integers(1, 4, 4))
    return Case("SpaceToDepth", [floats(rng, BATCH, deep, height * block, width * block)], {"blocksize": block})


def reverse_sequence(rng):
    steps, *rest = sizes(rng, int(rng.integers(1, 4)))
    lengths = rng.integers(1, steps + 1, BATCH)
    if flip(rng):
        return Case("ReverseSequence", [floats(rng, BATCH, steps, *rest), lengths], {"batch_axis": 0, "time_axis": 1}, {0: 0, 1: 0})
    return Case("ReverseSequence", [floats(rng, steps, BATCH, *rest), lengths], {}, {0: 1, 1: 0})


SHAPES: dict[str, Callable] = {
    "Shape": shape,
    "Size": size,
    "Constant": constant,
    "ConstantOfShape": constant_of_shape,
    "Range": spread,
    "Expand": expand,
    "EyeLike": eye_like,
    "Tile": tile,
    "Pad": pad,
    "Squeeze": squeeze,
    "Unsqueeze": unsqueeze,
    "DepthToSpace": depth_to_space,
    "SpaceToDepth": space_to_depth,
    "ReverseSequence": reverse_sequence,
}
