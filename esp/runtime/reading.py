"""Reading what was fetched: a record batch that is damaged is fetched once more, then given up, and nothing behind it is read before."""

from collections.abc import Generator, Iterator

from esp.errors import TransportError
from esp.runtime.events import RawBlock
from esp.runtime.unread import Damage, Moved, Unread


class Reader:
    """Reads the records of one partition, in the worker. ``awaited`` is the offset that is being fetched again."""

    def __init__(self) -> None:
        self.awaited: int | None = None
        self._behind = 0  # the damage that was given up ends here

    def read(self, records: RawBlock | Unread | Moved) -> Iterator[RawBlock | Damage | Moved]:
        """The records; a Damage stands for a batch that is given up. Raises TransportError where the settings say so."""
        if isinstance(records, Moved):
            self.awaited, self._behind = None, 0
        if isinstance(records, RawBlock | Moved):
            yield records
            return
        left: Unread | None = records
        while left is not None and (self.awaited is None or left.wanted <= self.awaited):
            try:
                block = left.block()
            except Damage as damage:
                yield damage.before
                left = yield from self._damaged(left, damage)
            else:
                self.awaited, left = None, None
                yield block

    def _damaged(self, records: Unread, damage: Damage) -> Generator[Damage, None, Unread | None]:
        if damage.last < self._behind:
            return None
        if self.awaited != damage.first:
            self.awaited = damage.first
            records.again(damage.first)
            return None
        self.awaited = None
        if records.on_corrupt == "fail":
            raise TransportError(
                f"a record batch is damaged ({damage.what}, at byte {damage.at} of the fetch), and came so twice",
                where=f"{records.place}/{records.partition}/{damage.first}-{damage.last}",
                mend='see to the broker\'s disk, or say on_corrupt = "dead_letter"',
            )
        yield damage
        self._behind = damage.last + 1
        if damage.rest is None:
            records.again(self._behind)
        return damage.rest
