"""Rows of a file, a batch at a time, as columns for the inputs of a model."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from esp.astore.model import Astore, Input
from esp.errors import FileError
from esp.runtime.events import Bools, Column

BATCH_ROWS = 4096


@dataclass(frozen=True, slots=True)
class Batch:
    """Some rows: ``columns[i]`` and ``validity[i]`` are those of input i over the rows that could be read.

    ``number`` has the row of the file of each, from 0; ``names`` what to call it where each is a file of its own; ``labels`` the
    true ones, where asked for. ``bad`` holds the rows that could not be read, with the reason. ``done`` is how far the file is
    read, of ``Source.size``.
    """

    columns: tuple[Column, ...]
    validity: tuple[Bools | None, ...]
    number: Sequence[int]
    done: int
    names: Sequence[str] | None = None
    labels: Sequence[str | None] | None = None
    bad: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Source:
    """Batches, and their size in the unit of ``Batch.done`` (bytes, or rows)."""

    batches: Iterator[Batch]
    size: int


Reader = Callable[[Astore, Path, str], Source]


def as_text(value: object) -> str:
    """A label as labels are written: a whole number without a point.

    >>> as_text(3.0), as_text("cat"), as_text(np.int64(3))
    ('3', 'cat', '3')
    """
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return str(value)


def only_input(astore: Astore, what: str, where: Path) -> Input:
    """The input of a model that has but one. Raises FileError where ``what`` cannot tell several apart."""
    if len(astore.inputs) != 1:
        names = ", ".join(item.name for item in astore.inputs)
        raise FileError(
            f"{what} holds one input, the model has {names}", where=str(where), mend="give an .npz or .jsonl with each by name"
        )
    return astore.inputs[0]
