"""Whole numbers that come in: looked up, one-hot or cast as the references and onnxruntime do, and refused where they name nothing."""

from typing import Any

import numpy as np
import pytest

from esp.astore.graph import Array, Graph, Value, run_reference
from esp.astore.model import Astore, Input, Output
from esp.errors import BackendError
from esp.runtime.backends import bind
from esp.runtime.backends.bars import refused_by
from esp.runtime.scorer import Scorer
from tests.runtime.backends.nets import Maker

ROWS = 11  # of every table
INT32, INT64, FLOAT32, FLOAT64 = 6, 7, 1, 11  # as Cast names them


def maker(*inputs: tuple[str, tuple[int, ...]]) -> Maker:
    """A maker whose inputs have dtypes of their own."""
    made = Maker(3)
    made.inputs = tuple(Value(f"x{at}", dtype, (None, *shape)) for at, (dtype, shape) in enumerate(inputs))
    return made


def _i(*numbers: int) -> Array:
    return np.array(numbers, np.int64)


def _embedding(dtype: str) -> Graph:
    m = maker((dtype, (4,)))
    m.add("Gather", m.weight(ROWS, 5), "x0", axis=0)
    return m.graph()


def _factor() -> Graph:
    m = maker(("int64", (4,)))
    m.add("Gather", m.weight(ROWS), "x0", axis=0)
    return m.graph()


def _middle_axis() -> Graph:
    m = maker(("int32", (2, 2)))
    m.add("Transpose", m.add("Gather", m.weight(3, ROWS, 2), "x0", axis=1), perm=(1, 0, 2, 3, 4))
    return m.graph()


def _columns() -> Graph:
    """A table for each column, as a network over categories has it."""
    m = maker(("int64", (3,)))
    one = m.add("Gather", m.weight(ROWS, 4), m.add("Gather", "x0", m.const(np.int64(2)), axis=1))
    two = m.add("Slice", "x0", m.const(_i(0)), m.const(_i(2)), m.const(_i(1)))
    two = m.add("Flatten", m.add("Gather", m.weight(2 * ROWS, 3), m.add("Transpose", two, perm=(0, 1))))
    m.add("Split", "x0", m.const(_i(1, 2)), outputs=2, axis=1)
    three = m.add("Squeeze", m.add("Gather", m.weight(ROWS, 2), m.nodes[-1].outputs[0]), m.const(_i(1)))
    m.add("Concat", one, two, three, axis=1)
    return m.graph()


def _fields_of_one_table() -> Graph:
    """Each column has a part of one table: its numbers and where its part begins."""
    m = maker(("int64", (3,)))
    wide = m.add("Cast", m.add("Sub", m.add("Add", m.const(_i(1, 1 + ROWS, 1 + 2 * ROWS)), "x0"), m.const(_i(1))), to=INT32)
    m.add("ReduceSum", m.add("Gather", m.weight(3 * ROWS, 4), wide), m.const(_i(1)))
    return m.graph()


def _floats_as_numbers(dtype: str) -> Graph:
    m = maker((dtype, (4,)))
    m.add("Gather", m.weight(ROWS, 5), m.add("Reshape", m.add("Cast", "x0", to=INT64), m.const(_i(-1, 2, 2))))
    return m.graph()


def _both() -> Graph:
    """The numbers in a table and as numbers, beside an input of float32."""
    m = maker(("int64", (3,)), ("float32", (3,)))
    table = m.add("ReduceMean", m.add("Gather", m.weight(ROWS, 3), "x0"), m.const(_i(1)), keepdims=0)
    m.add("Add", m.add("Mul", m.add("Cast", "x0", to=FLOAT32), "x1"), table)
    return m.graph()


def _one_hot(dtype: str, axis: int, values: Any = (0.0, 1.0)) -> Graph:
    m = maker((dtype, (2, 3)))
    m.add("Tanh", m.add("OneHot", "x0", m.const(np.array([ROWS])), m.const(np.array(values, np.float32)), axis=axis))
    return m.graph()


def _text() -> Graph:
    """Attention over tokens: ids, positions, a product of every place."""
    m = maker(("int64", (5,)))
    x = m.add("Add", m.add("Gather", m.weight(ROWS, 8), "x0"), m.weight(5, 8))
    q, k = (m.add("MatMul", x, m.weight(8, 8, fan=8)) for _ in range(2))
    scores = m.add("Softmax", m.add("MatMul", q, m.add("Transpose", k, perm=(0, 2, 1))))
    m.add("ReduceMean", m.add("MatMul", scores, x), m.const(_i(1)), keepdims=0)
    return m.graph()


def _lengths(op: str, gates: int) -> Graph:
    """Sequences that end before their last step, in both directions."""
    m = maker(("float32", (5, 3)), ("int32", ()))
    steps = m.add("Transpose", "x0", perm=(1, 0, 2))
    weights = (m.weight(2, gates * 4, 3, fan=3), m.weight(2, gates * 4, 4, fan=4), m.weight(2, 2 * gates * 4))
    m.add(op, steps, *weights, "x1", outputs=3 if op == "LSTM" else 2, direction="bidirectional", hidden_size=4)
    m.add("Transpose", m.nodes[-1].outputs[0], perm=(2, 0, 1, 3))
    return m.graph()


GRAPHS = {
    **{f"embedding {dtype}": _embedding(dtype) for dtype in ("int64", "int32")},
    "factor": _factor(), "middle axis": _middle_axis(), "columns": _columns(), "fields": _fields_of_one_table(),
    "float32 ids": _floats_as_numbers("float32"), "float64 ids": _floats_as_numbers("float64"), "both": _both(),
    "text": _text(), **{f"lengths {op}": _lengths(op, gates) for op, gates in (("RNN", 1), ("GRU", 3), ("LSTM", 4))},
    "one-hot last": _one_hot("int64", -1), "one-hot middle": _one_hot("int64", 1, (0.25, -3)),
}  # fmt: skip


def ids(graph: Graph, n: int, low: int = 0) -> list[Array]:
    """Random rows: whole numbers from ``low`` on within the tables, with a fraction where the dtype has room for one."""
    rng = np.random.default_rng(5)
    arrays = [rng.integers(low, ROWS, (n, *value.shape[1:])).astype(value.dtype) for value in graph.inputs]
    arrays = [
        array % 6 if value.dtype == "int32" and value.shape == (None,) else array for array, value in zip(arrays, graph.inputs)
    ]
    return [array + array.dtype.type(0.375) * np.sign(array) if array.dtype.kind == "f" else array for array in arrays]


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("n", [1, 7])
def test_whole_numbers_are_taken_up_as_the_reference_and_onnxruntime_do(name: str, n: int) -> None:
    graph = GRAPHS[name]
    x = ids(graph, n)
    (y,) = bind("numba", graph, 4).run(x)
    assert y.dtype == np.float32
    for wanted in (run_reference(graph, x), bind("onnxruntime", graph, 8).run(x)):
        np.testing.assert_allclose(y, wanted[0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["embedding int64", "embedding int32", "middle axis", "columns", "one-hot last", "float32 ids"])
def test_numbers_below_0_count_from_the_end(name: str) -> None:
    graph = GRAPHS[name]
    x = ids(graph, 9, -ROWS)
    assert min(array.min() for array in x) < -1
    for wanted in (run_reference(graph, x), bind("onnxruntime", graph, 9).run(x)):
        np.testing.assert_allclose(bind("numba", graph, 9).run(x)[0], wanted[0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", GRAPHS)
def test_a_row_of_whole_numbers_is_the_same_bits_in_every_batch_and_place(name: str) -> None:
    graph = GRAPHS[name]
    bound, x = bind("numba", graph, 4), ids(graph, 11)
    (whole,) = bound.run(x)
    for n in range(1, 12):
        for at in (0, 11 - n):
            (part,) = bound.run([np.ascontiguousarray(array[at : at + n]) for array in x])
            assert np.array_equal(part, whole[at : at + n])


@pytest.mark.parametrize("name", ["one-hot last", "one-hot middle"])
def test_one_hot_of_a_number_that_is_none_is_off_everywhere(name: str) -> None:
    graph = GRAPHS[name]
    x = [np.array([[[ROWS, -ROWS - 1, 2**31 - 1], [-(2**31), 3, -1]]]).astype(graph.inputs[0].dtype)]
    (y,) = bind("numba", graph, 4).run(x)
    for wanted in (run_reference(graph, x), bind("onnxruntime", graph, 4).run(x)):
        np.testing.assert_allclose(y, wanted[0], atol=1e-6)


EXTREMES = {
    "int64": [0, -1, 2**24 + 1, 2**53 + 1, 2**63 - 1, -(2**63), 2**60 + 2**36 + 1],
    "int32": [0, -1, 2**24 + 1, 2**31 - 1, -(2**31), 7, 8],
    "uint8": [0, 1, 127, 128, 254, 255, 3],
    "bool": [0, 1, 1, 0, 1, 0, 0],
    "float64": [0.1, -1e300, 1e-50, np.nan, np.inf, 1 + 2**-24, 16777217],
}


@pytest.mark.parametrize("dtype", EXTREMES)
def test_a_cast_to_float32_rounds_once(dtype: str) -> None:
    m = maker((dtype, (7,)))
    m.add("Cast", "x0", to=FLOAT32)
    x = np.array([EXTREMES[dtype]] * 3, dtype)
    (y,) = bind("numba", m.graph(), 2).run([x])
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(y, x.astype(np.float32))
    np.testing.assert_array_equal(y, bind("onnxruntime", m.graph(), 2).run([x])[0])


# ---- what is refused ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["embedding int64", "embedding int32", "columns", "fields", "float32 ids", "float64 ids"])
@pytest.mark.parametrize("number", [ROWS, -ROWS - 1, 2**30, -(2**30)])
def test_a_number_that_names_no_row_is_one_error_of_one_line(name: str, number: int) -> None:
    graph = GRAPHS[name]
    x = ids(graph, 6)
    x[0][4, 2] = number * (10 if name == "fields" else 1)
    for backend in ("numba", "numpy", "onnxruntime"):
        with pytest.raises(BackendError) as caught:
            bind(backend, graph, 8).run(x)
        assert "\n" not in str(caught.value)
        if backend == "numba":
            assert f"row 4: input 'x0' is {x[0][4, 2]} at [2], wanted -" in str(caught.value)


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf, 1e30, -1e30])
def test_a_float_that_is_no_whole_number_names_no_row(number: float) -> None:
    graph = GRAPHS["float32 ids"]
    x = ids(graph, 6)
    x[0][5, 3] = number
    with pytest.raises(BackendError, match=r"row 5: input 'x0' is .* at \[3\], wanted -11 to 10"):
        bind("numba", graph, 8).run(x)


def test_only_the_numbers_that_are_looked_up_are_judged() -> None:
    m = maker(("int64", (3,)))
    one = m.add("Gather", m.weight(ROWS, 2), m.add("Gather", "x0", m.const(np.int64(1)), axis=1))
    m.add("Add", one, m.add("Cast", m.add("Slice", "x0", m.const(_i(0)), m.const(_i(1)), m.const(_i(1))), to=FLOAT32))
    x = [np.array([[10**6, 3, -(10**9)]], np.int64)]
    np.testing.assert_allclose(bind("numba", m.graph(), 2).run(x)[0], run_reference(m.graph(), x)[0])


@pytest.mark.parametrize("backend", ["numba", "onnxruntime", "numpy"])
def test_a_scorer_refuses_the_rows_at_fault_and_scores_the_others(backend: str) -> None:
    graph = GRAPHS["both"]
    inputs = (Input("ids", "int64", (3,)), Input("reals", "float32", (3,)))
    astore = Astore("m", graph, inputs, (Output("y", "float32", (3,)),))
    x = ids(graph, 6)
    wanted = run_reference(graph, x)[0]
    x[0][1, 2], x[0][4, 0], x[1][4, 1], x[1][3, 0] = ROWS, -99, np.nan, np.nan
    found = Scorer.bind(astore, backend).score(x, [None, None])
    assert found.refused is not None
    assert found.refused.tolist() == [False, True, False, True, True, False]
    assert found.reasons == (
        "input 'x0' is 11 at [2], wanted -11 to 10: it names a row of a table",
        "input 'reals' is NaN at [0]",
        "input 'reals' is NaN at [1]",
    )
    np.testing.assert_allclose(found.outputs[0][[0, 2, 5]], wanted[[0, 2, 5]], rtol=1e-5)


@pytest.mark.parametrize("op", ["RNN", "GRU", "LSTM"])
@pytest.mark.parametrize("backend", ["numba", "onnxruntime", "numpy"])
def test_an_event_of_more_steps_than_there_are_or_of_less_than_none_is_refused_alone(op: str, backend: str) -> None:
    graph = GRAPHS[f"lengths {op}"]
    inputs = (Input("steps", "float32", (5, 3)), Input("length", "int32", ()))
    astore = Astore("m", graph, inputs, (Output("y", "float32", (5, 2, 4)),))
    x = ids(graph, 6)
    x[1] = np.array([0, 5, 6, -1, 2**31 - 1, 1], np.int32)
    kept = [0, 1, 5]
    wanted = run_reference(graph, [array[kept] for array in x])[0]
    found = Scorer.bind(astore, backend).score(x, [None, None])
    assert found.refused is not None
    assert np.flatnonzero(~found.refused).tolist() == kept
    assert found.reasons[:2] == tuple(f"input 'x1' is {wrong}, wanted 0 to 5: it is a number of steps" for wrong in (6, -1))
    np.testing.assert_allclose(found.outputs[0][kept], wanted, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("backend", ["numba", "onnxruntime", "numpy"])
def test_no_rows_at_all_are_no_fault(backend: str) -> None:
    inputs = (Input("ids", "int64", (3,)), Input("reals", "float32", (3,)))
    scorer = Scorer.bind(Astore("m", GRAPHS["both"], inputs, (Output("y", "float32", (3,)),)), backend)
    none = [np.zeros((0, 3), np.int64), np.zeros((0, 3), np.float32)]
    assert scorer.score(none, [None, None]).outputs[0].shape == (0, 3)
    assert refused_by(scorer.bars, none) is None


def _computed() -> Graph:
    m = maker(("float32", (3,)))
    m.add("Gather", m.weight(ROWS, 2), m.add("Cast", m.add("Relu", "x0"), to=INT64))
    return m.graph()


def _product() -> Graph:
    m = maker(("int64", (3,)))
    m.add("Cast", m.add("Mul", "x0", "x0"), to=FLOAT32)
    return m.graph()


def _wrapped() -> Graph:
    m = maker(("int64", (3,)))
    m.add("Cast", m.add("Cast", "x0", to=INT32), to=FLOAT32)
    return m.graph()


def _short() -> Graph:
    m = maker(("int16", (3,)))
    m.add("Cast", "x0", to=FLOAT32)
    return m.graph()


def _float_one_hot() -> Graph:
    m = maker(("float32", (2,)))
    m.add("OneHot", "x0", m.const(np.array([ROWS])), m.const(np.array([0, 1], np.float32)))
    return m.graph()


def _doubles() -> Graph:
    m = maker(("float64", (3,)))
    m.add("Cast", m.add("Tanh", "x0"), to=FLOAT32)
    return m.graph()


def _whole_output() -> Graph:
    m = maker(("int64", (3,)))
    x = m.add("Reshape", "x0", m.const(_i(-1, 3)))
    return Graph(tuple(m.nodes), m.inputs, (Value(x, "int64", (None, 3)),), m.weights)


@pytest.mark.parametrize(
    ("graph", "why"),
    [
        (_computed(), "cannot take Cast: numbers that are computed"),
        (_product(), "cannot take Mul: input 0 is int64"),
        (_wrapped(), "cannot take Cast: numbers that may not fit int32"),
        (_short(), "cannot take Cast: an input of int16"),
        (_float_one_hot(), "cannot take OneHot: numbers that are computed"),
        (_doubles(), "cannot take Tanh: input 0 is float64"),
        (_whole_output(), "output 't2' is int64"),
    ],
)
def test_other_uses_of_whole_numbers_are_refused_by_name(graph: Graph, why: str) -> None:
    with pytest.raises(BackendError, match=why):
        bind("numba", graph, 8)
