"""An engine behind a real port in a thread, for tests that talk to it from outside."""

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from esp.runtime.engine import Engine, EngineSettings
from esp.runtime.query import load_query
from tests.engine_process import PATIENCE_S
from tests.runtime.memory_stream import until


def with_engine(folder: Path, state: Path, work: Callable[[str], object], token: str | None = None, **more: Any) -> None:
    """Runs a query behind a real port in a thread, and some work with its address."""
    started, ends = threading.Event(), {}

    async def live() -> None:
        engine = Engine([load_query(folder)], EngineSettings("127.0.0.1:0", state, token, **more))
        ends["stop"], ends["loop"], ends["engine"] = engine.stopping, asyncio.get_running_loop(), engine
        life = asyncio.ensure_future(engine.run())
        await until(lambda: engine.runners["moves"].is_ready or life.done())
        started.set()
        await life

    thread = threading.Thread(target=lambda: asyncio.run(live()))
    thread.start()
    assert started.wait(PATIENCE_S)  # it may compile its kernels first
    engine: Any = ends["engine"]
    try:
        work(f"{'https' if more.get('tls') else 'http'}://{engine.address}")
    finally:
        loop: Any = ends["loop"]
        loop.call_soon_threadsafe(engine.stopping.set)
        thread.join(PATIENCE_S)
        assert not thread.is_alive()
