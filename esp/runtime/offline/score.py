"""Scores a file: reads rows, scores them batch by batch, writes the scores, tells how it went."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from esp.astore.model import Astore
from esp.errors import UsageError
from esp.runtime.events import Column, VarColumn
from esp.runtime.offline.arrays import read_npy, read_npz
from esp.runtime.offline.images import SUFFIXES, read_images
from esp.runtime.offline.records import read_csv, read_json
from esp.runtime.offline.results import Scored, Tally, no_rows, scores_to
from esp.runtime.offline.rows import Batch, Reader, Source
from esp.runtime.scorer import Scorer, Scores

READERS: Mapping[str, Reader] = {
    ".csv": read_csv, ".json": read_json, ".jsonl": read_json, ".ndjson": read_json, ".npy": read_npy, ".npz": read_npz,
    **dict.fromkeys(SUFFIXES, read_images),
}  # fmt: skip
Progress = Callable[[int, int], None]  # how far the file is read, and its size


def read_rows(astore: Astore, path: Path, label: str = "") -> Source:
    """The rows of a file or of a folder of images for the inputs of a model; ``label`` names where the true labels are.

    Raises UsageError for a kind of file that is not read, FileError for one that cannot be read or does not fit the model.
    """
    if path.is_dir():
        return read_images(astore, path, label)
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise UsageError(
            f"files '{path.suffix}' are not read", where=str(path), mend=f"use one of {', '.join(READERS)}, or a folder of images"
        )
    if not path.is_file():
        raise UsageError("there is no such file", where=str(path), mend="check the path")
    return reader(astore, path, label)


def first_rows(astore: Astore, path: Path, label: str, most: int) -> tuple[list[Column], list[str]]:
    """The first rows of a file that can be read and miss no value: a column for each input, and the true labels.

    Raises as ``read_rows`` does, and UsageError where there are none.
    """
    parts: list[list[Column]] = []
    labels: list[str] = []
    count = 0
    for batch in read_rows(astore, path, label).batches:
        whole = np.ones(len(batch.number), np.bool_)
        for valid in batch.validity:
            whole &= True if valid is None else valid
        if batch.labels is not None:
            whole &= np.array([one is not None for one in batch.labels], np.bool_)
        rows = np.flatnonzero(whole)[: most - count]
        count += len(rows)
        parts.append([column.take(rows) if isinstance(column, VarColumn) else column[rows] for column in batch.columns])
        labels += [str(batch.labels[row]) for row in rows.tolist()] if batch.labels is not None else []
        if count == most:
            break
    if not count:
        raise UsageError("there are no rows that can be read", where=str(path), mend="give rows that the model takes")
    return [_joined(column) for column in zip(*parts)], labels


def _joined(parts: Sequence[Column]) -> Column:
    if isinstance(parts[0], VarColumn):
        return VarColumn.of([part.value(row) for part in parts if isinstance(part, VarColumn) for row in range(len(part))])
    return np.concatenate([np.asarray(part) for part in parts])


def score_file(
    scorer: Scorer, path: Path, output: Path | None, label: str = "", progress: Progress = lambda done, size: None
) -> Tally:
    """Scores the rows of ``path`` into ``output`` (JSON lines on stdout where it is None) and tells how many, and how good.

    A row that cannot be read or that the model refuses is written with its reason, and counted. ``output`` may be ``path`` itself.
    Raises as ``read_rows`` and ``scores_to`` do.
    """
    if label and not any(item.labels for item in scorer.astore.outputs):
        raise UsageError("the model has no labels to compare with", where=f"--label {label}", mend="leave it out")
    source, tally = read_rows(scorer.astore, path, label), Tally()
    with scores_to(scorer.astore, output) as writer:
        for batch in source.batches:
            scored, rows = _score(scorer, batch)
            writer.write(scored)
            labels = None if batch.labels is None else [batch.labels[row] for row in rows]
            tally.add(scored, _labels(scorer.astore, scored), labels)
            progress(batch.done, source.size)
    return tally


def _score(scorer: Scorer, batch: Batch) -> tuple[Scored, list[int]]:
    """The scores of the rows that could be read and that the model takes; which rows of the batch they are."""
    if not batch.number:
        return no_rows(scorer.astore, batch.bad, batch.names), []
    scores: Scores = scorer.score(batch.columns, batch.validity)
    kept, bad = list(range(len(batch.number))), dict(batch.bad)
    if scores.refused is not None:
        kept = np.flatnonzero(~scores.refused).tolist()
        bad |= {batch.number[row]: reason for row, reason in zip(np.flatnonzero(scores.refused).tolist(), scores.reasons)}
    names = None if batch.names is None else [batch.names[row] for row in kept]
    return Scored([batch.number[row] for row in kept], names, tuple(array[kept] for array in scores.outputs), bad), kept


def _labels(astore: Astore, scored: Scored) -> list[str | None]:
    """The label of each row by the first output that has labels."""
    for output, array in zip(astore.outputs, scored.outputs):
        if output.labels:
            return [output.labels[at] for at in array.argmax(axis=1)]
    return [None] * len(scored.number)
