"""Where in a record the value of a field begins, and where one breaks off: for the reasons of dead letters."""

import contextlib
import json
import re
from collections.abc import Iterator

import msgpack

from esp.runtime.schema import Schema

_scan = json.JSONDecoder().raw_decode
_SPACES = re.compile(rb"[ \t\r\n]*")
_SPACE = re.compile(r"[ \t\r\n]*")


def at_byte(place: int | None) -> str:
    """The end of a reason that says where."""
    return "" if place is None else f", at byte {place}"


def text_break(value: bytes) -> tuple[str, int] | None:
    """Why and at which byte a text is no UTF-8; None where it is."""
    try:
        value.decode()
    except UnicodeDecodeError as err:
        return f"no UTF-8: {err.reason}", err.start
    return None


def json_place(value: bytes, name: str) -> int | None:
    """The byte at which the last value of a key begins; None where there is no such key, or no object."""
    if (found := _flat_place(value, name)) is not None:
        return found
    text = value.decode(errors="replace")
    try:
        at = _after(text, 0) + 1
        while text[at - 1] in "{,":
            key, at = _scan(text, _after(text, at))
            at = _after(text, _after(text, at) + 1)
            found = at if key == name else found
            at = _after(text, _scan(text, at)[1]) + 1
    except (ValueError, IndexError, RecursionError):
        pass
    return None if found is None else len(text[:found].encode())


def _flat_place(value: bytes, name: str) -> int | None:
    """The same in little time where the record is one flat object in which the key stands once as it is; None where not."""
    key = f'"{name}"'.encode()
    at = value.find(key)
    if at < 0 or value.count(b"{") != 1 or value.find(key, at + 1) >= 0:
        return None
    colon = _SPACES.match(value, at + len(key))
    assert colon is not None  # it matches nothing, too
    if value[colon.end() : colon.end() + 1] != b":":
        return None
    begin = _SPACES.match(value, colon.end() + 1)
    return begin.end() if begin is not None and begin.end() < len(value) else None


def _after(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at


def msgpack_place(value: bytes, schema: Schema, field: int) -> int | None:
    """The byte at which the last value of a field begins, by name in a map, by place in an array."""
    found = [at for name, at in _msgpack_values(value) if name in (schema.names[field], field)]
    return found[-1] if found else None


def msgpack_break(value: bytes) -> int:
    """The byte at which the last value begins that could be looked at: that, or what follows it, is broken."""
    return max((at for _, at in _msgpack_values(value)), default=0)


def pass_over(value: bytes) -> None:
    """Raises StackError where values are nested too deep for the library; nothing is made of them."""
    reader = msgpack.Unpacker(strict_map_key=False, max_buffer_size=0, read_size=len(value) or 1)
    reader.feed(value)
    with contextlib.suppress(msgpack.OutOfData, msgpack.FormatError):
        reader.skip()


def _msgpack_values(value: bytes) -> Iterator[tuple[object, int]]:
    """Key (or place) of each value, and where it begins; the end where that breaks off."""
    reader = msgpack.Unpacker(strict_map_key=False, max_buffer_size=0, read_size=len(value) or 1)
    reader.feed(value)
    try:
        is_array = value[:1] >= b"\x90" and (value[:1] <= b"\x9f" or value[:1] in (b"\xdc", b"\xdd"))
        for place in range(reader.read_array_header() if is_array else reader.read_map_header()):
            name = place if is_array else reader.unpack()
            yield name, reader.tell()
            reader.skip()
    except (ValueError, TypeError, msgpack.exceptions.UnpackException):
        return


def csv_place(value: bytes, column: int, delimiter: str) -> int | None:
    """The byte at which a column begins; None where the line has no such column."""
    at, is_quoted = 0, False
    for place, letter in enumerate(value):
        if column == 0:
            break
        is_quoted ^= letter == 34
        if letter == ord(delimiter) and not is_quoted:
            at, column = place + 1, column - 1
    return at if column == 0 else None
