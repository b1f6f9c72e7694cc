"""Who may come in at the engine's port, over real sockets: the token, TLS, and what the commands trust."""

import json
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from esp.astore.binary import write
from esp.cli import queries
from esp.errors import UsageError
from esp.runtime.connect.memory import TOPICS
from esp.runtime.engine import EngineSettings
from esp.runtime.server import is_open
from esp.tls import server_context
from tests.certificates import Authority
from tests.command import Answer, Esp, esp_in, run_process
from tests.engine_process import PATIENCE_S
from tests.engine_thread import with_engine
from tests.runtime import moves

TOKEN = "s3cret-token"


@pytest.fixture
def esp_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Iterator[Esp]:
    """The command, called in this process in a folder of its own, where the token lies."""
    TOPICS.clear()
    (tmp_path / "token").write_text(TOKEN)
    yield esp_in(tmp_path, monkeypatch, capfd)
    TOPICS.clear()


def status_of(url: str, context: ssl.SSLContext | None = None, token: str = "") -> int:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"} if token else {})
    try:
        with urllib.request.urlopen(request, context=context, timeout=PATIENCE_S) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as err:
        with err:
            return err.code


def test_every_verb_goes_over_tls_to_an_engine_whose_authority_is_trusted(esp_command: Esp, tmp_path: Path) -> None:
    folder, authority = moves.write_query(tmp_path / "q"), Authority(tmp_path)
    write(moves.tiny(bias=0.5), tmp_path / "new.astore")

    def work(url: str) -> None:
        to = ("--to", url, "--token-file", "token", "--ca-file", authority.file)
        assert json.loads(esp_command("status", *to, "--json").out)["queries"][0]["state"] == "running"
        for verb, state in (("pause", "paused"), ("drain", "paused"), ("resume", "running")):
            assert esp_command(verb, "moves", *to) == Answer(0, f"moves: {state}\n", "")
        assert esp_command("deploy", "new.astore", "--window", "moves/scored", *to).status == 0
        bare = ("--to", url.removeprefix("https://"), *to[2:])  # with authorities to trust, https is meant
        assert esp_command("status", *bare).status == 0

        esp_command("status", *to[:2], *to[4:]).one_line(2, "the token is missing or wrong")
        esp_command("status", *to[:4]).one_line(1, url, "its certificate is not accepted (", "give --ca-file")
        esp_command("status", "--to", url.replace("127.0.0.1", "localhost"), *to[2:]).one_line(1, "Hostname mismatch")
        esp_command("status", "--to", url.replace("https", "http"), *to[2:]).one_line(1, "no engine answers", "https://")

    with_engine(folder, tmp_path / "state", work, TOKEN, tls=server_context(*authority.issue("engine"), UsageError))


def test_health_is_open_and_metrics_are_as_told(esp_command: Esp, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    trusting = ssl.create_default_context(cafile=authority.file)

    def work(url: str) -> None:
        for path in ("/healthz", "/readyz"):
            assert status_of(url + path, trusting) == 200
        for path in ("/metrics", "/v1/status"):
            assert [status_of(url + path, trusting, token) for token in ("", "s3cret-tokem", TOKEN)] == [401, 401, 200]

    def open_to_all(url: str) -> None:
        assert [status_of(url + path) for path in ("/metrics", "/v1/status")] == [200, 401]

    tls = server_context(*authority.issue("engine"), UsageError)
    with_engine(moves.write_query(tmp_path / "q"), tmp_path / "state", work, TOKEN, tls=tls, guards_metrics=True)
    with_engine(tmp_path / "q", tmp_path / "state", open_to_all, TOKEN)


def test_one_who_speaks_no_tls_is_cut_off_and_does_no_harm(esp_command: Esp, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    trusting = ssl.create_default_context(cafile=authority.file)

    def work(url: str) -> None:
        host, port = url.removeprefix("https://").split(":")
        with socket.create_connection((host, int(port)), timeout=PATIENCE_S) as raw:
            raw.sendall(b"GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n")
            assert b"HTTP" not in _to_the_end(raw)
        assert status_of(url + "/readyz", trusting) == 200

    with_engine(
        moves.write_query(tmp_path / "q"), tmp_path / "state", work, tls=server_context(*authority.issue("engine"), UsageError)
    )


def _to_the_end(raw: socket.socket) -> bytes:
    """All that comes; how the other side hangs up is its own affair."""
    found = b""
    with suppress(ConnectionResetError):
        while data := raw.recv(4096):
            found += data
    return found


def test_the_engine_listens_on_loopback_unless_told_otherwise() -> None:
    defaults = (str(EngineSettings().listen), queries.DEFAULT_LISTEN, queries.FREE_PORT)
    assert [is_open(listen) for listen in defaults] == [False, False, False]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--cert-file", "none.crt"], "--cert-file: none.crt cannot be read as a certificate and its key (No such file or directory)"),
        (["--cert-file", "a.crt", "--key-file", "b.key"], "a.crt and b.key cannot be read as a certificate and its key (KEY_VALUES_MISMATCH"),
        (["--cert-file", "token", "--key-file", "token"], "cannot be read as a certificate and its key ("),
        (["--cert-file", "c.crt", "--key-file", "c.key"], "the key in c.key is locked by a passphrase; give a key without one"),
        (["--key-file", "a.key"], "--key-file: a key alone is no certificate"),
        (["--guard-metrics"], "--guard-metrics: there is no token to ask for"),
    ],
)  # fmt: skip
def test_what_cannot_guard_the_port_is_wrong_usage(esp_command: Esp, tmp_path: Path, options: list[str], told: str) -> None:
    authority = Authority(tmp_path)
    for name, passphrase in (("a", ""), ("b", ""), ("c", "s3cret")):
        authority.issue(name, passphrase=passphrase)
    moves.write_query(tmp_path / "q")
    answer = run_process("run", "q", "--listen", "127.0.0.1:0", *options, cwd=tmp_path)
    answer.one_line(2, told)
    assert "s3cret" not in answer.err


def test_authorities_that_cannot_be_read_are_wrong_usage(esp_command: Esp) -> None:
    esp_command("status", "--to", "https://127.0.0.1:1", "--ca-file", "none").one_line(2, "--ca-file: none cannot be read")
    esp_command("status", "--to", "https://127.0.0.1:1", "--ca-file", "token").one_line(2, "--ca-file: token cannot be read")


def test_the_token_is_in_no_repr() -> None:
    assert "s3cret" not in repr(EngineSettings(token=TOKEN))
