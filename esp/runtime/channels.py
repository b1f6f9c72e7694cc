"""Bounded channels between the event loop and a worker thread, measured in events and bytes."""

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a channel holds before it is full; one item is taken however large it is."""

    events: int
    size_bytes: int


class _Channel(Generic[T]):
    def __init__(self, bounds: Bounds) -> None:
        self.bounds, self.events, self.size_bytes = bounds, 0, 0
        self.items: deque[tuple[T, int, int]] = deque()
        self.changed = threading.Condition()
        self.is_closed = False

    @property
    def is_full(self) -> bool:
        return self.events >= self.bounds.events or self.size_bytes >= self.bounds.size_bytes

    def _push(self, item: T, events: int, size_bytes: int) -> None:
        self.items.append((item, events, size_bytes))
        self.events += events
        self.size_bytes += size_bytes

    def _pop(self) -> T:
        item, events, size_bytes = self.items.popleft()
        self.events -= events
        self.size_bytes -= size_bytes
        return item


class ToWorker(_Channel[T]):
    """The loop puts, the worker takes; the loop looks at ``is_full`` and waits for ``room`` before it fetches more."""

    def __init__(self, bounds: Bounds, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(bounds)
        self.loop, self.room = loop, asyncio.Event()
        self.room.set()
        self.is_awaited = False  # the worker has nothing to do

    def put(self, item: T, events: int = 0, size_bytes: int = 0) -> None:
        """Never waits."""
        with self.changed:
            self._push(item, events, size_bytes)
            if self.is_full:
                self.room.clear()
            self.changed.notify()

    def take(self, events: int = 0) -> list[T]:
        """What is there, waited for, in order: one item, and more until they come to so many events; [] once closed and empty."""
        with self.changed:
            while not self.items:
                if self.is_closed:
                    return []
                self.is_awaited = True
                self.changed.wait()
            self.is_awaited = False
            was_full, wanted = self.is_full, self.events - events
            taken = [self._pop()]
            while self.items and self.events > wanted:
                taken.append(self._pop())
            if was_full and not self.is_full:
                self.loop.call_soon_threadsafe(self.room.set)
            return taken

    @contextlib.contextmanager
    def kept(self) -> Iterator[bool]:
        """Whether the worker has nothing to do; then it takes nothing until the end of the ``with``."""
        with self.changed:
            yield self.is_awaited and not self.items and not self.is_closed

    def close(self) -> None:
        """No more items will come; those that are there are still taken."""
        with self.changed:
            self.is_closed = True
            self.changed.notify()


class FromWorker(_Channel[T]):
    """The worker puts and waits while the channel is full; the loop takes all that is there."""

    def __init__(self, bounds: Bounds, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(bounds)
        self.loop, self.arrived = loop, asyncio.Event()

    def put(self, item: T, events: int = 0, size_bytes: int = 0) -> None:
        """Waits while the channel is full; a closed one swallows, for nobody is there any more."""
        with self.changed:
            while self.is_full and not self.is_closed:
                self.changed.wait()
            if self.is_closed:
                return
            was_empty = not self.items
            self._push(item, events, size_bytes)
        if was_empty:
            self.loop.call_soon_threadsafe(self.arrived.set)

    def put_here(self, item: T, events: int = 0, size_bytes: int = 0) -> None:
        """The same from the loop's own thread, which never waits."""
        with self.changed:
            if not self.is_closed:
                self._push(item, events, size_bytes)
                self.arrived.set()

    async def take_all(self) -> list[T]:
        """All that is there, waited for."""
        await self.arrived.wait()
        with self.changed:
            self.arrived.clear()
            taken = [self._pop() for _ in range(len(self.items))]
            self.changed.notify()
        return taken

    def close(self) -> None:
        """Nobody takes any more: lets a waiting worker go."""
        with self.changed:
            self.is_closed = True
            self.changed.notify_all()
