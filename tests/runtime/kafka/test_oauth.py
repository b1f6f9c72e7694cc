"""Tokens for OAUTHBEARER: settings, files and variables, and a token server over HTTPS that is kind, strict or hostile."""

import asyncio
import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiokafka.errors import AuthenticationFailedError, KafkaConnectionError, KafkaError

from esp.errors import QueryError
from esp.runtime.connect import connection
from esp.runtime.kafka.oauth import FetchedToken, OAuth, token_provider
from tests.certificates import Authority
from tests.token_server import SECRET, TokenServer, serving


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TokenServer]:
    monkeypatch.setenv("CLIENT_SECRET", SECRET)
    with serving(Authority(tmp_path)) as found:
        yield found


def test_a_token_is_asked_for_once_and_again_when_most_of_its_life_is_over(server: TokenServer) -> None:
    now = [100.0]

    async def run() -> None:
        source = FetchedToken(server.settings(scope="kafka write"), "q", lambda: now[0])
        server.give(200, {"access_token": "one", "expires_in": 50, "token_type": "bearer"})
        assert await asyncio.gather(*(source.token() for _ in range(5))) == ["one"] * 5
        now[0] = 139.9
        assert await source.token() == "one"
        now[0] = 140.0  # 100 + 0.8 * 50
        server.give(200, {"access_token": "two"})
        assert await source.token() == "two"

    asyncio.run(run())
    assert len(server.asked) == 2
    headers, form = server.asked[0]
    assert form == {"grant_type": ["client_credentials"], "scope": ["kafka write"]}
    kind, _, pair = headers["Authorization"].partition(" ")
    assert (kind, base64.b64decode(pair)) == ("Basic", b"es%20p:s3cret%3A%2F%25")  # RFC 6749, section 2.3.1


def refused(settings: OAuth, kind: type[KafkaError]) -> str:
    with pytest.raises(kind) as caught:
        asyncio.run(FetchedToken(settings, "q: in").token())
    assert caught.value.__suppress_context__
    assert "s3cret" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("status", "body", "kind", "told"),
    [
        (401, {"error": "invalid_client", "error_description": SECRET}, AuthenticationFailedError, "refused (401 invalid_client)"),
        (400, {"error": SECRET}, AuthenticationFailedError, "refused (400)"),
        (403, SECRET.encode(), AuthenticationFailedError, "refused (403)"),
        (503, b"", KafkaConnectionError, "refused (503)"),
        (429, b"", KafkaConnectionError, "refused (429)"),
        (200, b"<html>" + SECRET.encode(), AuthenticationFailedError, "gave no token"),
        (200, {"access_token": f"{SECRET}\n"}, AuthenticationFailedError, "gave no token"),
        (200, {"access_token": 5}, AuthenticationFailedError, "gave no token"),
        (200, [], AuthenticationFailedError, "gave no token"),
        (200, {"access_token": "x", "expires_in": "soon"}, AuthenticationFailedError, "gave no token"),
    ],
)
def test_what_a_token_server_refuses_is_told_without_its_words(
    server: TokenServer, status: int, body: Any, kind: type[KafkaError], told: str
) -> None:
    server.give(status, body)
    assert refused(server.settings(), kind).endswith(f": the token server {server.url} {told}")


def test_the_secret_follows_no_redirect(server: TokenServer, tmp_path: Path) -> None:
    for status in (301, 302, 303, 307, 308):
        server.give(status, b"", Location=server.url)
        assert f"refused ({status})" in refused(server.settings(), AuthenticationFailedError)
    assert len(server.asked) == 5


def test_the_secret_goes_to_no_server_that_is_not_trusted(server: TokenServer, tmp_path: Path) -> None:
    assert "does not answer" in refused(server.settings(cafile=None), KafkaConnectionError)
    with serving(Authority(tmp_path), "kafka.example") as other:
        assert "mismatch" in refused(other.settings(), KafkaConnectionError)
        assert other.asked == []
    assert "does not answer" in refused(server.settings(url="https://127.0.0.1:1/"), KafkaConnectionError)
    assert server.asked == []


def test_a_secret_that_goes_in_mid_stream_is_waited_for(server: TokenServer, monkeypatch: pytest.MonkeyPatch) -> None:
    source = token_provider(server.settings(), "q")
    monkeypatch.delenv("CLIENT_SECRET")
    with pytest.raises(AuthenticationFailedError, match="CLIENT_SECRET is not set"):
        asyncio.run(source.token())


def test_a_token_file_is_read_at_each_connection(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("abc.def\n")
    source = token_provider(OAuth(token_file=file), "q")
    assert asyncio.run(source.token()) == "abc.def"
    file.write_text("ghi")
    assert asyncio.run(source.token()) == "ghi"
    file.unlink()
    with pytest.raises(AuthenticationFailedError, match="cannot be read"):
        asyncio.run(source.token())


@pytest.mark.parametrize(
    ("oauth", "told"),
    [
        ({}, "say one of token_env, token_file and url"),
        ({"token_env": "A", "token_file": "b"}, "not both"),
        ({"token_env": "A", "url": "https://a/"}, "say one of"),
        ({"token_env": "A", "scope": "s"}, "go with url"),
        ({"token_env": "s3cret-token.x"}, "token_env takes the name of an environment variable"),
        ({"url": "http://a/", "client_id": "c", "client_secret_env": "A"}, "https address"),
        ({"url": "https:///x", "client_id": "c", "client_secret_env": "A"}, "https address"),
        ({"url": "https://a/", "client_id": "c"}, "url needs client_id and client_secret_env"),
        ({"url": "https://a/", "client_secret_env": "A"}, "url needs client_id and client_secret_env"),
        ({"url": "https://a/", "client_id": "c", "client_secret": "s3cret"}, "unknown key 'client_secret'"),
    ],
)
def test_settings_that_cannot_work_are_one_line(oauth: dict[str, str], told: str) -> None:
    sasl = {"security_protocol": "SASL_SSL", "sasl_mechanism": "OAUTHBEARER"}
    with pytest.raises(QueryError) as caught:
        connection({"connector": "kafka", "topic": "t", **sasl, "oauth": oauth}, "q.toml: windows.in.connect")
    line = str(caught.value)
    assert line.startswith("q.toml: windows.in.connect.oauth")
    assert told in line
    assert "s3cret" not in line


@pytest.mark.parametrize(
    ("content", "told"), [(None, "No such file"), (b"", "nothing in it"), (b"\xff", "no text"), (b"a b", "no token")]
)
def test_a_token_file_that_will_not_do_is_one_line(tmp_path: Path, content: bytes | None, told: str) -> None:
    if content is not None:
        (tmp_path / "token").write_bytes(content)
    with pytest.raises(QueryError, match=f"^q: oauth: .*{told}"):
        token_provider(OAuth(token_file=tmp_path / "token"), "q")
