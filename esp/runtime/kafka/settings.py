"""Settings of the Kafka connector, and how they become options of the client library."""

import importlib.util
import ipaddress
import ssl
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import pydantic

from esp.errors import QueryError
from esp.runtime.connector import Connection
from esp.runtime.kafka.oauth import OAuth, token_provider
from esp.runtime.unread import OnCorrupt
from esp.secrets import check_pair, secret
from esp.tls import add_certificate, client_context

Protocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
Mechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER", "GSSAPI"]
OWN_OPTIONS = {
    "bootstrap_servers", "group_id", "enable_auto_commit", "auto_offset_reset", "enable_idempotence", "acks", "ssl_context",
    "security_protocol", "sasl_mechanism", "sasl_plain_username", "sasl_plain_password", "sasl_oauth_token_provider",
    "key_serializer", "value_serializer", "key_deserializer", "value_deserializer", "transactional_id", "loop", "linger_ms", "max_batch_size", "compression_type",
    "max_partition_fetch_bytes", "fetch_max_wait_ms", "max_poll_interval_ms", "group_instance_id", "partition_assignment_strategy",
}  # fmt: skip
SASL_KEYS = {"sasl_mechanism", "username", "password_env", "password_file", "oauth"}
REBALANCE_TIMEOUT_MS = 60_000


class CreateTopic(pydantic.BaseModel):
    """How a topic that is not there is made."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    partitions: int = pydantic.Field(4, ge=1, description="partitions of the new topic")
    replication: int = pydantic.Field(1, ge=1, description="replicas of each partition")
    config: dict[str, str] = pydantic.Field(default_factory=dict, description="topic settings of Kafka, such as retention.ms")


class KafkaConnection(Connection):
    """A topic of a Kafka cluster, as a source or as a sink."""

    source_only = frozenset(
        {
            "group",
            "isolation",
            "start",
            "on_lost",
            "on_corrupt",
            "instance",
            "assignor",
            "handover_s",
            "max_records",
            "max_partition_fetch_bytes",
            "fetch_max_wait_ms",
        }
    )
    sink_only = frozenset({"max_batch_bytes", "max_in_flight_bytes", "compression", "partition_by"})

    connector: Literal["kafka"]
    topic: str = pydantic.Field(min_length=1, max_length=249, pattern=r"^[A-Za-z0-9._-]+$", description="the topic")
    brokers: str = pydantic.Field("127.0.0.1:9092", min_length=1, description="HOST:PORT of one or more brokers, joined by commas")
    create: CreateTopic | None = pydantic.Field(None, description="make the topic if it is not there, such as { partitions = 4 }")
    records: Literal["columns", "client"] = pydantic.Field(
        "columns", description="columns: whole batches by kernels; client: record by record, by aiokafka alone"
    )
    wait_for_broker_s: float = pydantic.Field(30.0, ge=0, description="how long a broker that is down is awaited at the start")

    group: str = pydantic.Field("", description="consumer group; that of the query, if left out")
    start: Literal["earliest", "latest"] | datetime = pydantic.Field(
        "earliest", description="where a group without a commit begins: earliest, latest or a time (UTC, if it names no zone)"
    )
    isolation: Literal["read_committed", "read_uncommitted"] | None = pydantic.Field(
        None, description="whether records of open and aborted transactions are left out; with delivery = exactly_once they are"
    )
    on_lost: Literal["fail", "earliest", "latest"] = pydantic.Field(
        "fail", description="what to do when the offset to go on from is no longer there"
    )
    on_corrupt: OnCorrupt = pydantic.Field(
        "fail", description="what to do with a record batch that comes damaged twice: fail, or dead_letter and go on behind it"
    )
    instance: str | None = pydantic.Field(
        None, description="static membership: a name, so that a restart gets its partitions back at once"
    )
    assignor: Literal["sticky", "range", "roundrobin"] = pydantic.Field(
        "sticky", description="how a group shares its partitions, the same for all members; sticky moves as few as it can"
    )
    handover_s: float | None = pydantic.Field(
        None, gt=0, description="how long giving partitions up may take; half of client.rebalance_timeout_ms, if left out"
    )
    max_records: int = pydantic.Field(4096, ge=1, description="records of one poll, at most, where records = client")
    max_partition_fetch_bytes: int = pydantic.Field(4 << 20, ge=1024, description="bytes of one fetch from one partition, at most")
    fetch_max_wait_ms: int = pydantic.Field(100, ge=0, description="how long the broker holds a fetch that finds nothing")

    max_batch_bytes: int = pydantic.Field(1 << 20, ge=1024, description="bytes of one record batch, at most")
    max_in_flight_bytes: int = pydantic.Field(
        48 << 20, ge=1024, description="bytes handed over and not acknowledged before send waits"
    )
    compression: Literal["gzip", "snappy", "lz4", "zstd"] | None = pydantic.Field(None, description="compression of record batches")

    partition_by: Literal["source", "key"] = pydantic.Field(
        "source", description="source: the partition an event came from; key: as Kafka's Java client chooses by the key"
    )

    security_protocol: Protocol = pydantic.Field("PLAINTEXT", description="PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL")
    sasl_mechanism: Mechanism = pydantic.Field("PLAIN", description="PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER or GSSAPI")
    username: str | None = pydantic.Field(None, description="SASL user")
    password_env: str | None = pydantic.Field(None, description="environment variable that holds the SASL password")
    password_file: Path | None = pydantic.Field(None, description="file that holds the SASL password")
    oauth: OAuth | None = pydantic.Field(
        None, description="the token of OAUTHBEARER, such as { token_file = PATH }; see esp keys connect.kafka.oauth"
    )
    ssl_cafile: Path | None = pydantic.Field(
        None, description="certificates of the authorities to trust; the system's, if left out"
    )
    ssl_certfile: Path | None = pydantic.Field(None, description="certificate of this client")
    ssl_keyfile: Path | None = pydantic.Field(None, description="key of this client's certificate")
    ssl_key_password_env: str | None = pydantic.Field(None, description="environment variable that holds the key's passphrase")
    ssl_key_password_file: Path | None = pydantic.Field(None, description="file that holds the key's passphrase")
    client: dict[str, Any] = pydantic.Field(default_factory=dict, description="further options of aiokafka's consumer or producer")

    @pydantic.model_validator(mode="after")
    def _check(self) -> "KafkaConnection":
        if own := sorted(OWN_OPTIONS & self.client.keys()):
            raise ValueError(f"client.{own[0]} is set by the connector itself")
        if self.handover_s is not None and self.handover_s * 1000 >= self.rebalance_timeout_ms:
            raise ValueError(f"handover_s must be below client.rebalance_timeout_ms, which is {self.rebalance_timeout_ms}")
        for broker in self.brokers.split(","):
            _check_address(broker.strip())
        check_pair("password", self.password_env, self.password_file)
        check_pair("ssl_key_password", self.ssl_key_password_env, self.ssl_key_password_file)
        self._check_protocol()
        if self.security_protocol.startswith("SASL"):
            self._check_sasl()
        if (self.ssl_keyfile or self.ssl_key_password_env or self.ssl_key_password_file) and not self.ssl_certfile:
            raise ValueError("ssl_keyfile and ssl_key_password need ssl_certfile beside them")
        return self

    def _check_protocol(self) -> None:
        """Credentials that would go nowhere are a slip in ``security_protocol``, which leaves the connection open to all."""
        protocol, said = self.security_protocol, self.model_fields_set
        if idle := sorted(said & SASL_KEYS) if not protocol.startswith("SASL") else []:
            raise ValueError(f"{idle[0]} does nothing with security_protocol {protocol}: say SASL_SSL, or SASL_PLAINTEXT")
        if idle := sorted(key for key in said if key.startswith("ssl_")) if not protocol.endswith("SSL") else []:
            raise ValueError(f"{idle[0]} does nothing with security_protocol {protocol}: say SSL, or SASL_SSL")

    def _check_sasl(self) -> None:
        what = f"{self.security_protocol} with {self.sasl_mechanism}"
        if self.sasl_mechanism == "OAUTHBEARER":
            if self.oauth is None:
                raise ValueError(f"{what} needs oauth, such as oauth = {{ token_file = PATH }}")
        elif self.sasl_mechanism != "GSSAPI":
            if not self.username:
                raise ValueError(f"{what} needs a username")
            if self.password_env is None and self.password_file is None:
                raise ValueError(f"{what} needs password_env or password_file")

    @property
    def rebalance_timeout_ms(self) -> int:
        """How long a group waits for its members to give their partitions up."""
        return int(self.client.get("rebalance_timeout_ms", REBALANCE_TIMEOUT_MS))

    @property
    def start_ms(self) -> int | None:
        """The time to start from in milliseconds, where ``start`` is a time."""
        if not isinstance(self.start, datetime):
            return None
        stamp = self.start if self.start.tzinfo else self.start.replace(tzinfo=UTC)
        return int(stamp.timestamp() * 1000)


def _check_address(broker: str) -> None:
    """ValueError for what is no HOST or HOST:PORT; an IPv6 address with a port stands in brackets."""
    host, colon, port = broker.rpartition(":")
    if broker.endswith("]") or not colon or (":" in host and not host.endswith("]")):
        host, port = broker, "9092"
    if not host.strip("[]") or not port.isdecimal() or not 0 < int(port) < 65_536 or ("[" in host) != ("]" in host):
        raise ValueError(f"'{broker}' is no address of a broker: write HOST:PORT")
    if ":" in host and "[" not in host and not _is_ipv6(host):
        raise ValueError(f"'{broker}' is no address of a broker: write HOST:PORT")


def _is_ipv6(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).version == 6
    except ValueError:
        return False


def client_options(settings: KafkaConnection, where: str) -> dict[str, Any]:
    """How to reach the cluster, for any client of aiokafka. Raises QueryError when a password or a certificate is not to be had."""
    options: dict[str, Any] = {
        "bootstrap_servers": [broker.strip() for broker in settings.brokers.split(",")],
        "security_protocol": settings.security_protocol,
        "client_id": settings.client.get("client_id", "esp"),
    }
    if settings.security_protocol.endswith("SSL"):
        options["ssl_context"] = _ssl_context(settings, where)
    if settings.security_protocol.startswith("SASL"):
        options["sasl_mechanism"] = settings.sasl_mechanism
        options |= _sasl_options(settings, where)
    return options


def _ssl_context(settings: KafkaConnection, where: str) -> ssl.SSLContext:
    context = client_context(settings.ssl_cafile, f"{where}: ssl_cafile", QueryError)
    if settings.ssl_certfile:
        passphrase = secret("ssl_key_password", settings.ssl_key_password_env, settings.ssl_key_password_file, where)
        place, unlock = f"{where}: ssl_certfile", "say ssl_key_password_env or ssl_key_password_file"
        add_certificate(context, settings.ssl_certfile, settings.ssl_keyfile, passphrase, place, QueryError, unlock)
    return context


def _sasl_options(settings: KafkaConnection, where: str) -> dict[str, Any]:
    if settings.sasl_mechanism == "OAUTHBEARER" and settings.oauth is not None:
        return {"sasl_oauth_token_provider": token_provider(settings.oauth, where)}
    if settings.sasl_mechanism == "GSSAPI" and importlib.util.find_spec("gssapi") is None:
        raise QueryError("GSSAPI needs the package gssapi", where=f"{where}: sasl_mechanism", mend="pip install gssapi")
    password = secret("password", settings.password_env, settings.password_file, where)
    return {"sasl_plain_username": settings.username, "sasl_plain_password": password}
