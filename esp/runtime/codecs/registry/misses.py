"""Numbers of schemas that a registry does not know: remembered for a while, and looked up no faster than it can bear."""

from collections.abc import Callable

from esp.errors import EventError

KEPT_S = 60.0  # how long a number that nobody knows is not asked for again
MOST_KEPT = 10_000
MOST_AT_ONCE, EVERY_S = 32, 1.0  # look-ups in vain: so many at once, then one in so long


class Misses:
    """What was asked for in vain, and how much more may be: whoever sends numbers at random does not hammer the registry."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._kept: dict[int, tuple[float, str]] = {}  # until when, and why; the oldest first
        self._left, self._counted_at = float(MOST_AT_ONCE), clock()

    def check(self, number: int) -> None:
        """EventError when the number is known to be none, or may not be asked for now."""
        now = self._clock()
        until, why = self._kept.get(number, (now, ""))
        if until > now:
            raise EventError(why)
        self._left = min(MOST_AT_ONCE, self._left + (now - self._counted_at) / EVERY_S)
        self._counted_at = now
        if self._left < 1:
            raise EventError(f"schema {number}: not looked up, for too many numbers were asked for in vain of late; send it again")

    def add(self, number: int, why: str) -> None:
        """Remembers that a number was asked for in vain."""
        self._left -= 1
        self._kept.pop(number, None)
        self._kept[number] = (self._clock() + KEPT_S, why)
        if len(self._kept) > MOST_KEPT:
            del self._kept[next(iter(self._kept))]
