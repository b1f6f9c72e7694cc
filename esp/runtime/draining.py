"""The end of a query: what was worked off is made durable, and nobody who is away is awaited for long."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from esp.errors import TransportError

LOOK_S = 0.5  # how often it looks whether the peers are there
AWAY_S = 10.0  # how long it bears that they are not


async def drained(
    query: str, checkpoint: Coroutine[Any, Any, None], is_connected: Callable[[], bool], leave_waiting: Callable[[], None]
) -> None:
    """Returns when the last checkpoint is made; TransportError when a peer stays away meanwhile.

    ``leave_waiting`` is called at each look: it lets go what cannot be worked off now and is as if never taken.
    """
    saving, away_s = asyncio.ensure_future(checkpoint), 0.0
    try:
        while not saving.done():
            await asyncio.wait({saving}, timeout=LOOK_S)
            if not saving.done():
                leave_waiting()
            away_s = 0.0 if is_connected() else away_s + LOOK_S
            if away_s > AWAY_S:
                raise TransportError(
                    f"query '{query}' ends while its broker is gone, and its last outputs could not be confirmed",
                    mend="start it again: it goes on from its checkpoint, and sends them again",
                )
        saving.result()
    finally:
        saving.cancel()
