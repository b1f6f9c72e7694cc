"""What `esp score` writes: scores as JSON lines, CSV or numpy arrays, and what it tells at the end."""

import csv
import io
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np
import orjson

from esp.astore.graph import Array
from esp.astore.model import Astore, Output
from esp.errors import FileError, UsageError
from esp.files import whole_file

MAX_REASONS = 3  # that the summary tells


@dataclass(frozen=True, slots=True)
class Scored:
    """Scored rows: ``outputs`` over them in the order of the astore's; ``bad`` holds the rows that could not be scored, with reasons.

    ``names`` are those of the files that the rows are; None where they are rows of one file.
    """

    number: Sequence[int]
    names: Sequence[str] | None
    outputs: tuple[Array, ...]
    bad: Mapping[int, str]


def no_rows(astore: Astore, bad: Mapping[int, str] | None = None, names: Sequence[str] | None = None) -> Scored:
    """Scores of no row at all."""
    outputs: tuple[Array, ...] = tuple(np.zeros((0, *output.shape), output.dtype) for output in astore.outputs)
    return Scored((), names, outputs, bad or {})


class Writer(Protocol):
    """Takes scored rows in order; ``end`` writes what stands behind the last one."""

    def write(self, scored: Scored) -> None: ...

    def end(self) -> None: ...


@dataclass(slots=True)
class Tally:
    """What is told at the end. ``accuracy`` is over the rows with a true label; None where there are none."""

    rows: int = 0
    labelled: int = 0
    correct: int = 0
    bad: int = 0
    reasons: list[str] = field(default_factory=list)

    @property
    def accuracy(self) -> float | None:
        return self.correct / self.labelled if self.labelled else None

    def add(self, scored: Scored, found: Sequence[str | None], labels: Sequence[str | None] | None) -> None:
        self.rows += len(scored.number)
        self.bad += len(scored.bad)
        self.reasons += [f"row {row}: {reason}" for row, reason in sorted(scored.bad.items())][: MAX_REASONS - len(self.reasons)]
        if labels is not None:
            told = [(label, one) for label, one in zip(labels, found) if label is not None]
            self.labelled += len(told)
            self.correct += sum(label == one for label, one in told)


def columns_of(output: Output, array: Array) -> dict[str, Any]:
    """An output as named columns: label and probability of one with labels, the numbers of any other."""
    if not output.labels:
        return {output.name: array}
    best = array.argmax(axis=1)
    sure = np.isfinite(array.sum(axis=1))
    return {
        "label": [output.labels[at] if there else None for at, there in zip(best.tolist(), sure.tolist())],
        "probability": array[np.arange(len(array)), best],
    }


class JsonLines:
    """An object a row; a row that could not be scored has ``error`` in it. A NaN is null."""

    def __init__(self, astore: Astore, file: IO[bytes]) -> None:
        self.astore, self.file = astore, file

    def write(self, scored: Scored) -> None:
        made = [columns_of(output, array) for output, array in zip(self.astore.outputs, scored.outputs)]
        columns = _joined(made, self.astore.outputs)
        lines = {row: {"row": row, **({"file": scored.names[at]} if scored.names else {})} for at, row in enumerate(scored.number)}
        for at, row in enumerate(scored.number):
            lines[row] |= {name: values[at] for name, values in columns.items()}
        lines |= {row: {"row": row, "error": reason} for row, reason in scored.bad.items()}
        for _, line in sorted(lines.items()):
            self.file.write(orjson.dumps(line, option=orjson.OPT_SERIALIZE_NUMPY) + b"\n")

    def end(self) -> None:
        """Nothing stands behind the last line."""


class CsvLines:
    """A line of names, then one a row; an output of several numbers takes a column each (NAME[0], NAME[1], ...)."""

    def __init__(self, astore: Astore, file: IO[bytes]) -> None:
        self.astore, self.file, self.has_names = astore, file, False

    def write(self, scored: Scored) -> None:
        made = [columns_of(output, array) for output, array in zip(self.astore.outputs, scored.outputs)]
        names = ["row", *(["file"] if scored.names is not None else [])]
        columns: list[Any] = [scored.number, *([scored.names] if scored.names is not None else [])]
        for name, values in _joined(made, self.astore.outputs).items():
            flat = values.reshape(len(values), math.prod(values.shape[1:])) if getattr(values, "ndim", 1) > 1 else None
            names += [name] if flat is None else [f"{name}[{at}]" for at in range(flat.shape[1])]
            columns += [values] if flat is None else list(flat.T)
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        if not self.has_names:
            table.writerow([*names, "error"])
            self.has_names = True
        lines = {row: [*cells, ""] for row, *cells in zip(scored.number, *columns)}
        lines |= {row: [row, *[""] * (len(names) - 1), reason] for row, reason in scored.bad.items()}
        table.writerows(line for _, line in sorted(lines.items()))
        self.file.write(text.getvalue().encode())

    def end(self) -> None:
        """The line of names stands even where there are no rows."""
        if not self.has_names:
            self.write(no_rows(self.astore))


class Arrays:
    """The outputs of all rows as arrays: one .npy, or an .npz with each by its name and ``row``."""

    def __init__(self, astore: Astore, file: IO[bytes], is_one: bool = False) -> None:
        self.astore, self.file, self.is_one = astore, file, is_one
        self.parts: list[Scored] = []

    def write(self, scored: Scored) -> None:
        self.parts.append(scored)

    def end(self) -> None:
        parts = self.parts or [no_rows(self.astore)]
        made = {output.name: np.concatenate([part.outputs[at] for part in parts]) for at, output in enumerate(self.astore.outputs)}
        data = io.BytesIO()
        if self.is_one:
            np.save(data, made[self.astore.outputs[0].name])
        else:
            rows = np.array([row for part in parts for row in part.number], np.int64)
            np.savez(data, **{"row": rows, **made})  # type: ignore[arg-type]  # names of arrays, not of options
        self.file.write(data.getbuffer())


def _joined(made: Sequence[Mapping[str, Any]], outputs: Sequence[Output]) -> dict[str, Any]:
    """The columns of all outputs; label and probability bear the output's name where several outputs have them."""
    several = sum(bool(output.labels) for output in outputs) > 1
    columns: dict[str, Any] = {}
    for part, output in zip(made, outputs):
        columns |= {f"{output.name}_{name}" if several and output.labels else name: values for name, values in part.items()}
    return columns


WRITERS: Mapping[str, Callable[..., Writer]] = {
    ".jsonl": JsonLines,
    ".json": JsonLines,
    ".csv": CsvLines,
    ".npy": partial(Arrays, is_one=True),
    ".npz": Arrays,
}


@contextmanager
def scores_to(astore: Astore, path: Path | None) -> Iterator[Writer]:
    """What writes scores to a file, which is there at the end and whole, or to stdout as JSON lines where there is none.

    Raises UsageError for a suffix that nothing is written as, FileError where the file cannot be written (stdout: OSError).
    """
    if path is None:
        if sys.stdout is None:
            raise UsageError("stdout is closed", where="score", mend="write the scores to a file by -o")
        yield JsonLines(astore, sys.stdout.buffer)
        return
    kind = _writer_for(astore, path)
    try:
        with whole_file(path) as file:
            writer = kind(astore, file)
            yield writer
            writer.end()
    except OSError as err:
        reason = f"the scores cannot be written ({err.strerror or err})"
        raise FileError(reason, where=str(path), mend="name a file in a folder that has room") from err


def _writer_for(astore: Astore, path: Path) -> Callable[..., Writer]:
    suffix = path.suffix.lower()
    if suffix not in WRITERS:
        raise UsageError(f"no scores are written as '{path.suffix}'", where=str(path), mend=f"use one of {', '.join(WRITERS)}")
    if suffix == ".npy" and len(astore.outputs) > 1:
        names = ", ".join(output.name for output in astore.outputs)
        raise UsageError(f"an .npy file holds one output, the model has {names}", where=str(path), mend="write an .npz")
    if not path.parent.is_dir():
        raise FileError("the folder is not there", where=str(path.parent), mend="make it")
    return WRITERS[suffix]
