"""Pauses between the tries of a client: they double while it is in trouble, and no two are alike, so that clients do not come all at once."""

import asyncio
import random
import time
from typing import Any

from esp.runtime.kafka.binding import BindingError

FIRST_S, LONGEST_S = 0.1, 2.0


class Pace:
    """Gives the parts of one client of aiokafka its pauses, in the place of a constant one."""

    def __init__(self) -> None:
        self.length_s = FIRST_S
        self._asked_s = -LONGEST_S

    def pause_s(self) -> float:
        """The next pause: between half of the present length and all of it."""
        return self.length_s * random.uniform(0.5, 1.0)

    def grow(self) -> None:
        self.length_s = min(2 * self.length_s, LONGEST_S)

    def reset(self) -> None:
        self.length_s = FIRST_S

    def rule(self, client: Any, **parts: Any) -> None:
        """Paces a client's questions for metadata, which it would ask without a pause, and the tries of its parts."""
        update = client._metadata_update

        async def paced(cluster: Any, topics: Any) -> bool:
            await asyncio.sleep(max(0.0, self._asked_s + self.pause_s() - time.monotonic()))
            try:
                return bool(await update(cluster, topics))
            finally:
                self._asked_s = time.monotonic()

        client._metadata_update = paced
        for name, part in parts.items():
            if part is not None:
                self._take(part, name)

    def _take(self, part: Any, name: str) -> None:
        """An attribute of one object that is read before each try becomes our pause."""
        if not hasattr(part, name):
            raise BindingError(f"{type(part).__qualname__} has no {name}")
        factor = 1000.0 if name.endswith("_ms") else 1.0
        kind = type(part)
        part.__class__ = type(kind.__name__, (kind,), {name: property(lambda _: self.pause_s() * factor)})
