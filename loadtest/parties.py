"""Who is measured: the engine, the bare client, and the peers, each started for one run from a topic to topics of its own."""

import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from loadtest.cores import kept_to
from loadtest.measure import Route
from loadtest.networks import Kit
from loadtest.peers import Peer, PeerMissing, built, read_peer
from loadtest.subjects import Engine, Subject
from loadtest.topics import Topics
from loadtest.workload import Workload

PASSED = "passed"


@dataclass(frozen=True, slots=True)
class Ground:
    """What all parties of a test share; ``cores``: where a party runs (empty = wherever)."""

    topics: Topics
    workload: Workload
    kit: Kit
    folder: Path
    cores: frozenset[int] = frozenset()

    def folder_of(self, run: str) -> Path:
        folder = self.folder / run
        folder.mkdir()
        return folder


@dataclass(frozen=True, slots=True)
class Party:
    """``targets`` are topics that a run writes to, the outputs' first; ``start`` makes the subject of a run named so, from a source."""

    name: str
    title: str
    linger_ms: float
    targets: tuple[str, ...]
    is_scored: bool
    start: Callable[[Ground, str, str], Subject]

    def route(self, run: str, source: str) -> Route:
        dead = f"{run}.dead" if "dead" in self.targets else None
        return Route(source, f"{run}.{self.targets[0]}", dead, self.is_scored)


def engine(kit: Kit) -> Party:
    return Party("engine", "engine", 0, kit.targets, True, _engine)


def _engine(ground: Ground, run: str, source: str) -> Engine:
    """The query with its topics renamed, with a group and a state folder of its own."""
    folder, topics = ground.folder_of(run), ground.topics
    query = Path(shutil.copytree(ground.kit.folder, folder / "query")) / "query.toml"
    group = topics.name(run)
    names = {short: topics.name(f"{run}.{short}") for short in ground.kit.targets}
    query.write_text(renamed(query.read_text(), group, names | {ground.workload.source: topics.name(source)}))
    command = [sys.executable, "-m", "esp", "run", str(query), "--brokers", topics.brokers, "--listen", "127.0.0.1:0"]
    return Engine("engine", kept_to(ground.cores, [*command, "--state", str(folder / "state")]), folder)


def renamed(query: str, group: str, names: dict[str, str]) -> str:
    """The text of a query with other topics, by what stands behind the last dot of their names, and a group."""
    query = re.sub(r'(topic *= *)"[\w-]+\.(\w+)"', lambda found: f'{found[1]}"{names[found[2]]}"', query)
    return query.replace("[query]\n", f'[query]\ngroup = "{group}"\n', 1)


def passthrough() -> Party:
    return Party("passthrough", "aiokafka pass-through", 0, (PASSED,), False, _passthrough)


def _passthrough(ground: Ground, run: str, source: str) -> Subject:
    command = [sys.executable, "-m", "loadtest.passthrough", *_route(ground, run, source, PASSED)]
    return Subject("passthrough", kept_to(ground.cores, command), ground.folder_of(run))


def peer(name: str, workload: Workload, *, is_open_loop: bool) -> Party:
    """A peer that is built and ready to start; PeerMissing says what lacks."""
    told = read_peer(name)
    if told.workloads and workload.name not in told.workloads:
        raise PeerMissing(f"it has no part for {workload.name}")
    folder = built(told)
    linger_ms = told.open_loop_linger_ms if is_open_loop else told.linger_ms

    def start(ground: Ground, run: str, source: str) -> Subject:
        return _peer(told, folder, linger_ms, ground, run, source)

    return Party(name, told.title, linger_ms, ("scores",), True, start)


def _peer(told: Peer, built_in: Path, linger_ms: float, ground: Ground, run: str, source: str) -> Subject:
    folder = ground.folder_of(run)
    command = [
        *told.filled_in(told.command, built_in), *_route(ground, run, source, "scores"), "--workload", ground.workload.name,
        "--model", str(ground.kit.onnx), "--state", str(folder / "state"), "--linger-ms", f"{linger_ms:g}",
    ]  # fmt: skip
    return Subject(told.name, kept_to(ground.cores, command), folder)


def _route(ground: Ground, run: str, source: str, target: str) -> list[str]:
    topics = ground.topics
    named = {"source": topics.name(source), "target": topics.name(f"{run}.{target}"), "group": topics.name(run)}
    return ["--brokers", topics.brokers, *(part for key, value in named.items() for part in (f"--{key}", value))]
