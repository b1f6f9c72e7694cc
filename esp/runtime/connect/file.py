"""The file connector: JSON lines, CSV lines and msgpack streams; a record's offset is its number in the file."""

import asyncio
import os
from collections.abc import Callable, Iterator, Mapping, Set
from pathlib import Path
from typing import BinaryIO, Literal

import msgpack
import numpy as np
import pydantic

from esp.errors import QueryError, TransportError
from esp.runtime.connect.base import Assigned, Connection, Revoked
from esp.runtime.events import I64, U8, RawBlock

FORMATS = {".json": "json", ".jsonl": "json", ".ndjson": "json", ".csv": "csv", ".msgpack": "msgpack", ".mp": "msgpack"}
NEWLINE = 10
PIECE_BYTES = 1 << 20


class FileConnection(Connection):
    """A file of records; its keys and headers are none, its stamps 0, its one partition is 0."""

    source_only = frozenset({"max_records"})

    connector: Literal["file"]
    path: Path = pydantic.Field(description="the file, relative to the directory that the engine runs in")
    format: Literal["json", "csv", "msgpack"] | None = pydantic.Field(
        None, description="json or csv: a line a record; msgpack: records end to end; left out: by the suffix of the file"
    )
    header: bool | str = pydantic.Field(
        False,
        description="source of csv: true, if the first line is a header (skipped); sink of csv: the header line of a new file",
    )
    max_records: int = pydantic.Field(4096, ge=1, description="records in a block, at most")

    @pydantic.model_validator(mode="after")
    def _check(self) -> "FileConnection":
        if self.format is None and self.path.suffix not in FORMATS:
            raise ValueError(f"cannot tell the format of '{self.path.name}', say format = one of json, csv, msgpack")
        if self.header and self.layout != "csv":
            raise ValueError("only a csv file has a header")
        return self

    @property
    def layout(self) -> str:
        """The format, said or by suffix."""
        return self.format or FORMATS[self.path.suffix]

    @property
    def has_one_partition(self) -> bool:
        return True


class FileSource:
    """Reads a file from a record on to its end."""

    bounded = True
    connected = True

    def __init__(self, settings: FileConnection, group: str = "", where: str = "") -> None:
        self.settings, self.where = settings, f"{where}: {settings.path}" if where else str(settings.path)
        self.ended = False
        self._pieces: Iterator[RawBlock] = iter(())
        self._file: BinaryIO | None = None
        self._paused = False
        self._go_on = asyncio.Event()

    async def start(self, assigned: Assigned, revoked: Revoked) -> None:
        try:
            self._file = await asyncio.to_thread(self.settings.path.open, "rb")
        except OSError as err:
            raise TransportError(f"the file cannot be read ({err.strerror})", where=self.where, mend="check the path") from err
        offset = (await assigned({0})).get(0) or 0
        self._pieces = self._blocks(self._file, offset)

    async def poll(self, timeout_s: float) -> list[RawBlock]:
        if self._paused or self.ended:
            await self._wait(timeout_s)
            return []
        block = await asyncio.to_thread(next, self._pieces, None)
        self.ended = block is None
        return [] if block is None else [block]

    async def _wait(self, timeout_s: float) -> None:
        self._go_on.clear()
        try:
            async with asyncio.timeout(timeout_s):
                await self._go_on.wait()
        except TimeoutError:
            pass

    def _blocks(self, file: BinaryIO, offset: int) -> Iterator[RawBlock]:
        """The records from ``offset`` on, at most ``max_records`` a block."""
        number = -1 if self.settings.header else 0
        cut = _cut_msgpack if self.settings.layout == "msgpack" else _cut_lines
        for buffer, at, size in cut(file, self.where):
            numbers = np.arange(number, number + len(at), dtype=np.int64)
            number += len(at)
            kept = np.flatnonzero(numbers >= offset)
            for first in range(0, len(kept), self.settings.max_records):
                rows = kept[first : first + self.settings.max_records]
                yield self._block(buffer, at[rows], size[rows], numbers[rows])

    def _block(self, buffer: U8, at: I64, size: I64, numbers: I64) -> RawBlock:
        n, none = len(at), np.full(len(at), -1, np.int64)
        zero = np.zeros(n, np.int64)
        return RawBlock(str(self.settings.path), 0, buffer, at, size, zero, none, zero, none, numbers, zero)

    def pause(self, partitions: Set[int]) -> None:
        self._paused = self._paused or 0 in partitions

    def resume(self, partitions: Set[int]) -> None:
        if 0 in partitions:
            self._paused = False
            self._go_on.set()

    async def commit(self, offsets: Mapping[int, int]) -> None:
        """Keeps nothing: a restart goes on from the engine's checkpoint."""

    async def lag(self) -> dict[int, int]:
        """Not known without reading the file: 1 until its end has been met."""
        return {0: 0 if self.ended else 1}

    async def stop(self) -> None:
        if self._file is not None:
            self._file.close()


def _cut_lines(file: BinaryIO, where: str) -> Iterator[tuple[U8, I64, I64]]:
    """Pieces of a text file with the place and size of each line; blank lines are no records, a last line needs no newline."""
    rest = b""
    while piece := file.read(PIECE_BYTES):
        if b"\n" not in piece:
            rest += piece
            continue
        end = piece.rfind(b"\n") + 1
        yield _lines(rest + piece[:end])
        rest = piece[end:]
    if rest:
        yield _lines(rest + b"\n")


def _lines(text: bytes) -> tuple[U8, I64, I64]:
    buffer = np.frombuffer(text, np.uint8)
    ends = np.flatnonzero(buffer == NEWLINE)
    starts = np.concatenate((np.zeros(1, np.int64), ends[:-1] + 1))
    carriage = (ends > starts) & (buffer[np.maximum(ends - 1, 0)] == 13)
    size = ends - carriage - starts
    return buffer, starts[size > 0], size[size > 0]


def _cut_msgpack(file: BinaryIO, where: str) -> Iterator[tuple[U8, I64, I64]]:
    """Pieces of a msgpack stream with the place and size of each object in them."""
    rest, before = b"", 0
    while piece := file.read(PIECE_BYTES):
        data = rest + piece
        unpacker = msgpack.Unpacker(strict_map_key=False, max_buffer_size=0)
        unpacker.feed(data)
        ends = [0]
        try:
            while True:
                unpacker.skip()
                ends.append(unpacker.tell())
        except msgpack.OutOfData:
            pass
        except (msgpack.UnpackException, ValueError) as err:
            raise TransportError("this is no msgpack", where=f"{where}: byte {before + ends[-1]}", mend="check the format") from err
        if len(ends) > 1:
            edges = np.array(ends, np.int64)
            yield np.frombuffer(data, np.uint8), edges[:-1], np.diff(edges)
        rest, before = data[ends[-1] :], before + ends[-1]
    if rest:
        raise TransportError("the file ends inside a record", where=f"{where}: byte {before}", mend="cut the last record off")


class FileSink:
    """Appends values to a file; keys, headers and records without a value have no place in it and are left out.

    What stands in the file stays: after a crash the records since the last checkpoint come a second time. A line that the
    crash has cut short is ended, so that it spoils no other.
    """

    connected = True

    def __init__(self, settings: FileConnection, where: str = "") -> None:
        self.settings, self.where = settings, f"{where}: {settings.path}" if where else str(settings.path)
        if settings.header is True:
            raise QueryError("a sink needs the text of the header", where=f"{self.where}: header", mend='say header = "id,label"')
        self._file: BinaryIO | None = None

    async def start(self) -> None:
        try:
            self._file = await asyncio.to_thread(self._open)
        except OSError as err:
            raise TransportError(f"the file cannot be written ({err.strerror})", where=self.where, mend="check the path") from err

    def _open(self) -> BinaryIO:
        self.settings.path.parent.mkdir(parents=True, exist_ok=True)
        file = self.settings.path.open("a+b")
        size = file.seek(0, os.SEEK_END)
        if not size and isinstance(self.settings.header, str) and self.settings.header:
            file.write(self.settings.header.encode() + b"\n")
        if size and self.settings.layout != "msgpack":
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                file.write(b"\n")
        return file

    async def send(self, block: RawBlock) -> None:
        await self._call(self._write, block)

    def _write(self, file: BinaryIO, block: RawBlock) -> None:
        end = b"" if self.settings.layout == "msgpack" else b"\n"
        data, rows = block.buffer.tobytes(), np.flatnonzero(block.value_size >= 0)
        places = zip(block.value_at[rows].tolist(), block.value_size[rows].tolist())
        file.write(b"".join(part for at, size in places for part in (data[at : at + size], end)))

    async def flush(self) -> None:
        await self._call(_sync)

    async def _call(self, write: Callable[..., object], *args: object) -> None:
        assert self._file is not None
        try:
            await asyncio.to_thread(write, self._file, *args)
        except OSError as err:
            raise TransportError(f"the file cannot be written ({err.strerror})", where=self.where, mend="see to the disk") from err

    async def stop(self) -> None:
        if self._file is not None:
            file, self._file = self._file, None
            await asyncio.to_thread(file.close)


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())
