"""The options of a backfill, and how one runs: progress while it goes, one line at its end."""

import asyncio
import contextlib
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from time import monotonic
from typing import TYPE_CHECKING, Annotated

import typer

from esp.cli.options import LINE_EVERY_S, progress_bar
from esp.errors import EspError, UsageError

if TYPE_CHECKING:
    from esp.runtime.backfill import Asked, Backfill
    from esp.runtime.engine import Engine, EngineSettings
    from esp.runtime.query import Query

log = logging.getLogger("esp.backfill")
DEFAULT_LISTEN, FREE_PORT = "127.0.0.1:8088", "127.0.0.1:0"
LOOK_S = 0.2

FromTime = Annotated[str, typer.Option(metavar="TIME", help="Backfill: from the first record of this time (2026-11-22T09:00Z) on.")]
FromOffset = Annotated[str, typer.Option(metavar="OFFSETS", help="Backfill: from these on: 0=100,1=250, or 100, or earliest.")]
Until = Annotated[
    str, typer.Option(metavar="TIME|OFFSETS", help="Backfill: before the first record of this time, these offsets, or end (now).")
]
WarmUp = Annotated[
    str,
    typer.Option(metavar="DURATION|all", help="Backfill: read the records of so long before too, for what windows hold of them."),
]
Output = Annotated[
    list[str] | None, typer.Option(metavar="SINK=TOPIC", help="Backfill: where a sink writes (query.dead: the dead letters).")
]
Suffix = Annotated[str, typer.Option(metavar="TEXT", help="Backfill: added to the topics of all other outputs, such as -redo.")]
IntoLive = Annotated[bool, typer.Option("--into-live", help="Backfill: write into the live query's own outputs.")]
CreateTopics = Annotated[
    bool, typer.Option("--create-topics", help="Backfill: make outputs that are missing, like those they stand for.")
]
CloseWindows = Annotated[
    bool, typer.Option("--close-windows", help="Backfill: close the windows that are open at the end, with what they hold.")
]
BackfillModel = Annotated[
    list[str] | None, typer.Option(metavar="WINDOW=FILE", help="Backfill: score with this model, not with the one in the query.")
]
BackfillName = Annotated[str, typer.Option(metavar="NAME", help="Backfill: its name; made of the options, if left out.")]


@dataclass(frozen=True, slots=True)
class BackfillOptions:
    """What the command line says of a backfill."""

    from_time: str
    from_offset: str
    until: str
    warm_up: str
    name: str
    suffix: str
    outputs: Sequence[str]
    models: Sequence[str]
    closes_windows: bool
    creates_topics: bool
    is_into_live: bool

    @property
    def is_backfill(self) -> bool:
        return any(getattr(self, field.name) for field in fields(self))

    def asked(self) -> "Asked | None":
        """The backfill that is asked for, checked; None where none is."""
        from esp.runtime.backfill import Asked

        return Asked(**{field.name: getattr(self, field.name) for field in fields(self)}) if self.is_backfill else None


def run_backfill(asked: "Asked", queries: "Sequence[Query]", settings: "EngineSettings", *, has_bar: bool) -> None:
    """Works the range off, and says at the end how much that was. Raises EspError when it fails or is broken off."""
    from esp.runtime.backfill import Backfill, redirected
    from esp.runtime.engine import Engine

    if len(queries) > 1:
        raise UsageError(f"{len(queries)} queries are named", where="esp run", mend="a backfill takes one")
    query = redirected(queries[0], asked)
    backfill = Backfill(asked, queries[0], query, settings.state_dir)
    asyncio.run(_run(Engine([query], settings, backfill), backfill, has_bar))
    if not backfill.is_done:
        done, total = backfill.progress
        what = f"{query.name} was broken off at {100 * done // max(total, 1)} %"
        raise EspError(what, mend="the same command goes on from there")
    rate = backfill.events / max(backfill.seconds, 1e-9)
    print(f"{query.name}: {backfill.events} events in {backfill.seconds:.1f} s, {rate:.0f} events/s")


async def _run(engine: "Engine", backfill: "Backfill", has_bar: bool) -> None:
    with _progress(backfill.query.name, has_bar) as tell:
        telling = asyncio.create_task(_tell(backfill, tell))
        try:
            await engine.run()
        finally:
            telling.cancel()


async def _tell(backfill: "Backfill", tell: Callable[[int, int], None]) -> None:
    while True:
        await asyncio.sleep(LOOK_S)
        tell(*backfill.progress)


@contextlib.contextmanager
def _progress(title: str, has_bar: bool) -> Iterator[Callable[[int, int], None]]:
    """A bar on a terminal, under the lines of the log; a line of the log every ten seconds elsewhere."""
    if has_bar and sys.stderr.isatty():
        handlers = [handler for handler in logging.getLogger().handlers if isinstance(handler, logging.StreamHandler)]
        with progress_bar(title) as tell:
            before = [handler.setStream(sys.stderr) for handler in handlers]  # rich's, which writes above the bar
            try:
                yield tell
            finally:
                for handler, stream in zip(handlers, before):
                    handler.setStream(stream or sys.__stderr__)
        return
    last = monotonic()

    def line(done: int, size: int) -> None:
        nonlocal last
        if monotonic() - last >= LINE_EVERY_S:
            last = monotonic()
            log.info("%s: %d %%", title, 100 * done // max(size, 1))

    yield line
