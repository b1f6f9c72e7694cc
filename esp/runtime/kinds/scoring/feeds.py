"""How a score window feeds its model: event by event, by the last events of a key, or by one step of its key's states."""

import logging
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from esp.runtime.events import I64, EventBlock, Opcode
from esp.runtime.keys import row_keys
from esp.runtime.kinds.rings import Rings, stacked
from esp.runtime.kinds.window import Context
from esp.runtime.scorer import Scorer, Scores
from esp.runtime.state.tables import KeyedTable
from esp.runtime.stateful import Memory, StatefulScorer
from esp.runtime.windowed import Sliding, WindowScorer

log = logging.getLogger("esp.models")
Scored = tuple[EventBlock, I64 | None, Scores]  # the events that leave, which of them were scored (None: all), and their scores


class Feed(Protocol):
    """Takes a block to the model at work, which a deployment may change from one block to the next."""

    def open(self, context: Context, model: str) -> None: ...

    def score(self, scorer: Scorer, block: EventBlock) -> Scored: ...


class EventFeed:
    """Every event is scored by its own fields, but for deletes."""

    def __init__(self, fields: Sequence[str]) -> None:
        self.fields = fields

    def open(self, context: Context, model: str) -> None:
        pass

    def score(self, scorer: Scorer, block: EventBlock) -> Scored:
        rows = _rows_to_score(block)
        taken = block if rows is None else block.take(rows)
        return block, rows, scorer.score([taken.column(name) for name in self.fields], [taken.valid(name) for name in self.fields])


class SequenceFeed:
    """The last events of a key are scored, and leave as the one that completed them."""

    def __init__(self, rings: Rings) -> None:
        self.rings = rings
        self.scorer: WindowScorer | None = None
        self.sliding: Sliding | None = None

    def open(self, context: Context, model: str) -> None:
        self.rings.open(context)

    def score(self, scorer: Scorer, block: EventBlock) -> Scored:
        assert isinstance(scorer, WindowScorer)
        if scorer is not self.scorer:
            self.scorer, self.sliding = scorer, scorer.sliding()
        full = self.rings.add(block)
        return block.take(full.at), None, scorer.score_windows(full.tensors, full.rows, full.counts, self.sliding)


class StatefulFeed:
    """Every event is a step of its key's states. These belong to a model: with another one all keys begin anew."""

    def __init__(self, by: Sequence[str], fields: Sequence[str], is_stacked: bool, max_gap_ns: int | None) -> None:
        self.by, self.fields, self.is_stacked, self.max_gap_ns = by, fields, is_stacked, max_gap_ns
        self.scorer: StatefulScorer | None = None
        self.table: KeyedTable

    def open(self, context: Context, model: str) -> None:
        self.context = context
        self._begin(context.scorer(model))

    def score(self, scorer: Scorer, block: EventBlock) -> Scored:
        if scorer is not self.scorer:
            self._begin(scorer)
        assert self.scorer is not None
        rows = self.table.rows(row_keys(block, self.by))
        if self.is_stacked:
            column, valid = stacked(block, self.fields), None
        else:
            (name,) = self.fields
            column, valid = np.asarray(block.column(name)), block.valid(name)
        event = column.reshape(len(block), *self.scorer.event.shape)
        return block, None, self.scorer.step(event, valid, rows, np.ascontiguousarray(block.ts_ns), self.memory)

    def _begin(self, scorer: Scorer) -> None:
        """The states of a model: those in the state table where they are its own."""
        assert isinstance(scorer, StatefulScorer)
        old = self.table if self.scorer is not None else None
        states = f"states of {scorer.astore.short_digest}"
        columns = {"count": ("int64", ()), "last_ns": ("int64", ()), states: ("float32", scorer.initial.shape)}
        self.scorer, self.table = scorer, self.context.table("states", columns, is_renewed=True)
        self.memory = Memory(self.table, states, scorer.initial, self.max_gap_ns)
        if old is not None and old is not self.table:
            line = "query %s window %s partition %d: the states of %d keys begin anew with model %s"
            context = self.context
            log.info(line, context.query, context.window, context.partition, len(old), scorer.astore.short_digest)


def _rows_to_score(block: EventBlock) -> I64 | None:
    """The rows that are no deletes; None = all."""
    if block.opcode is None:
        return None
    is_delete = (block.opcode == Opcode.DELETE) | (block.opcode == Opcode.SAFEDELETE)
    return np.flatnonzero(~is_delete) if is_delete.any() else None
