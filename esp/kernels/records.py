"""Kafka's record batches (format 2) as columns: two passes over the bytes of a fetch, no object a batch and none a record.

``walk`` reads the lengths alone, to tell how much there is. ``scan`` checks the batches and tells what is in them; compressed ones are then to
be expanded by the caller; ``parse`` goes through the records. Everything is checked against the end of what holds it, so no byte outside is read, whatever the bytes are.
Source: Apache Kafka protocol, "Message format" and "Record batch"; transactions: KIP-98.
"""

# mypy: allow-untyped-defs, allow-untyped-calls

from typing import Any

import numpy as np

from esp.kernels.compile import kernel, part
from esp.kernels.crc import crc32c
from esp.kernels.words import load_i32_be, load_i64_be, load_u8, load_u16_be, load_u32_be, start_of

_BYTES = "Array(uint8, 1, 'C', True)"
# Where things stand in the header of a batch. Its length counts what follows the length itself.
LENGTH, MAGIC, CRC, ATTRIBUTES, LAST_DELTA, BASE_TIME, MAX_TIME, PRODUCER, EPOCH, SEQUENCE, COUNT, HEADER = (
    8, 16, 17, 21, 23, 27, 35, 43, 51, 53, 57, 61,
)  # fmt: skip
BEFORE_LENGTH = LENGTH + 4
CODEC, APPEND_TIME, TRANSACTIONAL, CONTROL = 7, 8, 16, 32  # bits of the attributes
SMALLEST_RECORD = 7
# Columns of the table that ``scan`` fills, a row a batch whose records are wanted.
AT, END, BASE, LAST, RECORDS, FLAGS, FIRST_MS, MAX_MS, TABLE = range(9)
# What is wrong: the first of ``told``; then the byte where, and the first and the last offset of the batch.
FINE, OLD_FORMAT, WRONG_LENGTH, WRONG_CRC, WRONG_COUNT, WRONG_RECORD = range(6)
# Rows of the columns that ``parse`` fills, as in a RawBlock.
VALUE_AT, VALUE_SIZE, KEY_AT, KEY_SIZE, HEADER_AT, HEADER_SIZE, OFFSET, TS_MS, COLUMNS = range(9)
_WAITING, _ABORTED, _DONE = range(3)  # of an aborted transaction: before its first batch, within, behind its end
_ABORT = 0  # the type of a control record that ends a transaction for nothing
_LONGEST_VARINT = 10
_MOST_CLAIMED = 100  # records a byte, for compressed ones


@part
def _refuse(told, what, at, base, last):
    told[0], told[1], told[2], told[3] = what, at, base, last


@part
def _varint(at, end):
    """A zigzag number and the place behind it; the place is -1 where it does not end in time."""
    value, shift = np.uint64(0), np.uint64(0)
    for p in range(at, min(end, at + _LONGEST_VARINT)):
        byte = np.uint64(load_u8(p))
        value |= (byte & np.uint64(0x7F)) << shift
        if byte < np.uint64(0x80):
            return np.int64(value >> np.uint64(1)) ^ -np.int64(value & np.uint64(1)), p + 1
        shift += np.uint64(7)
    return np.int64(0), np.int64(-1)


@part
def _sized(at, end):
    """Bytes with their size before them: where they begin and their size (-1 = null); the place is -1 where they do not fit."""
    size, at = _varint(at, end)
    if at < 0 or size < -1 or size > end - at:
        return np.int64(-1), np.int64(0)
    return at, size


@part
def _is_aborted(p, flags, aborted, state):
    """Whether a batch belongs to a transaction that was aborted; ``state`` follows the batches."""
    base, producer = load_i64_be(p), load_i64_be(p + PRODUCER)
    found = False
    for k in range(len(aborted)):
        if state[k] == _WAITING and aborted[k, 1] <= base:
            state[k] = _ABORTED
        if state[k] == _ABORTED and aborted[k, 0] == producer:
            found = True
    if found and flags & CONTROL and _is_abort(p):
        for k in range(len(aborted)):
            if state[k] == _ABORTED and aborted[k, 0] == producer:
                state[k] = _DONE
    return found and flags & TRANSACTIONAL != 0


@part
def _is_abort(p):
    """Whether a control batch ends its transaction for nothing: the key of its one record is a version and a type."""
    end = p + BEFORE_LENGTH + load_i32_be(p + LENGTH)
    _, at = _varint(p + HEADER, end)
    if at < 0 or at >= end:
        return False
    _, at = _varint(at + 1, end)
    if at < 0:
        return False
    _, at = _varint(at, end)
    if at < 0:
        return False
    at, size = _sized(at, end)
    return at >= 0 and size >= 4 and load_u16_be(at + 2) == _ABORT


@part
def _wrong(p, size, has_crc):
    """What is wrong with a batch that lies within the bytes."""
    if load_u8(p + MAGIC) != 2:
        return OLD_FORMAT
    if has_crc and load_u32_be(p + CRC) != crc32c(p + ATTRIBUTES, size - ATTRIBUTES):
        return WRONG_CRC
    count, is_plain = load_i32_be(p + COUNT), load_u16_be(p + ATTRIBUTES) & CODEC == 0
    if count < 0 or load_i32_be(p + LAST_DELTA) < 0 or (is_plain and count > (size - HEADER) // SMALLEST_RECORD):
        return WRONG_COUNT
    return FINE


@part
def _last(p, base, end):
    """The last offset of a batch by its header, as far as the header is there."""
    return base + max(load_i32_be(p + LAST_DELTA), 0) if p + BASE_TIME <= end else base


@kernel(f"int64({_BYTES}, boolean, int64, Array(int64, 2, 'C', True), int64[::1], int64[:, ::1], int64[::1])")
def scan(data: Any, has_crc: bool, wanted: int, aborted: Any, state: Any, table: Any, told: Any) -> int:
    """table int64[m, TABLE]: the batches with wanted records, ``AT`` and ``END`` as places in ``data``. Gives how many there are.

    Left out are control batches, aborted transactions (aborted int64[k, 2]: producer and first offset; state int64[k] zeros) and batches
    whose records all lie before the offset ``wanted``. A batch that is cut off ends the scan, unless it is the first. ``told`` int64[5]: what is
    wrong, the place, and the offsets of the batch (nothing behind it is told); its last: the offset after all batches.
    """
    start, made = start_of(data), 0
    end = start + len(data)
    p = start
    _refuse(told, FINE, 0, 0, 0)
    told[4] = wanted
    while p + BEFORE_LENGTH <= end:
        size, base = BEFORE_LENGTH + load_i32_be(p + LENGTH), load_i64_be(p)
        if size < HEADER and (size <= MAGIC or p + MAGIC >= end or load_u8(p + MAGIC) >= 2):
            _refuse(told, WRONG_LENGTH, p - start, base, _last(p, base, end))
            return made
        if p + size > end:
            break
        what = OLD_FORMAT if size < HEADER else _wrong(p, size, has_crc)
        if what != FINE:
            is_old = size < HEADER or load_u8(p + MAGIC) < 2  # else it is damaged, for there is none newer
            _refuse(told, what, p - start, base, base if is_old else _last(p, base, end))
            return made
        flags, last = load_u16_be(p + ATTRIBUTES), base + load_i32_be(p + LAST_DELTA)
        if not _is_aborted(p, flags, aborted, state) and flags & CONTROL == 0 and last >= wanted:
            if made < len(table):
                row = table[made]
                row[AT], row[END], row[BASE], row[LAST] = p + HEADER - start, p + size - start, base, last
                row[RECORDS], row[FLAGS] = load_i32_be(p + COUNT), flags
                row[FIRST_MS], row[MAX_MS] = load_i64_be(p + BASE_TIME), load_i64_be(p + MAX_TIME)
            made += 1
        told[4] = max(told[4], last + 1)
        p += size
    if p == start and end > start:
        base = load_i64_be(p) if p + BEFORE_LENGTH <= end else wanted
        _refuse(told, WRONG_LENGTH, 0, base, _last(p, base, end))
    return made


@part
def _claimed(p, size):
    """How many records a batch says that it holds, as far as that can be."""
    return min(max(load_i32_be(p + COUNT), 0), _MOST_CLAIMED * size)


@kernel(f"void({_BYTES}, int64, int64[::1])")
def walk(data: Any, wanted: int, told: Any) -> None:
    """told int64[4]: how many whole batches there are, the records they claim to hold, the offset after the last, and 1 for older formats.

    Nothing is checked but that the bytes are there: this is for who hands them on.
    """
    p = start_of(data)
    end = p + len(data)
    told[0], told[1], told[2], told[3] = 0, 0, wanted, 0
    while p + BEFORE_LENGTH <= end:
        size, base = BEFORE_LENGTH + load_i32_be(p + LENGTH), load_i64_be(p)
        if size <= MAGIC or p + size > end:
            break
        if load_u8(p + MAGIC) < 2:
            told[1], told[2], told[3] = told[1] + 1, max(told[2], base + 1), 1
        elif size < HEADER:
            break
        else:
            told[1] += _claimed(p, size)
            told[2] = max(told[2], _last(p, base, end) + 1)
        told[0] += 1
        p += size


@part
def _headers(at, end):
    """Where the headers of a record end; -1 where they do not fit."""
    count, at = _varint(at, end)
    if at < 0 or count < 0:
        return np.int64(-1)
    for _ in range(count):
        name, size = _sized(at, end)
        if name < 0 or size < 0:
            return np.int64(-1)
        at, size = _sized(name + size, end)
        if at < 0:
            return at
        at += max(size, 0)
    return at


@part
def _record(start, at, end, row, out, i):
    """One record into column i; the place behind it, -1 where it is not whole."""
    size, at = _varint(at, end)
    if at < 0 or size < SMALLEST_RECORD - 1 or size > end - at:
        return np.int64(-1)
    end = at + size
    delta_ms, at = _varint(at + 1, end)  # after the attributes, in which nothing stands
    if at < 0:
        return at
    delta, at = _varint(at, end)
    if at < 0 or delta < 0 or delta > row[LAST] - row[BASE]:
        return np.int64(-1)
    key, key_size = _sized(at, end)
    if key < 0:
        return key
    value, value_size = _sized(key + max(key_size, 0), end)
    if value < 0:
        return value
    header = value + max(value_size, 0)
    if _headers(header, end) != end:
        return np.int64(-1)
    out[VALUE_AT, i], out[VALUE_SIZE, i], out[KEY_AT, i], out[KEY_SIZE, i] = value - start, value_size, key - start, key_size
    out[HEADER_AT, i], out[HEADER_SIZE, i] = header - start, end - header if end - header > 1 else 0
    out[OFFSET, i] = row[BASE] + delta
    out[TS_MS, i] = row[MAX_MS] if row[FLAGS] & APPEND_TIME else row[FIRST_MS] + delta_ms
    return end


@kernel(f"int64({_BYTES}, Array(int64, 2, 'C', True), int64, int64[:, ::1], int64[::1])")
def parse(data: Any, table: Any, wanted: int, out: Any, told: Any) -> int:
    """out int64[COLUMNS, n]: the records from the offset ``wanted`` on of the batches in ``table``, whose places are those in ``data``.

    There is room for all records that the batches tell of. Gives how many there are; ``told`` as in ``scan``.
    """
    start, made = start_of(data), 0
    for b in range(len(table)):
        row = table[b]
        at, end, done = start + row[AT], start + row[END], 0
        while done < row[RECORDS]:
            after = _record(start, at, end, row, out, made)
            if after < 0:
                _refuse(told, WRONG_RECORD, at - start, row[BASE], row[LAST])
                return made
            made += out[OFFSET, made] >= wanted
            at = after
            done += 1
        if at != end:
            _refuse(told, WRONG_RECORD, at - start, row[BASE], row[LAST])
            return made
    return made
