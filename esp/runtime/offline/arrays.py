"""Rows of numpy files: .npy holds the one input of a model, .npz each by its name."""

import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from esp.astore.graph import Array
from esp.astore.model import Astore, Input
from esp.errors import FileError
from esp.runtime.offline.rows import BATCH_ROWS, Batch, Source, as_text, only_input


def read_npy(astore: Astore, path: Path, label: str) -> Source:
    """The rows of an array [rows, *shape of the input]. Raises FileError for another shape or type, or where a label is asked for."""
    item = only_input(astore, "an .npy file", path)
    if label:
        raise FileError("an .npy file has no labels", where=str(path), mend=f"give an .npz with {item.name} and {label}")
    return _source(astore, {item.name: _load(path)}, None, path)


def read_npz(astore: Astore, path: Path, label: str) -> Source:
    """The rows of arrays named as the inputs, and the labels under ``label``. Raises FileError for what is missing or does not fit."""
    arrays = _load(path)
    if not isinstance(arrays, np.lib.npyio.NpzFile):
        raise FileError("this is no .npz file", where=str(path), mend="write it by numpy.savez")
    try:
        wanted = [item.name for item in astore.inputs] + ([label] if label else [])
        for name in wanted:
            if name not in arrays:
                raise FileError(f"there is no array '{name}'", where=str(path), mend=f"it has {', '.join(arrays) or 'none'}")
        found = {name: arrays[name] for name in wanted}
    except (ValueError, OSError, zipfile.BadZipFile) as err:
        raise FileError(
            f"an array cannot be read ({err})", where=str(path), mend="write it by numpy.savez, without objects"
        ) from err
    finally:
        arrays.close()
    return _source(astore, found, found.pop(label) if label else None, path)


def _load(path: Path) -> Any:
    try:
        return np.load(path, mmap_mode="r" if path.suffix.lower() == ".npy" else None, allow_pickle=False)
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as err:
        reason = " ".join(str(err).split())
        raise FileError(
            f"numpy cannot read it ({reason})", where=str(path), mend="write it by numpy.save, without objects"
        ) from err


def _source(astore: Astore, arrays: Mapping[str, Array], labels: Array | None, path: Path) -> Source:
    found = [_checked(arrays[item.name], item, path) for item in astore.inputs]
    count = len(found[0])
    if any(len(array) != count for array in (*found, *([] if labels is None else [labels]))):
        raise FileError("the arrays differ in their number of rows", where=str(path), mend="give each one row an event")

    def batches() -> Iterator[Batch]:
        for at in range(0, count, BATCH_ROWS):
            numbers = range(at, min(at + BATCH_ROWS, count))
            columns = tuple(np.ascontiguousarray(array[at : numbers.stop], item.dtype) for array, item in zip(found, astore.inputs))
            told = (
                None if labels is None else [as_text(label) for label in labels[at : numbers.stop].reshape(len(numbers), -1)[:, 0]]
            )
            yield Batch(columns, (None,) * len(columns), numbers, numbers.stop, labels=told)

    return Source(batches(), count)


def _checked(array: Array, item: Input, path: Path) -> Array:
    where = f"{path}: {item.name}"
    if item.dtype == "blob":
        raise FileError("the model takes image files here", where=where, mend="give image files, or a folder of them")
    if array.ndim < 1 or array.shape[1:] != item.shape:
        wanted = f"{item.dtype}[rows{''.join(f', {size}' for size in item.shape)}]"
        raise FileError(f"wanted {wanted}, got {array.dtype}{list(array.shape)}", where=where, mend="give it one row an event")
    wide = np.issubdtype(array.dtype, np.floating) and np.issubdtype(np.dtype(item.dtype), np.floating)
    if not wide and not np.can_cast(array.dtype, np.dtype(item.dtype)) and not _fits(array, item.dtype):
        raise FileError(f"{array.dtype} does not fit {item.dtype}", where=where, mend=f"convert it to {item.dtype}")
    return array


def _fits(array: Array, dtype: str) -> bool:
    """Whether whole numbers lie within a type, or are few enough in digits for a float."""
    if array.dtype.kind not in "iub":
        return False
    if np.issubdtype(np.dtype(dtype), np.floating):
        return True
    if dtype == "bool" or not array.size:
        return array.dtype.kind == "b" or not array.size
    limits = np.iinfo(dtype)
    return bool(array.min() >= limits.min and array.max() <= limits.max)
