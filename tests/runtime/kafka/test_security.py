"""Columns over TLS and SASL, against a broker that takes nothing else."""

import asyncio
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from esp.runtime.connect import connection, open_sink
from esp.runtime.events import raw_block
from tests.broker import Broker, missing
from tests.runtime.kafka.members import Member

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(180)]
PROPERTIES = """
listeners=SASL_SSL://127.0.0.1:{port},CONTROLLER://{controller}
advertised.listeners=SASL_SSL://127.0.0.1:{port}
listener.security.protocol.map=SASL_SSL:SASL_SSL,CONTROLLER:PLAINTEXT
inter.broker.listener.name=SASL_SSL
sasl.mechanism.inter.broker.protocol=PLAIN
sasl.enabled.mechanisms=PLAIN
listener.name.sasl_ssl.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \\
  username="esp" password="hush" user_esp="hush";
ssl.keystore.type=PEM
ssl.keystore.location={store}
ssl.truststore.type=PEM
ssl.truststore.location={cert}
"""


@pytest.fixture
def secured(tmp_path: Path) -> Iterator[Broker]:
    """A broker with a certificate of its own that wants a password."""
    if reason := missing():
        pytest.skip(reason)
    key, cert, store = tmp_path / "key.pem", tmp_path / "cert.pem", tmp_path / "store.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", str(key), "-out", str(cert), "-subj"]
    subprocess.run([*command, "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"], check=True, capture_output=True)
    store.write_text(key.read_text() + cert.read_text())
    broker = Broker()
    file = broker.folder / "server.properties"
    lines = dict(line.split("=", 1) for line in file.read_text().splitlines() if "=" in line)
    controller = lines["listeners"].rpartition("CONTROLLER://")[2]
    file.write_text(file.read_text() + PROPERTIES.format(port=broker.port, controller=controller, store=store, cert=cert))
    yield broker.start()
    broker.remove()


def test_records_go_there_and_back_over_tls_with_a_password(secured: Broker, tmp_path: Path) -> None:
    (tmp_path / "password").write_text("hush\n")
    settings: dict[str, Any] = {
        "security_protocol": "SASL_SSL", "sasl_mechanism": "PLAIN", "username": "esp", "password_file": str(tmp_path / "password"),
        "ssl_cafile": str(tmp_path / "cert.pem"),
    }  # fmt: skip
    values = [b"%d" % i * 200 for i in range(20_000)]

    async def run() -> None:
        table = {"connector": "kafka", "topic": "t", "brokers": secured.bootstrap, "create": {"partitions": 1}, **settings}
        sink = open_sink(connection(table, "q"), where="q")
        await sink.start()
        await sink.send(raw_block(values))
        await sink.flush()
        await sink.stop()
        async with Member(secured.bootstrap, "t", **settings) as member:
            assert [record[3] for record in await member.read(len(values))] == values

    asyncio.run(run())
