"""The file connector: what stands in the file comes as records; what is sent stands in the file."""

import asyncio
import csv
import io
import random
from pathlib import Path

import msgpack
import pytest

from esp.errors import QueryError, TransportError
from esp.runtime.connect import connection, open_sink, open_source
from esp.runtime.connect.file_cut import PIECE_BYTES
from esp.runtime.events import RawBlock, raw_block


def read(path: Path, offset: int | None = None, **settings: object) -> list[RawBlock]:
    """All blocks of a file from an offset on."""

    async def run() -> list[RawBlock]:
        source, blocks = (
            open_source(connection({"connector": "file", "path": str(path), **settings}, "q"), group="g", where="q"),
            [],
        )

        async def assigned(partitions: set[int]) -> dict[int, int | None]:
            return dict.fromkeys(partitions, offset)

        async def revoked(partitions: set[int]) -> None:
            raise AssertionError(partitions)

        await source.start(assigned, revoked)
        try:
            while not source.ended:
                blocks += await source.poll(1.0)
        finally:
            await source.stop()
        return blocks

    return asyncio.run(run())


def write(path: Path, *blocks: RawBlock, **settings: object) -> None:
    async def run() -> None:
        sink = open_sink(connection({"connector": "file", "path": str(path), **settings}, "q"), where="q")
        await sink.start()
        for block in blocks:
            await sink.send(block)
        await sink.flush()
        await sink.stop()

    asyncio.run(run())


def records(blocks: list[RawBlock]) -> list[tuple[int, bytes | None]]:
    return [(int(block.offset[row]), block.value(row)) for block in blocks for row in range(len(block))]


def test_lines_are_records_and_blank_lines_are_none(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b'{"a":1}\r\n\n{"a":22}\n{"a":3}')
    assert records(read(path)) == [(0, b'{"a":1}'), (1, b'{"a":22}'), (2, b'{"a":3}')]


def test_a_header_line_is_no_record(tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    path.write_bytes(b"id,x\n1,2\n3,4\n")
    assert records(read(path, header=True)) == [(0, b"1,2"), (1, b"3,4")]
    assert records(read(path)) == [(0, b"id,x"), (1, b"1,2"), (2, b"3,4")]


def test_msgpack_objects_are_cut_where_they_end(tmp_path: Path) -> None:
    objects = [{"id": i, "x": b"\n" * i, "nest": [[i], {"k": None}]} for i in range(50)]
    path = tmp_path / "events.msgpack"
    path.write_bytes(b"".join(map(msgpack.packb, objects)))
    assert records(read(path, max_records=7)) == [(i, msgpack.packb(each)) for i, each in enumerate(objects)]


@pytest.mark.parametrize("suffix", ["json", "msgpack"])
def test_records_longer_than_a_piece_of_the_file_stay_whole(tmp_path: Path, suffix: str) -> None:
    values = [b"x" * size for size in (10, PIECE_BYTES - 3, 5, 2 * PIECE_BYTES + 1, 0, 7)]
    path = tmp_path / f"events.{suffix}"
    if suffix == "json":
        path.write_bytes(b"".join(value + b"\n" for value in values))
        expected = [value for value in values if value]
    else:
        expected = list(map(msgpack.packb, values))
        path.write_bytes(b"".join(expected))
    assert records(read(path)) == list(enumerate(expected))


def test_a_restart_goes_on_from_the_offset(tmp_path: Path) -> None:
    path = tmp_path / "events.json"
    path.write_bytes(b"".join(b"%d\n" % i for i in range(100)))
    assert records(read(path, offset=93, max_records=3)) == [(i, b"%d" % i) for i in range(93, 100)]
    assert records(read(path, offset=100)) == []


def test_an_empty_file_has_no_records(tmp_path: Path) -> None:
    (tmp_path / "events.json").touch()
    assert read(tmp_path / "events.json") == []


def test_a_cut_msgpack_file_says_where_it_ends(tmp_path: Path) -> None:
    path = tmp_path / "events.msgpack"
    path.write_bytes(msgpack.packb([1, 2]) + msgpack.packb("hello")[:-1])
    with pytest.raises(TransportError, match=r"byte 3: the file ends inside a record"):
        read(path)
    path.write_bytes(msgpack.packb([1, 2]) + b"\xc1")
    with pytest.raises(TransportError, match=r"byte 3: this is no msgpack"):
        read(path)


def test_a_file_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(TransportError, match=r"no\.jsonl: the file cannot be read"):
        read(tmp_path / "no.jsonl")


def test_a_sink_appends_values_and_leaves_records_without_a_value_out(tmp_path: Path) -> None:
    path = tmp_path / "new" / "out.csv"
    for _ in range(2):
        write(path, raw_block([b"1,2", None, b"3,4"]), raw_block([b"5,6"]), header="id,x")
    assert path.read_bytes() == b"id,x\n" + b"1,2\n3,4\n5,6\n" * 2


def test_a_line_that_a_crash_has_cut_spoils_no_other(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.write_bytes(b'{"a":1}\n{"a":')
    write(path, raw_block([b'{"a":2}']))
    assert path.read_bytes() == b'{"a":1}\n{"a":\n{"a":2}\n'


def test_msgpack_is_written_end_to_end(tmp_path: Path) -> None:
    write(tmp_path / "out.mp", raw_block([b"\x01", b"\x02"]), raw_block([b"\x03"]))
    assert (tmp_path / "out.mp").read_bytes() == b"\x01\x02\x03"


def test_a_sink_needs_the_text_of_its_header(tmp_path: Path) -> None:
    with pytest.raises(QueryError, match="the text of the header"):
        write(tmp_path / "out.csv", header=True)
    with pytest.raises(TransportError, match="cannot be written"):
        write(tmp_path, format="json")


def test_a_paused_file_gives_nothing_until_it_is_resumed(tmp_path: Path) -> None:
    path = tmp_path / "events.json"
    path.write_bytes(b"1\n")

    async def run() -> None:
        source = open_source(connection({"connector": "file", "path": str(path)}, "q"), group="g", where="q")

        async def assigned(partitions: set[int]) -> dict[int, int | None]:
            return {0: None}

        async def revoked(partitions: set[int]) -> None:
            pass

        await source.start(assigned, revoked)
        source.pause({0})
        assert await source.poll(0.01) == []
        assert await source.lag() == {0: 1}
        source.resume({0})
        assert records(await source.poll(1.0)) == [(0, b"1")]
        assert await source.poll(1.0) == []
        assert source.ended
        assert await source.lag() == {0: 0}
        await source.stop()

    asyncio.run(run())


@pytest.mark.parametrize(("name", "settings"), [("e.jsonl", {}), ("e.csv", {}), ("e.csv", {"header": True})])
def test_a_byte_order_mark_is_no_part_of_the_first_record(tmp_path: Path, name: str, settings: dict[str, object]) -> None:
    (tmp_path / name).write_bytes(b"\xef\xbb\xbf" + b"1\n" + b"\xef\xbb\xbf2\n")
    expected = [(0, b"1"), (1, b"\xef\xbb\xbf2")]
    assert records(read(tmp_path / name, **settings)) == (expected if not settings else [(0, b"\xef\xbb\xbf2")])


def test_a_line_end_inside_quotes_is_part_of_a_csv_record(tmp_path: Path) -> None:
    rows = [b'1,"a\nb"', b"2,c", b'3,"\r\n""\n"";\n",""', b'4,5" wide', b'"\n"', b'5,"""x\n"""', b"6,5' 6\" high"]
    write(tmp_path / "e.csv", raw_block(rows), header="id,x")
    assert records(read(tmp_path / "e.csv", header=True)) == list(enumerate(rows))


def test_quotes_over_the_end_of_a_piece_hold_a_record_together(tmp_path: Path) -> None:
    pick = random.Random(5)
    table = [[str(i), "".join(pick.choices('ab,"\n', k=pick.randrange(200)))] for i in range(30_000)]
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(table)
    (tmp_path / "e.csv").write_text(text.getvalue(), newline="")
    assert len(text.getvalue()) > 2 * PIECE_BYTES
    found = [value.decode() for _, value in records(read(tmp_path / "e.csv")) if value is not None]
    assert [next(csv.reader(io.StringIO(value, newline=""))) for value in found] == table


def test_a_csv_row_that_a_crash_has_cut_inside_quotes_spoils_no_other(tmp_path: Path) -> None:
    path = tmp_path / "e.csv"
    for torn in (b'2,"ab', b'2,"ab\n', b"2,ab", b'2,"ab"'):
        path.write_bytes(b'1,"a\nb"\n' + torn)
        write(path, raw_block([b'3,"c"', b"4,d"]))
        assert [value for _, value in records(read(path))][-2:] == [b'3,"c"', b"4,d"]


@pytest.mark.parametrize("keep", [1, 5, PIECE_BYTES + 5])
def test_a_msgpack_object_that_a_crash_has_cut_is_cut_off(tmp_path: Path, keep: int) -> None:
    path, whole = tmp_path / "out.mp", msgpack.packb({"a": 1}) + msgpack.packb([1, [2]])
    path.write_bytes(whole + msgpack.packb(b"x" * (2 * PIECE_BYTES))[:keep])
    write(path, raw_block([b"\x07"]))
    assert path.read_bytes() == whole + b"\x07"


def test_a_msgpack_file_that_is_none_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "out.mp"
    path.write_bytes(b"\x01\xc1\x02")
    with pytest.raises(TransportError, match=r"byte 1: this is no msgpack"):
        write(path, raw_block([b"\x07"]))
    assert path.read_bytes() == b"\x01\xc1\x02"


@pytest.mark.parametrize("name", ["e.json", "e.csv", "e.mp"])
@pytest.mark.parametrize("size", [2000, 3 * PIECE_BYTES])
def test_a_record_larger_than_allowed_is_named_with_its_place(tmp_path: Path, name: str, size: int) -> None:
    if name == "e.mp":
        (tmp_path / name).write_bytes(b"\x01\x02" + msgpack.packb(b"x" * size))
    else:
        (tmp_path / name).write_bytes(b"1\n" + b"x" * size)
    with pytest.raises(TransportError, match=rf"{name}: byte 2: a record is larger than 1000 bytes") as caught:
        read(tmp_path / name, max_record_bytes=1000)
    assert "max_record_bytes" in str(caught.value)


def test_a_quote_that_is_not_closed_ends_at_the_largest_record(tmp_path: Path) -> None:
    (tmp_path / "e.csv").write_bytes(b'1,a\n2,"b\n' + b"3,c\n" * 1000)
    with pytest.raises(TransportError, match=r"byte 4: a record is larger than 1000 bytes.*a quote that is not closed"):
        read(tmp_path / "e.csv", max_record_bytes=1000)
