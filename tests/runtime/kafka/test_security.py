"""Every way into a secured Apache Kafka, through source and sink; and every way of being refused, in one line without a secret."""

import asyncio
import re
import time
from pathlib import Path
from typing import Any

import pytest

from esp.errors import StartError
from esp.runtime.connect import connection, open_sink
from esp.runtime.events import raw_block
from tests.certificates import Authority
from tests.conftest import Kafka
from tests.runtime.kafka.members import Member
from tests.secured_broker import PASSWORD, USER, SecuredBroker, token
from tests.token_server import SECRET, serving

pytest.importorskip("confluent_kafka")
pytestmark = pytest.mark.kafka
LONG_S = 3600.0  # a refusal is told long before, or the test's own time is over
NO_SECRET = ("s3cret", token()[:30])


@pytest.fixture(autouse=True)
def _secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BROKER_PASSWORD", PASSWORD)
    monkeypatch.setenv("WRONG_PASSWORD", "s3cret-but-wrong")
    monkeypatch.setenv("BROKER_TOKEN", token())
    monkeypatch.setenv("OLD_TOKEN", token(lifetime_s=-60))


def access(secured_broker: SecuredBroker, listener: str, mechanism: str = "", **more: Any) -> dict[str, Any]:
    """The settings of who comes in at a listener, as it should be; ``more`` stands over them."""
    protocol = {"BOTH": "SASL_SSL", "SASL": "SASL_PLAINTEXT", "SHORT": "SASL_PLAINTEXT"}.get(listener, "SSL")
    settings: dict[str, Any] = {
        "brokers": secured_broker.addresses[listener],
        "security_protocol": protocol,
        "wait_for_broker_s": LONG_S,
    }
    if protocol.endswith("SSL"):
        settings["ssl_cafile"] = str(secured_broker.authority.file)
    if mechanism == "OAUTHBEARER":
        settings |= {"sasl_mechanism": mechanism, "oauth": {"token_env": "BROKER_TOKEN"}}
    elif mechanism:
        settings |= {"sasl_mechanism": mechanism, "username": USER, "password_env": "BROKER_PASSWORD"}
    return settings | more


def sink_of(topic: str, settings: dict[str, Any]) -> Any:
    return open_sink(connection({"connector": "kafka", "topic": topic, **settings}, "q"), where="q.toml: windows.out")


def member(topic: str, settings: dict[str, Any]) -> Member:
    return Member(settings["brokers"], topic, **{key: value for key, value in settings.items() if key != "brokers"})


async def pass_through(topic: str, settings: dict[str, Any], values: list[bytes]) -> list[bytes]:
    """What our source reads of what our sink wrote."""
    sink = sink_of(topic, settings)
    await sink.start()
    await sink.send(raw_block(values))
    await sink.flush()
    async with member(topic, settings) as reader:
        records = await reader.read(len(values))
    await sink.stop()
    return [record[3] or b"" for record in records]


WAYS = [("TLS", "")] + [
    (listener, mechanism)
    for listener in ("BOTH", "SASL")
    for mechanism in ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER")
]


@pytest.mark.parametrize(("listener", "mechanism"), WAYS)
def test_records_go_through_by_every_mechanism(secured_broker: SecuredBroker, listener: str, mechanism: str) -> None:
    topic, values = Kafka(secured_broker.bootstrap).topic(), [b"%d" % i for i in range(500)]
    assert asyncio.run(pass_through(topic, access(secured_broker, listener, mechanism), values)) == values


@pytest.mark.parametrize("records", ["columns", "client"])
def test_over_tls_small_and_large_records_come_whole_on_both_paths(secured_broker: SecuredBroker, records: str) -> None:
    topic, values = Kafka(secured_broker.bootstrap).topic(), [bytes([i % 251]) * (i * 997 % 60_000) for i in range(300)]
    values += [b"%d" % i * 200 for i in range(20_000)]
    settings = access(secured_broker, "BOTH", "SCRAM-SHA-512", records=records)
    assert asyncio.run(pass_through(topic, settings, values)) == values


def test_mutual_tls_by_a_key_behind_a_passphrase(secured_broker: SecuredBroker, tmp_path: Path) -> None:
    certificate, key = secured_broker.authority.issue("client", passphrase="s3cret-phrase")
    (tmp_path / "phrase").write_text("s3cret-phrase\n")
    files = {"ssl_certfile": str(certificate), "ssl_keyfile": str(key), "ssl_key_password_file": str(tmp_path / "phrase")}
    topic, values = Kafka(secured_broker.bootstrap).topic(), [b"a", b"b"]
    assert asyncio.run(pass_through(topic, access(secured_broker, "MUTUAL", **files), values)) == values


def test_client_credentials_bring_a_token_that_the_broker_takes(
    secured_broker: SecuredBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLIENT_SECRET", SECRET)
    with serving(Authority(tmp_path)) as server:
        oauth = {"url": server.url, "client_id": "esp", "client_secret_env": "CLIENT_SECRET", "cafile": str(server.cafile)}
        settings, topic = access(secured_broker, "BOTH", "OAUTHBEARER", oauth=oauth), Kafka(secured_broker.bootstrap).topic()
        for _ in range(4):  # sink and source look first, each with a client of its own
            server.give(200, {"access_token": token(), "expires_in": 3600})
        assert asyncio.run(pass_through(topic, settings, [b"a", b"b"])) == [b"a", b"b"]
        assert len(server.asked) == 4
        server.give(401, {"error": "invalid_client"})
        server.give(401, {"error": "invalid_client"})
        assert "refused (401 invalid_client)" in refusal("t", settings)


def test_the_stream_outlives_its_token_where_the_file_holds_a_new_one(secured_broker: SecuredBroker, tmp_path: Path) -> None:
    """The broker cuts sessions whose token has expired; clients come back with what the file holds then."""
    file, topics = tmp_path / "token", [Kafka(secured_broker.bootstrap).topic() for _ in range(2)]
    settings = access(secured_broker, "SHORT", "OAUTHBEARER", oauth={"token_file": str(file)})
    begin_s = time.monotonic()
    file.write_text(token())
    asyncio.run(pass_through(topics[0], settings, [b"x"]))
    life_s = 4.0 + 5 * (time.monotonic() - begin_s)  # long enough for a start on this machine
    topic, ends_at = topics[1], time.time() + life_s
    file.write_text(token(life_s))

    async def run() -> None:
        sink = sink_of(topic, settings)
        await sink.start()
        sent = 0
        async with member(topic, settings) as reader:
            file.write_text(token())
            while sent < 20 or time.time() < ends_at + 1:
                await sink.send(raw_block([b"%d" % sent]))
                await sink.flush()
                sent += 1
                await reader.read(sent)
            assert [record[3] for record in reader.records] == [b"%d" % i for i in range(sent)]
        await sink.stop()

    asyncio.run(run())


# ---- refused ------------------------------------------------------------------------------------------------------------


def refusal(topic: str, settings: dict[str, Any]) -> str:
    """The line in which a start ends, the same for source and sink but for what a last try met; status 3, no secret in it."""

    async def sink() -> None:
        sink = sink_of(topic, settings)
        try:
            await sink.start()
        finally:
            await sink.stop()

    async def source() -> None:
        async with member(topic, settings):
            pass

    lines = []
    for work in (sink, source):
        with pytest.raises(StartError) as caught:
            asyncio.run(work())
        assert caught.value.exit_status == 3
        lines.append(str(caught.value))
        assert "\n" not in lines[-1]
        assert not any(part in lines[-1] for part in NO_SECRET)
        assert f"t: {settings['brokers']}: " in lines[-1]
    same = [re.sub(r"(answered within \d+ s) \([^)]*\)", r"\1", line) for line in lines]
    assert same[0].replace("windows.out", "windows.in") == same[1]
    return lines[0]


@pytest.mark.parametrize(
    ("listener", "mechanism", "change", "told"),
    [
        ("BOTH", "PLAIN", {"password_env": "WRONG_PASSWORD"}, ["refuses us (", "Invalid username or password", "mend the mech"]),
        ("SASL", "PLAIN", {"username": "bob"}, ["refuses us ("]),
        ("BOTH", "SCRAM-SHA-256", {"password_env": "WRONG_PASSWORD"}, ["refuses us (", "invalid credentials"]),
        ("SASL", "SCRAM-SHA-512", {"username": "bob"}, ["refuses us (", "invalid credentials"]),
        ("BOTH", "OAUTHBEARER", {"oauth": {"token_env": "OLD_TOKEN"}}, ["refuses us (the token was not accepted (invalid_token))"]),
        ("SASL", "OAUTHBEARER", {"oauth": {"token_env": "WRONG_PASSWORD"}}, ["the token was not accepted (invalid_token)"]),
        ("TLS", "", {"ssl_cafile": None}, ["certificate is not accepted (", "unable to get local issuer certificate"]),
        ("EXPIRED", "", {}, ["certificate is not accepted (certificate has expired)", "mend ssl_cafile"]),
        ("ELSEWHERE", "", {}, ["certificate is not accepted (IP address mismatch, certificate is not valid for '127.0.0.1'"]),
        ("MUTUAL", "", {}, ["there is no TLS with the broker ("]),
    ],
)
def test_who_is_refused_is_told_at_once_why(
    secured_broker: SecuredBroker, listener: str, mechanism: str, change: dict[str, Any], told: list[str]
) -> None:
    line = refusal("t", access(secured_broker, listener, mechanism, **change))
    for part in told:
        assert part in line


def test_a_certificate_of_an_authority_that_the_broker_does_not_trust_is_refused(
    secured_broker: SecuredBroker, tmp_path: Path
) -> None:
    certificate, key = Authority(tmp_path, "stranger").issue("client")
    line = refusal("t", access(secured_broker, "MUTUAL", ssl_certfile=str(certificate), ssl_keyfile=str(key)))
    assert "there is no TLS with the broker (" in line


def test_tls_and_a_listener_without_it_do_not_meet(secured_broker: SecuredBroker) -> None:
    settings = access(secured_broker, "TLS", wait_for_broker_s=1) | {"brokers": secured_broker.addresses["SASL"]}
    assert "broker" in refusal("t", settings)
    plain = {"brokers": secured_broker.addresses["TLS"], "wait_for_broker_s": 1}
    assert "no Kafka broker answered within 1 s" in refusal("t", plain)
