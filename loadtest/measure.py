"""One measurement: load a topic, let a subject work on it, wait until everything has come out, and take what was seen."""

import multiprocessing
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import TypeVar

from loadtest.analyser import Received, analyse
from loadtest.generator import Sent, generate
from loadtest.plan import Load
from loadtest.subjects import Sampler, Samples, Subject
from loadtest.topics import Topics
from loadtest.workload import Workload

STALL_S = 20.0  # so long without an output: what is missing then is lost
ASK_S = 0.2
PARTING_S = 120.0  # for the analyser to read the rest, and to take the records apart
SPAWN = multiprocessing.get_context("spawn")
T = TypeVar("T")


class LoadTestError(Exception):
    """A part of the load test itself failed: its figures would mean nothing."""


@dataclass(frozen=True, slots=True)
class Route:
    """From which topic to which (short names), and where refused events go; only what is scored carries scores."""

    source: str
    target: str
    dead: str | None = None
    is_scored: bool = False


@dataclass(frozen=True, slots=True)
class Run:
    """Everything that was seen in one measurement."""

    received: Received
    samples: Samples
    began_s: float  # when the subject was ready on a filled topic, or the first event was due
    dead: int
    metrics: tuple[str, str]  # when the subject was ready, and at the end; empty for one that has none


def open_loop(topics: Topics, route: Route, subject: Subject, load: Load, workload: Workload) -> tuple[Sent, Run]:
    """The subject is ready before the first event is due; the analyser notes the receipt of each output."""
    with subject, _listening(topics, route.target, workload) as finish:
        subject.wait_ready()
        sampler, ready = Sampler(subject.pid), subject.metrics()
        sent = generated(topics, route.source, load, workload, subject)
        dead = _wait_for_outputs(topics, route, due(load, route, workload), subject)
        metrics, samples = (ready, subject.metrics()), sampler.stop()
        subject.stop()
        return sent, Run(finish(), samples, sent.start_ns / 1e9, dead, metrics)


def drain(topics: Topics, route: Route, subject: Subject, load: Load, workload: Workload) -> Run:
    """The subject works off a topic that is full; nobody else uses the machine meanwhile, the outputs are read afterwards."""
    with subject:
        sampler = Sampler(subject.pid)
        subject.wait_ready()
        began_s, ready = time.time(), subject.metrics()
        dead = _wait_for_outputs(topics, route, due(load, route, workload), subject)
        metrics, samples = (ready, subject.metrics()), sampler.stop()
        subject.stop()
    with _listening(topics, route.target, workload) as finish:
        return Run(finish(), samples, began_s, dead, metrics)


def due(load: Load, route: Route, workload: Workload) -> int:
    """How many outputs a load brings out."""
    return int((workload.causes(load, route.is_scored) >= 0).sum())


def generated(topics: Topics, source: str, load: Load, workload: Workload, subject: Subject | None = None) -> Sent:
    """Runs the generator to its end; raises when it, or the subject meanwhile, fails."""
    here, there = SPAWN.Pipe()
    process = SPAWN.Process(target=generate, args=(topics.brokers, topics.name(source), load, workload, there), daemon=True)
    process.start()
    there.close()
    try:
        while not here.poll(ASK_S):
            if subject is not None:
                subject.check()
        sent = _answer(here, "generator", Sent)
    finally:
        process.terminate()
        process.join()
    if sent.refused:
        raise LoadTestError(f"the broker did not take every event: {sent.refused[0]}")
    return sent


@contextmanager
def _listening(topics: Topics, target: str, workload: Workload) -> Iterator[Callable[[], Received]]:
    """Runs the analyser; calling what is yielded lets it read to the end and gives what it received."""
    here, there = SPAWN.Pipe()
    args = (topics.brokers, topics.name(target), topics.partitions, workload, there)
    process = SPAWN.Process(target=analyse, args=args, daemon=True)
    process.start()
    there.close()

    def finish() -> Received:
        here.send(True)
        return _answer(here, "analyser", Received)

    try:
        _answer(here, "analyser", bool)
        yield finish
    finally:
        process.terminate()
        process.join()


def _answer(connection: Connection, who: str, kind: type[T]) -> T:
    try:
        if not connection.poll(PARTING_S):
            raise LoadTestError(f"the {who} does not answer")
        answer = connection.recv()
    except EOFError as err:
        raise LoadTestError(f"the {who} has died; see its message above") from err
    assert isinstance(answer, kind)
    return answer


def _wait_for_outputs(topics: Topics, route: Route, outputs: int, subject: Subject) -> int:
    """Returns, with the number of refused events, once as many outputs have come as must, or none have for a while."""
    seen, moved_s = 0, time.monotonic()
    while True:
        dead = topics.count(route.dead) if route.dead else 0
        come = topics.count(route.target) + dead
        if come >= outputs or time.monotonic() - moved_s > STALL_S:
            return dead
        if come != seen:
            seen, moved_s = come, time.monotonic()
        subject.check()
        time.sleep(ASK_S)
