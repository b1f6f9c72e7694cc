"""The CSV kernel reads by itself what it says it reads, and refuses the rest."""

from esp.runtime.codecs import codec
from esp.runtime.events import VarColumn, raw_block
from esp.runtime.schema import Schema
from tests.kernels.refused import refused

SCHEMA = "a:string, b:int64, c:float32[2], d:bool, e:stamp(ms), f:date"


def test_plain_lines_are_read() -> None:
    lines = [
        "x,1,2.5,3,true,1700000000000,2024-02-29", "y,-1,1e3,,0,2024-02-29T12:00:00Z,19782\r\n", "é,,,,,,\n", ",,,,1,,",
    ]  # fmt: skip
    assert refused("csv", SCHEMA, [line.encode() for line in lines]) == []
    assert refused("csv", "a:int64, b:int64", [b"1;2", b";"], delimiter=";") == []
    assert refused("csv", "a:string", [b"", b"\n", b"x"]) == []


def test_cells_between_quotes_are_read() -> None:
    lines = ['"a,b","1",2.5,3,"true","1700000000000","2024-02-29"', '"",,,,,"",""', '"é;",-1,1,1,0,"2024-02-29T12:00:00Z",""\r\n']
    assert refused("csv", SCHEMA, [line.encode() for line in lines]) == []
    found = codec("csv", Schema.parse(SCHEMA)).decode(raw_block([line.encode() for line in lines]))
    text = found.columns[0]
    assert isinstance(text, VarColumn)
    assert [text.value(row) for row in range(3)] == [b"a,b", b"", "é;".encode()]
    assert [None if valid is None else valid.tolist() for valid in (found.validity[0], found.validity[4])] == [
        [True, False, True]
    ] * 2
    assert found.columns[1].tolist() == [1, 0, -1]  # type: ignore[union-attr]
    wrong = [
        '"x"y,1,1,1,1,1,1',
        '"x,1,1,1,1,1,1',
        'x"y",1,1,1,1,1,1',
        '"x","1",1,1,1,"1"2,1',
        '"x\ny",1,1,1,1,1,1',
        '"x"," 1",1,1,1,1,1',
        '"',
        'x,"',
    ]
    assert refused("csv", SCHEMA, [line.encode() for line in wrong]) == list(range(len(wrong)))


def test_quotes_spaces_and_wrong_widths_are_refused() -> None:
    good = b"x,1,2.5,3,true,1,1"
    lines = [
        b'"x""y",1,2.5,3,true,1,1',
        good + b",",
        good[:-2],
        b"x, 1,2.5,3,true,1,1",
        b"x\ny,1,2.5,3,true,1,1",
        b"\xff,1,2.5,3,true,1,1",
        good + b"\r",
        good + b"\n\n",
    ]
    assert refused("csv", SCHEMA, [good, *lines]) == list(range(1, 9))
