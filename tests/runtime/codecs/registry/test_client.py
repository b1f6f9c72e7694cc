"""The client of a registry when the registry is slow, away, strange or hostile, and when whoever sends records is."""

import logging
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from esp.errors import EventError, QueryError, StartError, TransportError
from esp.runtime.codecs.registry.call import MOST_BYTES
from esp.runtime.codecs.registry.client import Client, SchemaText
from esp.runtime.codecs.registry.misses import EVERY_S, KEPT_S, MOST_AT_ONCE
from esp.runtime.codecs.registry.settings import RegistrySettings
from esp.runtime.unread import Unwanted
from esp.settings import checked
from tests.certificates import Authority
from tests.registry_server import PASSWORD, TOKEN, USER, RegistryServer, basic, serving

WHERE = "q.toml: windows.w.options.registry"
HTML = b"<html>welcome</html>"


@pytest.fixture
def server() -> Iterator[RegistryServer]:
    with serving() as server:
        server.add("s", '"int"')
        yield server


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def client(server: RegistryServer, clock: Any = None, **settings: Any) -> Client:
    made = RegistrySettings(**({"url": server.url, "timeout_s": 60.0} | settings))
    return Client(made, WHERE, clock) if clock else Client(made, WHERE)


def hang(handler: Any) -> None:
    """Says nothing until the client is gone."""
    handler.rfile.read(1)


def drip(handler: Any) -> None:
    """Sends a head line after line, without end."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
    try:
        for number in range(10**9):
            handler.wfile.write(b"X-%d: 1\r\n" % (number % 50))
            handler.wfile.flush()
            threading.Event().wait(0.02)
    except OSError:
        pass


def cut(handler: Any) -> None:
    """Promises more than it sends."""
    handler.wfile.write(b'HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{"schema":')


def slam(handler: Any) -> None:
    handler.connection.close()


PASSING: list[Any] = [
    (500, b""), (503, b'{"error_code": 50001, "message": "x"}'), (429, b"{}"), (408, b""), (401, b""), (403, b"{}"), (200, HTML), (200, b"[1]"), (200, b""),
    (404, HTML), (301, b"{}"), (400, b'{"message": "no code"}'), cut, slam,
]  # fmt: skip


@pytest.mark.parametrize("fault", PASSING, ids=lambda fault: getattr(fault, "__name__", str(fault)))
def test_what_is_no_answer_of_a_registry_is_waited_out_and_said_once(
    server: RegistryServer, fault: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    asking = client(server)
    server.next += [fault, fault]
    assert asking.schema(1).text == '"int"'
    assert len(server.asked) == 3
    assert [asking.asker.peer.trouble, asking.asker.peer.faults, asking.asker.peer.retries] == ["", 1, 2]
    told = [record.getMessage() for record in caplog.records if record.name == "esp.registry"]
    assert len(told) == 2
    assert "events wait, tried on" in told[0]
    assert told[1].endswith("is back")


@pytest.mark.parametrize("fault", [hang, drip])
def test_a_server_that_does_not_come_to_an_end_is_cut_off(server: RegistryServer, fault: Any) -> None:
    asking = client(server, timeout_s=1.0)
    server.next.append(fault)
    assert asking.schema(1).text == '"int"'
    assert len(server.asked) >= 2  # more, where a machine takes a second for a good answer


@pytest.mark.parametrize("fault", [hang, drip, (503, b"")])
def test_hanging_up_ends_a_wait_at_once(server: RegistryServer, fault: Any) -> None:
    asking, failures = client(server, timeout_s=300.0), []
    asked = threading.Event()

    def laid(handler: Any) -> None:
        asked.set()
        if callable(fault):
            fault(handler)
        else:
            handler._send(*fault)

    server.next += [laid] * 100

    def ask() -> None:
        try:
            asking.schema(1)
        except TransportError as err:
            failures.append(str(err))

    thread = threading.Thread(target=ask)
    thread.start()
    assert asked.wait(120)
    asking.asker.hang_up()
    thread.join(120)
    assert not thread.is_alive()
    assert failures == [f"{WHERE}: the query ends while schema registry {server.url} is away; start it again: it goes on"]


@pytest.mark.parametrize("fault", [hang, drip, (503, b"")])
def test_a_wait_for_records_that_go_elsewhere_ends_at_once_and_another_goes_on(server: RegistryServer, fault: Any) -> None:
    asking, ends = client(server, timeout_s=300.0), list[Any]()
    asked, is_vain = threading.Event(), threading.Event()
    asking.asker.is_vain = is_vain.is_set

    def laid(handler: Any) -> None:
        asked.set()
        if callable(fault):
            fault(handler)
        else:
            handler._send(*fault)

    def ask() -> None:
        try:
            ends.append(asking.schema(1).text)
        except Unwanted:
            ends.append(Unwanted)

    for vain in (True, False):
        server.next[:] = [laid] * (100 if vain else 1)
        thread = threading.Thread(target=ask)
        thread.start()
        assert asked.wait(120)
        if vain:
            is_vain.set()
        asking.asker.wake()
        thread.join(120)
        assert not thread.is_alive()
        is_vain.clear()
        asked.clear()
    assert ends == [Unwanted, '"int"']
    assert asking.asker.peer.trouble == ""


def test_a_registry_that_is_down_at_the_start_is_awaited_and_then_told(server: RegistryServer) -> None:
    clock = Clock()
    asking = client(server, clock, wait_s=7.0)
    asking.asker.begin()
    server.next += [(503, b""), (503, b"")]
    assert asking.latest("s") is not None
    clock.now = 8.0
    server.next += [(503, b"")]
    with pytest.raises(StartError, match=r"schema registry http://.*: it answers 503; start the registry, or mend the url"):
        asking.latest("other")


def test_how_long_a_registry_was_away_is_counted(server: RegistryServer) -> None:
    clock = Clock()
    asking = client(server, clock)

    def late(handler: Any) -> None:
        clock.now += 2.0
        handler._send(503, b"")

    def later(handler: Any) -> None:
        clock.now += 3.0
        assert asking.asker.peer.trouble == f"schema registry {server.url}: it answers 503"
        handler._send(503, b"")

    server.next += [late, later]
    assert asking.schema(1).text == '"int"'
    assert (asking.name, asking.asker.peer.away_s) == ("w.registry", 3.0)


def test_an_address_where_nobody_listens_is_told_at_the_start() -> None:
    with serving() as gone:
        asking = client(gone, wait_s=0)
    asking.asker.begin()
    with pytest.raises(StartError, match="it does not answer \\(Connection refused\\)"):
        asking.latest("s")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ((401, b""), r"it refuses us \(401\); mend the user"),
        ((403, b""), r"it refuses us \(403\); mend the user"),
        ((200, HTML), r"what answers there is no schema registry \(status 200\); give the address"),
        ((404, HTML), r"what answers there is no schema registry \(status 404\)"),
        ((302, b""), r"what answers there is no schema registry \(status 302\)"),
    ],
)
def test_what_waiting_would_not_mend_ends_the_start_at_once(server: RegistryServer, answer: Any, reason: str) -> None:
    asking = client(server)
    asking.asker.begin()
    server.next.append(answer)
    with pytest.raises(StartError, match=reason):
        asking.latest("s")
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ((404, b'{"error_code": 40403, "message": "Schema not found"}'), "schema 1: the registry refuses (404): Schema not found"),
        ((422, b'{"error_code": 42201, "message": "a\\nb\\u001b[31m"}'), "schema 1: the registry refuses (422): a b [31m"),
        ((200, b" " * (MOST_BYTES + 1)), f"schema 1: the registry's answer is past {MOST_BYTES} bytes"),
        ((200, b"{}"), "schema 1: the registry's answer holds no schema"),
        ((200, b'{"schema": 5}'), "schema 1: the registry's answer holds no schema"),
        ((200, b'{"schema": "x", "references": 1}'), "schema 1: the registry's answer holds no schema"),
        ((200, b'{"schema": "x", "references": [1]}'), "schema 1: one of its references is none"),
    ],
)
def test_an_answer_without_a_schema_makes_records_bad_and_is_not_asked_for_again_soon(
    server: RegistryServer, answer: Any, reason: str
) -> None:
    clock = Clock()
    asking = client(server, clock)
    server.next.append(answer)
    for _ in range(3):
        with pytest.raises(EventError) as bad:
            asking.schema(1)
        assert str(bad.value) == reason
    assert len(server.asked) == 1
    clock.now = KEPT_S + 1
    assert asking.schema(1).text == '"int"'


def test_a_flood_of_unknown_numbers_does_not_hammer_the_registry(server: RegistryServer) -> None:
    clock = Clock()
    asking = client(server, clock)
    reasons = []
    for number in range(1000, 3000):
        with pytest.raises(EventError) as bad:
            asking.schema(number)
        reasons.append(str(bad.value))
    assert len(server.asked) == MOST_AT_ONCE
    assert reasons[-1] == "schema 2999: not looked up, for too many numbers were asked for in vain of late; send it again"
    clock.now += 3 * EVERY_S
    assert asking.schema(1).text == '"int"'  # what is there costs nothing
    for number in range(5000, 5100):
        with pytest.raises(EventError):
            asking.schema(number)
    assert len(server.asked) == MOST_AT_ONCE + 1 + 3


def test_what_is_known_is_read_while_the_registry_is_away(server: RegistryServer) -> None:
    asking = client(server)
    assert asking.schema(1).text == '"int"'
    server.next += [(503, b"")] * 100
    assert asking.schema(1).text == '"int"'
    assert len(server.asked) == 1


@pytest.mark.parametrize("answer", [b"{}", b'{"id": "x"}', b'{"id": -1}', b'{"id": 99999999999}'])
def test_a_registration_without_a_number_is_refused(server: RegistryServer, answer: bytes) -> None:
    server.next.append((200, answer))
    with pytest.raises(QueryError, match="gave no number for a schema"):
        client(server).number_of("s", SchemaText(0, "AVRO", '"long"'), is_registering=True)


def test_several_addresses_are_tried_in_turn(server: RegistryServer) -> None:
    with serving() as gone:
        pass
    asking = client(server, url=f"{gone.url}, {server.url}", wait_s=0.1)
    assert asking.latest("s") is not None
    assert asking.asker.peer.retries == 1
    assert asking.schema(1).text == '"int"'
    assert asking.asker.peer.retries == 1  # the one that answers is asked first


def test_subjects_and_paths_are_quoted(server: RegistryServer) -> None:
    asking = client(server, url=f"{server.url}/base/")
    server.next.append((404, b'{"error_code": 40401}'))
    assert asking.latest("a/../b?c d") is None
    assert server.asked == ["GET /base/subjects/a%2F..%2Fb%3Fc%20d/versions/latest"]


# ---- secrets ---------------------------------------------------------------------------------------------------------


def test_a_password_from_the_environment_and_a_token_from_a_file_are_read_at_each_request(
    server: RegistryServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PW", "old")
    asking = client(server, username=USER, password_env="PW")
    server.auth = basic(password="old")
    assert asking.latest("s") is not None
    server.auth = basic()
    monkeypatch.setenv("PW", PASSWORD)
    assert asking.schema(1).text == '"int"'
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    server.auth = f"Bearer {TOKEN}"
    assert client(server, token_file=tmp_path / "token").latest("s") is not None


def test_no_secret_comes_out_even_if_the_registry_repeats_it(
    server: RegistryServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("PW", PASSWORD)
    asking = client(server, username=USER, password_env="PW")
    code = basic().partition(" ")[2]
    server.next += [
        (500, PASSWORD.encode()),
        (422, b'{"error_code": 1, "message": "%s and %s"}' % (PASSWORD.encode(), code.encode())),
    ]
    with pytest.raises(EventError) as bad:
        asking.schema(1)
    assert str(bad.value) == "schema 1: the registry refuses (422): *** and ***"
    assert PASSWORD not in repr(asking.asker.settings) + caplog.text
    assert code not in caplog.text


def test_a_redirect_is_not_followed_for_the_secret_would_go_with_it(
    server: RegistryServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PW", PASSWORD)

    def away(handler: Any) -> None:
        handler.send_response(302)
        handler.send_header("Location", f"{server.url}/elsewhere")
        handler.end_headers()

    asking = client(server, username=USER, password_env="PW")
    asking.asker.begin()
    server.next.append(away)
    with pytest.raises(StartError, match="no schema registry"):
        asking.latest("s")
    assert len(server.asked) == 1


def test_tls_checks_the_certificate_against_the_authorities_that_are_named(tmp_path: Path) -> None:
    mine, other = Authority(tmp_path), Authority(tmp_path, "other")
    with serving(mine) as server:
        server.add("s", '"int"')
        assert client(server, cafile=mine.file).schema(1).text == '"int"'
        strict = client(server, cafile=other.file)
        strict.asker.begin()
        with pytest.raises(StartError, match=r"its certificate is not accepted .*; mend cafile"):
            strict.latest("s")
        assert len(server.asked) == 1
    (tmp_path / "junk").write_text("junk")
    with pytest.raises(QueryError, match="cannot be read as certificates"):
        client(server, cafile=tmp_path / "junk")
    assert ssl.create_default_context().verify_mode == ssl.CERT_REQUIRED


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"url": "registry:8081"}, "url takes an http or https address"),
        ({"url": "ftp://registry"}, "url takes an http or https address"),
        ({"url": "http://registry:port"}, "url takes an http or https address"),
        ({"url": "http://registry/?a=b"}, "url takes an http or https address"),
        ({"url": "http://me:s3cret@registry"}, "url holds a user or a password"),
        ({"url": "http://a,https://b"}, "url takes http addresses or https addresses, not both"),
        ({"url": "http://a,"}, "url takes an http or https address"),
        ({"url": "http://r", "username": "a"}, "username and password_env or password_file go together"),
        ({"url": "http://r", "password_env": "PW"}, "username and password_env or password_file go together"),
        (
            {"url": "http://r", "username": "a", "password_env": "PW", "password_file": "x"},
            "say password_env or password_file, not both",
        ),
        ({"url": "http://r", "username": "a", "password_env": "s3cret!"}, "password_env takes the name of an environment variable"),
        ({"url": "http://r", "username": "a", "password_env": "PW", "token_env": "T"}, "say username and password, or a token"),
        ({"url": "http://r", "cafile": "x"}, "cafile goes with an https address"),
        ({"url": "http://r", "pasword_env": "PW"}, "unknown key 'pasword_env'"),
    ],
)
def test_settings_that_cannot_be_right_are_refused_and_hold_no_secret(settings: dict[str, Any], reason: str) -> None:
    with pytest.raises(QueryError, match=reason) as err:
        checked(RegistrySettings, settings, WHERE, QueryError)
    assert "s3cret" not in str(err.value)
