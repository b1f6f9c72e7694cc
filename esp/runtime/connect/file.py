"""The file connector: JSON lines, CSV lines and msgpack streams; a record's offset is its number in the file."""

import asyncio
import os
from collections.abc import Callable, Iterator, Mapping, Set
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
import pydantic

from esp.errors import QueryError, TransportError
from esp.runtime.connect.file_cut import MAX_RECORD_BYTES, Cutter, ends_in_quotes, objects_end
from esp.runtime.connector import Assigned, Connection, Revoked
from esp.runtime.events import I64, U8, RawBlock
from esp.runtime.peer import FINE

FORMATS = {".json": "json", ".jsonl": "json", ".ndjson": "json", ".csv": "csv", ".msgpack": "msgpack", ".mp": "msgpack"}


class FileConnection(Connection):
    """A file of records; its keys and headers are none, its stamps 0, its one partition is 0."""

    source_only = frozenset({"max_records", "max_record_bytes"})

    connector: Literal["file"]
    path: Path = pydantic.Field(description="the file, relative to the directory that the engine runs in")
    format: Literal["json", "csv", "msgpack"] | None = pydantic.Field(
        None,
        description="json: a line a record; csv: a row a record, with line ends inside quotes; msgpack: records end to end; left out: by the suffix of the file",
    )
    header: bool | str = pydantic.Field(
        False,
        description="source of csv: true, if the first line is a header (skipped); sink of csv: the header line of a new file",
    )
    max_records: int = pydantic.Field(4096, ge=1, description="records in a block, at most")
    max_record_bytes: int = pydantic.Field(MAX_RECORD_BYTES, ge=1, description="bytes of one record, at most")

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
    peer = FINE
    identity = ""
    handover_s: float | None = None

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
        cutter = Cutter(self.settings.layout, self.where, self.settings.max_record_bytes)
        for buffer, at, size in cutter.cut(file):
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

    async def unmoved(self, partitions: Set[int]) -> dict[int, int | None]:
        return {}

    async def lag(self) -> dict[int, int]:
        """Not known without reading the file: 1 until its end has been met."""
        return {0: 0 if self.ended else 1}

    async def stop(self) -> None:
        if self._file is not None:
            self._file.close()


class FileSink:
    """Appends values to a file; keys, headers and records without a value have no place in it and are left out.

    What stands in the file stays: after a crash the records since the last checkpoint come a second time. A record that the
    crash has cut short spoils no other: a line is ended, in CSV with its quotes closed, a msgpack object is cut off.
    """

    peer = FINE

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
        if size:
            try:
                self._repair(file)
            except BaseException:
                file.close()
                raise
        return file

    def _repair(self, file: BinaryIO) -> None:
        """Ends or cuts off the last record, where a crash has left but a part of it."""
        file.seek(0)
        if self.settings.layout == "msgpack":
            file.truncate(objects_end(file, self.where))
        elif self.settings.layout == "csv" and ends_in_quotes(file):
            file.write(b'"\n')
        else:
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                file.write(b"\n")

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
