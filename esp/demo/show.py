"""The story of ``esp demo``: train two models, stream real events through Kafka, score them live, swap a model under way."""

import contextlib
import importlib.util
import json
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from rich.console import Console

from esp.demo import topics
from esp.demo.engine_process import EngineProcess
from esp.demo.folders import QueryFolder, copy_query
from esp.demo.models import Model, train_model, train_second
from esp.demo.stream import Played, begin, play_on, watch
from esp.demo.summary import Findings, as_dict, faults, lines
from esp.demo.table import Board
from esp.demo.warm import Warming
from esp.errors import UsageError

PACKAGES = {"confluent_kafka": "confluent-kafka", "sklearn": "scikit-learn", "seglearn": "seglearn"}
QUERIES = ("digits_camera", "shoulder_imu")
PLAY_S = 10.0
READY_S = 120.0  # an engine that compiles all kernels itself is ready long before
KEEP_RATE = 20.0  # digits a second while it stays up


def run_demo(brokers: str | None = None, *, keep: bool = False, as_json: bool = False, play_s: float = PLAY_S) -> int:
    """Runs the whole demonstration; gives the exit status: 0, or 1 when anything was lost, doubled, wrong or too inaccurate."""
    _check_packages()
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    with _terminable(), contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="esp-demo-")))
        return _Demo(console, stack, folder, play_s).run(brokers, keep, as_json)


class _Demo:
    """One run; whatever it opens, the stack closes."""

    def __init__(self, console: Console, stack: contextlib.ExitStack, folder: Path, play_s: float) -> None:
        self.console, self.stack, self.folder, self.play_s = console, stack, folder, play_s
        self.begun_s = time.monotonic()
        self.seconds: dict[str, float] = {}

    def run(self, brokers: str | None, keep: bool, as_json: bool) -> int:
        options: dict[str, Any] = {"suffix": topics.new_suffix()} if brokers else {"fetch_wait_ms": topics.EMBEDDED_FETCH_WAIT_MS}
        digits, shoulder = (copy_query(name, self.folder, **options) for name in QUERIES)
        names = [*digits.topics, *shoulder.topics]
        cluster = self.stack.enter_context(topics.on_cluster(brokers, names) if brokers else topics.embedded(names))
        trained = self._train(digits, shoulder)
        engine = self._start_engine(digits, shoulder, cluster)
        played = self._stream(digits, shoulder, trained, cluster, engine)
        found = Findings(
            trained[:2], trained[2], played.digits, played.shoulder, played.digits_player.sent, played.shoulder_player.sent,
            played.max_delay_ms, self.play_s, self.seconds,
        )  # fmt: skip
        if not keep:
            found.engine_status = self._drain(engine)
        played.stop()
        found.refusals = played.refusals
        self._tell(found, as_json)
        if keep:
            found.engine_status = self._keep_up(digits, trained[0], cluster, engine)
        return 1 if faults(found) else 0

    def _train(self, digits: QueryFolder, shoulder: QueryFolder) -> tuple[Model, Model, Model]:
        """The first and the second model of the digits, and the shoulder's; beside it, kernels are compiled."""
        with Warming() as warming:
            with self._phase(
                "train", "training both models, and a second one of the digits; kernels are compiled beside it, if they are new"
            ):
                first, other = train_model(digits), train_model(shoulder)
                second = train_second(digits)
            for name, model in (("digits", first), ("digits, second", second), ("shoulder", other)):
                self._say(f"{name}: model {model.short_digest}, held-out accuracy {model.accuracy:.4f}")
            with self._phase("compile", "waiting for the kernels"):
                warming.wait()
        return first, second, other

    def _start_engine(self, digits: QueryFolder, shoulder: QueryFolder, cluster: topics.Cluster) -> EngineProcess:
        with self._phase("start", "starting the engine"):
            engine = EngineProcess([digits.path, shoulder.path], cluster.brokers, self.folder / "state")
            self.stack.enter_context(engine).wait_ready(READY_S)
        self._say(f"the engine runs both queries, admin API and metrics at {engine.url}")
        return engine

    def _stream(
        self,
        digits: QueryFolder,
        shoulder: QueryFolder,
        trained: tuple[Model, Model, Model],
        cluster: topics.Cluster,
        engine: EngineProcess,
    ) -> Played:
        with self._phase("stream", f"playing held-out images and recordings for {self.play_s:g} s"):
            played = begin(cluster, (digits, shoulder), (trained[0], trained[2]), self.play_s)
            self.stack.callback(played.stop)
            with Board(self.console, played.rows) as board:
                watch(played, board, engine, f"{digits.name}/scored", trained[1], self.play_s)
        return played

    def _drain(self, engine: EngineProcess) -> int:
        with self._phase("drain", "stopping the engine (SIGTERM: it drains)"):
            status = engine.stop()
        if status:
            self._say(f"the engine's last words: {engine.last_words()}")
        return status

    def _keep_up(self, digits: QueryFolder, model: Model, cluster: topics.Cluster, engine: EngineProcess) -> int:
        self._say(
            f"still playing {KEEP_RATE:g} images a second; engine at {engine.url}, broker at {cluster.brokers}; Ctrl-C ends it"
        )
        with contextlib.suppress(KeyboardInterrupt):
            play_on(cluster, digits, model, KEEP_RATE)
        return self._drain(engine)

    def _tell(self, found: Findings, as_json: bool) -> None:
        """The summary on stdout, what is wrong on stderr."""
        self.seconds["total"] = time.monotonic() - self.begun_s
        print(json.dumps(as_dict(found), ensure_ascii=False) if as_json else "\n".join(lines(found)), flush=True)
        for fault in faults(found):
            self.console.print(f"FAILED: {fault}", style="bold red")
        if not faults(found):
            self._say("all is well: every event was scored once, by the old model or by the new one")

    @contextlib.contextmanager
    def _phase(self, name: str, what: str) -> Iterator[None]:
        self._say(what)
        begun_s = time.monotonic()
        yield
        self.seconds[name] = time.monotonic() - begun_s

    def _say(self, text: str) -> None:
        self.console.print(text, style="bold")


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM ends a run as Ctrl-C does, so that it cleans up."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _check_packages() -> None:
    """UsageError naming what the demonstration lacks."""
    missing = [name for package, name in PACKAGES.items() if importlib.util.find_spec(package) is None]
    if missing:
        raise UsageError(f"the demonstration needs {', '.join(missing)}", where="esp demo", mend="pip install 'esp-engine[demo]'")
