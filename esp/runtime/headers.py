"""Record headers between their wire form (as in a Kafka record) and pairs of name and value."""

from collections.abc import Sequence

Headers = Sequence[tuple[str, bytes | None]]


def encode_headers(headers: Headers) -> bytes:
    """A zigzag varint count, then for each a sized name and a sized value (size -1 = null); no headers are no bytes.

    >>> encode_headers([("a", b"xy")])
    b'\\x02\\x02a\\x04xy'
    """
    if not headers:
        return b""
    return _varint(len(headers)) + _pairs(headers)


def decode_headers(data: bytes) -> list[tuple[str, bytes | None]]:
    """The pairs of ``encode_headers``; ValueError when the bytes end early. A name that is no UTF-8 comes through ``surrogateescape``.

    >>> decode_headers(bytes([2, 2, 97, 4, 120, 121]))
    [('a', b'xy')]
    """
    if not data:
        return []
    count, at = read_varint(data, 0)
    headers: list[tuple[str, bytes | None]] = []
    for _ in range(count):
        name, at = read_sized(data, at)
        value, at = read_sized(data, at)
        headers.append(((name or b"").decode(errors="surrogateescape"), value))
    return headers


def add_headers(data: bytes, added: Headers) -> bytes:
    """The headers of a record with more behind them.

    >>> decode_headers(add_headers(encode_headers([("a", b"xy")]), [("b", None)]))
    [('a', b'xy'), ('b', None)]
    """
    if not data or not added:
        return data or encode_headers(added)
    count, at = read_varint(data, 0)
    return _varint(count + len(added)) + data[at:] + _pairs(added)


def shared_headers(first: str, others: Headers, last: str) -> tuple[bytes, bytes]:
    """What is the same where many records get the same headers but for the values of the first and the last one: the bytes in front of the
    first one's sized value, and those from behind it to the last one's.

    >>> begin, middle = shared_headers("why", [("who", b"me")], "offset")
    >>> decode_headers(bytes([6]) + begin + bytes([8]) + b"late" + middle + bytes([2]) + b"7")
    [('why', b'late'), ('who', b'me'), ('offset', b'7')]
    """
    return _name(first), _pairs(others) + _name(last)


def _name(name: str) -> bytes:
    encoded = name.encode(errors="surrogateescape")
    return _varint(len(encoded)) + encoded


def _pairs(headers: Headers) -> bytes:
    out = bytearray()
    for name, value in headers:
        out += _name(name)
        out += _varint(-1) if value is None else _varint(len(value)) + value
    return bytes(out)


def _varint(value: int) -> bytes:
    rest = (value << 1) ^ (value >> 63)
    if rest < 0x80:
        return bytes((rest,))
    out = bytearray()
    while rest > 0x7F:
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    out.append(rest)
    return bytes(out)


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """The zigzag varint at a place, and the place behind it."""
    value = shift = 0
    while at < len(data):
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return (value >> 1) ^ -(value & 1), at
        shift += 7
    raise ValueError("the headers end inside a number")


def read_sized(data: bytes, at: int) -> tuple[bytes | None, int]:
    """The bytes at a place, their size as a varint before them (-1 = null), and the place behind them."""
    size, at = read_varint(data, at)
    if size < 0:
        return None, at
    if at + size > len(data):
        raise ValueError("the headers end inside a name or a value")
    return data[at : at + size], at + size
