"""Shows how far the tasks of a query are restored: a bar on a terminal, a line each five seconds elsewhere."""

import asyncio
import logging
import sys
from collections.abc import Mapping

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn, TransferSpeedColumn

from esp.runtime.state.progress import Restore

log = logging.getLogger("esp.restoring")
LOOK_S, LINE_S = 0.1, 5.0

Restores = Mapping[tuple[str, int], Restore]


async def show(query: str, restores: Restores) -> None:
    """Runs until it is cancelled, once restoring has begun."""
    if sys.stderr.isatty():
        await _bar(query, restores)
    else:
        await _lines(query, restores)


async def _bar(query: str, restores: Restores) -> None:
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(f"restoring {query}", total=None)
        while True:
            done, total = _sums(restores)
            bar.update(task, completed=done, total=total or None)
            await asyncio.sleep(LOOK_S)


async def _lines(query: str, restores: Restores) -> None:
    while True:
        await asyncio.sleep(LINE_S)
        done, total = _sums(restores)
        going = sum(not restore.is_done for restore in restores.values())
        log.info("query %s: %d tasks are being restored, %.1f of %.1f MB", query, going, done / 1e6, total / 1e6)


def _sums(restores: Restores) -> tuple[int, int]:
    there = list(restores.values())
    return sum(each.done_bytes for each in there), sum(each.total_bytes for each in there)
