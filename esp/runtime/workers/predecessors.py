"""Workers of the run before: whoever is started again at once waits until they have drained, for the state is still theirs."""

import asyncio
import contextlib
import fcntl
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from time import monotonic

from esp.errors import StateError

log = logging.getLogger("esp.workers")
LOOK_S = 0.2


@contextlib.asynccontextmanager
async def alone(state_dir: Path, stopping: asyncio.Event, patience_s: float) -> AsyncIterator[int]:
    """Waits until no other run is on this state, or a stop is asked for; gives a descriptor that shows to others that this one is.

    Workers inherit it, and what it shows ends with the last process that has it. StateError where the others do not end.
    """
    deadline, has_said = monotonic() + patience_s, False
    with (state_dir / "workers.lock").open("ab") as file:
        while not stopping.is_set():
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if monotonic() > deadline:
                    raise StateError(
                        "workers of another run live on this state", where=str(state_dir),
                        mend="stop it, or give this one a state directory of its own (--state)",
                    ) from None  # fmt: skip
            if not has_said:
                has_said = True
                log.info("the workers of the run before are still there; waiting for their end")
            await asyncio.sleep(LOOK_S)
        yield file.fileno()
