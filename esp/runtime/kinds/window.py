"""What a window kind is: settings that check themselves at load, and a logic class that turns blocks into blocks.

Everything here is synchronous and knows no asyncio, no Kafka and no wall clock: a kind is tested as a plain function.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import pydantic

from esp.astore.model import Astore
from esp.runtime.codecs.registry.registries import Registries
from esp.runtime.events import Block
from esp.runtime.schema import Schema
from esp.runtime.scorer import Scorer
from esp.runtime.state.tables import Columns, KeyedTable

Ports = list[tuple[str, Block]]


@dataclass(frozen=True, slots=True)
class Stream:
    """What is known at load of the events on an edge.

    ``retracts``: updates or deletes may come. ``partitioned_by``: the fields that the source's records are partitioned by,
    as far as they are still there; None = not said; () = there is but one partition (a file), any key will do.
    ``unretracted``: fields that are null in deletes, whatever the row that is taken back held.
    """

    schema: Schema
    retracts: bool = False
    partitioned_by: tuple[str, ...] | None = None
    unretracted: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Environment:
    """What a window may look up while the query is loaded: ``where`` begins its error messages, ``models`` by name.

    ``one_partition``: the source's connector has but one partition (a file), so that any key will do. ``folder`` is where the
    query file lies, ``topic`` what the window's connector reads or writes; ``registries`` are shared by the windows of a query.
    """

    where: str
    models: Mapping[str, Astore] = field(default_factory=dict)
    one_partition: bool = False
    folder: Path = Path()
    topic: str = ""
    registries: Registries = field(default_factory=Registries)


class Context(Protocol):
    """What a window gets when it is opened: its place in the query, and the only home of its state."""

    query: str
    window: str
    partition: int

    def table(self, name: str, columns: Columns, is_renewed: bool = False) -> KeyedTable:
        """The state table of that name, as it was at the checkpoint that the task goes on from.

        One that was made with other columns is an error, or with ``is_renewed`` begun anew.
        """
        ...

    def scorer(self, model: str) -> Scorer:
        """The scorer of a model of the query; asked anew for every block, for a deployment swaps it between two blocks."""
        ...


class Window(Protocol):
    """The logic of a window, one instance a task (a query on one partition)."""

    def open(self, context: Context) -> None: ...

    def on_block(self, port: str, block: Block) -> Ports:
        """Takes one block, and gives what leaves it: ports ``out``, ``late``, ``dead``, in order."""
        ...

    def close(self) -> None: ...


class Settings(pydantic.BaseModel, ABC):
    """The keys that every window has; a kind's own settings class adds its fields. A field is the key, the default and the help."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    kind: str
    source: str = pydantic.Field("", alias="from", description="the window (or window.port) whose events come in")

    @abstractmethod
    def resolve(self, stream: Stream | None, env: Environment) -> dict[str, Stream]:
        """The streams that leave each port (``dead`` is everyone's and not named); QueryError when the input does not fit."""

    @abstractmethod
    def build(self, stream: Stream | None, env: Environment) -> Window:
        """A logic instance for one task; only called after ``resolve`` has passed."""
