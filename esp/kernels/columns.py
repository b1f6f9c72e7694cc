"""The field table that codec kernels walk, and the cells of columns that they fill: one row a field, addresses and codes.

A kernel is called with two arrays. ``job`` int64[JOB_WIDTH] says how many rows there are and where their bytes lie; ``fields``
int64[F, FIELD_WIDTH] says of each field what it is and where its column lies. Cells of fixed-size fields are the
column itself; cells of strings and blobs are *cuts*, pairs (at, size): ``at`` counts from the input's base,
or, where negative, is -1 less the place in the extra bytes; ESCAPED is added to it where the text is to be unescaped.
"""

import numpy as np

from esp.kernels.compile import kernel, part
from esp.kernels.escapes import ESCAPED, unescape
from esp.kernels.words import (
    copy,
    load_u8,
    load_u64,
    stand_alone,
    store_f32,
    store_f64,
    store_i32,
    store_i64,
    store_u8,
    zero,
)

# Types of scalars and of tensor elements; their order counts: floats, times (STAMP, DATE) and cuts (STRING, BLOB) stand together.
BOOL, UINT8, INT32, INT64, FLOAT32, FLOAT64, STAMP, DATE, STRING, BLOB = range(10)

# Columns of the field table. COUNT is 0 for scalars; UNIT is nanoseconds, 0 for ISO text; GUESS says which field the key
# in that place had in the record before; BASE64 says that a cut is base64 text. FORM is how a tensor is written; SPELLED is where int64[n, 3]
# lies that says how each row of a tensor stood in its record (at, size, form), at DATA when it is written again; 0 = nowhere. DEFAULT is the
# address of the cell that stands for a null one; 0 = none. IS_KEY says that no row may be without the field, be it a key or not.
TYPE, SIZE, COUNT, UNIT, IS_KEY, NAME, NAME_SIZE, DIMS, RANK = range(9)
CELL, VALID, NULLS, GUESS, DATA, BASE64, FORM, SPELLED, DEFAULT, FIELD_WIDTH = range(9, 19)

# Forms of a tensor in text: a JSON array; base64 of its bytes, or numbers with commas between them, in one string.
NO_FORM, ARRAY_FORM, BASE64_FORM, TEXT_FORM = range(4)

# Places of the job. OUT is where a decoder's columns or an encoder's records begin; a decoder sets TAKEN (see lay_out).
ROWS, BASE, VALUE_AT, VALUE_SIZE, OUT, OPTION, TAKEN, JOB_WIDTH = range(8)
ALIGNMENT = 64  # of columns

_HIGH_BITS = np.uint64(0x8080808080808080)
_INT32_MIN, _INT32_MAX = -(1 << 31), (1 << 31) - 1
_INT64_MAX = (1 << 63) - 1
TOO_LARGE = (2 - 2**-24) * 2.0**127  # the least double that rounds to an infinite float32


@part
def put_int(address: int, code: int, value: int) -> bool:
    """Stores an integer as a number of the given type; False where it does not fit."""
    if code == INT64:
        store_i64(address, value)
    elif code == FLOAT32:
        store_f32(address, np.float32(np.float64(value)))
    elif code == FLOAT64:
        store_f64(address, np.float64(value))
    elif code == INT32:
        store_i32(address, value)
        return _INT32_MIN <= value <= _INT32_MAX
    elif code == UINT8:
        store_u8(address, value)
        return 0 <= value <= 255
    else:
        return False
    return True


@part
def put_float(address: int, code: int, value: float) -> bool:
    """Stores a float in a float column; False for other types (the generic path judges 3.0 for an integer) and for overflow."""
    if code == FLOAT64:
        store_f64(address, value)
        return True
    if code == FLOAT32:
        store_f32(address, np.float32(value))
        return abs(value) < TOO_LARGE or abs(value) == np.inf or value != value
    return False


@part
def put_cut(address: int, at: int, size: int) -> None:
    store_i64(address, at)
    store_i64(address + 8, size)


@part
def put_stamp(address: int, value: int, unit: int) -> bool:
    """Stores a stamp given in its unit as nanoseconds; False where that overflows or the unit is ISO text."""
    if unit == 0 or value > _INT64_MAX // unit or value < -(_INT64_MAX // unit):
        return False
    store_i64(address, value * unit)
    return True


@part
def lay_out(job: np.ndarray, fields: np.ndarray) -> None:
    """Divides the memory at OUT: the cells of each field, each at a multiple of 64 bytes; uint8[F, n], 1 where a value is valid;
    then TAKEN uint8[n], 1 where the kernel read the row, 0 where the generic library must look at it.
    """
    start = job[OUT]
    for field in range(fields.shape[0]):
        fields[field, CELL] = start
        start += (job[ROWS] * fields[field, SIZE] + ALIGNMENT - 1) // ALIGNMENT * ALIGNMENT
    for field in range(fields.shape[0]):
        fields[field, VALID] = start + field * job[ROWS]
    job[TAKEN] = start + fields.shape[0] * job[ROWS]


@part
def start_row(fields: np.ndarray, row: int) -> None:
    """Marks all fields of a row as null, until the parser finds them."""
    for field in range(fields.shape[0]):
        store_u8(fields[field, VALID] + row, 0)


@part
def end_row(fields: np.ndarray, row: int) -> bool:
    """Gives null fields their defaults, or zeroes their cells and counts them; False where a key is null."""
    is_good = True
    for field in range(fields.shape[0]):
        if load_u8(fields[field, VALID] + row) == 0:
            cell = fields[field, CELL] + row * fields[field, SIZE]
            if fields[field, DEFAULT] != 0:
                copy(cell, fields[field, DEFAULT], fields[field, SIZE])
                store_u8(fields[field, VALID] + row, 1)
                continue
            zero(cell, fields[field, SIZE])
            fields[field, NULLS] += 1
            is_good &= fields[field, IS_KEY] == 0
    return is_good


@part
def find_field(fields: np.ndarray, place: int, name: int, size: int) -> int:
    """The field of a name (address, size) that is the ``place``-th key of its record; -1 = unknown."""
    stand_alone()
    count = fields.shape[0]
    guess = fields[place, GUESS] if place < count else -1
    if guess >= 0 and _is_named(fields, guess, name, size):
        return guess
    for field in range(count):
        if _is_named(fields, field, name, size):
            if place < count:
                fields[place, GUESS] = field
            return field
    return -1


@part
def _is_named(fields: np.ndarray, field: int, name: int, size: int) -> bool:
    if fields[field, NAME_SIZE] != size:
        return False
    known = fields[field, NAME]
    at = 0
    while at < size and load_u8(known + at) == load_u8(name + at):
        at += 1
    return at == size


@part
def is_utf8(p: int, size: int) -> bool:
    """Whether bytes are UTF-8 as RFC 3629 has it: shortest forms, no surrogates, nothing past U+10FFFF."""
    stand_alone()
    end = p + size
    while p + 8 <= end and load_u64(p) & _HIGH_BITS == np.uint64(0):
        p += 8
    while p < end:
        lead = load_u8(p)
        p += 1
        if lead < 0x80:
            continue
        more = 1 if 0xC2 <= lead <= 0xDF else 2 if 0xE0 <= lead <= 0xEF else 3 if 0xF0 <= lead <= 0xF4 else 0
        if more == 0 or p + more > end:
            return False
        second = load_u8(p)
        lowest = 0xA0 if lead == 0xE0 else 0x90 if lead == 0xF0 else 0x80
        highest = 0x9F if lead == 0xED else 0x8F if lead == 0xF4 else 0xBF
        if second < lowest or second > highest:
            return False
        for at in range(1, more):
            if load_u8(p + at) & 0xC0 != 0x80:
                return False
        p += more
    return True


@part
def base64_digit(letter: int) -> int:
    """The value of a letter of base64 (RFC 4648, section 4); -1 = none."""
    if 65 <= letter <= 90:
        return letter - 65
    if 97 <= letter <= 122:
        return letter - 71
    if 48 <= letter <= 57:
        return letter + 4
    return 62 if letter == 43 else 63 if letter == 47 else -1


@part
def base64_size(p: int, size: int) -> int:
    """How many bytes a base64 text holds; -1 where it is none (padding is wanted, line ends are not)."""
    stand_alone()
    if size & 3:
        return -1
    pad = 0
    if size:
        pad = 2 if load_u8(p + size - 2) == 61 else 1 if load_u8(p + size - 1) == 61 else 0
        if pad == 2 and load_u8(p + size - 1) != 61:
            return -1
    for at in range(size - pad):
        if base64_digit(load_u8(p + at)) < 0:
            return -1
    return size // 4 * 3 - pad


@part
def from_base64(target: int, size: int, p: int) -> None:
    """Writes the ``size`` bytes that a checked base64 text at ``p`` holds."""
    stand_alone()
    done = 0
    while done < size:
        word = 0
        for at in range(4):
            word = word << 6 | max(base64_digit(load_u8(p + at)), 0)  # padding counts as nothing
        for at in range(min(3, size - done)):
            store_u8(target + done + at, word >> (16 - 8 * at) & 255)
        done += 3
        p += 4


@part
def is_null(fields: np.ndarray, field: int, row: int) -> bool:
    """Whether a value to be written is null; VALID is 0 where none is."""
    flags: int = fields[field, VALID]
    return flags != 0 and load_u8(flags + row) == 0


# cuts int64[n, 2], offsets int64[n + 1]; gives the bytes that all values take.
@kernel("int64(int64[:, ::1], int64[::1])")
def measure(cuts: np.ndarray, offsets: np.ndarray) -> int:
    offsets[0] = 0
    for row in range(cuts.shape[0]):
        offsets[row + 1] = offsets[row] + cuts[row, 1]
    return int(offsets[cuts.shape[0]])


# Copies what cuts int64[n, 2] name, from the address ``base`` or from ``extra``, into data: value i at offsets[i].
@kernel("void(int64, uint8[::1], int64[:, ::1], int64[::1], uint8[::1], boolean)")
def gather(base: int, extra: np.ndarray, cuts: np.ndarray, offsets: np.ndarray, data: np.ndarray, is_base64: bool) -> None:
    for row in range(cuts.shape[0]):
        at, target = cuts[row, 0], data.ctypes.data + offsets[row]
        if at < 0:
            copy(target, extra.ctypes.data - 1 - at, cuts[row, 1])
        elif at >= ESCAPED:
            unescape(target, cuts[row, 1], base + at - ESCAPED)
        elif is_base64:
            from_base64(target, cuts[row, 1], base + at)
        else:
            copy(target, base + at, cuts[row, 1])
