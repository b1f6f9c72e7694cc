"""Ops that fold or scan axes."""

from collections.abc import Callable

import numpy as np

from tests.astore.op_cases.case import BATCH, Case, flip, sizes


def shaped(rng, dtypes, low, high):
    """Numbers of one of the dtypes with the batch in front, and one to all of the other axes, from either end."""
    rank, dtype = int(rng.integers(2, 5)), str(rng.choice(dtypes))
    x = rng.uniform(low, high, (BATCH, *sizes(rng, rank - 1))).astype(dtype)
    axes = rng.choice(np.arange(1, rank), int(rng.integers(1, rank)), replace=False)
    return x, [int(axis) - rank * flip(rng) for axis in axes]


def reduce(op, dtypes=("float32", "float64", "int32"), low=-3, high=3):
    def draw(rng):
        x, axes = shaped(rng, dtypes, low, high)
        attrs = {"keepdims": int(rng.integers(2))} if flip(rng) else {}
        if rng.integers(6) == 0 and x.dtype == np.float32 and op in ("ReduceSum", "ReduceMax", "ReduceMin", "ReduceMean"):
            attrs["noop_with_empty_axes"] = 1
            return Case(op, [x, np.zeros(0, np.int64)] if flip(rng) else [x], attrs)
        return Case(op, [x, np.array(axes, np.int64)], attrs)

    return draw


def arg(op):
    def draw(rng):
        x, axes = shaped(rng, ("float32", "float64", "int32", "int8", "uint8"), 0, 4)
        attrs = {name: int(rng.integers(2)) for name in ("keepdims", "select_last_index") if flip(rng)}
        return Case(
            op,
            [
                np.round(x),
            ],
            {"axis": axes[0], **attrs},
        )

    return draw


def scan(op, judge):
    def draw(rng):
        x, axes = shaped(rng, ("float32", "float64", "int32", "int64"), -3, 3)
        attrs = {name: int(rng.integers(2)) for name in ("exclusive", "reverse") if flip(rng)}
        axis = np.array(axes[0], str(rng.choice(["int32", "int64"])))
        return Case(op, [x, axis], attrs, judge=judge)

    return draw


REDUCTIONS: dict[str, Callable] = {
    **{op: reduce(op) for op in ("ReduceSum", "ReduceMean", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceSumSquare")},
    **{op: reduce(op, ("float32", "float64", "int32", "int64", "int8", "uint8"), 0, 9) for op in ("ReduceMax", "ReduceMin")},
    "ReduceLogSum": reduce("ReduceLogSum", ("float32", "float64"), 0.1),
    "ReduceLogSumExp": reduce("ReduceLogSumExp", ("float32", "float64"), -30, 30),
    **{op: arg(op) for op in ("ArgMax", "ArgMin")},
    "CumSum": scan("CumSum", judge=True),
    "CumProd": scan("CumProd", judge=False),  # an op of opset 26
}
