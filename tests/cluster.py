"""Two brokers and a controller in processes of their own, for what one node cannot show: leaders that move, replicas that are missing."""

import atexit
import base64
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from tests.broker import free_ports, libraries

START_S = 150.0  # three nodes at once take their time on two cores
COMMON = """controller.quorum.voters=1@127.0.0.1:{controller}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={folder}
auto.create.topics.enable=false
offsets.topic.num.partitions=4
offsets.topic.replication.factor=2
transaction.state.log.replication.factor=2
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
replica.lag.time.max.ms=2000
broker.session.timeout.ms=3000
controlled.shutdown.max.retries=1
"""
NODES = {
    1: "process.roles=controller\nlisteners=CONTROLLER://127.0.0.1:{controller}\n",
    2: "process.roles=broker\nlisteners=PLAINTEXT://127.0.0.1:{port}\n",
    3: "process.roles=broker\nlisteners=PLAINTEXT://127.0.0.1:{port}\n",
}


class Cluster:
    """Brokers 2 and 3, which may be killed, stopped and started again, and their controller."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="esp-cluster-"))
        controller, *ports = free_ports(3)
        self.ports = dict(zip((2, 3), ports))
        self.bootstrap = ",".join(f"127.0.0.1:{port}" for port in ports)
        self._java = ["java", "-Xmx224m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", f"{libraries()}/*"]
        self._running: dict[int, subprocess.Popen[bytes]] = {}
        name = base64.urlsafe_b64encode(b"esp" + os.urandom(13)).decode().rstrip("=")
        formats = []
        for node, own in NODES.items():
            text = (own + COMMON).format(controller=controller, port=self.ports.get(node, 0), folder=self.folder / f"log{node}")
            self._properties(node).write_text(f"node.id={node}\n{text}")
            command = [*self._java, "kafka.tools.StorageTool", "format", "-t", name, "-c", str(self._properties(node))]
            formats.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        if any(one.wait(START_S) for one in formats):
            raise RuntimeError("the data folders of the cluster could not be made")
        atexit.register(self.remove)

    def _properties(self, node: int) -> Path:
        return self.folder / f"node{node}.properties"

    def start(self, *nodes: int) -> "Cluster":
        """Starts nodes (all, if none are named) and waits until the brokers among them take connections."""
        for node in nodes or NODES:
            with (self.folder / f"node{node}.log").open("ab") as out:
                command = [*self._java, "kafka.Kafka", str(self._properties(node))]
                self._running[node] = subprocess.Popen(command, stdout=out, stderr=out)
        deadline = time.monotonic() + START_S
        for node in nodes or NODES:
            while node in self.ports and not self._listens(node):
                if self._running[node].poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"node {node} did not start: {(self.folder / f'node{node}.log').read_text()[-800:]}")
                time.sleep(0.05)
        return self

    def _listens(self, node: int) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.ports[node])) == 0

    def kill(self, node: int) -> None:
        """Ends a node at once."""
        self._end(node, signal.SIGKILL)

    def stop(self, node: int) -> None:
        """Ends a node in good order: its partitions move first."""
        self._end(node, signal.SIGTERM)

    def _end(self, node: int, number: signal.Signals) -> None:
        process = self._running.pop(node, None)
        if process is not None:
            process.send_signal(number)
            process.wait(START_S)

    def remove(self) -> None:
        for node in list(self._running):
            self.kill(node)
        shutil.rmtree(self.folder, ignore_errors=True)
        atexit.unregister(self.remove)
