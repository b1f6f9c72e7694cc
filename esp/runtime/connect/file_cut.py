"""Where the records of a file begin and end: lines, CSV rows with line ends inside quotes, msgpack objects end to end."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import msgpack
import numpy as np

from esp.errors import TransportError
from esp.runtime.events import I64, U8

PIECE_BYTES = 1 << 20
MAX_RECORD_BYTES = 16 << 20
NEWLINE, RETURN, QUOTE = b'\n\r"'
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
QUOTED = re.compile(rb'(?<![0-9A-Za-z +\-._"\x80-\xff])"[^"]*(?:""[^"]*)*(?:"|\Z)')  # a cell in quotes, behind whatever delimiter

Piece = tuple[U8, I64, I64]  # bytes, and the place and the size of each record in them


@dataclass(frozen=True, slots=True)
class Cutter:
    """How the records of one file are told apart, and how large one may be."""

    layout: str
    where: str
    max_bytes: int = MAX_RECORD_BYTES

    def cut(self, file: BinaryIO) -> Iterator[Piece]:
        """Pieces of the file with the place and the size of each record; blank lines are none, a last line needs no line end."""
        return self._cut_msgpack(file) if self.layout == "msgpack" else self._cut_text(file)

    def _cut_text(self, file: BinaryIO) -> Iterator[Piece]:
        is_csv, rest, waiting, begin = self.layout == "csv", list[bytes](), 0, _skip_mark(file)
        while piece := file.read(PIECE_BYTES):
            rest.append(piece)
            waiting += len(piece)
            ends = np.zeros(0, np.int64)
            if b"\n" in piece:
                rest = [b"".join(rest)]
                ends = row_ends(rest[0], is_csv)
            if len(ends):
                yield self._lines(rest[0], ends, begin)
                done = int(ends[-1]) + 1
                rest, waiting, begin = [rest[0][done:]], waiting - done, begin + done
            self._check(waiting, begin)
        if waiting:
            text = b"".join(rest)
            yield self._lines(text, np.array([len(text)]), begin)

    def _lines(self, text: bytes, ends: I64, begin: int) -> Piece:
        buffer = np.frombuffer(text, np.uint8)
        starts = np.concatenate((np.zeros(1, np.int64), ends[:-1] + 1))
        carriage = (ends > starts) & (buffer[np.maximum(ends - 1, 0)] == RETURN)
        return self._checked(buffer, starts[ends - carriage > starts], (ends - carriage - starts)[ends - carriage > starts], begin)

    def _cut_msgpack(self, file: BinaryIO) -> Iterator[Piece]:
        unpacker, rest, waiting, begin = _unpacker(), list[bytes](), 0, 0
        while piece := file.read(PIECE_BYTES):
            rest.append(piece)
            waiting += len(piece)
            unpacker.feed(piece)
            ends = np.array([begin, *self.objects(unpacker, begin)], np.int64) - begin
            if len(ends) > 1:
                data = b"".join(rest)
                yield self._checked(np.frombuffer(data, np.uint8), ends[:-1], np.diff(ends), begin)
                done = int(ends[-1])
                rest, waiting, begin = [data[done:]], waiting - done, begin + done
            self._check(waiting, begin)
        if waiting:
            raise TransportError(
                "the file ends inside a record", where=f"{self.where}: byte {begin}", mend="cut the last record off"
            )

    def objects(self, unpacker: msgpack.Unpacker, end: int) -> Iterator[int]:
        """Where each object ends that the unpacker now has whole."""
        try:
            while True:
                unpacker.skip()
                end = unpacker.tell()
                yield end
        except msgpack.OutOfData:
            return
        except (msgpack.UnpackException, ValueError) as err:
            raise TransportError("this is no msgpack", where=f"{self.where}: byte {end}", mend="check the format") from err

    def _checked(self, buffer: U8, at: I64, size: I64, begin: int) -> Piece:
        if (large := np.flatnonzero(size > self.max_bytes)).size:
            self._check(int(size[large[0]]), begin + int(at[large[0]]))
        return buffer, at, size

    def _check(self, size: int, begin: int) -> None:
        if size > self.max_bytes:
            raise TransportError(
                f"a record is larger than {self.max_bytes} bytes",
                where=f"{self.where}: byte {begin}",
                mend="check the format (a line end, a quote that is not closed), or raise max_record_bytes",
            )


def row_ends(text: bytes, is_csv: bool) -> I64:
    """The places of the line ends that end a record; in CSV those inside quotes do not."""
    buffer = np.frombuffer(text, np.uint8)
    ends = np.flatnonzero(buffer == NEWLINE)
    if not is_csv or not _is_any_quoted(buffer, ends):
        return ends
    spans = [found.span() for found in QUOTED.finditer(text)]
    begins, stops = np.array(spans, np.int64).reshape(-1, 2).T
    span = np.searchsorted(begins, ends, "right") - 1
    kept: I64 = ends[(span < 0) | (ends >= stops[span])] if len(spans) else ends
    return kept


def _is_any_quoted(buffer: U8, ends: I64) -> bool:
    """Whether an odd number of quotes stands before a line end; without one, all lines are whole."""
    quotes = np.flatnonzero(buffer == QUOTE)
    return bool((np.searchsorted(quotes, ends) % 2).any())


def objects_end(file: BinaryIO, where: str) -> int:
    """The place behind the last whole object of a msgpack file. TransportError if it is none."""
    cutter, unpacker, end = Cutter("msgpack", where), _unpacker(), 0
    while piece := file.read(PIECE_BYTES):
        unpacker.feed(piece)
        end = max(cutter.objects(unpacker, end), default=end)
    return end


def ends_in_quotes(file: BinaryIO) -> bool:
    """Whether a CSV file breaks off inside quotes (the last record alone is looked at, up to what a record may be)."""
    rest = b""
    while (piece := file.read(PIECE_BYTES)) and len(rest) <= MAX_RECORD_BYTES:
        rest += piece
        ends = row_ends(rest, is_csv=True)
        rest = rest[int(ends[-1]) + 1 :] if len(ends) else rest
    return bool(rest) and len(rest) <= MAX_RECORD_BYTES and not len(row_ends(rest + b"\n", is_csv=True))


def _unpacker() -> msgpack.Unpacker:
    return msgpack.Unpacker(strict_map_key=False, max_buffer_size=0)


def _skip_mark(file: BinaryIO) -> int:
    """Goes past the byte order mark at the head of the file, if there is one; gives the place."""
    if file.read(len(BYTE_ORDER_MARK)) == BYTE_ORDER_MARK:
        return len(BYTE_ORDER_MARK)
    file.seek(0)
    return 0
