"""The file connector: what stands in the file comes as records; what is sent stands in the file."""

import asyncio
from pathlib import Path

import msgpack
import pytest

from esp.errors import QueryError, TransportError
from esp.runtime.connect import connection, open_sink, open_source
from esp.runtime.connect.file import PIECE_BYTES
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
