"""Which event a window fails at, when it fails at one that nobody foresaw: so that whoever reads the line can look at it."""

import contextlib
from collections.abc import Callable

import numpy as np

from esp.errors import EspError
from esp.runtime.events import I64, Block, DeadBlock, EventBlock, RawBlock
from esp.runtime.kinds.window import Window

MOST = 100_000  # events that are tried


class PoisonError(EspError):
    """A window failed at an event, and not as one that it refuses."""


def poisoned(err: Exception, window: str, block: Block, fresh: Callable[[], Window]) -> PoisonError:
    """What to say of a failure: the window, the place of the event if it is found, else the places of the block.

    Events go one by one through a window that ``fresh`` makes, with states of its own; what fails there is the event.
    """
    offsets, raw = _offsets(block)
    row = _culprit(block, fresh)
    first, last = (int(offsets.min()), int(offsets.max())) if len(offsets) else (-1, -1)
    if row is not None and row < len(offsets):
        first = last = int(offsets[row])
    place = (
        f"{raw.topic}/{raw.partition}/{first}" + (f"-{last}" if last > first else "")
        if raw is not None
        else "an event of no record"
    )
    why = err.what if isinstance(err, EspError) else f"{type(err).__name__}: {err}"
    return PoisonError(
        f"window '{window}' failed ({why})", where=place, mend="mend the query or the model, for a restart comes to the same event"
    )


def _culprit(block: Block, fresh: Callable[[], Window]) -> int | None:
    """The first event that fails by itself or after those before it; None where none does."""
    if isinstance(block, DeadBlock) or len(block) > MOST:
        return None
    with contextlib.suppress(Exception):
        window = fresh()
        for row in range(len(block)):
            try:
                window.on_block("in", block.take(np.array([row])))
            except Exception:  # as unforeseen as the first
                return row
    return None


def _offsets(block: Block) -> tuple[I64, RawBlock | None]:
    """The offset of each event's record, and the records."""
    if isinstance(block, RawBlock):
        return block.offset, block
    if isinstance(block, EventBlock) and block.raw is not None and block.raw_row is not None:
        return np.where(block.raw_row >= 0, block.raw.offset[block.raw_row], -1), block.raw
    return np.zeros(0, np.int64), None
