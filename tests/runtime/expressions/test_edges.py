"""Numbers at the ends of their range, every operator and function on every pair, against plain Python."""

import itertools
import math
import struct
from typing import Any

import numpy as np
import pytest

from esp.runtime import expressions
from esp.runtime.schema import Schema
from tests.runtime.expressions.blocks import block_of, rows_of
from tests.runtime.expressions.oracle import judge

INTS = [-(2**63), -(2**63) + 1, -(2**32), -7, -2, -1, 0, 1, 2, 3, 7, 2**31, 2**53 + 1, 2**62, 2**63 - 1, None]
FLOATS = [
    -math.inf,
    -1e308,
    -2.5,
    -1.0,
    -0.5,
    -0.0,
    0.0,
    5e-324,
    0.1,
    0.5,
    1.0,
    1.5,
    2.5,
    1e18,
    9.3e18,
    1e308,
    math.inf,
    math.nan,
    None,
]


def evaluate(text: str, fields: str, rows: list[dict[str, Any]]) -> list[Any]:
    return rows_of(*expressions.compile(text, Schema.parse(fields)).evaluate(block_of(fields, rows)))


def bits(value: Any) -> Any:
    """Something equal only for values that are equal to the last bit; all NaNs are one."""
    return "nan" if value != value else struct.pack("d", value) if isinstance(value, float) else value


@pytest.mark.parametrize(
    "text", ["a + b", "a - b", "a * b", "a // b", "a % b", "min(a, b)", "max(a, b)", "a < b", "a == b", "a < b <= a"]
)
@pytest.mark.parametrize(("kind", "values"), [("int64", INTS), ("float64", FLOATS)])
def test_an_operator_gives_on_every_pair_what_python_gives(text: str, kind: str, values: list[Any]) -> None:
    rows = [{"a": a, "b": b} for a, b in itertools.product(values, values)]
    got = evaluate(text, f"a:{kind}, b:{kind}", rows)
    for row, value in zip(rows, got):
        assert bits(value) == bits(judge(text, row)), row


@pytest.mark.parametrize(
    "text", ["-a", "abs(a)", "a ** 0", "a ** 1", "a ** 2", "a ** 3", "a ** 63", "round(a)", "int(a)", "a in (7, -1)"]
)
@pytest.mark.parametrize(("kind", "values"), [("int64", INTS), ("float64", FLOATS)])
def test_an_operator_of_one_value_gives_what_python_gives(text: str, kind: str, values: list[Any]) -> None:
    rows = [{"a": a} for a in values]
    got = evaluate(text, f"a:{kind}", rows)
    for row, value in zip(rows, got):
        wanted = judge(text, row)
        close = isinstance(value, float) and isinstance(wanted, float) and math.isclose(value, wanted, rel_tol=1e-15)
        assert close or bits(value) == bits(wanted), row


@pytest.mark.parametrize("text", ["a / b", "round(a, 2)", "floor(a)", "ceil(a)", "sqrt(a)"])
def test_exact_functions_of_floats_are_those_of_python(text: str) -> None:
    rows = [{"a": a, "b": b} for a, b in itertools.product(FLOATS, FLOATS)]
    got = evaluate(text, "a:float64, b:float64", rows)
    assert list(map(bits, got)) == [bits(judge(text, row)) for row in rows]


@pytest.mark.parametrize("text", ["a ** b", "exp(a)", "log(a)", "log2(a)", "log10(a)", "sin(a)", "cos(a)", "tan(a)", "atan2(a, b)"])
def test_functions_of_the_c_library_are_within_some_units_of_python_and_null_where_it_raises(text: str) -> None:
    rows = [{"a": a, "b": b} for a, b in itertools.product(FLOATS, FLOATS)]
    for row, value in zip(rows, evaluate(text, "a:float64, b:float64", rows)):
        wanted = judge(text, row)
        assert (value is None) == (wanted is None), (row, value, wanted)
        assert value is None or bits(value) == bits(wanted) or math.isclose(value, wanted, rel_tol=1e-14), (row, value, wanted)


def test_int_division_gives_a_float_and_a_zero_divisor_null() -> None:
    rows = [{"a": 7, "b": 2}, {"a": -7, "b": 2}, {"a": 7, "b": 0}, {"a": None, "b": 2}]
    assert evaluate("a / b", "a:int32, b:int64", rows) == [3.5, -3.5, None, None]


def test_int32_is_computed_in_int64() -> None:
    assert evaluate("a * a", "a:int32", [{"a": 2**31 - 1}]) == [(2**31 - 1) ** 2]


def test_float32_is_computed_in_float64_and_narrowed_only_when_asked() -> None:
    tenth = float(np.float32(0.1))
    assert evaluate("a + a + a", "a:float32", [{"a": 0.1}]) == [tenth + tenth + tenth]
    assert expressions.compile("a", Schema.parse("a:float32")).type.base == "float32"
    assert expressions.compile("float32(a + 1)", Schema.parse("a:float32")).type.base == "float32"


def test_int32_beyond_its_range_is_null() -> None:
    rows = [{"a": 2**31 - 1}, {"a": 2**31}, {"a": -(2**31)}, {"a": -(2**31) - 1}]
    assert evaluate("int32(a)", "a:int64", rows) == [2**31 - 1, None, -(2**31), None]


def test_the_sum_of_an_int_tensor_is_null_past_int64() -> None:
    rows = [{"x": [2**62, 2**62]}, {"x": [2**62, -(2**62)]}, {"x": [-(2**62), -(2**62)]}, {"x": None}]
    assert evaluate("sum(x)", "x:int64[2]", rows) == [None, 0, -(2**63), None]


def test_reductions_of_a_tensor() -> None:
    rows = [{"x": [[3, 4], [0, 0]]}, {"x": None}, {"x": [[1, 1], [1, 1]]}]
    kind = "x:uint8[2,2]"
    assert evaluate("norm(x)", kind, rows) == [5.0, None, 2.0]
    assert evaluate("mean(x)", kind, rows) == [1.75, None, 1.0]
    assert [evaluate(f"{name}(x)", kind, rows) for name in ("sum", "min", "max")] == [[7, None, 4], [0, None, 1], [4, None, 1]]
    assert evaluate("x[0, 1] - x[0][0]", kind, rows) == [1, None, 0]
    assert evaluate("x[0]", kind, rows) == [[3, 4], None, [1, 1]]


def test_tensors_are_chosen_whole() -> None:
    rows = [{"x": [1.0, 2.0], "y": [3.0, 4.0]}, {"x": None, "y": [5.0, 6.0]}]
    assert evaluate("coalesce(x, y)", "x:float32[2], y:float32[2]", rows) == [[1.0, 2.0], [5.0, 6.0]]
    assert evaluate("y if x is None else None", "x:float32[2], y:float32[2]", rows) == [None, [5.0, 6.0]]


def test_null_rows_hold_zeros() -> None:
    block = block_of("a:int64, s:string", [{"a": None, "s": None}, {"a": 2, "s": "x"}])
    number, _ = expressions.compile("a + 5", block.schema).evaluate(block)
    text, _ = expressions.compile("s + 'y' if s is not None else None", block.schema).evaluate(block)
    assert isinstance(number, np.ndarray)
    assert number.tolist() == [0, 7]
    assert rows_of(text, None) == ["", "xy"]


def test_a_constant_fills_every_row_of_an_empty_block_too() -> None:
    assert evaluate("1 + 1", "a:int64", []) == []
    assert evaluate("'x' + 'y'", "a:int64", [{"a": 1}] * 3) == ["xy"] * 3
    assert evaluate("1 // 0", "a:int64", [{"a": 1}] * 2) == [None, None]
