"""Laws that every row of the op table keeps, on random attributes and shapes; onnxruntime is the independent judge."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import onnx
import onnxruntime
import pytest

from esp.astore.graph import Graph, Node, Value, complete_attrs, node_flops, run_reference, validate
from esp.astore.onnx import to_onnx
from esp.astore.ops import OPS
from esp.errors import GraphError

BATCH = 7
SEEDS = range(24)


@dataclass
class Case:
    """A node over arrays. ``fed[i]`` is the batch axis of input i where it is fed; the others are weights."""

    op: str
    inputs: list
    attrs: dict = field(default_factory=dict)
    fed: dict = field(default_factory=lambda: {0: 0})
    outputs: int = 1


def floats(rng, *shape):
    return rng.standard_normal(shape).astype(np.float32)


def sizes(rng, rank, high=5):
    return [int(size) for size in rng.integers(1, high, rank)]


def flip(rng):
    return bool(rng.integers(2))


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


def whole(rng, dtype, *shape):
    """Numbers away from 0, so that integer division is defined."""
    return (rng.integers(1, 9, shape) * rng.choice([-1, 1], shape)).astype(dtype)


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


CASES: dict[str, Callable] = {
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


def to_front(axis, rank):
    return (axis, *(other for other in range(rank) if other != axis))


def from_front(axis, rank):
    return tuple(np.argsort(to_front(axis, rank)).tolist())


def drawn(op, seed):
    return CASES[op](np.random.default_rng([seed, *op.encode()]))


def one_node(case):
    """The case as a graph (a Transpose where the batch is not in front) and what to feed it."""
    nodes, inputs, weights, feeds, names = [], [], {}, [], []
    for at, array in enumerate(case.inputs):
        names.append("" if array is None else f"x{at}")
        if at in case.fed:
            axis = case.fed[at]
            feeds.append(np.ascontiguousarray(np.moveaxis(array, axis, 0)))
            inputs.append(Value(f"x{at}" if axis == 0 else f"fed{at}", array.dtype.name, (None, *feeds[-1].shape[1:])))
            if axis:
                nodes.append(Node("Transpose", (f"fed{at}",), (f"x{at}",), {"perm": from_front(axis, array.ndim)}))
        elif array is not None:
            weights[f"x{at}"] = np.asarray(array, order="C")
    node = Node(case.op, tuple(names), tuple(f"y{at}" for at in range(case.outputs)), case.attrs)
    outputs = []
    for at, shape in enumerate(rule_shapes(case, node)[: case.outputs]):
        dtype = "bool" if (case.op, at) == ("Dropout", 1) else case.inputs[0].dtype.name
        axis = shape.index(None)
        order = to_front(axis, len(shape))
        outputs.append(Value(f"out{at}", dtype, tuple(shape[axis] for axis in order)))
        nodes.append(Node("Transpose", (f"y{at}",), (f"out{at}",), {"perm": order}))
    return Graph(
        (*nodes[: len(nodes) - case.outputs], node, *nodes[-case.outputs :]), tuple(inputs), tuple(outputs), weights
    ), feeds


def rule_shapes(case, node):
    shapes = []
    for at, array in enumerate(case.inputs):
        sizes = None if array is None else list(array.shape)
        if at in case.fed:
            sizes[case.fed[at]] = None
        shapes.append(None if sizes is None else tuple(sizes))
    constants = [None if at in case.fed else array for at, array in enumerate(case.inputs)]
    return OPS[case.op].shapes(complete_attrs(node), shapes, constants)


def in_onnxruntime(graph, feeds):
    model = to_onnx(graph)
    ceils = any(node.attrs.get("ceil_mode") for node in graph.nodes)  # onnx's own shapes keep windows that start in the pad
    onnx.checker.check_model(model, full_check=not ceils)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {value.name: array for value, array in zip(graph.inputs, feeds)})


def test_every_op_of_the_table_is_drawn_here():
    assert set(CASES) == set(OPS)
    assert all(name == op.name for name, op in OPS.items())


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("op", CASES)
def test_reference_agrees_with_onnxruntime(op, seed):
    graph, feeds = one_node(drawn(op, seed))
    validate(graph)
    for rows in (1, BATCH):
        part = [array[:rows] for array in feeds]
        for got, wanted in zip(run_reference(graph, part), in_onnxruntime(graph, part), strict=True):
            assert got.dtype == wanted.dtype
            np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("op", CASES)
def test_shape_rule_is_the_shape_that_the_reference_gives(op, seed):
    case = drawn(op, seed)
    node = Node(op, tuple("" if array is None else "x" for array in case.inputs), ("y",) * case.outputs, case.attrs)
    made = OPS[op].reference(complete_attrs(node), case.inputs, case.outputs)
    ruled = rule_shapes(case, node)[: case.outputs]
    assert [array.shape for array in made] == [tuple(BATCH if size is None else size for size in shape) for shape in ruled]


@pytest.mark.parametrize("op", CASES)
def test_reference_computes_in_the_dtype_of_its_input(op):
    for seed in SEEDS:
        case = drawn(op, seed)
        is_float = [array is not None and array.dtype.kind == "f" for array in case.inputs]
        for dtype in ("float32", "float64"):
            inputs = [array.astype(dtype) if turn else array for array, turn in zip(case.inputs, is_float)]
            graph, feeds = one_node(Case(op, inputs, case.attrs, case.fed, case.outputs))
            validate(graph)
            assert [array.dtype.name for array in run_reference(graph, feeds)] == [value.dtype for value in graph.outputs]


@pytest.mark.parametrize("op", CASES)
def test_flops_are_a_whole_number_that_the_batch_does_not_change(op):
    for seed in SEEDS:
        assert all(isinstance(count, int) and count >= 0 for count in node_flops(one_node(drawn(op, seed))[0]))


ANY_ATTR = {
    "int": lambda rng: int(rng.integers(-3, 4)),
    "float": lambda rng: float(rng.standard_normal()),
    "string": lambda rng: str(rng.choice(["NOTSET", "VALID", "SAME_LOWER", "reverse", "Tanh", ""])),
}


def any_attr(rng, spec):
    if spec.choices and flip(rng):
        return spec.choices[int(rng.integers(len(spec.choices)))]
    if spec.type in ANY_ATTR:
        return ANY_ATTR[spec.type](rng)
    return tuple(ANY_ATTR[spec.type[:-1]](rng) for _ in range(int(rng.integers(5))))


@pytest.mark.parametrize("op", CASES)
def test_shape_rule_of_nonsense_raises_graph_error_and_nothing_else(op):
    row, rng = OPS[op], np.random.default_rng(list(op.encode()))
    for _ in range(1500):
        attrs = {name: any_attr(rng, spec) for name, spec in row.attrs.items() if spec.is_required or flip(rng)}
        count = int(rng.integers(row.inputs[0], min(row.inputs[1], 8) + 1))
        shapes = [tuple([None, 1, 2, 3, 4][at] for at in rng.integers(0, 5, rng.integers(0, 5))) for _ in range(count)]
        shapes[row.inputs[0] :] = [shape if flip(rng) else None for shape in shapes[row.inputs[0] :]]
        constants = [rng.integers(-2, 5, rng.integers(0, 4)) if flip(rng) else None for _ in shapes]
        try:
            made = row.shapes(complete_attrs(Node(op, (), (), attrs)), shapes, constants)
        except GraphError:
            continue
        assert all(size is None or isinstance(size, int) for shape in made for size in shape)
        assert row.flops(complete_attrs(Node(op, (), (), attrs)), shapes, made) >= 0
