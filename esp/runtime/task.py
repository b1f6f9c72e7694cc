"""A task: one source's part of a query on one partition. Blocks in, blocks for the sinks out; no asyncio, no Kafka."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from time import perf_counter

import numpy as np

from esp.errors import EspError, TransportError
from esp.runtime.events import Block, DeadBlock, RawBlock, raw_block
from esp.runtime.kafka.spans import Span
from esp.runtime.kinds.source import SourceWindow
from esp.runtime.kinds.window import Window
from esp.runtime.meters import QueryMeter, WindowMeter
from esp.runtime.poison import poisoned
from esp.runtime.query import PlannedWindow, Query
from esp.runtime.reading import Reader
from esp.runtime.scorer import Scorer
from esp.runtime.state.tables import Columns, KeyedTable, Tables
from esp.runtime.unread import Damage, Unwanted

log = logging.getLogger("esp.task")
Outputs = list[tuple[str, RawBlock | DeadBlock]]  # sink window (or DEAD) and what goes there
DEAD = "query.dead"  # no window has a dot in its name


@dataclass(slots=True)
class TaskContext:
    """The Context of one window of a task."""

    query: str
    window: str
    partition: int
    tables: Tables
    scorers: Callable[[str], Scorer]
    remembering: set[str]

    def table(self, name: str, columns: Columns, is_renewed: bool = False) -> KeyedTable:
        self.remembering.add(self.window)
        return self.tables.table(self.window, name, columns, is_renewed)

    def scorer(self, model: str) -> Scorer:
        return self.scorers(self.window)


class Task:
    """The windows that one source feeds, opened for one partition over its state tables.

    ``scorers`` maps score windows to scorers; the caller may change it between two blocks. ``next_offset`` is the offset
    that the state has come to: a restart with this state goes on from there, and records before it are passed over. ``steps``
    counts what may have changed the state since the task was opened; ``remembering`` are the windows that keep state. With a
    ``span`` nothing leaves of what stands before its beginning, and nothing at or behind its end is taken; ``events`` counts records.
    ``outlet`` is what the outputs carry with them on their way to the sinks.
    """

    def __init__(
        self, query: Query, source: str, partition: int, scorers: Mapping[str, Scorer], *,
        tables: Tables | None = None, next_offset: int = 0, meter: QueryMeter | None = None, span: Span | None = None,
        outlet: object = None,
    ) -> None:  # fmt: skip
        self.outlet = outlet
        self.query, self.source, self.partition, self.next_offset = query, source, partition, next_offset
        self.tables = tables if tables is not None else Tables()
        self.meter = meter if meter is not None else new_meter(query)
        self.reader = Reader()
        self.steps = self.events = 0
        self.span = span
        self.remembering: set[str] = set()
        self._scorers = scorers
        self.windows: dict[str, Window] = {}
        for name in query.downstream(source):
            planned = query.windows[name]
            self.windows[name] = planned.settings.build(planned.stream, planned.environment)
            self.windows[name].open(TaskContext(query.name, name, partition, self.tables, scorers.__getitem__, self.remembering))

    def process(self, raw: RawBlock) -> Outputs:
        """Runs a block of records through every window; records before ``next_offset`` are passed over."""
        if len(raw) and raw.offset[0] < self.next_offset:
            raw = raw.take(np.flatnonzero(raw.offset >= self.next_offset))
        if self.span is not None:
            warming, raw = self.span.cut(raw)
            self._warm_up(warming)
        return self._take(raw)

    def _warm_up(self, raw: RawBlock) -> None:
        """Lets the windows see records of which nothing is to leave, nor to be counted."""
        meter, self.meter = self.meter, new_meter(self.query)
        self._take(raw)
        self.meter, self.events = meter, self.events - len(raw)

    def _take(self, raw: RawBlock) -> Outputs:
        if not len(raw):
            return []
        if not self.next_offset and raw.offset[0] > 0 and self.remembering - {self.source}:
            line = "query %s source %s: partition %d begins at offset %d without a checkpoint here; windows hold nothing of the events before"
            log.warning(line, self.query.name, self.source, self.partition, raw.offset[0])
        before = self.next_offset, self.steps, self.events
        self.next_offset = raw.next_offset
        self.steps += 1
        self.events += len(raw)
        outputs: Outputs = []
        try:
            self._run(self.query.windows[self.source], "in", raw, outputs)
        except Unwanted:  # of the source, before anything has changed
            self.next_offset, self.steps, self.events = before
            raise
        return outputs

    def give_up(self, damage: Damage) -> Outputs:
        """Passes over a record batch that nobody can read; its bytes go to the dead letters."""
        self.next_offset = max(self.next_offset, damage.last + 1)
        self.steps += 1
        if self.span is not None and damage.last < self.span.begin:
            return []
        self.meter.windows[self.source].events_dead += 1
        raw = raw_block([damage.data.tobytes()], topic=damage.before.topic, partition=self.partition, offsets=[damage.first])
        return [(DEAD, DeadBlock(raw, np.zeros(1, np.int64), (str(damage),), self.source))]

    def move_to(self, offset: int) -> None:
        """The records that follow begin there, whatever came before; the state stays as it is."""
        self.next_offset = offset
        self.steps += 1

    def end(self) -> Outputs:
        """The end of a bounded source: its watermark passes everything that is still open."""
        self.steps += 1
        outputs: Outputs = []
        source = self.windows[self.source]
        assert isinstance(source, SourceWindow)
        self._spread(self.query.windows[self.source], source.end_of_stream(), outputs)
        return outputs

    def go_on(self) -> None:
        """Begins to read anew at ``next_offset``, with the state as it is."""
        self.reader = Reader()

    def close(self) -> None:
        for window in self.windows.values():
            window.close()

    def _run(self, planned: PlannedWindow, port: str, block: Block, outputs: Outputs) -> None:
        meter = self.meter.windows[planned.name]
        meter.events_in += len(block)
        start = perf_counter()
        try:
            made = self.windows[planned.name].on_block(port, block)
        except (Unwanted, TransportError):  # no fault of an event
            raise
        except Exception as err:
            if not isinstance(err, EspError):
                log.exception("query %s window %s failed at what nobody foresaw", self.query.name, planned.name)
            raise poisoned(err, planned.name, block, partial(self._fresh, planned)) from err
        meter.seconds.add(perf_counter() - start)
        self._spread(planned, made, outputs)

    def _fresh(self, planned: PlannedWindow) -> Window:
        """A window like one of ours, with states of its own."""
        window = planned.settings.build(planned.stream, planned.environment)
        window.open(TaskContext(self.query.name, planned.name, self.partition, Tables(), self._scorers.__getitem__, set()))
        return window

    def _spread(self, planned: PlannedWindow, made: list[tuple[str, Block]], outputs: Outputs) -> None:
        meter = self.meter.windows[planned.name]
        for port, block in made:
            _count(meter, port, len(block))
            if isinstance(block, DeadBlock):
                outputs.append((DEAD, block))
            elif isinstance(block, RawBlock):
                outputs.append((planned.name, block))
            else:
                for name in planned.subscribers.get(port, ()):
                    self._run(self.query.windows[name], "in", block, outputs)


def _count(meter: WindowMeter, port: str, events: int) -> None:
    if port == "late":
        meter.events_late += events
    elif port == "dead":
        meter.events_dead += events
    else:
        meter.events_out += events


def new_meter(query: Query) -> QueryMeter:
    """A meter with a place for every window of a query."""
    return QueryMeter({name: WindowMeter(window.settings.kind) for name, window in query.windows.items()})
