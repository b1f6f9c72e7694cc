"""Dead letters: value, key and headers of each record one behind the other, with what is said of its death as further headers."""

# mypy: allow-untyped-defs, allow-untyped-calls

from typing import Any

from esp.kernels.compile import kernel, part
from esp.kernels.shortest import WRITTEN_PAST, write_int
from esp.kernels.words import copy, load_u8, start_of, store_u8

MOST_OVERHEAD = 40 + WRITTEN_PAST  # bytes of a letter beside its record, its reason and what all letters share
_ELLIPSIS = 0xA680E2  # its three bytes as a little-endian number

# Rows of ``cuts``: where value, key and headers of each letter lie, and their sizes (-1 = null); then its offset.
VALUE_AT, VALUE_SIZE, KEY_AT, KEY_SIZE, HEADER_AT, HEADER_SIZE, OFFSET, CUT_WIDTH = range(8)


@part
def _put_varint(p: int, value: int) -> int:
    """Writes a zigzag varint of a number that is not negative; the position after it."""
    rest = value << 1
    while rest > 0x7F:
        store_u8(p, rest & 0x7F | 0x80)
        p, rest = p + 1, rest >> 7
    store_u8(p, rest)
    return p + 1


@part
def _read_count(p: int, end: int) -> tuple[int, int]:
    """How many headers there are, and the position behind that number; (0, end) where it does not end."""
    value, shift = 0, 0
    while p < end and shift < 35:
        byte = load_u8(p)
        value |= (byte & 0x7F) << shift
        p, shift = p + 1, shift + 7
        if byte < 0x80:
            return value >> 1, p
    return 0, end


@part
def _move(cuts: Any, column: int, row: int, source: int, target: int, end: int) -> int:
    """Copies what a row of ``cuts`` names from ``source`` to behind ``end``, and notes the new place; the new end."""
    at, size = cuts[column, row], cuts[column + 1, row]
    cuts[column, row] = end
    if size <= 0:
        return end
    copy(target + end, source + at, size)
    return int(end + size)


@part
def _put_reason(p: int, source: int, size: int, most: int) -> int:
    """Writes a reason behind its size, or as many whole letters as fit with an ellipsis at their end; the position after it."""
    if size <= most:
        p = _put_varint(p, size)
        copy(p, source, size)
        return p + size
    size = most - 3
    while size > 0 and load_u8(source + size) & 0xC0 == 0x80:
        size -= 1
    p = _put_varint(p, size + 3)
    copy(p, source, size)
    for at in range(3):
        store_u8(p + size + at, _ELLIPSIS >> (8 * at) & 0xFF)
    return p + size + 3


# buffer, reasons, shared, out: uint8; begin int64[n + 1], where reasons begin; cuts int64[CUT_WIDTH, n] of ``buffer``, made those of ``out``.
# Each letter gets ``count`` headers: the first ``split`` bytes of ``shared``, the reason, the other bytes of ``shared``, the offset. A reason
# has ``most`` bytes at most. Gives the bytes written.
@kernel(
    "int64(Array(uint8, 1, 'C', True), Array(uint8, 1, 'C', True), Array(int64, 1, 'C', True), Array(uint8, 1, 'C', True),"
    " int64, int64, int64, int64[:, ::1], uint8[::1])"
)
def write(buffer: Any, reasons: Any, begin: Any, shared: Any, split: int, count: int, most: int, cuts: Any, out: Any) -> int:
    source, target, why, same, end = start_of(buffer), start_of(out), start_of(reasons), start_of(shared), 0
    for row in range(cuts.shape[1]):
        headers = source + cuts[HEADER_AT, row]
        stop = headers + max(cuts[HEADER_SIZE, row], 0)
        end = _move(cuts, VALUE_AT, row, source, target, end)
        end = _move(cuts, KEY_AT, row, source, target, end)
        own, behind = _read_count(headers, stop)
        p = _put_varint(target + end, own + count)
        copy(p, behind, stop - behind)
        p += stop - behind
        copy(p, same, split)
        p = _put_reason(p + split, why + begin[row], begin[row + 1] - begin[row], most)
        copy(p, same + split, len(shared) - split)
        p += len(shared) - split
        after = write_int(p + 1, cuts[OFFSET, row])
        store_u8(p, (after - p - 1) << 1)  # the varint of a size of at most 20
        cuts[HEADER_AT, row], cuts[HEADER_SIZE, row] = end, after - target - end
        end = after - target
    return end
