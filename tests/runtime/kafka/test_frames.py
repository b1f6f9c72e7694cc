"""Frames over a real socket: cut as they come, however they come; and every way in which a stream ends."""

import asyncio
import socket
import ssl
import struct
import subprocess
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from esp.runtime.kafka import frames
from esp.runtime.kafka.frames import FrameBytes, FrameProtocol

Script = Callable[[asyncio.StreamWriter], Coroutine[Any, Any, None]]


def framed(*bodies: bytes) -> bytes:
    return b"".join(struct.pack(">i", len(body)) + body for body in bodies)


def with_server(script: Script, check: Callable[[FrameProtocol], Coroutine[Any, Any, None]], **tls: Any) -> None:
    """Runs a check over a connection to a server that does what the script says."""

    async def main() -> None:
        async def serve(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await script(writer)

        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls.get("server"))
        loop, closed = asyncio.get_running_loop(), asyncio.get_running_loop().create_future()
        port = server.sockets[0].getsockname()[1]
        protocol = FrameProtocol(closed, None, loop=loop)
        transport, _ = await loop.create_connection(lambda: protocol, "127.0.0.1", port, ssl=tls.get("client"))
        async with asyncio.timeout(120):
            await check(protocol)
            transport.close()
            await closed
        server.close()

    asyncio.run(main())


BODIES = [b"", b"a", b"xyz" * 3, np.random.default_rng(0).bytes(3_000_000), b"end"]


async def piecemeal(writer: asyncio.StreamWriter) -> None:
    data, at, rng = framed(*BODIES), 0, np.random.default_rng(1)
    while at < len(data):
        size = int(rng.integers(1, 9)) if at < 60 else 300_000
        writer.write(data[at : at + size])
        await writer.drain()
        await asyncio.sleep(0)
        at += size
    writer.close()


async def all_come(protocol: FrameProtocol) -> None:
    for body in BODIES:
        frame = await protocol.frame()
        assert frame.tobytes() == body
        assert not frame.flags.writeable
    with pytest.raises(asyncio.IncompleteReadError):
        await protocol.frame()
    assert protocol.at_eof()


def test_frames_come_whole_however_the_stream_is_cut() -> None:
    with_server(piecemeal, all_come)


def test_frames_come_whole_over_tls(tmp_path: Path) -> None:
    key, cert = str(tmp_path / "key.pem"), str(tmp_path / "cert.pem")
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", cert, "-subj", "/CN=localhost"]
    subprocess.run(command, check=True, capture_output=True)
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    server.load_cert_chain(cert, key)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    with_server(piecemeal, all_come, server=server, client=client)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere every piece wakes the loop")
def test_the_socket_waits_for_much_of_a_large_frame_and_for_no_more_than_it_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "BULK_BYTES", 1 << 20)  # what every kernel grants
    size = 3 * frames.BULK_BYTES + 5

    async def script(writer: asyncio.StreamWriter) -> None:
        writer.write(framed(bytes(size), b"small"))
        writer.close()

    async def check(protocol: FrameProtocol) -> None:
        seen: list[tuple[int, int]] = []  # what a frame lacks, and how much of it the socket waits for
        end, told = protocol._transport.get_extra_info("socket"), protocol.buffer_updated

        def note(nbytes: int) -> None:
            told(nbytes)
            lacks = len(protocol._view) - protocol._filled
            seen.append((lacks, end.getsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT)))

        protocol.buffer_updated = note  # type: ignore[method-assign]
        assert len(await protocol.frame()) == size
        assert (await protocol.frame()).tobytes() == b"small"
        assert seen[0] == (size, frames.BULK_BYTES)
        assert all(awaited <= max(lacks, 1) for lacks, awaited in seen)
        assert [awaited for lacks, awaited in seen if lacks <= 5] == [1] * sum(lacks <= 5 for lacks, _ in seen)

    with_server(script, check)


@pytest.mark.parametrize("size", [-1, frames.LARGEST_BYTES + 1, -(2**31)])
def test_a_length_that_cannot_be_ends_the_connection_before_room_is_made_for_it(size: int) -> None:
    async def script(writer: asyncio.StreamWriter) -> None:
        writer.write(framed(b"good") + struct.pack(">i", size) + b"more")

    async def check(protocol: FrameProtocol) -> None:
        assert (await protocol.frame()).tobytes() == b"good"
        with pytest.raises(ConnectionError, match=rf"a response of {size} bytes"):
            await protocol.frame()

    with_server(script, check)


def test_a_stream_that_ends_inside_a_frame_hands_out_none_of_it() -> None:
    async def script(writer: asyncio.StreamWriter) -> None:
        writer.write(framed(b"whole") + framed(b"half a frame")[:9])
        writer.close()

    async def check(protocol: FrameProtocol) -> None:
        assert (await protocol.frame()).tobytes() == b"whole"
        with pytest.raises(asyncio.IncompleteReadError):
            await protocol.frame()

    with_server(script, check)


def test_frames_that_nobody_takes_stop_the_socket_and_go_on_when_they_are_taken() -> None:
    async def script(writer: asyncio.StreamWriter) -> None:
        writer.write(framed(*(b"%d" % i for i in range(10 * frames.MOST_WAITING))))
        writer.close()

    async def check(protocol: FrameProtocol) -> None:
        while protocol._transport.is_reading():  # noqa: ASYNC110
            await asyncio.sleep(0)
        assert len(protocol._frames) == frames.MOST_WAITING
        for i in range(10 * frames.MOST_WAITING):
            assert (await protocol.frame()).tobytes() == b"%d" % i

    with_server(script, check)


def test_large_parts_are_views_and_small_ones_bytes() -> None:
    frame = np.arange(10_000, dtype=np.int64).astype(np.uint8)
    data = FrameBytes(frame)
    assert data.read(3) == b"\x00\x01\x02"
    view = data.read(5000)
    assert np.shares_memory(view, frame)
    assert view.tobytes() == frame[3:5003].tobytes()
    assert len(data.read(1 << 20)) == 4997
    assert data.read(1) == b""
