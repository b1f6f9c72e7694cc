"""One HTTP request that ends: by its answer, by a deadline over all of it, or because nobody waits any more."""

import contextlib
import http.client
import socket
import ssl
import threading
import urllib.parse
from collections.abc import Mapping
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass

MOST_BYTES = 4 << 20  # of an answer


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back; ``is_cut``: the body is longer than anyone should send, and not here."""

    status: int
    body: bytes
    is_cut: bool


class Woken(Exception):
    """Whoever waits for the answer is to look whether it still should."""


class Line:
    """Sends requests to one address, each in a thread of its own, so that a server that drips bytes holds nobody longer than said.

    No redirect is followed and no proxy used: a secret goes where the settings say, or nowhere.
    """

    def __init__(self, url: str, context: ssl.SSLContext | None, woken: threading.Event) -> None:
        self.url, self._woken = url, woken
        self._parts, self._context = urllib.parse.urlsplit(url), context
        self._pending: set[Future[Reply]] = set()
        self._lock = threading.Lock()

    def call(self, method: str, path: str, headers: Mapping[str, str], body: bytes | None, timeout_s: float) -> Reply:
        """The reply. Raises OSError (TimeoutError when the time is over), http.client.HTTPException or Woken."""
        connection = self._connection(timeout_s)
        done: Future[Reply] = Future()
        sockets: list[socket.socket] = []
        with self._lock:
            self._pending.add(done)
        if self._woken.is_set():
            _settle(done, Woken())
        request = (method, self._parts.path.rstrip("/") + path, body, dict(headers))
        threading.Thread(target=_serve, args=(connection, request, done, sockets), name="esp-registry", daemon=True).start()
        try:
            return done.result(timeout_s)
        finally:
            with self._lock:
                self._pending.discard(done)
            _settle(done, TimeoutError())
            for each in sockets:
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)

    def wake(self) -> None:
        """Ends what waits; from any thread, once the event is set."""
        with self._lock:
            for done in self._pending:
                _settle(done, Woken())

    def _connection(self, timeout_s: float) -> http.client.HTTPConnection:
        host, port = self._parts.hostname or "", self._parts.port
        if self._context is not None:
            return http.client.HTTPSConnection(host, port, timeout=timeout_s, context=self._context)
        return http.client.HTTPConnection(host, port, timeout=timeout_s)


def _serve(
    connection: http.client.HTTPConnection,
    request: tuple[str, str, bytes | None, dict[str, str]],
    done: "Future[Reply]",
    sockets: list[socket.socket],
) -> None:
    method, path, body, headers = request
    try:
        connection.connect()
        sockets.append(connection.sock)
        if done.done():
            return
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        data = answer.read(MOST_BYTES + 1)
        if answer.length and len(data) <= MOST_BYTES:  # what is left of the length that was promised
            raise http.client.IncompleteRead(data)
        _settle(done, Reply(answer.status, data[:MOST_BYTES], len(data) > MOST_BYTES))
    except Exception as err:
        _settle(done, err)
    finally:
        connection.close()


def _settle(done: "Future[Reply]", result: Reply | BaseException) -> None:
    """Sets a result, unless there is one."""
    with contextlib.suppress(InvalidStateError):
        if isinstance(result, BaseException):
            done.set_exception(result)
        else:
            done.set_result(result)
