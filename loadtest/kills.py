"""Kill matrix over a real Kafka: ``python loadtest/kills.py --kills 20``, or ``--delivery exactly_once --workers 3 --supervised``."""

import argparse
import json
import signal
import sys
import tempfile
import uuid
from pathlib import Path
from typing import Any, NoReturn

ROOT = Path(__file__).resolve().parents[1]
if __name__ == "__main__":
    sys.path[0] = str(ROOT)  # in the place of the script's own folder, whose modules are reached by the package's name

from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402

from loadtest.killing.matrix import Outcome, Setup, run  # noqa: E402
from loadtest.killing.schedule import KINDS, SUPERVISED, TOGETHER, schedule  # noqa: E402
from loadtest.machine import commit, machine, versions  # noqa: E402
from tests.broker import VERSION, Broker, missing  # noqa: E402

progress = Console(stderr=True, soft_wrap=True)
COUNTS = ("lost", "doubled", "unexpected", "differing", "disordered", "undecided")


def main() -> int:
    args = _arguments()
    signal.signal(signal.SIGTERM, _interrupt)
    if reason := missing():
        print(f"kills: {reason.split(';')[0]}", file=sys.stderr)
        return 1
    folder = args.keep or Path(tempfile.mkdtemp(prefix="esp-kills-"))
    broker = Broker(more_properties=f"group.min.session.timeout.ms={min(args.session_ms, 6000)}\n")
    setup = Setup(
        args.seed, schedule(args.kills, args.seed, args.workers, args.kinds, args.supervised), args.delivery, args.workers,
        args.supervised, args.partitions, args.rate, args.session_ms, args.checkpoint_ms, args.seconds,
    )  # fmt: skip
    try:
        broker.start()
        outcome = run(broker, folder / f"seed-{args.seed}", setup, f"kills-{uuid.uuid4().hex[:8]}", progress.print)
    except KeyboardInterrupt:
        return 130
    finally:
        broker.remove()
    told: dict[str, Any] = {
        "delivery": args.delivery, "workers": args.workers, "supervised": args.supervised, "seed": args.seed, "kills": args.kills, "rate": args.rate,
        "session_ms": args.session_ms, "checkpoint_ms": args.checkpoint_ms, "machine": machine(), "versions": versions(),
        "kafka": f"Apache Kafka {VERSION}", "commit": commit(ROOT), "logs": str(folder), **outcome.as_dict(),
    }  # fmt: skip
    if args.json:
        print(json.dumps(told))
    else:
        show(told, outcome, Console(soft_wrap=True))
    return 0 if outcome.is_good else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20, help="how many actions (20)")
    parser.add_argument("--delivery", choices=("at_least_once", "exactly_once"), default="at_least_once", help="at_least_once")
    parser.add_argument("--workers", type=int, default=1, help="engines of the group, at most (1); several: 1-2-3 and back")
    parser.add_argument(
        "--supervised", action="store_true", help="the workers of one esp run --workers, in the place of engines started apart"
    )
    parser.add_argument("--seed", type=int, default=1, help="of the plan and of the events (1)")
    parser.add_argument("--rate", type=float, default=400.0, help="events a second (400)")
    parser.add_argument("--partitions", type=int, default=4, help="of every topic (4)")
    parser.add_argument("--session-ms", type=int, default=1000, help="session time-out of the group (1000)")
    parser.add_argument("--checkpoint-ms", type=int, default=200, help="from checkpoint to checkpoint (200)")
    parser.add_argument("--seconds", type=float, default=900.0, help="in which the actions are to be begun (900)")
    parser.add_argument("--kinds", type=lambda text: text.split(","), default=(), help=f"only these: {', '.join(KINDS)}")
    parser.add_argument("--keep", type=Path, help="folder for logs and state (a new one under the temporary folder)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args()
    here = SUPERVISED if args.supervised else TOGETHER
    if args.kills < 1 or args.workers < 1 + args.supervised or not 0 < args.rate < 1e5 or set(args.kinds) - set(here):
        least = "workers at least 2" if args.supervised else "workers too"
        parser.error(f"kills are at least 1, {least}, kinds are some of {', '.join(dict.fromkeys(here))}")
    return args


def show(told: dict[str, Any], outcome: Outcome, console: Console) -> None:
    """The table: an action a line, then the verdict."""
    host = told["machine"]
    console.print(
        f"{told['delivery']}, {told['workers']} worker(s){' of a supervisor' if told['supervised'] else ''}, seed {told['seed']}: {told['kafka']}, session {told['session_ms']} ms, "
        f"checkpoint {told['checkpoint_ms']} ms, {told['rate']:g} events/s; {host['cpu']}, {host['cores']} cores; commit {told['commit']}"
    )
    table = Table("", "at, s", "event", "action", "to", "all went on after, s")
    for number, done in enumerate(outcome.done, 1):
        went_on = "-" if done.went_on_s is None else f"{done.went_on_s:.2f}"
        table.add_row(str(number), f"{done.at_s:.2f}", f"{done.events:,}", done.kind, done.who, went_on)
    console.print(table)
    if outcome.failure:
        console.print(f"it did not come to its end: {outcome.failure}", markup=False)
    if outcome.verdict is not None:
        verdict = outcome.verdict
        wanted = ", ".join(f"{count:,} {topic}" for topic, count in verdict.wanted.items())
        console.print(f"{verdict.events:,} events in; expected: {wanted}")
        console.print(", ".join(f"{name} {getattr(verdict, name):,}" for name in COUNTS))
        for line in verdict.told:
            console.print(line[:1000], markup=False)
    console.print(f"{'good' if outcome.is_good else 'NOT GOOD'} after {outcome.took_s:.0f} s; logs in {told['logs']}")


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
