"""Whole numbers that stand for real ones."""

from collections.abc import Callable

import numpy as np

from tests.astore.op_cases.case import BATCH, Case, flip, floats, sizes
from tests.astore.op_cases.networks import conv


def whole_numbers(rng, dtype, *shape):
    limits = np.iinfo(dtype)
    return rng.integers(limits.min, limits.max, shape, endpoint=True).astype(dtype)


def scales(rng, *shape):
    return (rng.random(shape) + 0.01).astype(np.float32)


def scaled(op):
    def draw(rng):
        shape = (BATCH, *sizes(rng, int(rng.integers(1, 4))))
        axis = int(rng.integers(1, len(shape)))
        dtype = str(rng.choice(["int8", "uint8"]))
        how = int(rng.integers(3))
        if how == 0:
            one, attrs = (), {}
        elif how == 1:
            one, attrs = (shape[axis],), {"axis": axis}
        else:
            block = int(rng.integers(1, shape[axis] + 1))
            shape, axis = (4, *shape[1:], BATCH), axis  # blocks: the scale has all axes, so that it has no batch
            one, attrs = (4, *shape[1:axis], -(-shape[axis] // block), *shape[axis + 1 :]), {"axis": axis, "block_size": block}
            x = floats(rng, *shape) * 50 if op == "QuantizeLinear" else whole_numbers(rng, dtype, *shape)
            return Case(op, [x, scales(rng, *one), whole_numbers(rng, dtype, *one)], attrs, {}, judge=op == "QuantizeLinear")
        x = floats(rng, *shape) * 50 if op == "QuantizeLinear" else whole_numbers(rng, dtype, *shape)
        inputs = [x, scales(rng, *one), whole_numbers(rng, dtype, *one)]
        # before a Transpose onnxruntime puts a QuantizeLinear of its own, of uint8 whatever the dtype
        return Case(op, inputs[: 3 if flip(rng) else 2], attrs, judge=op == "QuantizeLinear" or dtype == "uint8")

    return draw


def dynamic(rng):
    return Case("DynamicQuantizeLinear", [floats(rng, *sizes(rng, int(rng.integers(1, 4)))) * 9], {}, {}, 3)


def product(rng):
    inner, columns = sizes(rng, 2)
    left = whole_numbers(rng, rng.choice(["int8", "uint8"]), BATCH, *sizes(rng, 1), inner)
    right = whole_numbers(rng, rng.choice(["int8", "uint8"]), inner, columns)
    zeros = [whole_numbers(rng, left.dtype), whole_numbers(rng, right.dtype, *([columns] if flip(rng) else []))]
    judge = not (left.dtype == np.int8 and right.dtype == np.uint8)  # onnxruntime has no kernel for that pair
    return Case("MatMulInteger", [left, right, *zeros[: int(rng.integers(3))]], judge=judge)


def convolution(rng):
    drawn = conv(rng)
    drawn.attrs.pop("auto_pad", None)  # a whole number beside the picture is the zero point, which the runtimes pad with
    drawn.attrs.pop("pads", None)
    x, w = whole_numbers(rng, "uint8", *drawn.inputs[0].shape), whole_numbers(rng, "uint8", *drawn.inputs[1].shape)
    zeros = [whole_numbers(rng, "uint8"), whole_numbers(rng, "uint8")]
    return Case("ConvInteger", [x, w, *zeros[: int(rng.integers(3))]], drawn.attrs)


QUANTISED: dict[str, Callable] = {
    "QuantizeLinear": scaled("QuantizeLinear"),
    "DequantizeLinear": scaled("DequantizeLinear"),
    "DynamicQuantizeLinear": dynamic,
    "MatMulInteger": product,
    "ConvInteger": convolution,
}
