"""Whether records travel as columns: as the settings want, if the aiokafka that is installed is built as we know it."""

import functools
import importlib
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from typing import Any, Protocol

from esp.runtime.events import RawBlock
from esp.runtime.kafka.binding import BindingError
from esp.runtime.kafka.settings import KafkaConnection

log = logging.getLogger(__name__)
CHECKED = (
    "esp.runtime.kafka.fetching",
    "esp.runtime.kafka.flights",
    "esp.runtime.kafka.packing",
)  # what they need of aiokafka they check when they are imported


class Batch(Protocol):
    """What aiokafka sends: a BatchBuilder that is full."""

    def record_count(self) -> int: ...

    def size(self) -> int: ...


class Packing(Protocol):
    """The blocks of one partition that wait for a batch."""

    def __bool__(self) -> bool: ...

    def add(self, block: RawBlock, size: int) -> None:
        """``size`` is the most bytes that the records take, each alone in a batch."""
        ...

    async def pack(self) -> Batch:
        """One batch as large as what waits and as the topic allows; what still comes may go with it until the sender takes it."""
        ...

    async def taken(self) -> None:
        """Until the sender has taken that batch, where more may go with it."""
        ...


@functools.cache
def fault() -> str | None:
    """Why columns cannot be had; None = they can."""
    try:
        for name in CHECKED:
            importlib.import_module(name)
    except (BindingError, ImportError, AttributeError, TypeError) as err:
        return str(err)
    return None


def are_wanted(settings: KafkaConnection, place: str) -> bool:
    """Whether this connection takes them; says in the log where they are wanted and cannot be had."""
    if settings.records == "client":
        return False
    if reason := fault():
        line = "%s: aiokafka %s is not built as we know it (%s); records go the slow way, one by one"
        log.warning(line, place, version("aiokafka"), reason)
        return False
    return True


def open_consumer(settings: KafkaConnection, again: Callable[[int, int], None], place: str, options: dict[str, Any]) -> Any:
    """A consumer of aiokafka whose ``getmany`` gives Fetched."""
    from esp.runtime.kafka.fetching import ColumnConsumer

    return ColumnConsumer(again, settings.on_corrupt, place, **options)


def open_packing(limit: int, codec: int, threads: ThreadPoolExecutor, is_transactional: bool = False) -> Packing:
    """Makes batches of at most ``limit`` bytes of the blocks of one partition."""
    from esp.runtime.kafka.packing import ColumnPacking

    return ColumnPacking(limit, codec, threads, is_transactional)


def let_fly(producer: Any) -> None:
    """Gives a producer two requests at a broker."""
    from esp.runtime.kafka.flights import Flights

    producer._sender._in_flight = Flights()
