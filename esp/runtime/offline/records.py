"""Rows of text: JSON lines or a JSON list of objects, CSV with or without a line of names; read by the codecs of streams."""

import csv
import io
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from esp.astore.graph import Array
from esp.astore.model import Astore, Input
from esp.errors import FileError, TransportError
from esp.runtime.codecs import Codec, Decoded, codec
from esp.runtime.connect.file_cut import BYTE_ORDER_MARK, MAX_RECORD_BYTES, Cutter
from esp.runtime.events import Bools, Column, RawBlock, VarColumn
from esp.runtime.offline.rows import Batch, Source, as_text
from esp.runtime.schema import Field, FieldType, Schema

Valid = Bools | None
HEAD_BYTES = 1 << 16  # that are looked at before the rows are read
DELIMITERS = (",", ";", "\t")


@dataclass(frozen=True, slots=True)
class _Plan:
    """How the decoded fields become the inputs' columns: each input is one field of its shape, or scalars at ``parts[i]``."""

    codec: Codec
    inputs: tuple[Input, ...]
    parts: tuple[tuple[int, ...], ...]
    label: int | None


def read_json(astore: Astore, path: Path, label: str) -> Source:
    """The rows of JSON lines, or of one list of objects: inputs by name. FileError where the file cannot be read."""
    start = _head(path).lstrip(b"\xef\xbb\xbf \t\r\n")
    whole = _lines_of(path.read_bytes(), path) if start[:1] == b"[" else None
    fields = [_field(item) for item in astore.inputs]
    if label:
        fields.append(Field(label, _label_type(start if whole is None else whole, label)))
    parts = tuple((at,) for at in range(len(astore.inputs)))
    plan = _Plan(codec("json", Schema(tuple(fields))), astore.inputs, parts, len(parts) if label else None)
    return Source(_batches(plan, "json", path, whole), path.stat().st_size if whole is None else len(whole))


def read_csv(astore: Astore, path: Path, label: str) -> Source:
    """The rows of a CSV file.

    With a line of names: an input is the column of its name, or the columns NAME[0], NAME[1], ... (row-major) of a tensor; the one
    input of a model may also be all columns but the label's, in their order. Without: all columns in the order of the inputs.
    Columns are separated by commas, semicolons or tabs, as the first line is. FileError where columns are missing.
    """
    delimiter, names = _split(_first_line(path))
    has_names = any(name and not _is_number(name) for name in names)
    if label and not has_names:
        raise FileError(f"there is no line of names to find '{label}' in", where=str(path), mend="put names into the first line")
    places = _places(astore, names, has_names, label, path)
    taken = {column: item.dtype for item, columns in zip(astore.inputs, places) for column in columns}
    types = [FieldType(_base(taken.get(at, "string"))) for at in range(len(names))]
    schema = Schema(tuple(map(Field, _called(names, has_names), types)))
    plan = _Plan(codec("csv", schema, delimiter=delimiter), astore.inputs, places, names.index(label) if label else None)
    return Source(_batches(plan, "csv", path, None, int(has_names)), path.stat().st_size)


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(HEAD_BYTES)
    except OSError as err:
        raise _unreadable(err, path) from err


def _unreadable(err: OSError, path: Path) -> FileError:
    return FileError(f"the file cannot be read ({err.strerror})", where=str(path), mend="check the path")


def _first_line(path: Path) -> str:
    """The line of a CSV file that tells its columns. FileError where there is none."""
    try:
        with path.open("rb") as file:
            first = file.readline(MAX_RECORD_BYTES).removeprefix(BYTE_ORDER_MARK).decode("utf-8", "replace")
    except OSError as err:
        raise _unreadable(err, path) from err
    if not first:
        raise FileError("the file is empty", where=str(path), mend="put rows into it, and names into its first line")
    if not first.strip():
        raise FileError("the first line is blank", where=str(path), mend="begin with names, or with a row")
    return first.rstrip("\r\n")


def _split(line: str) -> tuple[str, list[str]]:
    """The delimiter that cuts a line into most cells, a comma before the others, and the cells."""
    cells = {delimiter: _cells(line, delimiter) for delimiter in DELIMITERS}
    best = max(DELIMITERS, key=lambda delimiter: len(cells[delimiter]))
    return best, cells[best]


def _cells(line: str, delimiter: str) -> list[str]:
    try:
        return [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter), [])]
    except csv.Error:  # a cell is too long: the delimiter is another
        return []


def _called(names: Sequence[str], has_names: bool) -> list[str]:
    """What messages call the columns: by a name that the file has once, else by their place."""
    counts = Counter(names if has_names else ())
    is_own = [counts[name] == 1 and name.isprintable() and not name.startswith("column ") and bool(name) for name in names]
    return [name if own else f"column {at}" for at, (name, own) in enumerate(zip(names, is_own), 1)]


def _field(item: Input) -> Field:
    return Field(item.name, FieldType(item.dtype if item.shape or item.dtype != "uint8" else "int32", item.shape))


def _base(dtype: str) -> str:
    return "int32" if dtype == "uint8" else dtype


def _lines_of(text: bytes, path: Path) -> bytes:
    try:
        rows = orjson.loads(text)
    except orjson.JSONDecodeError as err:
        raise FileError(f"this is no JSON ({err})", where=str(path), mend="write a list of objects, or an object a line") from err
    return b"\n".join(map(orjson.dumps, rows))


def _label_type(start: bytes, label: str) -> FieldType:
    """Text or a number, as the first record has it."""
    try:
        value = orjson.loads(start.split(b"\n", 1)[0]).get(label)
    except (orjson.JSONDecodeError, AttributeError):
        value = ""
    return FieldType("float64" if isinstance(value, int | float) and not isinstance(value, bool) else "string")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _places(astore: Astore, names: Sequence[str], has_names: bool, label: str, path: Path) -> tuple[tuple[int, ...], ...]:
    """The columns of each input."""
    sizes = [prod(item.shape) for item in astore.inputs]
    rest = [at for at, name in enumerate(names) if not (has_names and label and name == label)]
    if has_names and label and label not in names:
        raise FileError(f"there is no column '{label}'", where=str(path), mend=f"it has {', '.join(names)}")
    by_name = [_named(item, names) for item in astore.inputs] if has_names else []
    if by_name and all(by_name):
        return tuple(by_name)
    if sum(sizes) != len(rest) or (has_names and len(astore.inputs) > 1):
        wanted = ", ".join(f"{item.name} ({size} numbers)" for item, size in zip(astore.inputs, sizes))
        raise FileError(
            f"{len(rest)} columns do not feed {wanted}", where=str(path), mend="name the columns NAME or NAME[0], NAME[1], ..."
        )
    ends = np.cumsum(sizes)
    return tuple(tuple(rest[end - size : end]) for size, end in zip(sizes, ends))


def _named(item: Input, names: Sequence[str]) -> tuple[int, ...]:
    """The columns that bear an input's name; none where one is missing."""
    wanted = [f"{item.name}[{at}]" for at in range(prod(item.shape))] if item.shape else [item.name]
    return tuple(names.index(name) for name in wanted) if all(name in names for name in wanted) else ()


def _batches(plan: _Plan, layout: str, path: Path, whole: bytes | None, skip: int = 0) -> Iterator[Batch]:
    """The rows of a file, or of ``whole``, after the first ``skip``."""
    number = 0
    with path.open("rb") if whole is None else io.BytesIO(whole) as file:
        try:
            for buffer, at, size in Cutter(layout, str(path)).cut(file):
                skip, at, size = 0, at[skip:], size[skip:]
                none, no_size = np.zeros(len(at), np.int64), np.full(len(at), -1, np.int64)
                raw = RawBlock("", 0, buffer, at, size, none, no_size, none, no_size, none, none)
                yield _batch(plan, raw, number, file.tell())
                number += len(at)
        except TransportError as err:
            raise FileError(err.what, where=err.where, mend=err.mend) from err
        except OSError as err:
            raise _unreadable(err, path) from err


def _batch(plan: _Plan, raw: RawBlock, first: int, done: int) -> Batch:
    decoded = plan.codec.decode(raw)
    rows = np.arange(len(raw)) if decoded.row is None else decoded.row
    bad = {first + int(row): reason for row, reason in zip(decoded.bad_row, decoded.reasons)}
    made = [_column(decoded, parts, item) for parts, item in zip(plan.parts, plan.inputs)]
    labels = None if plan.label is None else _labels(decoded.columns[plan.label], decoded.validity[plan.label])
    columns, validity = zip(*made)
    batch = Batch(tuple(columns), tuple(validity), (rows + first).tolist(), done, labels=labels, bad=bad)
    return _within_bytes(batch, plan.inputs)


def _column(decoded: Decoded, parts: Sequence[int], item: Input) -> tuple[Column, Valid]:
    """An input's column out of one field, or out of one a number (what is empty is NaN; all empty: null)."""
    cells, found = [decoded.columns[at] for at in parts], [decoded.validity[at] for at in parts]
    first = cells[0]
    if isinstance(first, VarColumn) or first.shape[1:] == item.shape:
        return first, found[0]
    valid = np.stack([np.ones(len(first), np.bool_) if there is None else there for there in found], 1)
    stacked: Array = np.stack([np.asarray(cell) for cell in cells], 1)
    is_float = np.issubdtype(stacked.dtype, np.floating)
    if is_float:
        stacked[~valid] = np.nan
    there: Bools = np.asarray(valid.any(axis=1) if is_float else valid.all(axis=1))
    return stacked.reshape(-1, *item.shape), None if there.all() else there


def _within_bytes(batch: Batch, inputs: Sequence[Input]) -> Batch:
    """The batch with columns of uint8 where an input takes that; rows with other numbers become bad ones."""
    wide = [at for at, item in enumerate(inputs) if item.dtype == "uint8" and np.asarray(batch.columns[at]).dtype != np.uint8]
    if not wide:
        return batch
    outside = np.zeros(len(batch.number), np.bool_)
    for at in wide:
        numbers: Array = np.asarray(batch.columns[at]).reshape(len(outside), prod(inputs[at].shape))
        outside |= ((numbers < 0) | (numbers > 255)).any(axis=1)
    kept = np.flatnonzero(~outside)
    columns = [column.take(kept) if isinstance(column, VarColumn) else column[kept] for column in batch.columns]
    for at in wide:
        columns[at] = np.asarray(columns[at]).astype(np.uint8)
    bad = {batch.number[row]: "a number is not in 0 to 255" for row in np.flatnonzero(outside).tolist()}
    labels = None if batch.labels is None else [batch.labels[row] for row in kept.tolist()]
    validity = tuple(None if valid is None else valid[kept] for valid in batch.validity)
    return Batch(
        tuple(columns),
        validity,
        [batch.number[row] for row in kept.tolist()],
        batch.done,
        batch.names,
        labels,
        {**batch.bad, **bad},
    )


def _labels(column: Column, valid: Valid) -> list[str | None]:
    values: Sequence[Any] = [column.value(at) for at in range(len(column))] if isinstance(column, VarColumn) else column.tolist()
    return [as_text(value) if valid is None or valid[at] else None for at, value in enumerate(values)]
