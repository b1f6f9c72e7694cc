"""The numba backend against the numpy references and onnxruntime, and its own promises."""

from typing import Any

import numpy as np
import pytest

from esp.astore.graph import Graph, Node, Value, run_reference
from esp.errors import BackendError
from esp.kernels.compile import compilations
from esp.runtime.backends import bind
from esp.runtime.backends.lowering import planar
from tests.runtime.backends.nets import NETS, Maker, events, one_node, random_net

N = None
NODES: dict[str, Graph] = {
    "Gemm": one_node("Gemm", (N, 7), (7, 5), (5,)),
    "Gemm wide": one_node("Gemm", (N, 33), (33, 300), (300,)),
    "Gemm alpha beta transB": one_node("Gemm", (N, 6), (17, 6), (1, 17), alpha=0.3, beta=1.7, transB=1),
    "Gemm scalar bias": one_node("Gemm", (N, 6), (6, 4), (1,)),
    "MatMul 2": one_node("MatMul", (N, 6), (6, 4)),
    "MatMul 3": one_node("MatMul", (N, 3, 6), (6, 18)),
    "MatMul vector": one_node("MatMul", (N, 3, 6), (6,)),
    "MatMul pairs": one_node("MatMul", (N, 2, 3, 6), (N, 2, 6, 5)),
    "MatMul pairs broadcast": one_node("MatMul", (N, 2, 3, 6), (N, 1, 6, 5)),
    "MatMul constant left": one_node("MatMul", (4, 3), (N, 3, 6)),
    "MatMul constants of a batch": one_node("MatMul", (N, 2, 3, 6), (2, 6, 4)),
    "Add same": one_node("Add", (N, 3, 4), (N, 3, 4)),
    "Add scalar": one_node("Add", (N, 3, 4), ()),
    "Add row": one_node("Add", (N, 3, 4), (4,)),
    "Add outer": one_node("Add", (N, 3, 1), (N, 1, 4)),
    "Add other rank": one_node("Add", (1, 1, 4), (N, 3, 1)),
    "Sub from constant": one_node("Sub", (3, 1), (N, 3, 4)),
    "Sub from smaller": one_node("Sub", (N, 1, 4), (N, 3, 4)),
    "Mul channel": one_node("Mul", (N, 3, 4, 5), (3, 1, 1)),
    "Mul map": one_node("Mul", (N, 3, 4, 5), (N, 1, 4, 5)),
    "Mul per channel": one_node("Mul", (N, 3, 4, 5), (N, 3, 1, 1)),
    "Div by constant": one_node("Div", (N, 5), (5,)),
    "Div constant by": one_node("Div", (), (N, 5)),
    "Div smaller by": one_node("Div", (N, 1), (N, 5)),
    "Relu": one_node("Relu", (N, 9)),
    "LeakyRelu": one_node("LeakyRelu", (N, 9), alpha=0.3),
    "Tanh": one_node("Tanh", (N, 50)),
    "Sigmoid": one_node("Sigmoid", (N, 50)),
    "Softmax": one_node("Softmax", (N, 37)),
    "Softmax axis 1": one_node("Softmax", (N, 5, 4), axis=1),
    "Conv 1-D": one_node("Conv", (N, 3, 10), (5, 3, 3), (5,)),
    "Conv 1-D strides pads": one_node("Conv", (N, 3, 10), (17, 3, 4), strides=(3,), pads=(2, 1)),
    "Conv 2-D": one_node("Conv", (N, 3, 6, 7), (34, 3, 3, 2), (34,), pads=(1, 0, 2, 1)),
    "Conv 2-D same": one_node("Conv", (N, 2, 5, 6), (4, 2, 3, 4), auto_pad="SAME_LOWER", strides=(2, 1)),
    "Conv 2-D dilated": one_node("Conv", (N, 3, 9, 9), (4, 3, 3, 3), dilations=(2, 3), pads=(2, 2, 2, 2)),
    "Conv 2-D groups": one_node("Conv", (N, 6, 5, 5), (9, 2, 3, 3), (9,), group=3, pads=(1, 1, 1, 1)),
    "Conv 2-D depthwise": one_node("Conv", (N, 6, 5, 5), (6, 1, 3, 3), (6,), group=6, pads=(1, 1, 1, 1), strides=(2, 1)),
    "Conv 2-D depth multiplier": one_node("Conv", (N, 3, 5, 5), (6, 1, 3, 3), group=3),
    "Conv 2-D pointwise": one_node("Conv", (N, 6, 5, 5), (20, 6, 1, 1), strides=(2, 2)),
    "Conv 3-D": one_node("Conv", (N, 2, 4, 5, 6), (7, 2, 2, 3, 3), (7,), pads=(1, 1, 1, 0, 1, 2), strides=(1, 2, 1)),
    "MaxPool 1-D": one_node("MaxPool", (N, 3, 10), kernel_shape=(3,), strides=(2,), pads=(1, 1)),
    "MaxPool 2-D ceil": one_node("MaxPool", (N, 3, 6, 7), kernel_shape=(3, 2), strides=(2, 2), ceil_mode=1),
    "MaxPool 2-D dilated": one_node("MaxPool", (N, 3, 8, 8), kernel_shape=(2, 3), dilations=(2, 2)),
    "MaxPool 3-D": one_node("MaxPool", (N, 2, 4, 4, 5), kernel_shape=(2, 2, 2)),
    "AveragePool 2-D": one_node("AveragePool", (N, 3, 6, 7), kernel_shape=(3, 3), strides=(2, 2), pads=(1, 1, 1, 1)),
    "AveragePool counts pads": one_node("AveragePool", (N, 3, 6), kernel_shape=(4,), strides=(3,), pads=(1, 2), count_include_pad=1, ceil_mode=1),
    "GlobalAveragePool": one_node("GlobalAveragePool", (N, 5, 4, 3)),
    "Flatten": one_node("Flatten", (N, 5, 4)),
    "Transpose": one_node("Transpose", (N, 3, 4, 5), perm=(0, 3, 1, 2)),
    "Concat": one_node("Concat", (N, 3, 4), (N, 2, 4), (N, 5, 4), axis=1),
    "Concat last": one_node("Concat", (N, 3, 4), (N, 3, 2), axis=-1),
    "Concat itself": one_node("Concat", (N, 3), (N, 3), axis=1),
}  # fmt: skip


def _batch_norm(*shape: int) -> Graph:
    m = Maker(3, shape)
    m.add(
        "BatchNormalization",
        "x0",
        *[m.const(np.abs(m.rng.standard_normal(shape[0])).astype("f") + 0.3) for _ in range(4)],
        epsilon=0.01,
    )
    return m.graph()


def _with(op: str, shape: tuple[int, ...], *constants: Any, outputs: int = 1, skipped: int = 0, **attrs: Any) -> Graph:
    """One node over an input [N, *shape] and constants as given; the first inputs after it may be skipped."""
    m = Maker(5, shape)
    m.add(op, "x0", *[""] * skipped, *(m.const(np.asarray(one)) for one in constants), outputs=outputs, **attrs)
    return m.graph(*m.nodes[-1].outputs)


def _f(*numbers: float) -> Any:
    return np.array(numbers, np.float32)


def _i(*numbers: int) -> Any:
    return np.array(numbers, np.int64)


POINTWISE = ("ThresholdedRelu", "Shrink", "Elu", "Selu", "Celu", "HardSigmoid", "HardSwish", "Swish", "Gelu", "Mish", "Softplus",
             "Softsign", "Exp", "Log", "Sqrt", "Abs", "Neg", "Reciprocal", "Erf")  # fmt: skip
NODES |= {op: one_node(op, (N, 37)) for op in POINTWISE} | {
    "Gelu tanh": one_node("Gelu", (N, 37), approximate="tanh"),
    "Clip": _with("Clip", (9,), _f(-0.5)[0], _f(0.5)[0]), "Clip above": _with("Clip", (9,), _f(0.5)[0], skipped=1),
    "Pow 2": _with("Pow", (9,), _f(2)), "Pow 3": _with("Pow", (9,), _f(3)), "Pow -0.5": _with("Pow", (9,), _f(-0.5)[0]),
    "PRelu": one_node("PRelu", (N, 3, 4), (3, 1)), "PRelu computed": one_node("PRelu", (N, 3, 4), (N, 3, 1)),
    "Max": one_node("Max", (N, 3, 4), (N, 3, 1), (4,)), "Min": one_node("Min", (3, 1), (N, 3, 4)),
    "Sum": one_node("Sum", (N, 3), (N, 3), (3,), (N, 1)), "Mean": one_node("Mean", (N, 3), (N, 3), ()),
    "ReduceMean": _with("ReduceMean", (3, 4, 5), _i(2, 3)), "ReduceSum middle": _with("ReduceSum", (3, 4, 5), _i(2), keepdims=0),
    "ReduceMax apart": _with("ReduceMax", (3, 4, 5), _i(1, -1)), "ReduceMin": _with("ReduceMin", (3, 4), _i(1), keepdims=0),
    "ReduceL2": _with("ReduceL2", (7,), _i(1)), "ReduceL1": _with("ReduceL1", (3, 7), _i(1, 2)),
    "LogSoftmax": one_node("LogSoftmax", (N, 5, 4), axis=1),
    "GlobalMaxPool": one_node("GlobalMaxPool", (N, 5, 4, 3)),
    "Pad": _with("Pad", (3, 4), _i(0, 1, 0, 0, 2, 3), _f(1.5)[0]), "Pad cut": _with("Pad", (3, 4), _i(0, 1, -1, 0, 0, 2)),
    "Pad reflect": _with("Pad", (3, 4), _i(0, 1, 2, 0, 2, 3), mode="reflect"),
    "Slice": _with("Slice", (7, 9), _i(5, 1), _i(-8, 9), _i(1, 2), _i(-2, 3)),
    "Split": _with("Split", (7, 3), _i(2, 4, 1), outputs=3, axis=1), "Gather": _with("Gather", (4, 3), _i(2, 0, 2), axis=1),
    "Squeeze": _with("Squeeze", (1, 3), _i(1)), "Unsqueeze": _with("Unsqueeze", (3,), _i(1, 3)),
    "DepthToSpace": one_node("DepthToSpace", (N, 12, 2, 3), blocksize=2, mode="CRD"),
    "SpaceToDepth": one_node("SpaceToDepth", (N, 3, 4, 6), blocksize=2),
    "Resize": _with("Resize", (3, 4, 5), _f(1, 1, 2, 1.5), skipped=1, mode="nearest"),
    "Resize linear": _with("Resize", (3, 4, 5), _f(1, 1, 2, 1.5), skipped=1, mode="linear"),
    "Resize cubic": _with("Resize", (3, 4, 5), _i(7, 3), skipped=2, axes=(2, 3), mode="cubic", coordinate_transformation_mode="asymmetric"),
    "LayerNormalization": one_node("LayerNormalization", (N, 4, 6), (6,), (6,)),
    "LayerNormalization 2": one_node("LayerNormalization", (N, 4, 6), (4, 6), axis=1),
    "RMSNormalization": one_node("RMSNormalization", (N, 4, 6), (6,)),
    "InstanceNormalization": one_node("InstanceNormalization", (N, 4, 5, 3), (4,), (4,)),
    "GroupNormalization": one_node("GroupNormalization", (N, 6, 5, 3), (6,), (6,), num_groups=2),
    "LRN": one_node("LRN", (N, 7, 3, 2), size=3),
    "ConvTranspose 1-D": one_node("ConvTranspose", (N, 3, 5), (3, 4, 2), (4,), strides=(2,)),
    "ConvTranspose 2-D": one_node("ConvTranspose", (N, 4, 3, 5), (4, 3, 3, 2), (6,), group=2, strides=(2, 3), pads=(1, 0, 1, 1),
                                  dilations=(1, 2), output_padding=(1, 0)),
}  # fmt: skip


def _recurrent(op: str, gates: int, units: int = 6, directions: int = 1, bias: bool = True, **attrs: Any) -> Graph:
    m = Maker(4, (5, 3))
    weights = [m.weight(directions, gates * units, 3, fan=3), m.weight(directions, gates * units, units, fan=units)]
    weights += [m.weight(directions, 2 * gates * units)] if bias else []
    outputs = 3 if op == "LSTM" else 2
    m.add(op, m.add("Transpose", "x0", perm=(1, 0, 2)), *weights, outputs=outputs, **attrs)
    steps, *ends = m.nodes[-1].outputs
    return m.graph(m.add("Transpose", steps, perm=(2, 0, 1, 3)), *(m.add("Transpose", end, perm=(1, 0, 2)) for end in ends))


NODES |= {
    "BatchNormalization": _batch_norm(5, 3, 2), "BatchNormalization flat": _batch_norm(9),
    "RNN": _recurrent("RNN", 1), "RNN relu": _recurrent("RNN", 1, activations=("Relu",), direction="reverse"),
    "GRU": _recurrent("GRU", 3), "GRU no bias": _recurrent("GRU", 3, bias=False),
    "GRU linear": _recurrent("GRU", 3, units=17, linear_before_reset=1, direction="reverse"),
    "GRU both ways": _recurrent("GRU", 3, directions=2, direction="bidirectional", linear_before_reset=1),
    "RNN bent": _recurrent("RNN", 1, activations=("Softsign",)), "GRU clip": _recurrent("GRU", 3, clip=0.5),
    "LSTM": _recurrent("LSTM", 4, units=20), "LSTM both ways": _recurrent("LSTM", 4, directions=2, direction="bidirectional"),
}  # fmt: skip


def _initial_state() -> Graph:
    m = Maker(5, (5, 3), (1, 6))
    start, steps = m.add("Transpose", "x1", perm=(1, 0, 2)), m.add("Transpose", "x0", perm=(1, 0, 2))
    m.add("GRU", steps, m.weight(1, 18, 3), m.weight(1, 18, 6, fan=6), "", "", start, outputs=2)
    return m.graph(m.add("Transpose", m.nodes[-1].outputs[1], perm=(1, 0, 2)))


def _merged_outputs() -> Graph:
    m = Maker(6, (4, 3))
    x = m.add("Tanh", "x0")
    y = m.add("Reshape", x, m.const(np.array([0, 12])))
    return m.graph(x, y, m.add("Identity", "x0"))


NODES |= {"GRU from a given state": _initial_state(), "outputs that share numbers": _merged_outputs()}
each_node = pytest.mark.parametrize("name", NODES)
each_net = pytest.mark.parametrize("name", NETS)


def _close(found: Any, wanted: Any) -> None:
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted):
        assert one.shape == other.shape
        assert one.dtype == np.float32
        np.testing.assert_allclose(one, other, atol=1e-5, rtol=1e-5)


@each_node
@pytest.mark.parametrize("n", [1, 2, 13])
def test_every_op_gives_what_its_reference_gives(name: str, n: int) -> None:
    graph = NODES[name]
    x = events(graph, n)
    _close(bind("numba", graph, 8).run(x), run_reference(graph, x))


@each_net
def test_small_networks_give_what_onnxruntime_gives(name: str) -> None:
    graph = NETS[name]()
    x = events(graph, 19)
    _close(bind("numba", graph, 64).run(x), bind("onnxruntime", graph, 64).run(x))


@pytest.mark.parametrize("seed", range(80))
def test_random_networks_give_what_the_references_give(seed: int) -> None:
    graph = random_net(seed)
    x = events(graph, 5)
    _close(bind("numba", graph, 64).run(x), run_reference(graph, x))


@each_net
def test_a_rows_result_is_the_same_bits_in_every_batch_size_and_place(name: str) -> None:
    graph = NETS[name]()
    bound, x = bind("numba", graph, 32), events(graph, 67)
    whole = bound.run(x)
    for n in range(1, 68):
        for at in (0, 67 - n):
            part = bound.run([np.ascontiguousarray(array[at : at + n]) for array in x])
            assert all(np.array_equal(one, all_[at : at + n]) for one, all_ in zip(part, whole))


@each_net
def test_plans_of_other_arena_sizes_give_the_same_bits(name: str) -> None:
    graph = NETS[name]()
    x = events(graph, 23)
    results = [bind("numba", graph, max_batch).run(x) for max_batch in (1, 5, 1024)]
    assert all(np.array_equal(one, other) for result in results[1:] for one, other in zip(result, results[0]))


SPECIAL = ["Gemm", "Relu", "LeakyRelu", "Tanh", "Sigmoid", "Softmax", "MaxPool 2-D ceil", "AveragePool 2-D", "Conv 2-D",
           "Add same", "Mul channel", "Div constant by", "BatchNormalization", "GRU", "LSTM", "Conv 2-D depthwise", *POINTWISE,
           "Clip", "Pow 3", "Pow -0.5", "PRelu", "Max", "Min", "ReduceMax apart", "ReduceMean", "GlobalMaxPool", "Pad", "Resize", "LogSoftmax",
           "LayerNormalization", "InstanceNormalization", "ConvTranspose 1-D"]  # fmt: skip


@pytest.mark.parametrize("name", SPECIAL)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 0.0])
def test_nan_infinities_and_zero_spread_as_in_numpy(name: str, value: float) -> None:
    graph = NODES[name]
    x = events(graph, 9)
    for row in range(0, 9, 2):
        line = x[0][row].reshape(-1)
        line[row % len(line)] = value
    for one, other in zip(bind("numba", graph, 16).run(x), run_reference(graph, x)):
        np.testing.assert_allclose(one, other, atol=1e-5, rtol=1e-5, equal_nan=True)


@pytest.mark.parametrize("op", ["Gemm", "Conv", "Conv 2-D depthwise", "ConvTranspose", "BatchNormalization", "MatMul"])
def test_clip_joins_the_product_before_it(op: str) -> None:
    m = Maker(2, (4, 5, 5))
    if op == "Gemm":
        made = m.add("Gemm", m.add("Flatten", "x0"), m.weight(100, 5, fan=9), m.weight(5))
    elif op == "BatchNormalization":
        made = m.add(op, m.add("Tanh", "x0"), *[m.const(np.full(4, one, np.float32)) for one in (1, 0.2, 0.1, 0.9)])
    elif op == "MatMul":
        made = m.add(op, "x0", "x0")
    else:
        shape, attrs = ((4, 1, 3, 3), {"group": 4}) if "depthwise" in op else ((4, 4, 3, 3), {})
        made = m.add(op.split()[0], "x0", m.weight(*shape), m.weight(4), **attrs)
    m.add("Clip", made, m.const(_f(-0.25)[0]), m.const(_f(0.5)[0]))
    graph = m.graph()
    x = events(graph, 5)
    x[0][1, 0, 0, 0] = np.nan
    (y,), wanted = bind("numba", graph, 8).run(x), run_reference(graph, x)
    _close([y], wanted)
    assert y[0].min() == -0.25
    assert y[0].max() == 0.5


def test_runs_of_numbers_are_moved_together_and_sizes_are_not_computed() -> None:
    m = Maker(3, (6, 8))
    sizes = m.add("Concat", m.add("Shape", "x0", end=1), m.const(_i(2, 8)), axis=0)
    token = m.add("Expand", m.weight(1, 1, 8), sizes)
    m.add("Concat", token, m.add("Slice", "x0", m.const(_i(1)), m.const(_i(6)), m.const(_i(1)), m.const(_i(2))), axis=1)
    graph = m.graph()
    x, bound = events(graph, 3), bind("numba", graph, 8)
    _close(bound.run(x), run_reference(graph, x))
    assert len(bound.table.rows) == 4  # type: ignore[attr-defined]  # the token, the slice, and a copy of each


def test_relu_after_a_product_keeps_nan() -> None:
    m = Maker(1, (3,))
    m.add("Relu", m.add("Gemm", "x0", m.weight(3, 4)))
    x = np.array([[1, np.nan, 2], [1, 2, 3]], np.float32)
    (y,) = bind("numba", m.graph(), 4).run([x])
    assert np.isnan(y[0]).all()
    assert not np.isnan(y[1]).any()


def test_binding_and_running_compile_nothing_new() -> None:
    bind("numba", NETS["sequence"](), 8)
    before = compilations()
    for name in ("convolutional", "attention"):
        graph = NETS[name]()
        bind("numba", graph, 8).run(events(graph, 9))
    assert compilations() == before


def test_batch_normalisation_bias_and_relu_join_the_product_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planar, "pays", lambda split, channels: False)
    bound: Any = bind("numba", NETS["convolutional"](), 8)
    # pad, conv, pool, pad, conv, gemm, product, softmax: the flattened picture is a matter of the weights' order
    assert len(bound.table.rows) == 8


def test_buffers_share_the_arena() -> None:
    m, x = Maker(1, (64,)), "x0"
    for _ in range(20):
        x = m.add("Tanh", m.add("Gemm", x, m.weight(64, 64, fan=64)))
    bound: Any = bind("numba", m.graph(), 10)
    assert bound.table.arena_bytes < 3 * 10 * 64 * 4 + 2048


def test_read_only_input_is_taken() -> None:
    graph = NODES["Gemm"]
    (x,) = events(graph, 3)
    x.flags.writeable = False
    _close(bind("numba", graph, 8).run([x]), run_reference(graph, [x]))


@pytest.mark.parametrize(
    ("graph", "what"),
    [
        (one_node("Hardmax", (N, 3)), "Hardmax"),
        (
            Graph((Node("Relu", ("x",), ("y",)),), (Value("x", "float64", (None, 2)),), (Value("y", "float64", (None, 2)),), {}),
            "float64",
        ),
    ],
)
def test_what_a_plan_cannot_express_is_refused_at_bind(graph: Graph, what: str) -> None:
    with pytest.raises(BackendError, match=what):
        bind("numba", graph, 8)


def test_unknown_backend_is_refused() -> None:
    with pytest.raises(BackendError, match=r"no backend .cuda.*numba, onnxruntime, numpy"):
        bind("cuda", NODES["Gemm"], 8)
