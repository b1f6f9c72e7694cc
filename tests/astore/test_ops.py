"""Laws that every row of the op table keeps, on random attributes and shapes; onnxruntime is the independent judge."""

import numpy as np
import onnx
import onnxruntime
import pytest

from esp.astore.graph import Graph, Node, Value, complete_attrs, run_reference
from esp.astore.onnx import to_onnx
from esp.astore.ops import OPS
from esp.astore.ops.dims import Rows, Unknown
from esp.astore.ops.row import Tensor
from esp.astore.validation import node_flops, validate
from esp.errors import GraphError
from tests.astore.op_cases import CASES
from tests.astore.op_cases.case import BATCH, Case, flip

SEEDS = range(24)


def to_front(axis, rank):
    return (axis, *(other for other in range(rank) if other != axis))


def from_front(axis, rank):
    return tuple(np.argsort(to_front(axis, rank)).tolist())


def drawn(op, seed):
    return CASES[op](np.random.default_rng([seed, *op.encode()]))


def one_node(case):
    """The case as a graph and what to feed it: a Transpose where the batch is not in front, each row a copy where there is none."""
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
    after, outputs = [], []
    kinds = [None if array is None else array.dtype.name for array in case.inputs]
    dtypes = OPS[case.op].dtypes.infer(complete_attrs(node), kinds, case.outputs)
    for at, shape in enumerate(rule_shapes(case, node)[: case.outputs]):
        order = to_front(shape.index(None), len(shape)) if None in shape else ()
        outputs.append(Value(f"out{at}", dtypes[at], tuple(shape[axis] for axis in order) if order else (None, *shape)))
        if order:
            after.append(Node("Transpose", (f"y{at}",), (f"out{at}",), {"perm": order}))
        else:
            weights[f"sizes{at}"] = np.array(shape, np.int64)
            after.append(Node("Concat", ("rows", f"sizes{at}"), (f"all{at}",), {"axis": 0}))
            after.append(Node("Expand", (f"y{at}", f"all{at}"), (f"out{at}",)))
    if any(made.op == "Expand" for made in after):
        inputs.append(Value("row", "float32", (None,)))
        feeds.append(np.zeros(BATCH, np.float32))
        nodes.append(Node("Shape", ("row",), ("rows",)))
    return Graph((*nodes, node, *after), tuple(inputs), tuple(outputs), weights), feeds


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
    case = drawn(op, seed)
    graph, feeds = one_node(case)
    validate(graph)
    for rows in (1, BATCH):
        part = [array[:rows] for array in feeds]
        made = run_reference(graph, part)
        for got, wanted in zip(made, in_onnxruntime(graph, part) if case.judge else made, strict=True):
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
            if dtype not in OPS[op].dtypes.allowed:
                continue
            rules = [OPS[op].dtypes.inputs.get(at, 0) for at in range(len(is_float))]
            turns = [turn and (isinstance(rule, int) or dtype in rule) for turn, rule in zip(is_float, rules)]
            inputs = [array.astype(dtype) if turn else array for array, turn in zip(case.inputs, turns)]
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
    "tensor": lambda rng: Tensor.of(rng.standard_normal(rng.integers(0, 3, rng.integers(0, 2))).astype(np.float32)),
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
        assert all(size is None or isinstance(size, int | Rows | Unknown) for shape in made for size in shape)
        assert row.flops(complete_attrs(Node(op, (), (), attrs)), shapes, made) >= 0
