"""Malformed events in a mixed stream: every good one scored once, every bad one a dead letter with its reason, and what that costs.

    python loadtest/malformed.py [--good 900000] [--bad 100000] [--formats json,msgpack] [--runs 3] [--brokers HOST:PORT] [--json]

Two topics of each format are filled first: one with the good events alone, one with both by chance, the bad ones of twenty kinds (loadtest/spoiled.py). The
engine works them off in turn, on all cores, beside the broker. A rate is all events of a topic over the time from the first to the last append
to the outputs or the dead letters; the ratio of the medians is told, and beside it the engine's processor time for an event. Outputs and dead letters of every run are read back and compared
with what was sent. Exit status: 0, 1 where an event is wrong or the ratio is below 0.5, 2 for wrong usage.
"""

import argparse
import json
import random
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
if __name__ == "__main__":
    sys.path[0] = str(ROOT)  # in the place of the script's own folder, whose modules are reached by the package's name

import msgpack  # noqa: E402
import psutil  # noqa: E402
from confluent_kafka import Consumer, Producer, TopicPartition  # noqa: E402
from rich.console import Console  # noqa: E402

from esp.astore.binary import write  # noqa: E402
from esp.astore.model import Astore, Input, Output  # noqa: E402
from esp.train.zoo import build  # noqa: E402
from loadtest.machine import commit, machine, versions  # noqa: E402
from loadtest.run import kafka  # noqa: E402
from loadtest.spoiled import FEATURES, FORMATS, KINDS, SCHEMA, Value, encoded, event  # noqa: E402
from loadtest.subjects import Engine, SubjectError  # noqa: E402
from loadtest.topics import Topics  # noqa: E402

LEAST_RATIO, PARTITIONS = 0.5, 4
QUERY = """[query]
name = "{run}"
dead = {{ connector = "kafka", topic = "{dead}", brokers = "{brokers}" }}

[models.net]
path = "model.astore"

[windows.events]
kind = "source"
schema = "{schema}"
format = "{format}"
time = "ts"
connect = {{ connector = "kafka", topic = "{source}", brokers = "{brokers}" }}

[windows.scored]
kind = "score"
from = "events"
model = "net"
backend = "numba"

[windows.scores]
kind = "sink"
from = "scored"
format = "msgpack"
options = {{ layout = "array" }}
fields = ["id", "scores"]
connect = {{ connector = "kafka", topic = "{out}", brokers = "{brokers}" }}
"""
progress = Console(stderr=True, soft_wrap=True)


class Wrong(Exception):
    """An event that is lost, doubled or not as it should be."""


@dataclass(frozen=True, slots=True)
class Sent:
    """A filled topic: how many good events, and the bad ones by their number: kind and value."""

    topic: str
    good: int
    bad: tuple[tuple[int, Value], ...]

    @property
    def events(self) -> int:
        return self.good + len(self.bad)


@dataclass(frozen=True, slots=True)
class Figures:
    """Medians of a format, in events a second; ``ratio`` is mixed by clean."""

    format: str
    good: int
    bad: int
    clean_events_s: int
    mixed_events_s: int
    ratio: float
    clean_cpu_us: float
    mixed_cpu_us: float


def fill(topics: Topics, short: str, name: str, good: int, bad: int) -> Sent:
    """Good and bad events in an order of chance; a bad one's key is its number."""
    rng, spoiled = random.Random(f"{name} {good} {bad}"), list[tuple[int, Value]]()
    order = bytearray(good) + b"\1" * bad
    rng.shuffle(order)
    producer = Producer({"bootstrap.servers": topics.brokers, "linger.ms": 20, "batch.num.messages": 10_000, "log_level": 0})
    number = 0
    for at, is_bad in enumerate(order):
        key, value = None, None
        if is_bad:
            kind = len(spoiled) % len(KINDS)
            value = KINDS[kind].spoil(name, event(number, rng), rng)
            key = b"%d" % len(spoiled)
            spoiled.append((kind, value))
        else:
            value, number = encoded(name, event(number, rng)), number + 1
        _produce(producer, topics.name(short), value, key, at % topics.partitions)
    producer.flush()
    return Sent(short, good, tuple(spoiled))


def _produce(producer: Any, topic: str, value: Value, key: bytes | None, partition: int) -> None:
    while True:
        try:
            producer.produce(topic, value, key, partition=partition)
            return
        except BufferError:
            producer.poll(0.1)


def read(topics: Topics, short: str) -> Iterator[Any]:
    """All that a topic holds."""
    left = topics.count(short)
    consumer = Consumer({"bootstrap.servers": topics.brokers, "group.id": uuid.uuid4().hex, "enable.auto.commit": False})
    consumer.assign([TopicPartition(topics.name(short), partition, 0) for partition in range(topics.partitions)])
    while left:
        found = consumer.consume(min(left, 10_000), 1.0)
        yield from found
        left -= len(found)
    consumer.close()


def checked(topics: Topics, sent: Sent, name: str, run: str) -> tuple[float, float]:
    """The first and the last append to outputs and dead letters, in seconds. Raises Wrong."""
    ids, stamps = bytearray(sent.good), list[int]()
    for record in read(topics, f"{run}.out"):
        ids[msgpack.unpackb(record.value())[0]] += 1
        stamps.append(record.timestamp()[1])
    if sent.good and (min(ids), max(ids)) != (1, 1):
        raise Wrong(f"{name}: {ids.count(0)} good events are lost, {sent.good - ids.count(0) - ids.count(1)} doubled")
    letters: Counter[int] = Counter()
    for record in read(topics, f"{run}.dead"):
        stamps.append(record.timestamp()[1])
        if record.key() is None:
            raise Wrong(f"{name}: a good event is a dead letter: {record.headers()}")
        number = int(record.key())
        letters[number] += 1
        kind, value = sent.bad[number]
        headers = dict(record.headers())
        reason = headers["esp-reason"].decode()
        if record.value() != value or KINDS[kind].reason_in(name) not in reason or not reason:
            raise Wrong(f"{name}: a letter of kind '{KINDS[kind].name}' says '{reason}', wanted '{KINDS[kind].reason_in(name)}'")
    if len(letters) != len(sent.bad) or set(letters.values()) - {1}:
        raise Wrong(f"{name}: of {len(sent.bad)} bad events {len(letters)} are dead letters, {letters.total()} in all")
    return min(stamps) / 1e3, max(stamps) / 1e3


def rate(topics: Topics, folder: Path, sent: Sent, name: str, run: str) -> tuple[float, float]:
    """Events a second of one run of the engine over a filled topic, which is checked, and processor time for an event in us."""
    out, dead, work = f"{run}.out", f"{run}.dead", folder / run
    topics.make(out, dead)
    work.mkdir()
    names = {"out": topics.name(out), "dead": topics.name(dead), "source": topics.name(sent.topic), "brokers": topics.brokers}
    (work / "query.toml").write_text(QUERY.format(run=run, schema=SCHEMA, format=name, **names))
    write(model(), work / "model.astore")
    command = [sys.executable, "-m", "esp", "run", str(work), "--listen", "127.0.0.1:0", "--state", str(work / "state")]
    with Engine(run, command, work) as engine:
        while engine.address is None:  # it begins to work off before it says that it is ready
            engine.check()
            time.sleep(0.05)
        process = psutil.Process(engine.pid)
        begun_s = _cpu_s(process)
        while topics.count(out) < sent.good or topics.count(dead) < len(sent.bad):
            engine.check()
            time.sleep(0.05)
        used_s = _cpu_s(process) - begun_s
    first, last = checked(topics, sent, name, run)
    topics.drop(out, dead)
    return sent.events / max(last - first, 1e-3), used_s / sent.events * 1e6


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def model() -> Astore:
    """The network that scores the good events."""
    graph = build("mlp", seed=1, features=FEATURES, hidden=(64, 64), classes=4)
    return Astore("net", graph, (Input("features", "float32", (FEATURES,)),), (Output("scores", "float32", (4,)),))


def figures(topics: Topics, folder: Path, name: str, args: argparse.Namespace) -> Figures:
    """Clean and mixed in turn."""
    clean_topic, mixed_topic = f"{name}.clean", f"{name}.mixed"
    topics.make(clean_topic, mixed_topic)
    progress.print(f"{name}: filling two topics")
    clean, mixed = fill(topics, clean_topic, name, args.good, 0), fill(topics, mixed_topic, name, args.good, args.bad)
    rates: dict[str, list[tuple[float, float]]] = {"clean": [], "mixed": []}
    for at in range(args.runs):
        for what, sent in (("clean", clean), ("mixed", mixed)):
            rates[what].append(rate(topics, folder, sent, name, f"{name}-{what}-{at}"))
            progress.print("{}, {}: {:,.0f} events/s, {:.2f} us of processor time an event".format(name, what, *rates[what][-1]))
    a, b = ([median(column) for column in zip(*rates[what])] for what in ("clean", "mixed"))
    return Figures(name, args.good, args.bad, round(a[0]), round(b[0]), round(b[0] / a[0], 3), round(a[1], 2), round(b[1], 2))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--good", type=int, default=900_000, help="good events (900,000)")
    parser.add_argument("--bad", type=int, default=100_000, help="malformed events (100,000)")
    parser.add_argument("--formats", default=",".join(FORMATS), help="formats, joined by commas (json,msgpack)")
    parser.add_argument("--runs", type=int, default=3, help="how often each topic is worked off; the median counts (3)")
    parser.add_argument("--brokers", help="a running Kafka HOST:PORT on the loopback interface; one is started, if left out")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args()
    names = args.formats.split(",")
    if args.good < 1 or args.bad < 0 or args.runs < 1 or set(names) - set(FORMATS):
        parser.error(f"--good and --runs are at least 1, --bad at least 0, and the formats are {', '.join(FORMATS)}")
    try:
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="esp-malformed-")))
            brokers, about = stack.enter_context(kafka(args.brokers))
            topics = stack.enter_context(Topics(brokers, f"bad-{uuid.uuid4().hex[:8]}", PARTITIONS, deletes=bool(args.brokers)))
            found = [figures(topics, folder, name, args) for name in names]
    except (Wrong, SubjectError, RuntimeError) as err:
        print(f"malformed: {err}", file=sys.stderr)
        return 1
    _show(found, about, args.json)
    return 0 if all(one.ratio >= LEAST_RATIO for one in found) else 1


def _show(found: list[Figures], kafka_is: str, as_json: bool) -> None:
    host = machine()
    if as_json:
        told = {"machine": host, "versions": versions(), "kafka": kafka_is, "commit": commit(ROOT)}
        print(json.dumps({"kinds": [kind.name for kind in KINDS], "figures": [asdict(one) for one in found], **told}))
        return
    for one in found:
        print(f"{one.format}: {one.good:,} good and {one.bad:,} bad events of {len(KINDS)} kinds, every one where it belongs")
        print(f"  clean {one.clean_events_s:,} events/s, mixed {one.mixed_events_s:,} events/s, ratio {one.ratio}")
        print(f"  processor time for an event: clean {one.clean_cpu_us} us, mixed {one.mixed_cpu_us} us")
    print(f"{host['cpu']}, {host['simd']}, load {host['load_1m']}; {kafka_is}; commit {commit(ROOT)}")


if __name__ == "__main__":
    sys.exit(main())
