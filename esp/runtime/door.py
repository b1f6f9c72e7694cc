"""The door of a process: the port where it is watched and changed, and the signals that end it."""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterator

from esp.runtime.admin import Admin
from esp.runtime.server import AdminServer, bind, build_app, is_open

log = logging.getLogger("esp.engine")
SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextlib.asynccontextmanager
async def serving(
    engine: Admin, listen: str | socket.socket, token: str | None, tls: ssl.SSLContext | None, guards_metrics: bool
) -> AsyncIterator[str]:
    """Serves the admin API at HOST:PORT, or at a socket that is there, for as long as the ``with`` lasts; gives the address."""
    sock = bind(listen) if isinstance(listen, str) else listen
    server = AdminServer(build_app(engine, token, guards_metrics=guards_metrics), tls)
    task = asyncio.create_task(server.serve([sock]))
    address = ""
    if isinstance(listen, str):
        host, port = sock.getsockname()[:2]
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        log.info("admin API and metrics at %s://%s", "https" if tls else "http", address)
        if is_open(listen):
            _warn_of_strangers(address, token, tls)
    try:
        yield address
    finally:
        server.should_exit = True
        await task


def _warn_of_strangers(address: str, token: str | None, tls: ssl.SSLContext | None) -> None:
    if not token:
        log.warning("whoever reaches %s may pause queries and deploy models; set a token (--token-file)", address)
    elif not tls:
        log.warning("the token goes to %s in the clear; give a certificate (--cert-file)", address)


@contextlib.contextmanager
def ended_by_signals(stopping: asyncio.Event, at_once: Callable[[], None] = lambda: None) -> Iterator[None]:
    """The first SIGTERM or SIGINT sets ``stopping``, the second does ``at_once`` and ends the process."""
    loop = asyncio.get_running_loop()

    def on_signal(name: str) -> None:
        if stopping.is_set():
            log.warning("%s again: ended at once, without a last checkpoint", name)
            at_once()
            os._exit(1)
        log.info("%s: draining; a second signal ends at once", name)
        stopping.set()

    for number in SIGNALS:
        with contextlib.suppress(RuntimeError, ValueError):  # not in the main thread: whoever embeds us stops us
            loop.add_signal_handler(number, on_signal, number.name)
    try:
        yield
    finally:
        for number in SIGNALS:
            with contextlib.suppress(RuntimeError, ValueError):
                loop.remove_signal_handler(number)
