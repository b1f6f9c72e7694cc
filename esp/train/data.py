"""Data to train on: rows and what they should become, as events give them; and how it is split, honestly, by group."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from esp.errors import FileError

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Dataset:
    """Rows with their targets.

    ``rows`` is one array ``[n, *shape]``, or a tuple of n recordings ``[length, channels]`` of different lengths.
    ``targets`` are indices into ``classes``, or numbers to be predicted where there are no classes. ``groups`` names, for
    each row, what must not be torn apart by a split (a subject). ``digest`` is the SHA-256 of the files it came from.
    """

    name: str
    rows: Array | tuple[Array, ...]
    targets: Array
    classes: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    digest: str = ""

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def labels(self) -> tuple[str, ...]:
        """The class of each row by its name."""
        return tuple(self.classes[int(target)] for target in self.targets)

    @property
    def array(self) -> Array:
        """The rows as one array; recordings are cut into windows first."""
        if isinstance(self.rows, tuple):
            raise FileError("recordings of different lengths cannot be fed as they are", where="data", mend="add [data.windows]")
        return self.rows

    def take(self, indices: Sequence[int] | Array) -> "Dataset":
        """Some of the rows, in the order given."""
        picked = [int(i) for i in indices]
        rows = tuple(self.rows[i] for i in picked) if isinstance(self.rows, tuple) else self.rows[picked]
        groups = tuple(self.groups[i] for i in picked) if self.groups else ()
        return replace(self, rows=rows, targets=self.targets[picked], groups=groups)

    def windows(self, length: int, hop: int) -> "Dataset":
        """Every ``hop``-th window of ``length`` steps of each recording, with the recording's target and group."""
        rows: list[Array] = []
        origin: list[int] = []
        for i, recording in enumerate(self.rows):
            starts = range(0, len(recording) - length + 1, hop)
            rows += [recording[start : start + length] for start in starts]
            origin += [i] * len(starts)
        if not rows:
            raise FileError(f"no recording is {length} steps long", where="data.windows.length", mend="ask for shorter windows")
        groups = tuple(self.groups[i] for i in origin) if self.groups else ()
        return replace(self, rows=np.stack(rows), targets=self.targets[origin], groups=groups)


@dataclass(frozen=True, slots=True)
class Split:
    """What is trained on, and what is held out."""

    train: Dataset
    held_out: Dataset


def split_fraction(data: Dataset, fraction: float, seed: int) -> Split:
    """Holds out a share of the rows by chance, or, where rows have groups, of the groups (at least one)."""
    rng = np.random.default_rng(seed)
    if data.groups:
        names = group_names(data)
        count = max(1, round(fraction * len(names))) if fraction else 0
        return split_groups(data, [names[i] for i in rng.permutation(len(names))[:count]])
    order = rng.permutation(len(data))
    held = np.sort(order[: round(fraction * len(data))])
    return Split(data.take(np.setdiff1d(np.arange(len(data)), held)), data.take(held))


def split_groups(data: Dataset, names: Sequence[str]) -> Split:
    """Holds out the rows of the named groups."""
    for name in names:
        if name not in data.groups:
            raise FileError(
                f"no group {name}",
                where="data.leave_out",
                mend=f"use of {', '.join(group_names(data)) or 'none: the data has no groups'}",
            )
    is_held = np.array([group in names for group in data.groups], dtype=bool)
    return Split(data.take(np.flatnonzero(~is_held)), data.take(np.flatnonzero(is_held)))


def group_names(data: Dataset) -> list[str]:
    """The groups' names, numbers in their order."""
    return sorted(set(data.groups), key=lambda name: (len(name), name) if name.isdigit() else (1 << 30, name))


def folds(data: Dataset, count: int = 5) -> list[Split]:
    """Each group held out once: the groups in order, cut into ``count`` runs as even as can be."""
    names = group_names(data)
    if len(names) < count:
        raise FileError(f"{len(names)} groups cannot make {count} folds", where="data", mend="ask for fewer folds")
    return [split_groups(data, [str(name) for name in part]) for part in np.array_split(np.array(names), count)]


def statistics(rows: Array) -> dict[str, list[float] | list[int]]:
    """Reference statistics of an input: lists of one number a channel of the last axis (one in all where rows have one axis).

    ``count`` counts the values that are there, ``missing`` the NaN; ``std`` divides by n.
    """
    values = np.asarray(rows, np.float64)
    values = values.reshape(-1, values.shape[-1]) if values.ndim > 2 else values.reshape(-1, 1)
    there = ~np.isnan(values)
    counts = there.sum(axis=0)
    if not counts.all():
        raise FileError("a channel has no value at all in the training data", where="data", mend="leave the channel out")
    return {
        "count": [int(count) for count in counts],
        "mean": [float(value) for value in np.nanmean(values, axis=0)],
        "std": [float(value) for value in np.nanstd(values, axis=0)],
        "min": [float(value) for value in np.nanmin(values, axis=0)],
        "max": [float(value) for value in np.nanmax(values, axis=0)],
        "missing": [int(count) for count in len(values) - counts],
    }
