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
    out = bytearray(_varint(len(headers)))
    for name, value in headers:
        encoded = name.encode()
        out += _varint(len(encoded)) + encoded
        out += _varint(-1) if value is None else _varint(len(value)) + value
    return bytes(out)


def decode_headers(data: bytes) -> list[tuple[str, bytes | None]]:
    """The pairs of ``encode_headers``; ValueError when the bytes end early.

    >>> decode_headers(bytes([2, 2, 97, 4, 120, 121]))
    [('a', b'xy')]
    """
    if not data:
        return []
    count, at = _read_varint(data, 0)
    headers: list[tuple[str, bytes | None]] = []
    for _ in range(count):
        name, at = _read_sized(data, at)
        value, at = _read_sized(data, at)
        headers.append(((name or b"").decode(), value))
    return headers


def add_headers(data: bytes, added: Headers) -> bytes:
    """The headers of a record with more behind them.

    >>> decode_headers(add_headers(encode_headers([("a", b"xy")]), [("b", None)]))
    [('a', b'xy'), ('b', None)]
    """
    return encode_headers([*decode_headers(data), *added])


def _varint(value: int) -> bytes:
    rest, out = (value << 1) ^ (value >> 63), bytearray()
    while rest > 0x7F:
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    out.append(rest)
    return bytes(out)


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(data):
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return (value >> 1) ^ -(value & 1), at
        shift += 7
    raise ValueError("the headers end inside a number")


def _read_sized(data: bytes, at: int) -> tuple[bytes | None, int]:
    size, at = _read_varint(data, at)
    if size < 0:
        return None, at
    if at + size > len(data):
        raise ValueError("the headers end inside a name or a value")
    return data[at : at + size], at + size
