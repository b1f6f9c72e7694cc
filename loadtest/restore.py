"""How soon an engine with much state is ready again: from the changelog, as after the loss of its disk, and from local disk.

    python loadtest/restore.py [--keys 1000000] [--partitions 4] [--runs 3] [--json]

A topic is filled with one event a key, an aggregate keeps a row for each, and the engine is stopped. Then it is started again, by turns
without its state folder and with it; a figure is the median time from the start of the process until /readyz says so, beside it the CPU time
that the engine has used by then. Exit status: 0, 1 when a run came back with less state than there was, 2 for wrong usage.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).parents[1]
if __name__ == "__main__":
    sys.path[0] = str(ROOT)  # in the place of the script's own folder, whose modules are reached by the package's name

from loadtest.machine import commit, machine, versions  # noqa: E402
from loadtest.scrape import read_metrics  # noqa: E402
from tests.broker import Broker  # noqa: E402
from tests.engine_process import EngineProcess, Topics  # noqa: E402

WAYS = ("changelog", "local disk")
TAG, GROUP = "restore", "restore"
START_MS, STEP_KEYS, PATIENCE_S = 1_700_000_000_000, 10_000, 600.0
QUERY = """
[query]
name = "restore"
checkpoint = "2s"

[windows.events]
kind = "source"
schema = "key:int64, ts:stamp(ms), value:float64"
time = "ts"
partitioned_by = ["key"]
connect = {{ connector = "kafka", topic = "restore.events", brokers = "{brokers}" }}

[windows.sums]
kind = "aggregate"
from = "events"
by = ["key"]
size = "1d"
aggregates = {{ n = "count", mean = "mean(value)", most = "max(value)" }}

[windows.out]
kind = "sink"
from = "sums"
connect = {{ connector = "kafka", topic = "restore.out", brokers = "{brokers}" }}
"""


def main() -> int:
    parser = argparse.ArgumentParser(description="How soon an engine with much state is ready again.")
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--partitions", type=int, default=4)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    args = parser.parse_args()
    if min(args.keys, args.partitions, args.runs) < 1:
        parser.error("keys, partitions and runs are at least 1")
    broker = Broker().start()
    try:
        with tempfile.TemporaryDirectory(prefix="esp-restore-") as folder:
            told = _measure(Path(folder), broker.bootstrap, args.keys, args.partitions, args.runs)
    finally:
        broker.remove()
    told |= {"machine": machine(), "versions": versions(), "commit": commit(ROOT), "cores": os.cpu_count()}
    if args.json:
        print(json.dumps(told))
    else:
        _tell(told)
    return 0 if told["is_whole"] else 1


def _measure(folder: Path, brokers: str, keys: int, partitions: int, runs: int) -> dict[str, Any]:
    topics, query, state = Topics(brokers, TAG, ("events", "out"), partitions), folder / "query.toml", folder / "state"
    query.write_text(QUERY.format(brokers=brokers))
    _say("compiling kernels, where they are new")
    subprocess.run([sys.executable, "-m", "esp", "warmup"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    _say(f"filling {partitions} partitions with {keys:,} keys")
    _fill(topics, keys, partitions)
    wanted = _work_off(topics, query, state, keys)
    told: dict[str, Any] = {"keys": keys, "partitions": partitions, "state_bytes": wanted, "is_whole": True}
    told |= {"ready_s": {}, "cpu_s": {}}
    for way in WAYS * runs:
        if way == "changelog":
            shutil.rmtree(state)
        ready_s, scrape = _start(query, state, way)
        told["ready_s"].setdefault(way, []).append(ready_s)
        told["cpu_s"].setdefault(way, []).append(scrape["process_cpu_seconds_total"])
        told["restored_bytes"] = scrape["esp_restore_bytes"]
        told["is_whole"] &= scrape["esp_state_bytes"] >= 0.9 * wanted
        _say(f"from {way}: ready after {ready_s:.1f} s")
    return told


def _fill(topics: Topics, keys: int, partitions: int) -> None:
    for first in range(0, keys, STEP_KEYS):
        for key in range(first, min(first + STEP_KEYS, keys)):
            value = b'{"key":%d,"ts":%d,"value":%d.5}' % (key, START_MS + key % 1000, key)
            topics.producer.produce(f"{TAG}.events", value, partition=key % partitions)
        if topics.producer.flush(PATIENCE_S):
            raise RuntimeError("the broker does not take the events")


def _work_off(topics: Topics, query: Path, state: Path, keys: int) -> float:
    """Lets an engine take all events in; gives the bytes of its state tables."""
    with EngineProcess(query, state) as engine:
        engine.wait_for("is running")
        _await(lambda: sum(topics.committed("events", GROUP).values()) >= keys, "the engine to take all keys in")
        time.sleep(1.5)  # the gauge of the state's size is kept each second
        size = _scrape(engine)["esp_state_bytes"]
        if engine.stop():
            raise RuntimeError(f"the engine did not end well: {engine.text[-800:]}")
    return size


def _start(query: Path, state: Path, way: str) -> tuple[float, dict[str, float]]:
    """Seconds until the engine is ready, and what it tells then."""
    begin = time.monotonic()
    with EngineProcess(query, state) as engine:
        engine.wait_for("admin API")
        _await(lambda: engine.ready()[0], "the engine to be ready")
        ready_s = time.monotonic() - begin
        scrape = _scrape(engine)
        if f"is restored from {way}" not in engine.text.replace("the changelog", "changelog"):
            raise RuntimeError(f"the engine was not restored from {way}: {engine.text[-800:]}")
        time.sleep(1.5)  # the gauge of the state's size is kept each second
        scrape["esp_state_bytes"] = _scrape(engine)["esp_state_bytes"]
        if engine.stop():  # one that is killed stays in the group until its session ends
            raise RuntimeError(f"the engine did not end well: {engine.text[-800:]}")
    return ready_s, scrape


def _scrape(engine: EngineProcess) -> dict[str, float]:
    with urllib.request.urlopen(f"{engine.url}/metrics", timeout=10) as answer:
        return read_metrics(answer.read().decode()).values


def _await(is_so: Any, what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not is_so():
        if time.monotonic() > deadline:
            raise RuntimeError(f"waited {PATIENCE_S:g} s in vain for {what}")
        time.sleep(0.05)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _tell(told: dict[str, Any]) -> None:
    print(f"{told['keys']:,} keys in {told['partitions']} partitions, {told['restored_bytes'] / 1e6:.0f} MB")
    for way in WAYS:
        runs, cpu_s = told["ready_s"][way], median(told["cpu_s"][way])
        print(
            f"from {way}: ready {median(runs):.1f} s after the start ({', '.join(f'{each:.1f}' for each in runs)}), {cpu_s:.1f} s of CPU"
        )
    what = told["machine"]
    print(f"{what['cpu']}, {told['cores']} cores, load {what['load_1m']}; commit {told['commit']}")


if __name__ == "__main__":
    sys.exit(main())
