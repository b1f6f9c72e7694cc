"""The law of the expression language: on every row it gives what plain Python gives, with SQL's nulls (oracle.py)."""

import math
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, assume, given, settings

from esp.runtime import expressions
from esp.runtime.schema import Schema
from tests.runtime.expressions.blocks import block_of, rows_of
from tests.runtime.expressions.oracle import CALLS, judge

FIELDS = "i:int32, big:int64, f:float64, g:float32, b:bool, s:string, t:string, acc:float32[3], px:uint8[2,2]"
SCHEMA = Schema.parse(FIELDS)
WORDS = st.sampled_from(["", "a", "ab", "b", "Zürich", "zürich ", "日本", "ß", "A", " a "])
FLOATS = st.one_of(st.floats(width=32), st.sampled_from([0.0, -0.0, 0.5, 1.5, 2.5, -2.5, math.inf, math.nan, 3e9]))
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "i": st.none() | st.integers(-9, 9),
            "big": st.none() | st.integers(-(2**63), 2**63 - 1) | st.integers(-9, 9),
            "f": st.none() | FLOATS | st.floats(),
            "g": st.none() | FLOATS,
            "b": st.none() | st.booleans(),
            "s": st.none() | WORDS,
            "t": st.none() | WORDS | st.text(max_size=3),
            "acc": st.none() | st.lists(st.integers(-4, 4).map(float), min_size=3, max_size=3),
            "px": st.none() | st.lists(st.lists(st.integers(0, 255), min_size=2, max_size=2), min_size=2, max_size=2),
        }
    ),
    max_size=6,
)


def ints(depth: int) -> st.SearchStrategy[str]:
    leaf = st.sampled_from(["i", "big", "0", "1", "-3", "9223372036854775807", "px[1][-1]"])
    if depth == 0:
        return leaf
    a, f, s, cond = ints(depth - 1), floats(depth - 1), texts(depth - 1), bools(depth - 1)
    return st.one_of(
        leaf,
        st.builds("({} {} {})".format, a, st.sampled_from(["+", "-", "*", "//", "%"]), a),
        st.builds("(-{})".format, a),
        st.builds("({} ** {})".format, a, st.sampled_from([0, 1, 2, 3, 7])),
        st.builds("abs({})".format, a),
        st.builds("{}({}, {})".format, st.sampled_from(["min", "max"]), a, a),
        st.builds("{}({})".format, st.sampled_from(["round", "floor", "ceil", "int"]), f),
        st.builds("len({})".format, s),
        st.builds("int({})".format, cond),
        st.builds("int({})".format, s),
        st.builds("({} if {} else {})".format, a, cond, a | st.just("None")),
        st.builds("coalesce({}, {}, {})".format, a, a, a),
    )


def floats(depth: int) -> st.SearchStrategy[str]:
    leaf = st.sampled_from(["f", "float(g)", "0.0", "-0.5", "2.5", "float(acc[0])", "float(sum(acc))"])
    if depth == 0:
        return leaf
    a, cond = floats(depth - 1), bools(depth - 1)
    return st.one_of(
        leaf,
        st.builds("({} {} {})".format, a, st.sampled_from(["+", "-", "*", "/", "//", "%"]), a),
        st.builds("({} {} i)".format, a, st.sampled_from(["+", "-", "*", "/", "//", "%"])),
        st.sampled_from(["(i / i)", "(i / 3)", "(g * 2)"]),
        st.builds("(-{})".format, a),
        st.builds("{}({}, {})".format, st.sampled_from(["min", "max"]), a, a),
        st.builds("{}({})".format, st.sampled_from(["abs", "sqrt"]), a),
        st.builds("round({}, {})".format, a, st.integers(0, 4)),
        st.builds("({} if {} else {})".format, a, cond, a | st.just("None")),
        st.builds("coalesce({}, {})".format, a, a),
    )


def texts(depth: int) -> st.SearchStrategy[str]:
    leaf = st.sampled_from(["s", "t", "'a'", "''", "'日本'"])
    if depth == 0:
        return leaf
    a, cond = texts(depth - 1), bools(depth - 1)
    return st.one_of(
        leaf,
        st.builds("({} + {})".format, a, a),
        st.builds("{}({})".format, st.sampled_from(["lower", "upper", "strip"]), a),
        st.builds("str({})".format, ints(depth - 1) | cond),
        st.builds("({} if {} else {})".format, a, cond, a | st.just("None")),
        st.builds("coalesce({}, {})".format, a, a),
    )


def bools(depth: int) -> st.SearchStrategy[str]:
    leaf = st.sampled_from(["b", "True", "False", "s == t", "(i < 3)", "isnan(f)"])
    if depth == 0:
        return leaf
    a, sign = bools(depth - 1), st.sampled_from(["==", "!=", "<", "<=", ">", ">="])
    same = st.one_of(*(st.tuples(kind(depth - 1), kind(depth - 1), kind(depth - 1)) for kind in (ints, floats, texts)))
    return st.one_of(
        leaf,
        st.builds(lambda parts, op: f"({parts[0]} {op} {parts[1]})", same, sign),
        st.builds(lambda parts, op, op2: f"({parts[0]} {op} {parts[1]} {op2} {parts[2]})", same, sign, sign),
        st.builds("({} {} {})".format, a, st.sampled_from(["and", "or"]), a),
        st.builds("({} and {} and {})".format, a, a, a),
        st.builds("(not {})".format, a),
        st.builds(lambda parts, op: f"({parts[0]} {op} None)", same, st.sampled_from(["is", "is not"])),
        st.builds("({} {} (1, -3, 0))".format, ints(depth - 1), st.sampled_from(["in", "not in"])),
        st.builds("({} {} ['a', 'zürich'])".format, texts(depth - 1), st.sampled_from(["in", "not in"])),
        st.builds("{}({}, {})".format, st.sampled_from(["startswith", "endswith"]), texts(depth - 1), texts(depth - 1)),
        st.builds("bool({})".format, st.one_of(ints(depth - 1), floats(depth - 1), texts(depth - 1))),
    )


def same(got: Any, wanted: Any) -> bool:
    """Equal to the last bit, zeros by sign and NaN included; None only with None."""
    if isinstance(got, float) and isinstance(wanted, float):
        return (got == wanted and math.copysign(1, got) == math.copysign(1, wanted)) or (got != got and wanted != wanted)
    return type(got) is type(wanted) and got == wanted


@pytest.mark.parametrize("kind", [ints, floats, texts, bools])
def test_every_row_is_what_python_gives(kind: Any) -> None:
    @settings(max_examples=250, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(kind(3), ROWS)
    def check(text: str, rows: list[dict[str, Any]]) -> None:
        block = block_of(FIELDS, rows)
        expression = expressions.compile(text, SCHEMA)
        got = rows_of(*expression.evaluate(block))
        wanted = [judge(text, row) for row in rows]
        assert len(got) == len(wanted)
        assert all(map(same, got, wanted)), (text, rows, got, wanted)

    check()


SMALL_ROWS = st.lists(
    st.fixed_dictionaries(
        {name: st.integers(-9, 9) for name in ("i", "big")}
        | {name: st.integers(-9, 9).map(lambda half: half / 2) for name in ("f", "g")}
        | {"b": st.booleans(), "s": WORDS, "t": WORDS}
        | {"acc": st.just([1.0, -2.0, 0.5]), "px": st.just([[1, 2], [3, 4]])}
    ),
    max_size=6,
)
NAMES = {name: compute for name, compute in CALLS.items() if name not in ("min", "max")} | {"coalesce": lambda *values: values[0]}


@settings(max_examples=400, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.one_of(ints(2), floats(2), texts(2), bools(3)), SMALL_ROWS)
def test_where_python_raises_nothing_and_nothing_is_null_it_is_eval(text: str, rows: list[dict[str, Any]]) -> None:
    assume("None" not in text and "**" not in text and "9223372036854775807" not in text)  # nor is anything past int64
    got = rows_of(*expressions.compile(text, SCHEMA).evaluate(block_of(FIELDS, rows)))
    for row, value in zip(rows, got):
        try:
            wanted = eval(text, {**NAMES, **row})
        except (ZeroDivisionError, ValueError):
            continue
        assert same(value, wanted), (text, row)


@settings(max_examples=100, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.one_of(ints(2), floats(2), texts(2), bools(2)), ROWS, st.integers(0, 6))
def test_how_rows_are_cut_into_blocks_does_not_show(text: str, rows: list[dict[str, Any]], cut: int) -> None:
    expression = expressions.compile(text, SCHEMA)
    whole = rows_of(*expression.evaluate(block_of(FIELDS, rows)))
    parts = [rows_of(*expression.evaluate(block_of(FIELDS, part))) for part in (rows[:cut], rows[cut:])]
    assert list(map(repr, whole)) == list(map(repr, parts[0] + parts[1]))
