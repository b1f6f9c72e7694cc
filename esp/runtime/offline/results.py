"""What `esp score` writes: scores as JSON lines, CSV or numpy arrays, and what it tells at the end."""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np
import orjson

from esp.astore.graph import Array
from esp.astore.model import Astore, Output
from esp.errors import FileError, UsageError
from esp.files import write_whole

MAX_REASONS = 3  # that the summary tells


@dataclass(frozen=True, slots=True)
class Scored:
    """Scored rows: ``outputs`` over them in the order of the astore's; ``bad`` holds the rows that could not be scored, with reasons."""

    number: Sequence[int]
    names: Sequence[str]
    outputs: tuple[Array, ...]
    bad: Mapping[int, str]


class Writer(Protocol):
    """Takes scored rows in order, and finishes the file."""

    def write(self, scored: Scored) -> None: ...

    def close(self) -> None: ...


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

    def close(self) -> None:
        self.file.flush()


class CsvLines:
    """A line of names, then one a row; an output of several numbers takes a column each (NAME[0], NAME[1], ...)."""

    def __init__(self, astore: Astore, file: IO[bytes]) -> None:
        self.astore, self.file, self.has_names = astore, file, False

    def write(self, scored: Scored) -> None:
        made = [columns_of(output, array) for output, array in zip(self.astore.outputs, scored.outputs)]
        names, columns = (
            ["row", *(["file"] if scored.names else [])],
            [list(scored.number), *([scored.names] if scored.names else [])],
        )
        for name, values in _joined(made, self.astore.outputs).items():
            flat = np.asarray(values).reshape(len(values), -1) if isinstance(values, np.ndarray) and values.ndim > 1 else None
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

    def close(self) -> None:
        self.file.flush()


class Arrays:
    """The outputs of all rows as arrays: one .npy, or an .npz with each by its name and ``row``."""

    def __init__(self, astore: Astore, path: Path) -> None:
        if path.suffix == ".npy" and len(astore.outputs) > 1:
            names = ", ".join(output.name for output in astore.outputs)
            raise UsageError(f"an .npy file holds one output, the model has {names}", where=str(path), mend="write an .npz")
        self.astore, self.path = astore, path
        self.parts: list[Scored] = []

    def write(self, scored: Scored) -> None:
        self.parts.append(scored)

    def close(self) -> None:
        made = {
            output.name: np.concatenate([part.outputs[at] for part in self.parts] or [np.zeros((0, *output.shape), output.dtype)])
            for at, output in enumerate(self.astore.outputs)
        }
        data = io.BytesIO()
        if self.path.suffix == ".npy":
            np.save(data, made[self.astore.outputs[0].name])
        else:
            rows = np.array([row for part in self.parts for row in part.number], np.int64)
            np.savez(data, **{"row": rows, **made})  # type: ignore[arg-type]  # names of arrays, not of options
        write_whole(self.path, [data.getvalue()])


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
    ".npy": Arrays,
    ".npz": Arrays,
}


def writer_for(path: Path) -> Callable[..., Writer]:
    """The writer of a suffix. Raises UsageError for one that there is none of."""
    if path.suffix not in WRITERS:
        raise UsageError(f"no scores are written as '{path.suffix}'", where=str(path), mend=f"use one of {', '.join(WRITERS)}")
    if not path.parent.is_dir():
        raise FileError("the folder is not there", where=str(path.parent), mend="make it")
    return WRITERS[path.suffix]
