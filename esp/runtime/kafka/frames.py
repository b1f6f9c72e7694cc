"""Responses filled in place: the socket writes each frame where it will be read, and aiokafka decodes it without copying what is large."""

import asyncio
import collections
import io
import socket
import struct
import sys
import weakref
from types import SimpleNamespace
from typing import Any

import numpy as np
from aiokafka import conn
from aiokafka.client import AIOKafkaClient
from aiokafka.conn import AIOKafkaConnection

from esp.runtime.events import U8
from esp.runtime.kafka.binding import rebound, require_use

LENGTH_BYTES = 4
LARGEST_BYTES = 256 << 20  # no response is as large; a length that says so is damaged
COPIED_BYTES = 4096  # smaller parts become bytes of their own
MOST_WAITING = 64  # frames that nobody has taken, before the socket is left alone
BULK_BYTES = 4 << 20  # of a large frame, that are read at once: about a millisecond
BIT_BYTES = 256 << 10  # what is no more is read as it comes


class LowWater:
    """How many bytes a socket waits for before it wakes the loop: of a large frame BULK_BYTES, for a turn of the loop costs as much as
    copying some 100 kB, and the worker the GIL. Linux alone, and not under TLS, whose bytes are not the frame's.
    """

    def __init__(self, transport: Any) -> None:
        is_bare = transport is not None and transport.get_extra_info("sslcontext") is None
        self._socket = transport.get_extra_info("socket") if is_bare and sys.platform == "linux" else None
        self._bytes = 1

    def begin(self, size: int) -> None:
        """A frame is to come. Linux makes as much room in the socket as is waited for, and keeps it: so the broker need not wait for us."""
        if size > BULK_BYTES:
            self._put(size)
        self.lack(size)

    def lack(self, left: int) -> None:
        """So many bytes of the frame are still to come."""
        self._put(min(left, BULK_BYTES) if left > BIT_BYTES else 1)

    def _put(self, awaited: int) -> None:
        if awaited != self._bytes and self._socket is not None:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, awaited)
            self._bytes = awaited


class FrameProtocol(asyncio.streams.FlowControlMixin, asyncio.BufferedProtocol):
    """Cuts what comes into frames, each of which the socket fills. It stands in for a stream's protocol and its reader."""

    def __init__(self, closed: "asyncio.Future[None]", _reader: Any, *, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop=loop)
        self._loop = loop
        self._closed, self._failure, self._ended = closed, None, False
        self._frames: collections.deque[U8] = collections.deque()
        self._waiter: asyncio.Future[None] | None = None
        self._transport: Any = None
        self._mark = LowWater(None)
        self._begin(LENGTH_BYTES, is_length=True)

    _failure: BaseException | None

    def _begin(self, size: int, is_length: bool) -> None:
        self._frame, self._filled, self._is_length = np.empty(size, np.uint8), 0, is_length
        self._view = self._frame.data

    # ---- what the transport calls

    def connection_made(self, transport: Any) -> None:
        self._transport, self._mark = transport, LowWater(transport)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._view[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        self._filled += nbytes
        if self._filled < len(self._view):
            self._mark.lack(len(self._view) - self._filled)
            return
        if not self._is_length:
            self._take(self._frame)
            return
        (size,) = struct.unpack(">i", self._view)
        if not 0 <= size <= LARGEST_BYTES:
            self._fail(ConnectionError(f"a response of {size} bytes: the stream is damaged"))
        elif size:
            self._begin(size, is_length=False)
            self._mark.begin(size)
        else:
            self._take(np.empty(0, np.uint8))

    def _take(self, frame: U8) -> None:
        frame.flags.writeable = False
        self._mark.lack(LENGTH_BYTES)
        self._frames.append(frame)
        self._begin(LENGTH_BYTES, is_length=True)
        if len(self._frames) >= MOST_WAITING:
            self._transport.pause_reading()
        self._wake()

    def _fail(self, err: BaseException) -> None:
        self._failure = self._failure or err
        self._begin(LENGTH_BYTES, is_length=True)
        self._transport.abort()
        self._wake()

    def eof_received(self) -> None:
        self._ended = True
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._ended, self._failure = True, self._failure or exc
        self._wake()
        if not self._closed.done():
            self._closed.set_result(None)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _get_close_waiter(self, _stream: Any) -> "asyncio.Future[None]":
        return self._closed

    # ---- what the connection calls

    async def frame(self) -> U8:
        """The next frame, waited for. Raises what ended the connection, IncompleteReadError at its end."""
        while not self._frames:
            if self._failure is not None:
                raise self._failure
            if self._ended:
                raise asyncio.IncompleteReadError(b"", LENGTH_BYTES)
            self._waiter = self._loop.create_future()
            await self._waiter
        if len(self._frames) == MOST_WAITING:
            self._transport.resume_reading()
        return self._frames.popleft()

    def at_eof(self) -> bool:
        return self._ended and not self._frames


class FrameBytes:
    """What aiokafka decodes a frame from: small parts as bytes, large ones as views of the frame."""

    def __init__(self, frame: U8) -> None:
        self._frame, self._at = frame, 0

    def read(self, size: int) -> Any:
        part = self._frame[self._at : self._at + max(size, 0)]
        self._at += len(part)
        return part if len(part) >= COPIED_BYTES else part.tobytes()


def opened(frame: Any) -> Any:
    """What a frame is decoded from."""
    return FrameBytes(frame) if isinstance(frame, np.ndarray) else io.BytesIO(frame)


class FrameConnection(AIOKafkaConnection):
    """A connection whose responses are filled in place."""

    connect = rebound(AIOKafkaConnection.connect, AIOKafkaProtocol=FrameProtocol)
    _handle_frame = rebound(AIOKafkaConnection._handle_frame, io=SimpleNamespace(BytesIO=opened))

    def _create_reader_task(self) -> Any:
        self._reader = self._protocol  # the stream's own reader gets nothing
        return super()._create_reader_task()

    @staticmethod
    async def _read(self_ref: "weakref.ref[FrameConnection]") -> None:
        """Hands frames on until the connection ends or is forgotten; it is not held meanwhile."""
        connection = self_ref()
        if connection is None:
            return
        protocol = connection._reader
        del connection
        while True:
            frame = await protocol.frame()
            connection = self_ref()
            if connection is None:
                return
            connection._handle_frame(frame if len(frame) >= COPIED_BYTES else frame.tobytes())
            del connection, frame


create_conn = rebound(conn.create_conn, AIOKafkaConnection=FrameConnection)
require_use(AIOKafkaConnection._create_reader_task, ["_read"])
require_use(AIOKafkaConnection.connect, ["_create_reader_task", "_protocol"])


class FrameClient(AIOKafkaClient):
    """A client all of whose connections are such."""

    bootstrap = rebound(AIOKafkaClient.bootstrap, create_conn=create_conn)
    _get_conn = rebound(AIOKafkaClient._get_conn, create_conn=create_conn)
