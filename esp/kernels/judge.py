"""How a judge goes over the fields of a record that a decoder has refused: one loop, made for each format of readers of its own."""

# mypy: allow-untyped-defs, allow-untyped-calls

from dataclasses import dataclass
from typing import Any

from esp.kernels.columns import BASE, BOOL, COUNT, DEFAULT, IS_KEY, SIZE, TYPE, UNIT, VALUE_AT, VALUE_SIZE
from esp.kernels.compile import part
from esp.kernels.verdicts import (
    ARRAY,
    BAD,
    BYTES,
    FLOAT,
    GOOD,
    NO_VALUE,
    NOTHING,
    NULL,
    NUMBER,
    OBJECT,
    TEXT,
    UNEXPECTED,
    UNJUDGED,
    UNSURE,
    blame,
    fits,
)
from esp.kernels.verdicts import COUNT as OF_COUNT
from esp.kernels.words import in_line, load_i64, load_u8, stand_alone

SOUND = -1  # what a reader gives in the place of what is wrong
SIGNATURE = "void(int64[::1], int64[:, ::1], int64[::1], int64[:, ::1], int64[::1])"


@dataclass(frozen=True, slots=True)
class Readers:
    """What a format's judge is made of: ``name`` makes its parts' names, ``null`` is the byte that a null begins with.

    ``look(p, end)`` says what a sound value is: (found, integer, float, where its bytes lie, their size; -1 where these are not the text itself);
    of an array how many values it holds, where the first lies and whether one of them is an array. ``past(p, end)`` is where the next value of an
    array begins. ``has_text_bytes``: blobs and tensors may be text.
    """

    name: str
    null: int
    has_text_bytes: bool
    look: Any
    past: Any


@part
def place_of(job: Any, row: int) -> tuple[int, int]:
    """Where the value of a row begins, and its size; -1 = there is none."""
    return job[BASE] + load_i64(job[VALUE_AT] + 8 * row), load_i64(job[VALUE_SIZE] + 8 * row)


# A kernel, ``judge``: job and fields as in columns.py, rows int64[n] of the job; faults int64[n, FAULT_WIDTH], zeros; seen int64[F]. The heads of a
# fault are those of the fields, then of fields that may not be missing, then of a record that is none, then of one without a value. Its loop over
# the rows stands in each format's module: LLVM then lays the code that reads records close to it, which makes it a tenth faster.
def row_judge(readers: Readers) -> Any:
    """``judge_row(fields, seen, faults, row, start, end, found, place)``: judges the row whose value is there, after it was read.

    ``seen`` says where the last value of each field begins; (``found``, ``place``) is (SOUND, end), or (what is wrong, where).
    """
    judge_fields = _fields_judge(readers)

    def judge_row(fields, seen, faults, row, start, end, found, place):
        in_line()
        count = fields.shape[0]
        if found == SOUND:
            judge_fields(fields, seen, faults, row, start, end)
        elif found == NO_VALUE:
            blame(faults, row, 2 * count + 1, NO_VALUE, -1, 0, 0.0, 0, 0)
        elif found != UNJUDGED:
            byte = load_u8(place) if found == UNEXPECTED else 0
            blame(faults, row, 2 * count, found, place - start, byte, 0.0, 0, 0)

    return _part(judge_row, readers)


def _fields_judge(readers: Readers) -> Any:
    null, has_text_bytes, look, judge_tensor = readers.null, readers.has_text_bytes, readers.look, _tensor_judge(readers)

    def judge_fields(fields, seen, faults, row, start, end):
        """Blames the first field whose value does not fit; nothing where one before it may or may not."""
        for field in range(fields.shape[0]):
            p, place = seen[field], seen[field] - start
            found = NOTHING if p == 0 else NULL if load_u8(p) == null else UNJUDGED
            if found != UNJUDGED:
                if fields[field, DEFAULT] == 0 and fields[field, IS_KEY] != 0:
                    blame(faults, row, fields.shape[0] + field, found, place if p != 0 else -1, 0, 0.0, 0, 0)
                    return
                continue
            if fields[field, COUNT] > 0:
                verdict = judge_tensor(fields, field, faults, row, place, p, end)
            else:
                found, whole, real, at, size = look(p, end)
                verdict = fits(fields[field, TYPE], fields[field, UNIT], found, whole, real, at, size, has_text_bytes)
                if verdict == BAD:
                    blame(faults, row, field, found, place, whole, real, at, size)
            if verdict != GOOD:
                return

    return _part(judge_fields, readers)


def _tensor_judge(readers: Readers) -> Any:
    has_text_bytes, look, judge_elements = readers.has_text_bytes, readers.look, _elements_judge(readers)

    def judge_tensor(fields, field, faults, row, place, p, end):
        stand_alone()
        found, whole, real, at, size = look(p, end)
        if found == UNJUDGED or (found == TEXT and has_text_bytes):
            return UNSURE
        if found == BYTES and size == fields[field, SIZE]:
            return UNSURE if fields[field, TYPE] == BOOL else GOOD
        if found == ARRAY and size != 0:
            return UNSURE
        if found == ARRAY and whole == fields[field, COUNT]:
            return judge_elements(fields, field, faults, row, place, at, end)
        return BAD if blame(faults, row, field, found, place, whole, real, at, size) else UNSURE

    return _part(judge_tensor, readers)


def _elements_judge(readers: Readers) -> Any:
    has_text_bytes, look, past = readers.has_text_bytes, readers.look, readers.past

    def judge_elements(fields, field, faults, row, place, p, end):
        """Judges the numbers of a tensor, of which there are as many as there should be."""
        code = fields[field, TYPE]
        is_float = code != BOOL and fits(code, 0, FLOAT, 0, 0.5, 0, 0, has_text_bytes) == GOOD
        for number in range(fields[field, COUNT]):
            found, whole, real, at, size = look(p, end)
            if found == OBJECT or (found == NULL and not is_float):
                return UNSURE
            verdict = GOOD if found == NULL else fits(code, 0, found, whole, real, at, size, has_text_bytes)
            if verdict == BAD:
                if not blame(faults, row, field, found, place, whole, real, at, size):
                    return UNSURE
                faults[row, NUMBER], faults[row, OF_COUNT] = number + 1, fields[field, COUNT]
            if verdict != GOOD:
                return verdict
            p = past(p, end)
        return GOOD

    return _part(judge_elements, readers)


def _part(function: Any, readers: Readers) -> Any:
    """A part under a name of its own, for linked kernels know functions by their names."""
    function.__name__ = function.__qualname__ = f"{function.__name__}_{readers.name}"
    return part(function)
