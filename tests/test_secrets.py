"""A whole engine over a secured Kafka and a guarded port: what it scores, and that none of its secrets comes out anywhere."""

import base64
import json
import ssl
import urllib.request
from pathlib import Path

import pytest

from tests.command import run_process
from tests.engine_process import PATIENCE_S, EngineProcess, Topics, wait_until
from tests.runtime import moves
from tests.secured_broker import PASSWORD, USER, SecuredBroker, token

pytest.importorskip("confluent_kafka")
pytestmark = pytest.mark.kafka
ADMIN_TOKEN, PHRASE = "s3cret-admin-token", "s3cret-phrase"


def write_query(folder: Path, secured_broker: SecuredBroker, **change: str) -> Path:
    """The query of moves.py: events by SCRAM over TLS, scores by a token, dead letters by mutual TLS."""
    certificate, key = secured_broker.authority.issue("engine", passphrase=PHRASE)
    (folder / "phrase").write_text(PHRASE)
    ca = f'ssl_cafile = "{secured_broker.authority.file}"'
    password = f'username = "{USER}", password_env = "BROKER_PASSWORD"'
    keys = f'ssl_certfile = "{certificate}", ssl_keyfile = "{key}", ssl_key_password_file = "{folder}/phrase"'
    ways = {
        "samples": f'brokers = "{secured_broker.addresses["BOTH"]}", security_protocol = "SASL_SSL", sasl_mechanism = "SCRAM-SHA-512", {password}, {ca}',
        "scores": f'brokers = "{secured_broker.addresses["SASL"]}", security_protocol = "SASL_PLAINTEXT", sasl_mechanism = "OAUTHBEARER", '
        f'oauth = {{ token_file = "{folder}/broker-token" }}',
        "dead": f'brokers = "{secured_broker.addresses["MUTUAL"]}", security_protocol = "SSL", {keys}, {ca}',
    } | change  # fmt: skip
    text = moves.QUERY
    for name, way in ways.items():
        text = text.replace(f'"memory", topic = "moves.{name}"', f'"kafka", topic = "moves.{name}", {way}')
    return moves.write_query(folder / "q", text)


def forms(secret: str) -> list[str]:
    """A secret as it stands, and as protocols write it."""
    pairs = (f"\0{USER}\0{secret}", f"{USER}\0{USER}\0{secret}", f"{USER}:{secret}")
    return [secret, *(base64.b64encode(text.encode()).decode().rstrip("=") for text in (secret, *pairs))]


def test_no_secret_comes_out_of_an_engine_that_uses_them_all(
    secured_broker: SecuredBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker_token = token()
    monkeypatch.setenv("BROKER_PASSWORD", PASSWORD)
    for name, content in (("broker-token", broker_token), ("admin-token", ADMIN_TOKEN)):
        (tmp_path / name).write_text(content)
    folder, authority = write_query(tmp_path, secured_broker), secured_broker.authority
    topics = Topics(secured_broker.bootstrap, "moves", ["samples", "scores", "dead"], 1)
    certificate, key = authority.issue("port")
    options = ("--token-file", tmp_path / "admin-token", "--cert-file", certificate, "--key-file", key, "--log-level", "debug")
    with EngineProcess(folder, tmp_path / "state", *options) as engine:
        topics.send("samples", [(0, moves.event(i)) for i in range(50)] + [(0, b"no json")])
        wait_until(lambda: (topics.count("scores"), topics.count("dead")) == (50, 1), "scores and dead letters")
        told = [run_process(*call, cwd=tmp_path) for call in calls(engine.url, tmp_path, authority.file)]
        trusting, told_by_port = ssl.create_default_context(cafile=authority.file), []
        for path in ("/metrics", "/readyz", "/healthz", "/openapi.json"):
            with urllib.request.urlopen(engine.url + path, context=trusting, timeout=PATIENCE_S) as answer:
                told_by_port.append(answer.read().decode())
        assert engine.stop() == 0
        assert "the secret goes to the broker in the clear; use SASL_SSL" in engine.text  # the token, over SASL_PLAINTEXT
    assert [answer.status for answer in told] == [0, 0, 0, 0]
    assert json.loads(told[2].out)["queries"][0]["windows"][0]["in"] == 51
    everything = "\n".join([engine.text, *told_by_port, *(answer.out + answer.err for answer in told)])
    for secret in (PASSWORD, ADMIN_TOKEN, PHRASE, broker_token):
        for form in forms(secret):
            assert form not in everything


def calls(url: str, folder: Path, authority: Path) -> list[tuple[object, ...]]:
    to = ("--to", url, "--token-file", folder / "admin-token", "--ca-file", authority)
    return [("check", "q"), ("drain", "moves", *to), ("status", *to, "--json"), ("status", *to)]


@pytest.mark.parametrize(
    ("way", "status", "told"),
    [
        ('password_env = "WRONG"', 3, "the broker refuses us ("),
        ('password_env = "NONE"', 2, "password_env: the environment variable NONE is not set; set it"),
        ('password_file = "none"', 2, "password_file: none cannot be read (No such file or directory)"),
        ('password_file = "q"', 2, "password_file: q cannot be read (Is a directory)"),
        ('password_env = "EMPTY"', 2, "password_env: there is nothing in it"),
        ('password_env = "s3cret-p=ss"', 2, "takes the name of an environment variable"),
        ("client = {}", 2, "needs password_env or password_file"),
        ('password_env = "WRONG", ssl_cafile = "none"', 2, "ssl_cafile: none cannot be read as certificates"),
        ('password_env = "WRONG", ssl_cafile = "q/query.toml"', 2, "ssl_cafile: q/query.toml cannot be read as certificates"),
    ],
)  # fmt: skip
def test_an_engine_that_cannot_get_in_ends_with_one_line(
    secured_broker: SecuredBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str, status: int, told: str
) -> None:
    monkeypatch.setenv("WRONG", "s3cret-but-wrong")
    monkeypatch.setenv("EMPTY", "")
    ca = "" if "ssl_cafile" in way else f', ssl_cafile = "{secured_broker.authority.file}"'
    sasl = f'brokers = "{secured_broker.addresses["BOTH"]}", security_protocol = "SASL_SSL", sasl_mechanism = "SCRAM-SHA-256", username = "{USER}"'
    write_query(tmp_path, secured_broker, scores=f"{sasl}, {way}{ca}", samples="", dead="")
    query = tmp_path / "q" / "query.toml"
    for name in ("samples", "dead"):
        query.write_text(query.read_text().replace(f'"kafka", topic = "moves.{name}", ', f'"memory", topic = "moves.{name}"'))
    answer = run_process("run", "q", "--listen", "127.0.0.1:0", "--log-level", "error", cwd=tmp_path)
    answer.one_line(status, "q/query.toml: windows.scores", told)
    assert "s3cret" not in answer.err
