"""Standing still in the middle of a deployment to several engines: all is durable here, and nothing is worked off until the word comes."""

import asyncio
from collections.abc import Awaitable, Callable
from queue import Empty, SimpleQueue

from esp.errors import EspError

LONGEST_S = 15.0  # without a word; the stream goes on then, with the model that it had
Swap = Callable[[], None]


class Standing:
    """One deployment that waits for the word. ``swapping`` does it: it gets what is to be run at a checkpoint, before its own."""

    def __init__(self, swapping: Callable[[Swap], Awaitable[dict[str, str]]]) -> None:
        self._loop, self._reached, self._word = asyncio.get_running_loop(), asyncio.Event(), SimpleQueue[bool]()
        self._doing = asyncio.ensure_future(swapping(self._wait))
        self._doing.add_done_callback(_seen)

    async def reached(self) -> None:
        """Returns when it stands; raises what kept it from that."""
        reaching = asyncio.ensure_future(self._reached.wait())
        try:
            await asyncio.wait([reaching, self._doing], return_when=asyncio.FIRST_COMPLETED)
            if self._doing.done():
                self._doing.result()
        finally:
            reaching.cancel()

    async def go(self) -> dict[str, str]:
        """Lets it swap, and gives what came of that."""
        self._word.put(True)
        return await self._doing

    async def give_up(self) -> None:
        """Lets the stream go on as it was; where it has swapped already nothing happens."""
        self._word.put(False)
        await asyncio.gather(self._doing, return_exceptions=True)

    def _wait(self) -> None:
        """Runs in the worker; EspError unless the word is to swap."""
        self._loop.call_soon_threadsafe(self._reached.set)
        try:
            is_on = self._word.get(timeout=LONGEST_S)
        except Empty:
            raise EspError(f"the deployment was not decided within {LONGEST_S:g} s", mend="deploy it again") from None
        if not is_on:
            raise EspError("the deployment was taken back", mend="deploy it again")


def _seen(future: "asyncio.Future[dict[str, str]]") -> None:
    """What came of it when nobody gave a word is no news to anybody."""
    if not future.cancelled():
        future.exception()
