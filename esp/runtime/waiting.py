"""Waiting for tasks: until they are done or a stop is asked for, until they are gone, and for which of their failures to tell."""

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any

from esp.errors import EspError

Works = Iterable["asyncio.Future[Any]"]


async def until(stopping: asyncio.Event, works: Works) -> None:
    """Returns when a stop is asked for or all of the works are done."""
    stop, going = asyncio.ensure_future(stopping.wait()), set(works)
    try:
        while going and not stop.done():
            await asyncio.wait([stop, *going], return_when=asyncio.FIRST_COMPLETED)
            going = {work for work in going if not work.done()}
    finally:
        stop.cancel()


async def unless(stopping: asyncio.Event, work: Coroutine[Any, Any, None]) -> bool:
    """Does the work to its end, unless a stop is asked for before; tells whether it was done, and raises its failure."""
    doing = asyncio.ensure_future(work)
    try:
        await until(stopping, [doing])
        return doing.done()
    finally:
        await cancel([doing])


async def cancel(works: Works) -> None:
    """Cancels works and waits until they are gone; the first failure of their own is raised."""
    works = list(works)
    for work in works:
        work.cancel()
    for result in await asyncio.gather(*works, return_exceptions=True):
        if isinstance(result, Exception):
            raise result


def first_cause(failure: BaseException) -> BaseException:
    """The failure that a user should read: the first of ours, else the first."""
    flat = _flat(failure)
    return next((cause for cause in flat if isinstance(cause, EspError)), flat[0])


def _flat(failure: BaseException) -> list[BaseException]:
    if isinstance(failure, BaseExceptionGroup):
        return [cause for part in failure.exceptions for cause in _flat(part)]
    return [failure]
