"""What is not of the language is refused at load, in one line that says what, where and the mend."""

import pytest

from esp.errors import QueryError
from esp.runtime import expressions
from esp.runtime.schema import Schema
from tests.runtime.expressions.blocks import block_of, rows_of

SCHEMA = Schema.parse("temp:float64, count:int64, flag:bool, unit:string, acc:float32[3], raw:blob, ts:stamp, d:date")


@pytest.mark.parametrize(
    ("text", "what", "mend"),
    [
        ("tmep > 3", "column 1: there is no field 'tmep'", "did you mean 'temp'?"),
        ("1 + xyz", "column 5: there is no field 'xyz'", "the fields are temp, count"),
        ("sqr(temp)", "there is no function 'sqr'", "did you mean 'sqrt'?"),
        ("'Zürich' == unitt", "column 13: there is no field 'unitt'", "did you mean 'unit'?"),
        ("(1 +\n tmep)", "line 2, column 2: there is no field 'tmep'", "did you mean 'temp'?"),
        ("abs", "'abs' is a function, and no field", "write abs(number)"),
        ("temp.real", "attribute access", "bare name"),
        ("unit.format(3)", "attribute access", "bare name"),
        ("().__class__", "attribute access", "bare name"),
        ("(lambda: 1)()", "a lambda", "in place"),
        ("[x for x in acc]", "a comprehension", "sum, mean"),
        ("(y := 3)", "an assignment", "compute window"),
        ("f'{temp}'", "an f-string", "join strings with +"),
        ("max(*acc)", "a starred value", "write the arguments out"),
        ("round(temp, digits=2)", "no arguments by name", "write round(number)"),
        ("acc[0:2]", "a slice", "acc[0]"),
        ("acc[count]", "an index is a whole number", "acc[0]"),
        ("acc[3]", "lies outside float32[3]", "count from 0"),
        ("acc[0, 0]", "lies outside float32[3]", "1 at most"),
        ("temp[0]", "only a tensor has elements", "float32[3]"),
        ("acc * 2", "'*' does not take float32[3] and int64", "acc[0]"),
        ("count & 1", "the operator &", "write 'and'"),
        ("~flag", "the operator ~", "write 'not'"),
        ("count << 3", "the operator <<", "multiply"),
        ("acc @ acc", "the operator @", "score window"),
        ("{1: 2}", "a dict", "if condition else"),
        ("(1, 2)", "a tuple", "right of 'in'"),
        ("1j", "complex", "use a number"),
        ("b'x'", "bytes", "use a number"),
        ("...", "ellipsis", "use a number"),
        ("temp > '3'", "'>' does not take float64 and string", "convert one"),
        ("unit + 1", "'+' does not take string and int64", "str()"),
        ("unit * 3", "'*' does not take string and int64", "convert"),
        ("flag + 1", "'+' does not take bool and int64", "int(flag)"),
        ("flag < True", "'<' does not take bool and bool", ""),
        ("count and flag", "wanted a bool, got int64", "x != 0"),
        ("1 if unit else 2", "wanted a bool, got string", "s != ''"),
        ("temp if flag else unit", "the two ways give float64 and string", "convert"),
        ("temp == None", "'==' with None is always null", "is None"),
        ("temp + None", "'+' with None is always null", "coalesce"),
        ("temp is 3", "'is' asks for None alone", "=="),
        ("1 < temp is None", "do not chain", "parentheses"),
        ("temp in (1, None)", "literals alone, and not None", "is None"),
        ("temp in (count, 2)", "literals alone", ""),
        ("temp in ()", "'in' asks", "one or more numbers"),
        ("unit in (1, 2)", "'in' asks", "strings"),
        ("temp in count", "'in' does not take float64 and int64", "(1, 2, 3)"),
        ("None", "None alone has no type", "else None"),
        ("9223372036854775808", "past int64", "1e20"),
        ("-9223372036854775809", "past int64", "1e20"),
        ("abs(unit)", "abs does not take (string)", "write abs(number)"),
        ("abs()", "abs does not take (nothing)", "write abs(number)"),
        ("atan2(temp)", "atan2 does not take (float64)", "write atan2(y, x)"),
        ("round(temp, count)", "round does not take", "0 to 15 digits"),
        ("ts + ts", "'+' does not take stamp and stamp", "stamp('"),
        ("ts > 5", "'>' does not take stamp and int64", "stamp('"),
        ("ts > stamp('soon')", "stamp does not take (string)", "2026"),
        ("hour(d)", "hour does not take (date)", "hour(stamp)"),
        ("lower(raw)", "lower does not take (blob)", "lower(string)"),
        ("class == 1", "not a Python expression", 'field("class")'),
        ("temp >", "not a Python expression", "as in Python"),
        ("", "not a Python expression", "as in Python"),
        ("x = 3", "not a Python expression", "as in Python"),
        ("import os", "not a Python expression", "field("),
        ("__import__('os')", "there is no function '__import__'", "the functions are"),
        ("await temp", "await", ""),
        ("(yield)", "yield", "only computes"),
        ("'\\ud800'", "not UTF-8", "surrogate"),
        ("-" * 3000 + "1", "nested deeper than 100", "several fields"),
        ("-" * 101 + "temp", "nested deeper than 100", "several fields"),
        ("(" * 1500 + ")" * 1500, "", ""),
        ("1" * 4001, "4001 letters", "several fields"),
        ("1" * 3999, "past int64", "1e20"),
        ("1\0", "", ""),
    ],
)  # fmt: skip
def test_it_is_refused_with_what_where_and_the_mend(text: str, what: str, mend: str) -> None:
    with pytest.raises(QueryError) as caught:
        expressions.compile(text, SCHEMA, "q.toml: windows.hot.where")
    message = str(caught.value)
    assert message.startswith("q.toml: windows.hot.where: expression '")
    assert what in message
    assert mend in message
    assert "\n" not in message


@pytest.mark.parametrize("text", ["2 ** 9223372036854775807", "count ** 9223372036854775807", "9 ** 9 ** 9", "10.0 ** 10 ** 10"])
def test_a_huge_power_costs_no_more_than_a_small_one(text: str) -> None:
    block = block_of("count:int64", [{"count": 3}])
    assert rows_of(*expressions.compile(text, block.schema).evaluate(block)) == [None]


def test_a_chain_nested_in_the_middle_of_chains_is_computed_once() -> None:
    text = "flag"
    for _ in range(40):
        text = f"(flag == {text} == flag)"
    block = block_of("flag:bool", [{"flag": True}, {"flag": None}])
    assert rows_of(*expressions.compile(text, block.schema).evaluate(block)) == [True, None]


def test_a_field_named_like_a_python_word_is_read_by_field() -> None:
    assert expressions.compile('field("class") + 1', Schema.parse("class:int64")).type.base == "int64"


def test_a_method_of_strings_is_its_function() -> None:
    assert expressions.compile("unit.lower().startswith('c')", SCHEMA).type.base == "bool"
