"""The ops of dense, convolutional and recurrent networks."""

from collections.abc import Callable

import numpy as np

from tests.astore.op_cases.case import BATCH, Case, flip, floats, sizes, whole


def arithmetic(op):
    def draw(rng):
        dtype = rng.choice(["float32", "float64", "int32", "int64"])
        shape = sizes(rng, int(rng.integers(0, 4)))
        left = (floats(rng, BATCH, *shape) * 20).astype(dtype)
        if flip(rng):
            return Case(op, [left, whole(rng, dtype, BATCH, *shape)], fed={0: 0, 1: 0})
        kept = shape[int(rng.integers(0, len(shape) + 1)) :]
        right = whole(rng, dtype, *(size if flip(rng) else 1 for size in kept))
        if not shape and flip(rng):
            right = whole(rng, dtype, 3, 1)
        return Case(op, [left, right]) if flip(rng) else Case(op, [right, whole(rng, dtype, *left.shape)], fed={1: 0})

    return draw


def unary(op, **attrs):
    def draw(rng):
        x = floats(rng, BATCH, *sizes(rng, int(rng.integers(1, 4)))) * 4
        given = {name: make(rng) for name, make in attrs.items() if flip(rng)}
        return Case(op, [x if attrs else x.astype(rng.choice(["float32", "float64"]))], given)

    return draw


def softmax(rng):
    rank = int(rng.integers(1, 4))
    x = floats(rng, BATCH, *sizes(rng, rank)) * 10
    axis = int(rng.integers(1, rank + 1))
    return Case("Softmax", [x], [{}, {"axis": axis}, {"axis": axis - rank - 1}][int(rng.integers(3))])


def gemm(rng):
    rows, inner, columns = BATCH, *sizes(rng, 2, 9)
    trans_b = flip(rng)
    attrs = {"transB": int(trans_b)}
    if flip(rng):
        attrs |= {"alpha": 0.5, "beta": 2.0}
    right = floats(rng, columns, inner) if trans_b else floats(rng, inner, columns)
    bias = [(columns,), (1, columns), (1,), (), None][int(rng.integers(5))]
    inputs = [floats(rng, rows, inner), right, *([] if bias is None else [floats(rng, *bias)])]
    if flip(rng):
        inputs[0], attrs["transA"] = inputs[0].T, 1
        return Case("Gemm", inputs, attrs, {0: 1})
    return Case("Gemm", inputs, attrs)


def matmul(rng):
    m, inner, n = sizes(rng, 3)
    outer = sizes(rng, 1)
    return [
        Case("MatMul", [floats(rng, BATCH, inner), floats(rng, inner, n)]),
        Case("MatMul", [floats(rng, BATCH, m, inner), floats(rng, inner, n)]),
        Case("MatMul", [floats(rng, BATCH, inner), floats(rng, inner)]),
        Case("MatMul", [floats(rng, BATCH, m, inner), floats(rng, BATCH, inner, n)], fed={0: 0, 1: 0}),
        Case("MatMul", [floats(rng, *outer, m, inner), floats(rng, BATCH, 1, inner, n)], fed={1: 0}),
        Case("MatMul", [floats(rng, m, inner), floats(rng, inner, BATCH)], fed={1: 1}),
        Case("MatMul", [floats(rng, inner), floats(rng, BATCH, inner, n)], fed={1: 0}),
    ][int(rng.integers(7))]


def sliding(rng, rank, is_pool):
    """Attributes of a window that fits, the kernel, and spatial sizes for it."""
    kernel = [int(size) for size in rng.integers(1, 4, rank)]
    dilations = [int(size) for size in rng.integers(1, 3, rank)] if flip(rng) else [1] * rank
    extent = [(size - 1) * dilation + 1 for size, dilation in zip(kernel, dilations)]
    attrs = {"strides": tuple(int(size) for size in rng.integers(1, 4, rank))} if flip(rng) else {}
    if max(dilations) > 1 or flip(rng):
        attrs["dilations"] = tuple(dilations)
    auto_pad = str(rng.choice(["NOTSET", "NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"]))
    if auto_pad == "NOTSET" and flip(rng):
        most = kernel * 2 if is_pool else [size + 1 for size in extent * 2]
        attrs["pads"] = tuple(int(rng.integers(0, size)) for size in most)
    elif auto_pad != "NOTSET":
        attrs["auto_pad"] = auto_pad
    return attrs, kernel, [size + int(rng.integers(0, 6)) for size in extent]


def conv(rng):
    rank, group = int(rng.integers(1, 4)), int(rng.integers(1, 4))
    attrs, kernel, spatial = sliding(rng, rank, False)
    channels, filters = (group * int(size) for size in rng.integers(1, 3, 2))
    if group > 1 or flip(rng):
        attrs["group"] = group
    if flip(rng):
        attrs["kernel_shape"] = tuple(kernel)
    inputs = [floats(rng, BATCH, channels, *spatial), floats(rng, filters, channels // group, *kernel)]
    return Case("Conv", [*inputs, floats(rng, filters)] if flip(rng) else inputs, attrs)


def pool(op):
    def draw(rng):
        attrs, kernel, spatial = sliding(rng, int(rng.integers(1, 4)), True)
        attrs["kernel_shape"] = tuple(kernel)
        if flip(rng) and not attrs.get("auto_pad", "").startswith("SAME"):
            attrs["ceil_mode"] = 1
        if op == "AveragePool" and flip(rng):
            attrs["count_include_pad"] = 1
        return Case(op, [floats(rng, BATCH, int(rng.integers(1, 4)), *spatial)], attrs)

    return draw


def global_average(rng):
    return Case("GlobalAveragePool", [floats(rng, BATCH, *sizes(rng, int(rng.integers(2, 5))))])


def batch_norm(rng):
    shape = sizes(rng, int(rng.integers(1, 4)))
    statistics = [floats(rng, shape[0]) for _ in range(3)] + [rng.random(shape[0]).astype(np.float32) + 0.1]
    attrs = {"epsilon": 1e-3, "momentum": 0.5} if flip(rng) else {}
    return Case("BatchNormalization", [floats(rng, BATCH, *shape), *statistics], attrs)


def dropout(rng):
    x = floats(rng, BATCH, *sizes(rng, 2))
    extra = [[], [np.float32(0.4)], [np.float32(0.4), np.bool_(False)]][int(rng.integers(3))]
    return Case("Dropout", [x, *map(np.asarray, extra)], {"seed": 3} if flip(rng) else {}, outputs=int(rng.integers(1, 3)))


def flatten(rng):
    rank = int(rng.integers(1, 5))
    x = floats(rng, BATCH, *sizes(rng, rank))
    return Case("Flatten", [x], [{}, {"axis": 1}, {"axis": -rank}][int(rng.integers(3))])


def reshape(rng):
    targets = [(0, -1), (-1, 24), (0, 6, 4), (0, 0, 3, -1), (0, 3, -1), (-1, 2, 2, 6), (0, 4, 1, 6)]
    target = targets[int(rng.integers(len(targets)))]
    return Case("Reshape", [floats(rng, BATCH, 2, 3, 4), np.array(target, np.int64)], {"allowzero": 0} if flip(rng) else {})


def transpose(rng):
    rank = int(rng.integers(1, 5))
    x = floats(rng, BATCH, *sizes(rng, rank))
    return Case("Transpose", [x], {"perm": tuple(int(axis) for axis in rng.permutation(rank + 1))} if flip(rng) else {})


def concat(rng):
    rank, count = int(rng.integers(1, 4)), int(rng.integers(1, 4))
    shape, axis = [BATCH, *sizes(rng, rank)], int(rng.integers(1, rank + 1))
    parts = [floats(rng, *shape[:axis], int(rng.integers(1, 4)), *shape[axis + 1 :]) for _ in range(count)]
    attrs = {"axis": axis if flip(rng) else axis - rank - 1}
    return Case("Concat", parts, attrs, dict.fromkeys(range(count), 0))


GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
BENDS = {"RNN": 1, "GRU": 2, "LSTM": 3}


def recurrent(op):
    def draw(rng):
        gates, (steps, inputs, units) = GATES[op], sizes(rng, 3)
        direction = str(rng.choice(["forward", "reverse", "bidirectional"]))
        ways = 2 if direction == "bidirectional" else 1
        attrs = {"direction": direction} if direction != "forward" or flip(rng) else {}
        attrs |= {"hidden_size": units}  # onnxruntime wants it
        if flip(rng):
            attrs["activations"] = tuple(str(name) for name in rng.choice(["Tanh", "Sigmoid", "Relu"], BENDS[op] * ways))
        if op == "GRU" and flip(rng):
            attrs["linear_before_reset"] = 1
        if flip(rng):
            attrs["clip"] = 0.5
        arrays = [
            floats(rng, steps, BATCH, inputs),
            floats(rng, ways, gates * units, inputs),
            floats(rng, ways, gates * units, units),
            floats(rng, ways, 2 * gates * units) if flip(rng) else None,
            rng.integers(1, steps + 1, BATCH).astype(np.int32) if flip(rng) else None,
            floats(rng, ways, BATCH, units) if flip(rng) else None,
        ]
        if op == "LSTM":
            arrays += [floats(rng, ways, BATCH, units) if flip(rng) else None, floats(rng, ways, 3 * units) if flip(rng) else None]
        fed = {at: axis for at, axis in {0: 1, 4: 0, 5: 1, 6: 1}.items() if at < len(arrays) and arrays[at] is not None}
        return Case(op, arrays, attrs, fed, 3 if op == "LSTM" else 2)

    return draw


NETWORKS: dict[str, Callable] = {
    **{op: arithmetic(op) for op in ("Add", "Sub", "Mul", "Div")},
    **{op: unary(op) for op in ("Relu", "Tanh", "Sigmoid", "Identity")},
    "LeakyRelu": unary("LeakyRelu", alpha=lambda rng: float(rng.random())),
    "Softmax": softmax,
    "Gemm": gemm,
    "MatMul": matmul,
    "Conv": conv,
    "MaxPool": pool("MaxPool"),
    "AveragePool": pool("AveragePool"),
    "GlobalAveragePool": global_average,
    "BatchNormalization": batch_norm,
    "Dropout": dropout,
    "Flatten": flatten,
    "Reshape": reshape,
    "Transpose": transpose,
    "Concat": concat,
    **{op: recurrent(op) for op in ("RNN", "GRU", "LSTM")},
}
