"""The client of the admin API: what an engine answers, and every way in which none does."""

import io
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from esp.astore.binary import write
from esp.client import LONGEST_S, AdminClient, status_tables
from esp.errors import EspError, FileError, TransportError, UsageError
from esp.runtime.meters import SECONDS
from tests.runtime.moves import tiny


@contextmanager
def answering(status: int, body: bytes, seen: list[Any] | None = None) -> Iterator[str]:
    """The address of a server that answers everything alike; ``seen`` gets method, path, headers and body."""

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if seen is not None:
                seen.append((self.command, self.path, dict(self.headers), content))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PUT = _answer

        def log_message(self, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield "http://{}:{}".format(*server.server_address[:2])
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def refused(work: Callable[[], object], kind: type[EspError]) -> str:
    with pytest.raises(kind) as caught:
        work()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_request_carries_the_token_and_names_that_are_quoted() -> None:
    seen: list[Any] = []
    with answering(200, b'{"ok": true}', seen) as url:
        assert AdminClient(url + "/", "s3cret").act("a/b ?", "pause") == {"ok": True}
    method, path, headers, _ = seen[0]
    assert (method, path, headers["Authorization"]) == ("POST", "/v1/queries/a%2Fb%20%3F/pause", "Bearer s3cret")


def test_an_astore_is_sent_whole_with_its_digest(tmp_path: Path) -> None:
    seen: list[Any] = []
    path = tmp_path / "tiny.astore"
    digest = write(tiny(), path).digest
    with answering(200, b"{}", seen) as url:
        AdminClient(url.removeprefix("http://")).deploy(path, "moves/scored")
    ((method, at, headers, body),) = seen
    assert (method, at) == ("PUT", "/v1/queries/moves/windows/scored/model")
    assert (headers["Esp-Digest"], body) == (digest, path.read_bytes())


def test_a_damaged_astore_is_not_sent(tmp_path: Path) -> None:
    path = tmp_path / "tiny.astore"
    write(tiny(), path)
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)
    assert "SHA-256" in refused(lambda: AdminClient("127.0.0.1:1").deploy(path, "moves/scored"), FileError)


@pytest.mark.parametrize("window", ["scored", "/scored", "moves/", ""])
def test_a_window_is_named_by_query_and_window(window: str) -> None:
    line = refused(lambda: AdminClient("127.0.0.1:1").deploy(Path("x"), window), UsageError)
    assert line.endswith("write QUERY/WINDOW, as esp status shows them")


@pytest.mark.parametrize("url", ["", "http://", "ftp://host", "http://a b", "http://a\n", "http://\u00e4:1", "://x"])
def test_what_is_no_address_is_wrong_usage(url: str) -> None:
    assert "is no address of an engine" in refused(lambda: AdminClient(url), UsageError)


def test_where_no_engine_answers_the_address_and_the_mend_are_told() -> None:
    line = refused(AdminClient("127.0.0.1:1").status, TransportError)
    assert line.startswith("http://127.0.0.1:1: no engine answers (")
    assert "start one with esp run, or name it with --to" in line


def test_what_the_engine_refuses_is_told_in_its_words_and_what_fails_there_is_a_failure() -> None:
    with answering(422, b'{"error": "it takes gyro"}') as url:
        assert refused(AdminClient(url).status, UsageError).endswith("/v1/status: the engine refused: it takes gyro")
    with answering(500, b'{"error": "the disk is full"}') as url:
        assert "the disk is full" in refused(AdminClient(url).status, TransportError)


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"", b'{"other": 1}'])
def test_a_refusal_by_something_else_is_told_by_its_status(body: bytes) -> None:
    with answering(404, body) as url:
        assert "404 Not Found" in refused(AdminClient(url).status, UsageError)


def test_an_answer_that_is_no_json_comes_from_no_engine() -> None:
    with answering(200, b"<html>") as url:
        assert "no engine answers" in refused(AdminClient(url).status, TransportError)


STATUS: dict[str, Any] = {
    "version": "1.2.3",
    "queries": [
        {
            "name": "moves", "state": "running", "state_bytes": 123456, "checkpoints": 7, "lag_events": {"samples": 12_000},
            "latency_seconds": {"p50": 0.0016, "p90": 0.0025, "p99": 0.25},
            "windows": [
                {"name": "samples", "kind": "source", "from": None, "in": 1234567, "out": 1234560, "late": 0, "dead": 7, "model": None},
                {
                    "name": "scored", "kind": "score", "from": "samples", "in": 1234560, "out": 1234560, "late": 0, "dead": 0,
                    "model": {"name": "shoulder_exercises", "digest": "0123456789abcdef", "backend": "onnxruntime", "way": "one step an event"},
                },
            ],
        }
    ],
}  # fmt: skip


def test_status_fits_eighty_columns_without_a_word_broken() -> None:
    console = Console(file=io.StringIO(), width=80, soft_wrap=True)
    console.print(status_tables(STATUS))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert max(map(len, text.splitlines())) <= 80
    for part in (
        "esp engine 1.2.3", "moves  running", "latency p50 1.6 ms, p90 2.5 ms, p99 250 ms", "lag 12,000 events", "7 checkpoints", "1,234,567",
        "scored scores with shoulder_exercises 0123456789ab on onnxruntime,", "    one step an event",
    ):  # fmt: skip
        assert part in text
    row = next(line for line in text.splitlines() if " source " in line)
    assert row.split() == ["samples", "source", "1,234,567", "1,234,560", "0", "7"]


def test_a_latency_of_seconds_is_written_out() -> None:
    console = Console(file=io.StringIO(), width=80, soft_wrap=True)
    (query,) = STATUS["queries"]
    console.print(status_tables({**STATUS, "queries": [{**query, "latency_seconds": {"p50": 0.9999, "p90": 10.0, "p99": None}}]}))
    assert "latency p50 1e+03 ms" not in console.file.getvalue()  # type: ignore[attr-defined]
    assert "p90 10,000 ms, p99 >10 s" in console.file.getvalue()  # type: ignore[attr-defined]
    assert SECONDS[-1] == LONGEST_S


def test_status_of_an_engine_survives_json() -> None:
    with answering(200, json.dumps(STATUS).encode()) as url:
        assert AdminClient(url).status() == STATUS


def test_status_of_several_processes_tells_of_each_worker() -> None:
    workers = [
        {"number": 1, "ready": True, "pid": 411, "restarts": 0, "last_end": ""},
        {"number": 2, "ready": False, "pid": None, "restarts": 3, "last_end": "killed by SIGKILL"},
    ]
    console = Console(file=io.StringIO(), width=80)
    console.print(status_tables({**STATUS, "workers": workers}))
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert "  worker 1: ready, process 411" in lines
    assert "  worker 2: not ready, process none, started again 3 times (killed by SIGKILL)" in lines
