"""An engine beside a broker that fails in every way: it waits and says why, or ends with its status; nothing is lost."""

import json
import logging
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from esp.runtime.kafka import pacing, watch
from tests.conftest import skip_without_kafka
from tests.engine_process import Topics, wait_until
from tests.faults import FaultyBroker, Running

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(60)]

COPY = """
[query]
name = "copy"
group = "{tag}"
checkpoint = "50ms"
dead = {{ connector = "kafka", topic = "{tag}.dead", brokers = "{brokers}" }}

[windows.in]
kind = "source"
schema = "id:int64"
connect = {{ connector = "kafka", topic = "{tag}.in", brokers = "{brokers}"{source} }}

[windows.out]
kind = "sink"
from = "in"
connect = {{ connector = "kafka", topic = "{tag}.out", brokers = "{brokers}"{sink} }}
"""
PARTITIONS = 2


@pytest.fixture(scope="module")
def faulty() -> Iterator[FaultyBroker]:
    """A broker behind a proxy, for all tests of this file."""
    skip_without_kafka()
    broker = FaultyBroker()
    yield broker
    broker.remove()


@pytest.fixture(autouse=True)
def soon(faulty: FaultyBroker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """What the engine looks at every few seconds it looks at ten times as often; the way is free again after each test."""
    monkeypatch.setattr(watch, "WATCH_S", 0.2)
    monkeypatch.setattr(watch, "ANSWER_S", 0.5)
    monkeypatch.setattr(watch, "STALL_S", 1.0)
    caplog.set_level(logging.INFO)
    yield
    faulty.proxy.restore()


class Case:
    """Topics of their own, and a query that copies numbers from one to the other."""

    def __init__(self, faulty: FaultyBroker, folder: Path, *, source: str = "", sink: str = "") -> None:
        self.faulty, self.folder, self.tag = faulty, folder, f"t{uuid.uuid4().hex[:10]}"
        self.topics = Topics(faulty.direct, self.tag, ("in", "out", "dead"), PARTITIONS)
        names = {"tag": self.tag, "brokers": faulty.bootstrap, "source": source, "sink": sink}
        (folder / "query.toml").write_text(COPY.format(**names))
        self.sent = 0

    def run(self) -> Running:
        return Running(self.folder / "query.toml", self.folder / "state")

    def send(self, count: int) -> None:
        values = [(number % PARTITIONS, b'{"id":%d}' % number) for number in range(self.sent, self.sent + count)]
        self.topics.send("in", values)
        self.sent += count

    def ids(self, topic: str = "out") -> list[int]:
        return sorted(json.loads(value)["id"] for value in self.topics.values(topic))

    def until_all(self) -> None:
        """Until every number that was sent has come out."""
        wait_until(lambda: len(set(self.ids())) >= self.sent, "all outputs")
        assert set(self.ids()) == set(range(self.sent))


def lines(caplog: pytest.LogCaptureFixture, level: int = logging.WARNING) -> list[str]:
    return [one.getMessage() for one in caplog.records if one.name.startswith("esp") and one.levelno >= level]


def test_a_broker_that_refuses_connections_is_awaited_and_told_once_a_connector(
    faulty: FaultyBroker, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    case = Case(faulty, tmp_path)
    with case.run() as engine:
        engine.until_ready()
        case.send(100)
        case.until_all()
        faulty.proxy.refuse()
        engine.until_not_ready("the Kafka broker is gone")
        case.send(100)
        engine.until_not_ready("Connect call failed")
        faulty.proxy.restore()
        engine.until_ready()
        case.until_all()
        metrics = engine.ask("/metrics")
        assert engine.stop().status == 0
    assert len([line for line in lines(caplog) if "is gone" in line]) == 3  # source, sink, dead letters
    assert len([line for line in lines(caplog, logging.INFO) if "is back after" in line]) == 3
    assert len(lines(caplog)) == 3
    for window in ("in", "out", "query.dead"):
        assert f'esp_peer_faults_total{{query="copy",window="{window}"}} 1.0' in metrics
    assert case.ids() == list(range(200))


def test_a_broker_that_swallows_everything_is_found_out_and_awaited(faulty: FaultyBroker, tmp_path: Path) -> None:
    case = Case(faulty, tmp_path)
    with case.run() as engine:
        engine.until_ready()
        case.send(100)
        faulty.proxy.hold()
        engine.until_not_ready("the Kafka broker is gone: no answer in 0.5 s")
        case.send(100)
        faulty.proxy.restore()
        engine.until_ready()
        case.until_all()
        assert engine.stop().status == 0
    assert case.ids() == list(range(200))


def test_a_slow_broker_is_borne_and_connections_that_break_inside_an_answer_lose_nothing(
    faulty: FaultyBroker, tmp_path: Path
) -> None:
    case = Case(faulty, tmp_path)
    with case.run() as engine:
        engine.until_ready()
        faulty.proxy.delay_s = 0.4
        case.send(100)
        case.until_all()
        faulty.proxy.delay_s = 0.0
        for _ in range(3):
            faulty.proxy.cut_inside = True
            case.send(100)
            faulty.proxy.cut()
            case.until_all()
        engine.until_ready()
        assert engine.stop().status == 0


def test_pauses_double_up_to_two_seconds_and_are_never_alike() -> None:
    pace = pacing.Pace()
    lengths = []
    for _ in range(7):
        pauses = {pace.pause_s() for _ in range(50)}
        assert len(pauses) > 40
        assert pace.length_s / 2 <= min(pauses) <= max(pauses) <= pace.length_s
        lengths.append(pace.length_s)
        pace.grow()
    assert lengths == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0])
    pace.reset()
    assert pace.length_s == 0.1
