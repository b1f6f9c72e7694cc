"""The CSV kernel reads by itself what it says it reads, and refuses the rest."""

from tests.kernels.refused import refused

SCHEMA = "a:string, b:int64, c:float32[2], d:bool, e:stamp(ms), f:date"


def test_plain_lines_are_read() -> None:
    lines = [
        "x,1,2.5,3,true,1700000000000,2024-02-29", "y,-1,1e3,,0,2024-02-29T12:00:00Z,19782\r\n", "é,,,,,,\n", ",,,,1,,",
    ]  # fmt: skip
    assert refused("csv", SCHEMA, [line.encode() for line in lines]) == []
    assert refused("csv", "a:int64, b:int64", [b"1;2", b";"], delimiter=";") == []
    assert refused("csv", "a:string", [b"", b"\n", b"x"]) == []


def test_quotes_spaces_and_wrong_widths_are_refused() -> None:
    good = b"x,1,2.5,3,true,1,1"
    lines = [
        b'"x",1,2.5,3,true,1,1',
        good + b",",
        good[:-2],
        b"x, 1,2.5,3,true,1,1",
        b"x\ny,1,2.5,3,true,1,1",
        b"\xff,1,2.5,3,true,1,1",
        good + b"\r",
        good + b"\n\n",
    ]
    assert refused("csv", SCHEMA, [good, *lines]) == list(range(1, 9))
