"""The logic of the score kind: blocks in, the same events with scores out, and what the model refuses by ``dead``."""

import numpy as np

from esp.runtime.events import I64, Block, DeadBlock, EventBlock
from esp.runtime.kinds.scoring.feeds import Feed
from esp.runtime.kinds.scoring.outputs import Adding, Place
from esp.runtime.kinds.window import Context, Ports
from esp.runtime.schema import Schema


class ScoreWindow:
    """Scores blocks. Deletes pass unscored, with nulls in the fields added; events that the model refuses leave by ``dead``.

    A refused event that comes from no record has no dead letter: it passes with nulls too.
    """

    def __init__(self, model: str, schema: Schema, feed: Feed, adding: Adding, retracts: bool) -> None:
        self.model, self.schema, self.feed, self.adding, self.retracts = model, schema, feed, adding, retracts

    def open(self, context: Context) -> None:
        self.context = context
        self.feed.open(context, self.model)

    def close(self) -> None:
        pass

    def on_block(self, port: str, block: Block) -> Ports:
        assert isinstance(block, EventBlock)
        scorer = self.context.scorer(self.model)
        block, rows, scores = self.feed.score(scorer, block)
        outputs, refused = scores.outputs, None
        if scores.refused is not None:
            rows = np.arange(len(block)) if rows is None else rows
            refused, rows = rows[scores.refused], rows[~scores.refused]
            outputs = tuple(output[~scores.refused] for output in outputs)
        added = self.adding.columns(scorer.astore, outputs, Place(len(block), rows))
        columns, validity = zip(*added) if added else ((), ())
        scored = block.scored(self.schema, columns, validity, scorer.astore.short_digest)
        if refused is None:
            return [("out", scored)]
        return self._without_dead(scored, refused, scores.reasons)

    def _without_dead(self, scored: EventBlock, refused: I64, reasons: tuple[str, ...]) -> Ports:
        """Sends the refused events that come from a record to the dead-letter output; they go on only where deletes may follow."""
        if scored.raw is None or scored.raw_row is None:
            return [("out", scored)]
        is_dead = scored.raw_row[refused] >= 0
        dead = refused[is_dead]
        why = tuple(reason for reason, gone in zip(reasons, is_dead) if gone)
        ports: Ports = [("out", scored if self.retracts else scored.take(np.delete(np.arange(len(scored)), dead)))]
        return [*ports, ("dead", DeadBlock(scored.raw, scored.raw_row[dead], why, self.context.window))] if len(dead) else ports
