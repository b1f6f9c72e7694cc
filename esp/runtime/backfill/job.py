"""A backfill as it runs: its plan on disk, so that one that was broken off goes on with the same range, and how far it is."""

import logging
import secrets
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from time import perf_counter, time
from typing import Any

import pydantic

from esp.errors import StateError, UsageError
from esp.files import write_whole
from esp.runtime.backfill.asked import BEGIN, Asked
from esp.runtime.backfill.memory import remembering, wanted_warm_up
from esp.runtime.backfill.plan import plan
from esp.runtime.backfill.query import outputs_of, scored
from esp.runtime.connect import KafkaConnection, Source
from esp.runtime.deployments import Deployments
from esp.runtime.kafka.bounded import BoundedKafkaSource
from esp.runtime.kafka.offsets import create_like
from esp.runtime.kafka.spans import Span, Spans
from esp.runtime.query import Query
from esp.runtime.task import Task

log = logging.getLogger("esp.backfill")


class _Plan(pydantic.BaseModel):
    """The file ``backfill.json``: what was asked, what that came to, and whether it has been done."""

    asked: dict[str, Any]
    models: dict[str, str]
    fingerprints: dict[str, str]
    spans: dict[str, dict[int, Span]]
    group: str = ""
    is_done: bool = False


class Backfill:
    """What a runner asks about where its sources begin and end; ``spans`` are there once it is settled."""

    def __init__(self, asked: Asked, live: Query, query: Query, state_dir: Path, clock: Callable[[], float] = time) -> None:
        self.asked, self.live, self.query, self.state_dir = asked, live, query, state_dir
        self.file = state_dir / query.name / "backfill.json"
        self.spans: Mapping[str, Spans] = {}
        self.tasks: dict[tuple[str, int], Task] = {}
        self.is_done, self._began_s, self.seconds = False, 0.0, 0.0
        asked.refuse_future(clock() * 1e3)
        if not asked.warm_up and asked.begin != BEGIN and (names := remembering(query)):
            raise UsageError(
                f"what window '{names[0]}' gives depends on events from before the range", where="backfill",
                mend=f"say --warm-up {wanted_warm_up(query)} (or 0s to begin with nothing)",
            )  # fmt: skip

    async def settle(self, is_fresh: bool) -> Query:
        """Finds the offsets, or takes those of the start that was broken off; gives the query with the group of that start.

        UsageError where something else was asked then.
        """
        before = None if is_fresh else self._read()
        if before is None:
            before = self._plan(
                {
                    name: await plan(self.asked, self._connection(name), self.query.name, self._where(name))
                    for name in self.query.sources
                }
            )
            self._write(before)
        elif before.is_done:
            log.info("%s has come to its end before, and has nothing left to do; --fresh does it again", self.query.name)
        self._settled, self.spans = before, before.spans
        self.query = replace(self.query, settings=self.query.settings.model_copy(update={"group": before.group}))
        self._warn_of_deployed()
        for name, parts in self.spans.items():
            told = ", ".join(f"{number}: {span.begin} to {span.end}" for number, span in parts.items())
            log.info("%s source %s: offsets by partition: %s", self.query.name, name, told)
        if self.asked.creates_topics:
            await self._create_topics()
        return self.query

    def _warn_of_deployed(self) -> None:
        """Says where the live query has scored with another model since, as far as the state at hand tells."""
        deployments = Deployments(self.state_dir / self.live.name / "models")
        for window, digest in deployments.standing({name: model.digest for name, model in scored(self.live).items()}).items():
            if (ours := scored(self.query)[window]).digest != digest:
                line = "%s window %s scores with %s (%s); the live query has %s, deployed since: --model %s=%s scores with that"
                log.warning(
                    line, self.query.name, window, ours.name, ours.short_digest, digest[:12], window, deployments.file(digest)
                )

    def open_source(self, name: str, where: str) -> Source:
        """The source of a window, from where to where it is to be read."""
        settings = self.query.settings
        goes_on = settings.delivery == "exactly_once"
        return BoundedKafkaSource(self._connection(name), settings.group, where, self.spans[name], goes_on=goes_on)

    def _connection(self, name: str) -> KafkaConnection:
        connection = self.query.windows[name].connection
        assert isinstance(connection, KafkaConnection)  # or it had been refused
        return connection

    def begin(self, tasks: dict[tuple[str, int], Task]) -> None:
        """The stream begins; ``tasks`` are looked at for how far it is."""
        self.tasks, self._began_s = tasks, perf_counter()

    def finish(self) -> None:
        """All is sent and durable."""
        self.is_done, self.seconds = True, perf_counter() - self._began_s
        self._write(self._settled.model_copy(update={"is_done": True}))

    @property
    def progress(self) -> tuple[int, int]:
        """Offsets passed, of how many."""
        places = [(self.tasks.get((name, number)), span) for name, spans in self.spans.items() for number, span in spans.items()]
        total = sum(span.end - span.first for _, span in places)
        passed = sum(min(max(task.next_offset, span.first), span.end) - span.first for task, span in places if task is not None)
        return (total if self.is_done else passed), total

    @property
    def events(self) -> int:
        """Records of the range that were worked off since the start, without those that warmed up."""
        return sum(task.events for task in list(self.tasks.values()))

    def _plan(self, spans: Mapping[str, Spans]) -> _Plan:
        prints = {name: self.query.fingerprint(name) for name in self.query.sources}
        return _Plan(
            asked=self.asked.range_asked(), models={name: model.digest for name, model in scored(self.query).items()}, fingerprints=prints,
            spans={name: dict(parts) for name, parts in spans.items()}, group=self._group(),
        )  # fmt: skip

    def _group(self) -> str:
        """What Kafka keeps for exactly-once is found again by the group, and must not be found by one that begins anew."""
        name, is_exact = self.query.name, self.query.settings.delivery == "exactly_once"
        return f"{name}-{secrets.token_hex(4)}" if is_exact else name

    def _read(self) -> _Plan | None:
        if not self.file.exists():
            return None
        mend = "give --fresh to begin it anew, or another --name"
        try:
            before = _Plan.model_validate_json(self.file.read_bytes())
        except (OSError, ValueError) as err:
            raise StateError("this is no plan of a backfill", where=str(self.file), mend=mend) from err
        now = _Plan.model_validate_json(self._plan({}).model_dump_json())
        for what in ("asked", "models", "fingerprints"):
            if (ours := getattr(now, what)) != (theirs := getattr(before, what)):
                odd = next(key for key in {**ours, **theirs} if ours.get(key) != theirs.get(key))
                raise UsageError(
                    f"'{self.query.name}' was begun with another {_WORDS.get(odd, odd) if what == 'asked' else what}",
                    where=str(self.file), mend=mend,
                )  # fmt: skip
        return before

    def _write(self, settled: _Plan) -> None:
        try:
            write_whole(self.file, [settled.model_dump_json().encode()])
        except OSError as err:
            raise StateError(f"the plan cannot be written ({err.strerror})", where=str(self.file), mend="make room there") from err

    async def _create_topics(self) -> None:
        """Makes the outputs that are not there like those that they stand for."""
        models = outputs_of(self.live)
        for name, output in outputs_of(self.query).items():
            model = models[name]
            if isinstance(output, KafkaConnection) and isinstance(model, KafkaConnection):
                await create_like(output, model, self._where(name))

    def _where(self, name: str) -> str:
        return f"{self.query.path}: windows.{name}.connect" if name in self.query.windows else f"{self.query.path}: {name}"


_WORDS = {
    "from_time": "--from-time",
    "from_offset": "--from-offset",
    "until": "--until",
    "warm_up": "--warm-up",
    "outputs": "--output",
}
