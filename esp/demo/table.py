"""The live table: events, rate, latency, accuracy and models of each query; a line a second where there is no terminal."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType

from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

REFRESH_HZ = 4


@dataclass(frozen=True, slots=True)
class Row:
    """What one query has done so far."""

    query: str
    sent: int
    expected: int
    scored: int
    p50_ms: float
    p99_ms: float
    accuracy: float
    models: tuple[str, ...]


@dataclass(slots=True)
class Rate:
    """Events a second since the last look, over at least half a second."""

    count: int = 0
    at_s: float = 0.0
    value: float = 0.0

    def update(self, count: int, now_s: float) -> float:
        if not self.at_s:
            self.count, self.at_s = count, now_s
        elif now_s - self.at_s >= 0.5:
            self.value = (count - self.count) / (now_s - self.at_s)
            self.count, self.at_s = count, now_s
        return self.value


@dataclass(slots=True)
class Board:
    """Shows rows while it is open; ``note`` is the line below them."""

    console: Console
    rows: Callable[[], Sequence[Row]]
    note: str = ""
    rates: dict[str, Rate] = field(default_factory=dict)
    live: Live | None = None
    printed_s: float = 0.0

    def __enter__(self) -> "Board":
        if self.console.is_terminal:
            self.live = Live(console=self.console, refresh_per_second=REFRESH_HZ, get_renderable=self.render)
            self.live.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.live is not None:
            self.live.__exit__(kind, error, trace)

    def tick(self) -> None:
        """Called often; prints a line for each query once a second where there is no terminal."""
        now_s = time.monotonic()
        if self.live is None and now_s - self.printed_s >= 1.0:
            self.printed_s = now_s
            for row in self.rows():
                self.console.print(self.line(row), highlight=False)

    def say(self, note: str) -> None:
        """What happens just now."""
        self.note = note
        if self.live is None:
            self.console.print(note, highlight=False)

    def line(self, row: Row) -> str:
        rate = self._rate(row)
        return (
            f"{row.query}: sent {row.sent}, scored {row.scored} of {row.expected}, {rate:.0f}/s, "
            f"p50 {row.p50_ms:.1f} ms, p99 {row.p99_ms:.1f} ms, accuracy {row.accuracy:.4f}, model {' '.join(row.models)}"
        )

    def render(self) -> Group:
        """The table, and the note below it."""
        table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
        table.add_column("query", no_wrap=True)
        for heading in ("sent", "scored", "/s", "p50 ms", "p99 ms", "accuracy"):
            table.add_column(heading, justify="right", no_wrap=True)
        table.add_column("models seen", no_wrap=True)
        for row in self.rows():
            cells = (str(row.sent), str(row.scored), f"{self._rate(row):.0f}", f"{row.p50_ms:.1f}", f"{row.p99_ms:.1f}")
            table.add_row(row.query, *cells, f"{row.accuracy:.4f}", "\n".join(row.models))
        return Group(table, Text(self.note))

    def _rate(self, row: Row) -> float:
        return self.rates.setdefault(row.query, Rate()).update(row.scored, time.monotonic())
