"""Soak over a real Kafka: ``python loadtest/soak.py``, or ``--minutes 60 --deploys 500 --rate 5000``: what an engine holds must not grow.

The query of the kill matrix (windows, states and tallies by key) under a steady open loop; its models are deployed anew all the while. Exit
status: 0 when memory at the end is within 5 % of that after the first tenth, and files, threads, mappings, checkpoint files and lag stay; else 1.
"""

import argparse
import json
import signal
import sys
import tempfile
import time
import uuid
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

ROOT = Path(__file__).resolve().parents[1]
if __name__ == "__main__":
    sys.path[0] = str(ROOT)  # in the place of the script's own folder, whose modules are reached by the package's name

import psutil  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402

from esp.errors import EspError  # noqa: E402
from loadtest.census import Census, Held, breaches, held, tenths  # noqa: E402
from loadtest.killing.fleet import Fleet, WorkerError, until  # noqa: E402
from loadtest.killing.kit import OUTPUTS, SCORED, make_model, query_text  # noqa: E402
from loadtest.killing.stream import Stream  # noqa: E402
from loadtest.killing.topics import Topics  # noqa: E402
from loadtest.machine import commit, machine, versions  # noqa: E402
from tests.broker import VERSION, Broker, missing  # noqa: E402

progress = Console(stderr=True, soft_wrap=True)
KEPT = {"retention.bytes": str(64 << 20), "segment.bytes": str(16 << 20)}  # of each partition, so that an hour fits the disk


def main() -> int:
    args = _arguments()
    signal.signal(signal.SIGTERM, _interrupt)
    if reason := missing():
        print(f"soak: {reason.split(';')[0]}", file=sys.stderr)
        return 1
    try:
        with ExitStack() as stack:
            soak = Soak(args, stack)
            samples = soak.run()
    except (WorkerError, EspError, RuntimeError) as err:
        print(f"soak: {err}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    broken = breaches(samples, args.rate)
    if soak.deploys < args.deploys:
        broken.append(f"deploys: {soak.deploys} of {args.deploys} were done in {args.minutes:g} min")
    told: dict[str, Any] = {
        "minutes": args.minutes, "rate": args.rate, "deploys": soak.deploys, "delivery": args.delivery, "events": soak.events,
        "tenths": [asdict(each) for each in tenths(samples)], "broken": broken, "machine": machine(), "versions": versions(),
        "kafka": f"Apache Kafka {VERSION}", "commit": commit(ROOT),
    }  # fmt: skip
    if args.json:
        print(json.dumps(told))
    else:
        show(told, tenths(samples), Console(soft_wrap=True))
    return 1 if broken else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--minutes", type=float, default=10.0, help="how long it streams (10)")
    parser.add_argument("--rate", type=float, default=2000.0, help="events a second (2000)")
    parser.add_argument("--deploys", type=int, default=500, help="model deployments, evenly spread (500)")
    parser.add_argument("--delivery", choices=("at_least_once", "exactly_once"), default="at_least_once", help="at_least_once")
    parser.add_argument("--partitions", type=int, default=4, help="of every topic (4)")
    parser.add_argument("--checkpoint-ms", type=int, default=500, help="from checkpoint to checkpoint (500)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args()
    if not (0.5 <= args.minutes <= 600 and 0 < args.rate < 1e5 and args.deploys >= 0):
        parser.error("minutes are 0.5 to 600, the rate is above 0")
    return args


class Soak:
    """One engine under one stream; everything ends with ``stack``."""

    def __init__(self, args: argparse.Namespace, stack: ExitStack) -> None:
        self.args, self.deploys, self.events = args, 0, 0
        self.folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="esp-soak-")))
        broker = Broker()
        stack.callback(broker.remove)
        self.brokers, name = broker.start().bootstrap, f"soak-{uuid.uuid4().hex[:8]}"
        self.topics = Topics(self.brokers, name, ("events", *OUTPUTS), args.partitions, KEPT)
        stack.callback(self.topics.close)
        kit = self.folder / "kit"
        kit.mkdir()
        for window in SCORED:
            make_model(kit / f"{window}.astore", window, 0)
        text = query_text(name, self.brokers, delivery=args.delivery, checkpoint_ms=args.checkpoint_ms, session_ms=10_000)
        (kit / "query.toml").write_text(text)
        self.fleet = Fleet(self.folder, kit, name, 1)
        stack.callback(self.fleet.kill)

    def run(self) -> list[Held]:
        worker = self.fleet.add()
        until(worker.is_ready, self.fleet.check, "the engine")
        assert worker.process is not None
        process, began_s = psutil.Process(worker.process.pid), time.monotonic()
        stream = Stream(self.brokers, f"{self.topics.name}.events", 1, self.args.partitions, self.args.rate)

        def take() -> Held:
            lag = stream.sent - sum(self.topics.committed("events"))
            return held(process, time.monotonic() - began_s, worker.folder / "state", max(lag, 0), self.deploys)

        census = Census(take)
        try:
            self._deploy_until(began_s)
        finally:
            samples = census.stop()
            self.events = stream.sent
            stream.stop()
        until(lambda: sum(self.topics.committed("events")) >= self.events, self.fleet.check, "the end of the input")
        self.fleet.stop()
        return samples

    def _deploy_until(self, began_s: float) -> None:
        """Deploys at its planned times, or as soon as the one before is done."""
        seconds = 60 * self.args.minutes
        while (gone_s := time.monotonic() - began_s) < seconds:
            self.fleet.check()
            if self.deploys < self.args.deploys and gone_s >= seconds * self.deploys / self.args.deploys:
                self._deploy()
            else:
                time.sleep(0.05)

    def _deploy(self) -> None:
        number = self.deploys + 1
        window = sorted(SCORED)[number % len(SCORED)]
        path = self.folder / "kit" / f"{window}.new.astore"
        make_model(path, window, number)
        self.fleet.deploy(path, window)
        self.deploys = number
        if number % 50 == 0:
            progress.print(f"{number} deploys")


def show(told: dict[str, Any], parts: list[Held], console: Console) -> None:
    """The medians of each tenth, then the verdict."""
    host = told["machine"]
    console.print(
        f"{told['delivery']}, {told['rate']:g} events/s for {told['minutes']:g} min ({told['events']:,} events), {told['deploys']} deploys; "
        f"{told['kafka']}; {host['cpu']}, {host['cores']} cores, load {host['load_1m']}; commit {told['commit']}"
    )
    table = Table("up to, s", "memory, MB", "files", "threads", "mappings", "state files", "state, MB", "lag", "deploys")
    for part in parts:
        table.add_row(
            f"{part.at_s:.0f}", f"{part.memory_mb:.1f}", f"{part.files:g}", f"{part.threads:g}", f"{part.maps:g}", f"{part.state_files:g}",
            f"{part.state_mb:.2f}", f"{part.lag:,.0f}", f"{part.deploys:g}",
        )  # fmt: skip
    console.print(table)
    for line in told["broken"]:
        console.print(f"broken: {line}", markup=False)
    if not told["broken"]:
        console.print("all bars hold")


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
