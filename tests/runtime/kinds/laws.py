"""The two laws that every window kind obeys, as functions over a case: any cutting gives the same output, and so does any crash.

A case is a window with its input. Output is compared row by row, each port for itself: values, nulls, opcode, event time,
watermark, models, and the record that a row comes from; blocks are not seen.
"""

import itertools
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from esp.runtime.events import Block, DeadBlock, EventBlock, RawBlock, VarColumn
from esp.runtime.kinds import KINDS
from esp.runtime.kinds.window import Environment, Ports, Stream, Window
from esp.runtime.schema import Schema
from esp.runtime.state.checkpoint import Checkpoint, CheckpointStore
from esp.runtime.state.tables import Columns, KeyedTable, Tables


@dataclass(frozen=True)
class Case:
    """A window (its settings as a query file has them) and all events that it gets, as one block."""

    name: str
    settings: Mapping[str, Any]
    stream: Stream | None
    events: Callable[[], EventBlock | RawBlock]
    environment: Environment = field(default_factory=lambda: Environment("query.toml: windows.w"))
    scorers: Callable[[], Mapping[str, Any]] = dict

    @property
    def kind(self) -> str:
        return str(self.settings["kind"])


@dataclass
class LawContext:
    """The context of the one window under test."""

    tables: Tables
    scorers: Mapping[str, Any] = field(default_factory=dict)
    query: str = "laws"
    window: str = "w"
    partition: int = 3

    def table(self, name: str, columns: Columns, is_renewed: bool = False) -> KeyedTable:
        return self.tables.table(self.window, name, columns, is_renewed)

    def scorer(self, model: str) -> Any:
        return self.scorers[model]


def opened(case: Case, tables: Tables | None = None) -> Window:
    """A fresh instance of the case's window over these tables."""
    settings = KINDS[case.kind].model_validate({"from": "" if case.kind == "source" else "before", **case.settings})
    settings.resolve(case.stream, case.environment)
    window = settings.build(case.stream, case.environment)
    window.open(LawContext(tables if tables is not None else Tables(), case.scorers()))
    return window


def block_of(schema: str, rows: Sequence[Sequence[Any]], *, ts_s: Sequence[float], delay_s: float = 0, opcode: Any = None, end_ns: Any = None,
             raw: RawBlock | None = None) -> EventBlock:  # fmt: skip
    """A block from Python rows (None = null); the watermark is the running maximum of event time less ``delay_s``."""
    parsed = Schema.parse(schema)
    columns, validity = [], []
    for at, place in enumerate(parsed):
        cells = [row[at] for row in rows]
        there = np.array([cell is not None for cell in cells], np.bool_)
        validity.append(None if there.all() else there)
        if place.type.is_var:
            columns.append(VarColumn.of([b"" if cell is None else cell for cell in cells]))
        else:
            zero = np.zeros(place.type.shape, place.type.dtype)
            shape = (len(rows), *place.type.shape)
            columns.append(np.array([zero if cell is None else cell for cell in cells], place.type.dtype).reshape(shape))
    ts_ns = np.array([round(ts * 1e9) for ts in ts_s], np.int64)
    watermark_ns = np.maximum.accumulate(ts_ns) - round(delay_s * 1e9) if len(ts_ns) else ts_ns
    end = end_ns if end_ns is not None else int(watermark_ns[-1])
    codes = None if opcode is None else np.array(opcode, np.uint8)
    raw_row = None if raw is None else np.arange(len(rows))
    return EventBlock(parsed, tuple(columns), tuple(validity), ts_ns, watermark_ns, end, codes, raw, raw_row)


def cut(block: EventBlock | RawBlock, borders: Sequence[int]) -> list[EventBlock | RawBlock]:
    """The block in pieces; each ends with the watermark that it has come to."""
    edges = [0, *borders, len(block)]
    pieces: list[EventBlock | RawBlock] = []
    for first, after in itertools.pairwise(edges):
        piece = block.take(np.arange(first, after))
        if isinstance(piece, EventBlock) and after < len(block):
            piece = replace(piece, end_watermark_ns=int(block.watermark_ns[after - 1]) if after else -(1 << 62))
        pieces.append(piece)
    return pieces


def finished(window: Window) -> Ports:
    """What comes at the end of a bounded stream, of the kinds that say so."""
    end = getattr(window, "end_of_stream", None)
    return end() if end else []


def rows_of(ports: Ports) -> dict[str, list[tuple[Any, ...]]]:
    """The output as Python rows, by port."""
    out: dict[str, list[tuple[Any, ...]]] = {}
    for port, block in ports:
        out.setdefault(port, []).extend(_rows(block))
    return {port: rows for port, rows in out.items() if rows}


def end_watermark(ports: Ports) -> int:
    """The last watermark that left on port ``out``; it never goes back."""
    ends = [block.end_watermark_ns for port, block in ports if port == "out" and isinstance(block, EventBlock)]
    assert ends == sorted(ends)
    return ends[-1] if ends else 0


def _rows(block: Block) -> list[tuple[Any, ...]]:
    if isinstance(block, DeadBlock):
        return [(int(block.raw.offset[row]), reason, block.window) for row, reason in zip(block.row, block.reasons, strict=True)]
    if isinstance(block, RawBlock):
        return [(block.value(row), block.key(row), block.headers(row), int(block.ts_ms[row])) for row in range(len(block))]
    return [_event(block, row) for row in range(len(block))]


def _event(block: EventBlock, row: int) -> tuple[Any, ...]:
    opcode = 0 if block.opcode is None else int(block.opcode[row])
    origin = -1
    if block.raw is not None and block.raw_row is not None and block.raw_row[row] >= 0:
        origin = int(block.raw.offset[block.raw_row[row]])
    cells = [_cell(block, at, row) for at in range(len(block.schema))]
    return (opcode, int(block.ts_ns[row]), int(block.watermark_ns[row]), origin, block.models, str(block.schema), *cells)


def _cell(block: EventBlock, at: int, row: int) -> bytes | None:
    """The bits of a cell; None where null."""
    valid, column = block.validity[at], block.columns[at]
    if valid is not None and not valid[row]:
        return None
    return column.value(row) if isinstance(column, VarColumn) else np.asarray(column[row]).tobytes()


def run(case: Case, borders: Sequence[int]) -> Ports:
    """The output of one undisturbed run over the events cut at ``borders``."""
    window = opened(case)
    ports = [port for piece in cut(case.events(), borders) for port in window.on_block("in", piece)]
    ports += finished(window)
    window.close()
    return ports


def run_with_crashes(case: Case, borders: Sequence[int], directory: Path, rng: random.Random) -> Ports:
    """The same, with checkpoints at some borders and crashes at some: each goes back to the last checkpoint and on from there."""
    pieces, store = cut(case.events(), borders), CheckpointStore(directory, "laws", "f")
    done: list[Ports] = []  # the output of each piece; what came after the checkpoint comes again
    tables, at, crashes = Tables(), 0, 0
    window = opened(case, tables)
    while at < len(pieces):
        done = [*done[:at], window.on_block("in", pieces[at])]
        at += 1
        if rng.random() < 0.5:
            store.save(3, Checkpoint({("laws", 3): at}, tables.dump(changed_only=store.wants_changes(3))))
        if rng.random() < 0.4 and crashes < 20:
            crashes += 1
            store = CheckpointStore(directory, "laws", "f")
            saved = store.load(3)
            tables, at = Tables(), 0
            if saved is not None:
                tables.load(saved.tables)
                at = saved.offsets["laws", 3]
            window = opened(case, tables)
    return [port for ports in done for port in ports] + finished(window)


def random_borders(n: int, rng: random.Random) -> list[int]:
    """Some places to cut, empty pieces among them."""
    return sorted(rng.randrange(n + 1) for _ in range(rng.randrange(1, n)))
