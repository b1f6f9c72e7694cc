"""A real Apache Kafka for tests and load tests: fetched with Maven, started, killed and stopped as a child process."""

import atexit
import base64
import contextlib
import fcntl
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

VERSION = "4.1.0"
POM = f"""<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion><groupId>local</groupId><artifactId>broker</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies><dependency>
    <groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{VERSION}</version>
  </dependency></dependencies>
</project>
"""
PROPERTIES = """process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={folder}/log
auto.create.topics.enable=false
offsets.topic.num.partitions=4
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
log.retention.ms=-1
"""
START_S = 120.0


def missing() -> str | None:
    """What this machine lacks to start a broker, in one line; None = nothing."""
    absent = [
        f"{name} ({package})" for name, package in (("java", "a JRE of 17 or later"), ("mvn", "Maven")) if not shutil.which(name)
    ]
    if not absent:
        return None
    return f"no real Kafka: {' and '.join(absent)} not found; install, or name a running broker in ESP_TEST_BROKERS=HOST:PORT"


def libraries() -> Path:
    """The folder with Kafka's jars, fetched on first use into the user's cache."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "esp-engine"
    cache.mkdir(parents=True, exist_ok=True)
    folder = cache / f"kafka-{VERSION}"
    with (cache / "kafka.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            _fetch(cache, folder)
    return folder


def _fetch(cache: Path, folder: Path) -> None:
    with tempfile.TemporaryDirectory(dir=cache) as work:
        Path(work, "pom.xml").write_text(POM)
        command = ["mvn", "-q", "-B", "dependency:copy-dependencies", "-DoutputDirectory=lib", "-DincludeScope=runtime"]
        done = subprocess.run(command, cwd=work, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"Maven could not fetch Kafka {VERSION}: {(done.stdout + done.stderr).strip()[-400:]}")
        Path(work, "lib").rename(folder)


class Broker:
    """One Kafka node on the loopback interface, with a data folder of its own; it may be killed and started again."""

    def __init__(self, heap_mb: int = 512, more_properties: str = "", format_options: Sequence[str] = ()) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="esp-kafka-"))
        self.port, controller = free_ports(2)
        self.bootstrap = f"127.0.0.1:{self.port}"
        self._java = ["java", f"-Xms{heap_mb}m", f"-Xmx{heap_mb}m", "-cp", f"{libraries()}/*"]
        self._properties = self.folder / "server.properties"
        common = PROPERTIES.format(port=self.port, controller=controller, folder=self.folder)
        self._properties.write_text(common + more_properties.format(port=self.port, controller=controller))
        self._process: subprocess.Popen[bytes] | None = None
        cluster = base64.urlsafe_b64encode(b"esp" + os.urandom(13)).decode().rstrip("=")
        command = [*self._java, "kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(self._properties), *format_options]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"Kafka's data folder could not be made: {(done.stdout + done.stderr).strip()[-400:]}")
        atexit.register(self.remove)

    @property
    def log(self) -> Path:
        return self.folder / "broker.log"

    def start(self) -> "Broker":
        """Starts the node and waits until it takes part: it takes connections a moment before topics may be made on it."""
        with self.log.open("ab") as out:
            self._process = subprocess.Popen([*self._java, "kafka.Kafka", str(self._properties)], stdout=out, stderr=out)
        deadline = time.monotonic() + START_S
        while not (_listens(self.port) and _takes_part(self.bootstrap)):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"Kafka did not start: {self.log.read_text(errors='replace')[-800:]}")
            time.sleep(0.05)
        return self

    def kill(self) -> None:
        """Ends the node at once, as a crash would."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Ends the node in good order."""
        self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(START_S)
            self._process = None

    def remove(self) -> None:
        """Ends the node, and takes its data away."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)
        atexit.unregister(self.remove)


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on just now, and that no connection takes as its own: what it lends out lies above them.

    Of those that are lent, one might be taken before the node listens, or while it is down: by a client that comes again and again,
    even as both of its ends.
    """
    lent = Path("/proc/sys/net/ipv4/ip_local_port_range")
    end = int(lent.read_text().split()[0]) if lent.exists() else 32_768
    found: set[int] = set()
    while len(found) < count:
        port = random.SystemRandom().randrange(10_000, end) if end > 11_000 else 0  # 0: there are none below
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            found.add(probe.getsockname()[1])
    return list(found)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _takes_part(bootstrap: str) -> bool:
    """Whether the controller has let the node in: before, no answer names it."""
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient

    try:
        return bool(AdminClient({"bootstrap.servers": bootstrap, "log_level": 0}).list_topics(timeout=5).brokers)
    except KafkaException:
        return False
