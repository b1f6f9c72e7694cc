"""Confluent's wire format: a zero, the number of the schema in four bytes, for Protobuf the place of the message; then the value."""

from collections.abc import Sequence

from esp.errors import EventError

SIZE = 5
MOST = (1 << 31) - 1  # registries count in 32 bits, with a sign
MOST_NESTED = 32  # messages within messages
MOST_VARINT = 5  # bytes


def schema_number(value: bytes) -> int:
    """The number of the schema that a record names. EventError when it names none."""
    if len(value) < SIZE:
        raise EventError(f"wanted a zero and the number of a schema, got {len(value)} bytes")
    if value[0] != 0:
        raise EventError(
            f"wanted a zero before the number of a schema, got byte {value[0]}: this is no record of a schema registry"
        )
    number = int.from_bytes(value[1:SIZE], "big")
    if number > MOST:
        raise EventError(f"wanted the number of a schema, got {number}")
    return number


def prefix(number: int) -> bytes:
    """What stands before a value of that schema.

    >>> prefix(258).hex()
    '0000000102'
    """
    return b"\0" + number.to_bytes(4, "big")


def message_path(value: bytes) -> tuple[tuple[int, ...], int]:
    """Which message of its schema a Protobuf value is (an index a level), and where the value begins. EventError when it cannot be told."""
    count, at = _varint(value, SIZE)
    if count == 0:
        return (0,), at
    if not 0 < count <= MOST_NESTED:
        raise EventError(f"wanted the place of a message in its schema, got one of {count} levels")
    path = []
    for _ in range(count):
        index, at = _varint(value, at)
        path.append(index)
    return tuple(path), at


def path_prefix(path: Sequence[int]) -> bytes:
    """The place of a message as ``message_path`` reads it.

    >>> path_prefix([0]), path_prefix([1, 0])
    (b'\\x00', b'\\x04\\x02\\x00')
    """
    return b"\0" if list(path) == [0] else b"".join(_zigzag(number) for number in (len(path), *path))


def _varint(value: bytes, at: int) -> tuple[int, int]:
    """The zigzag number at a place, and the place behind it."""
    number = 0
    for step in range(MOST_VARINT):
        if at + step >= len(value):
            raise EventError("the record ends inside the place of its message")
        byte = value[at + step]
        number |= (byte & 0x7F) << 7 * step
        if byte < 0x80:
            return (number >> 1) ^ -(number & 1), at + step + 1
    raise EventError("the place of the message is no number")


def _zigzag(number: int) -> bytes:
    rest, out = number << 1, bytearray()
    while rest > 0x7F:
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    return bytes((*out, rest))
