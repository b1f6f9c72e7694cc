"""The models that a running query scores with: bound at its start, replaced by deployments while it streams."""

import asyncio
import logging
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path

from esp.astore.binary import from_bytes
from esp.astore.model import Astore
from esp.errors import FileError, QueryError
from esp.runtime.deployments import Deployments
from esp.runtime.kinds.score import ScoreSettings, check_swap
from esp.runtime.marks import Mark
from esp.runtime.query import PlannedWindow, Query, models_used
from esp.runtime.scorer import Scorer
from esp.runtime.standing import Standing

log = logging.getLogger("esp.models")
AtCheckpoint = Callable[[Callable[[], None]], Awaitable[None]]  # runs a function between two blocks, when all before it is durable


class Models:
    """The scorer of each score window in ``scorers``, which tasks read between two blocks; ``deploy`` exchanges one."""

    def __init__(self, query: Query, folder: Path) -> None:
        self.query, self.deployments = query, Deployments(folder, query.trusted)
        self.scorers: dict[str, Scorer] = {}
        self.marks: dict[str, Mark] = {}  # of the same windows
        self._held: dict[str, Scorer] = {}  # by window: checked, and not yet swapped
        self._standing: dict[str, Standing] = {}  # by window: those of them that only wait for the word
        self._deploying = asyncio.Lock()

    def start(self, is_fresh: bool) -> None:
        """Binds and warms a model for every score window; ``is_fresh`` forgets what was deployed."""
        if is_fresh:
            shutil.rmtree(self.deployments.folder, ignore_errors=True)
        for window, model in models_used(self.query).items():
            named = self.query.models[model]
            astore = named if is_fresh else self.deployments.current(window, named)
            if astore is not named:  # the query, or the folder, may have changed since
                check_swap(named, astore, self.query.windows[window])
            scorer = self.scorers[window] = self._bind(astore, self.query.windows[window])
            self.marks[window] = self.deployments.mark(window, named, astore.digest)
            line = "query %s window %s scores with %s (%s) on %s"
            log.info(line, self.query.name, window, astore.name, astore.short_digest, told(scorer))

    def scoring(self, window: str) -> tuple[PlannedWindow, ScoreSettings]:
        """A score window; QueryError when it is none."""
        planned = self.query.windows.get(window)
        if planned is None or not isinstance(planned.settings, ScoreSettings):
            scoring = ", ".join(models_used(self.query)) or "none"
            raise QueryError(f"'{window}' is no score window of query '{self.query.name}'", mend=f"score windows: {scoring}")
        return planned, planned.settings

    async def deploy(self, window: str, data: bytes, digest: str, at_checkpoint: AtCheckpoint) -> dict[str, str]:
        """Checks an uploaded model, warms it beside the old one and lets it score from a checkpoint on; else nothing has changed."""
        async with self._deploying:
            return await self._swap(window, await self._checked(window, data, digest), at_checkpoint)

    async def hold(self, window: str, data: bytes, digest: str) -> dict[str, str]:
        """The first half of a deployment: the model is checked and warm, and waits for ``swap``, or for ``drop``."""
        async with self._deploying:
            self._held[window] = scorer = await self._checked(window, data, digest)
        return self._told(window, self.scorers[window].astore, scorer)

    async def stand(self, window: str, at_checkpoint: AtCheckpoint) -> None:
        """Between the halves: returns when all is durable and the stream stands still, which it does until ``swap`` or ``drop``, or too long."""
        async with self._deploying:
            scorer = self._require_held(window)
            standing = self._standing[window] = Standing(lambda first: self._swap(window, scorer, at_checkpoint, first))
        await standing.reached()

    async def swap(self, window: str, at_checkpoint: AtCheckpoint) -> dict[str, str]:
        """The second half: what is held scores from a checkpoint on; else nothing has changed. QueryError where nothing is held."""
        async with self._deploying:
            scorer = self._require_held(window)
            del self._held[window]
            if window in self._standing:
                return await self._standing.pop(window).go()
            return await self._swap(window, scorer, at_checkpoint)

    def _require_held(self, window: str) -> Scorer:
        if window not in self._held:
            raise QueryError(f"no model waits for window '{window}' of query '{self.query.name}'", mend="deploy it again")
        return self._held[window]

    async def drop(self, window: str) -> None:
        """Forgets what is held."""
        async with self._deploying:
            if window in self._standing:
                await self._standing.pop(window).give_up()
            if self._held.pop(window, None):
                await asyncio.to_thread(self.deployments.tidy)

    async def _checked(self, window: str, data: bytes, digest: str) -> Scorer:
        planned, _ = self.scoring(window)
        try:
            return await asyncio.to_thread(self._prepare, data, digest, self.scorers[window].astore, planned)
        except Exception:
            await asyncio.to_thread(self.deployments.tidy)  # what was stored of it
            raise

    async def _swap(
        self, window: str, scorer: Scorer, at_checkpoint: AtCheckpoint, first: Callable[[], None] = lambda: None
    ) -> dict[str, str]:
        _, settings = self.scoring(window)
        old = self.scorers[window].astore

        def swap() -> None:
            first()
            named = self.query.models[settings.model]
            self.deployments.record(window, scorer.digest, named)
            self.scorers[window] = scorer
            self.marks[window] = self.deployments.mark(window, named, scorer.digest)

        try:
            await at_checkpoint(swap)
        except Exception:
            await asyncio.to_thread(self.deployments.tidy)
            raise
        line = "query %s window %s: %s scores in the place of %s, on %s"
        log.info(line, self.query.name, window, scorer.digest[:12], old.short_digest, told(scorer))
        return self._told(window, old, scorer)

    def _told(self, window: str, old: Astore, new: Scorer) -> dict[str, str]:
        return {"window": f"{self.query.name}/{window}", "old": old.digest, "new": new.digest, "backend": new.backend}

    def _prepare(self, data: bytes, digest: str, old: Astore, planned: PlannedWindow) -> Scorer:
        uploaded = from_bytes(data, "upload", trusted=self.query.trusted)
        if digest and digest != uploaded.digest:
            raise FileError(f"the upload has the digest {uploaded.digest}, {digest} was announced", mend="send it again")
        check_swap(old, uploaded, planned)
        return self._bind(self.deployments.store(uploaded, data), planned)

    def _bind(self, astore: Astore, planned: PlannedWindow) -> Scorer:
        assert isinstance(planned.settings, ScoreSettings)
        limits = self.query.settings.limits
        scorer = planned.settings.bind(astore, limits.max_batch, limits.threads)
        scorer.warm()
        return scorer


def told(scorer: Scorer) -> str:
    """The backend of a scorer, and how it goes along the stream."""
    return f"{scorer.backend}, {scorer.way}" if scorer.way else scorer.backend
