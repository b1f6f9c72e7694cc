"""Connector settings: every fault is one line that says where it lies."""

import importlib.util
import ssl
from datetime import UTC, datetime
from typing import Any

import pytest

from esp.errors import QueryError
from esp.runtime.connect import CONNECTORS, connection, open_sink, open_source
from esp.runtime.kafka.settings import KafkaConnection, client_options

WHERE = "q.toml: windows.in.connect"


def kafka(**settings: object) -> KafkaConnection:
    found = connection({"connector": "kafka", "topic": "t", **settings}, WHERE)
    assert isinstance(found, KafkaConnection)
    return found


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"topic": "t"}, "'connector' is missing"),
        ({"connector": "kafak", "topic": "t"}, "did you mean 'kafka'"),
        ({"connector": "kafka", "tpoic": "t"}, "did you mean 'topic'"),
        ({"connector": "kafka", "topic": "no spaces"}, "topic"),
        ({"connector": "kafka", "topic": "t", "client": {"group_id": "g"}}, "client.group_id is set by the connector"),
        ({"connector": "kafka", "topic": "t", "security_protocol": "SASL_SSL"}, "needs a username"),
        ({"connector": "kafka", "topic": "t", "start": "yesterday"}, "start"),
        ({"connector": "file", "path": "events.txt"}, "cannot tell the format of 'events.txt'"),
        ({"connector": "file", "path": "events.json", "header": True}, "only a csv file has a header"),
    ],
)
def test_a_wrong_table_is_one_line_with_its_place(table: dict[str, object], words: str) -> None:
    with pytest.raises(QueryError) as caught:
        connection(table, WHERE)
    assert str(caught.value).startswith(WHERE)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "brokers", ["host:abc", "host:", "host:0", "host:65536", ":9092", "a:9092,", "a:b:9", "[::1:9092", "::1]:9"]
)
def test_what_is_no_address_of_a_broker_is_refused(brokers: str) -> None:
    with pytest.raises(QueryError, match="is no address of a broker: write HOST:PORT") as caught:
        connection({"connector": "kafka", "topic": "t", "brokers": brokers}, WHERE)
    assert caught.value.exit_status == 2


@pytest.mark.parametrize("brokers", ["a", "a.example", "a:9092", "a:9092, b:9093", "[::1]:9092", "[::1]", "::1", "127.0.0.1:1"])
def test_addresses_of_brokers_are_taken(brokers: str) -> None:
    connection({"connector": "kafka", "topic": "t", "brokers": brokers}, WHERE)


def test_overrides_stand_over_kafka_settings_alone() -> None:
    over = {"brokers": "kafka:9092"}
    assert connection({"connector": "kafka", "topic": "t", "brokers": "a:1"}, WHERE, over).model_dump()["brokers"] == "kafka:9092"
    assert connection({"connector": "memory", "topic": "t"}, WHERE, over).connector == "memory"


def test_a_sink_refuses_the_keys_of_a_source() -> None:
    with pytest.raises(QueryError, match="a sink has no key 'start'"):
        connection({"connector": "kafka", "topic": "t", "start": "latest"}, WHERE, role="sink")
    with pytest.raises(QueryError, match="a source has no key 'compression'"):
        open_source(kafka(compression="gzip"), group="g", where=WHERE)
    with pytest.raises(QueryError, match="a sink has no key 'group'"):
        open_sink(kafka(group="g"), where=WHERE)


def test_a_kafka_source_needs_a_group() -> None:
    with pytest.raises(QueryError, match="consumer group"):
        open_source(kafka(), group="", where=WHERE)


def test_a_start_time_without_a_zone_is_utc() -> None:
    stamp = int(datetime(2024, 2, 29, 12, tzinfo=UTC).timestamp() * 1000)
    assert kafka(start="2024-02-29T12:00:00").start_ms == stamp
    assert kafka(start="2024-02-29T13:00:00+01:00").start_ms == stamp
    assert kafka(start="latest").start_ms is None


def test_the_password_comes_from_the_environment_or_a_file(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_PASSWORD", "hush")
    file = tmp_path / "password"
    file.write_text("hush\n")
    common = {"security_protocol": "SASL_SSL", "sasl_mechanism": "SCRAM-SHA-512", "username": "esp"}
    for settings in (kafka(**common, password_env="KAFKA_PASSWORD"), kafka(**common, password_file=str(file))):
        options = client_options(settings, WHERE)
        assert (options["sasl_plain_username"], options["sasl_plain_password"]) == ("esp", "hush")
        assert options["sasl_mechanism"] == "SCRAM-SHA-512"
        assert isinstance(options["ssl_context"], ssl.SSLContext)
        assert "hush" not in repr(settings)


def test_a_password_that_is_not_there_is_named_by_its_key(tmp_path) -> None:
    common = {"security_protocol": "SASL_PLAINTEXT", "username": "esp"}
    with pytest.raises(QueryError, match=r"connect: password_env: the environment variable NO_SUCH_THING is not set"):
        client_options(kafka(**common, password_env="NO_SUCH_THING"), WHERE)
    with pytest.raises(QueryError, match=r"connect: password_file: .*none cannot be read"):
        client_options(kafka(**common, password_file=str(tmp_path / "none")), WHERE)
    with pytest.raises(QueryError, match=r"connect: ssl_cafile: .*none cannot be read as certificates"):
        client_options(kafka(security_protocol="SSL", ssl_cafile=str(tmp_path / "none")), WHERE)


def test_every_setting_says_what_it_is_for() -> None:
    for row in CONNECTORS.values():
        fields = {name: field for name, field in row.settings.model_fields.items() if name != "connector"}
        assert [name for name, field in fields.items() if not field.description] == []
        assert (row.settings.source_only | row.settings.sink_only) <= fields.keys()


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"sasl_mechanism": "PLAIN"}, "needs a username"),
        ({"sasl_mechanism": "PLAIN", "username": "esp"}, "needs password_env or password_file"),
        ({"sasl_mechanism": "OAUTHBEARER"}, "needs oauth"),
        ({"username": "esp", "password_env": "A", "password_file": "b"}, "password_env or password_file, not both"),
        ({"username": "esp", "password_env": "hush hush"}, "password_env takes the name of an environment variable"),
        ({"username": "esp", "password_env": "A", "ssl_key_password_env": "B"}, "need ssl_certfile"),
        ({"username": "esp", "password_env": "A", "client": {"sasl_oauth_token_provider": 1}}, "is set by the connector itself"),
    ],
)
def test_security_that_cannot_work_is_refused_by_its_keys(keys: dict[str, Any], told: str) -> None:
    with pytest.raises(QueryError, match=told) as caught:
        kafka(security_protocol="SASL_SSL", **keys)
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    ("protocol", "keys", "told"),
    [
        ("PLAINTEXT", {"username": "esp", "password_env": "A"}, "password_env does nothing with security_protocol PLAINTEXT: say SASL_SSL"),
        ("SSL", {"sasl_mechanism": "PLAIN"}, "sasl_mechanism does nothing with security_protocol SSL: say SASL_SSL"),
        ("PLAINTEXT", {"oauth": {"token_file": "a"}}, "oauth does nothing"),
        ("PLAINTEXT", {"ssl_cafile": "ca.pem"}, "ssl_cafile does nothing with security_protocol PLAINTEXT: say SSL, or SASL_SSL"),
        ("SASL_PLAINTEXT", {"username": "esp", "password_env": "A", "ssl_cafile": "ca.pem"}, "ssl_cafile does nothing"),
    ],
)  # fmt: skip
def test_credentials_that_would_go_nowhere_are_refused(protocol: str, keys: dict[str, Any], told: str) -> None:
    with pytest.raises(QueryError, match=told):
        kafka(security_protocol=protocol, **keys)
    if protocol == "PLAINTEXT":
        with pytest.raises(QueryError, match=told):
            kafka(**keys)


def test_gssapi_without_its_package_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(QueryError, match="GSSAPI needs the package gssapi"):
        client_options(kafka(security_protocol="SASL_PLAINTEXT", sasl_mechanism="GSSAPI"), WHERE)
