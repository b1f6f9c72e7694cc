"""Load test over a real Kafka: ``python loadtest/run.py --rate 30000``, or ``--workload sensor --drain 1000000 --peers all --runs 3``."""

import argparse
import ipaddress
import json
import signal
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NoReturn

ROOT = Path(__file__).resolve().parents[1]
if __name__ == "__main__":
    sys.path[0] = str(ROOT)  # in the place of the script's own folder, whose modules are reached by the package's name

from rich.console import Console  # noqa: E402

from loadtest.ballast import ballast  # noqa: E402
from loadtest.cores import keep_to, shares  # noqa: E402
from loadtest.course import filled, flowing, is_whole, ramping  # noqa: E402
from loadtest.machine import commit, machine, versions  # noqa: E402
from loadtest.measure import LoadTestError  # noqa: E402
from loadtest.networks import WORKLOADS, Kit, digits  # noqa: E402
from loadtest.parties import Ground, Party, engine, passthrough, peer  # noqa: E402
from loadtest.peers import PeerMissing, names  # noqa: E402
from loadtest.plan import Load  # noqa: E402
from loadtest.report import show  # noqa: E402
from loadtest.topics import Topics, require_broker  # noqa: E402
from loadtest.workload import Workload  # noqa: E402

HEAP_MB = 1024  # as Kafka's own start script gives
KEEPS_FILES = (
    "file.delete.delay.ms=3600000\n"  # memory that deleted files free may go back to the host, and is slow to come once more
)
progress = Console(stderr=True, soft_wrap=True)


def main() -> int:
    args = _arguments()
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        with ExitStack() as stack:
            result = _run(args, stack)
    except (LoadTestError, RuntimeError) as err:
        print(f"loadtest: {err}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    if args.json:
        print(json.dumps(result))
    else:
        show(result, Console(soft_wrap=True))
    return 0 if is_whole(result) else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--brokers", help="a running Kafka HOST:PORT on the loopback interface; one is started, if left out")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--rate", type=float, help="open loop: events a second (30,000, if neither is said)")
    how.add_argument("--drain", type=int, metavar="N", help="fill the topic with N events first, then let the engine work it off")
    parser.add_argument("--ramp", type=float, metavar="MOST", help="from --rate up to the highest rate that is held, MOST at most")
    parser.add_argument("--seconds", type=float, default=30.0, help="how long the open loop sends (30)")
    parser.add_argument("--partitions", type=int, default=4, help="partitions of every topic (4)")
    parser.add_argument("--linger-ms", type=float, default=1.0, help="how long the generator gathers a batch (1)")
    parser.add_argument("--workload", choices=sorted(WORKLOADS), default="digits", help="what is sent and scored (digits)")
    parser.add_argument(
        "--peers", type=_names, default=(), metavar="NAMES", help=f"who else runs, joined by commas, or all: {', '.join(names())}"
    )
    parser.add_argument("--runs", type=int, default=1, help="how often each party drains, or meets the rate; the median counts (1)")
    parser.add_argument(
        "--no-pin", dest="pin", action="store_false", help="let a party that drains have every core, not one of its own"
    )
    parser.add_argument(
        "--ballast", action="store_true", help="write to free memory first, for a virtual machine that gets it slowly from its host"
    )
    parser.add_argument("--model", type=Path, help="digits: the astore that scores (that of the query)")
    parser.add_argument("--no-passthrough", action="store_true", help="leave the bare client beside the engine out")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args()
    try:
        rate = None if args.drain is not None else args.rate if args.rate is not None else 30_000.0
        events = args.drain if rate is None else round(rate * args.seconds)
        args.load = Load(events, rate, partitions=args.partitions, linger_ms=args.linger_ms)
        for broker in (args.brokers or "").split(",") if args.brokers else ():
            _refuse_far(broker)
        if args.runs < 1 or (args.model is not None and args.workload != "digits"):
            raise ValueError("--runs is at least 1, and --model goes with the workload digits")
        if args.ramp is not None and (rate is None or args.ramp < rate):
            raise ValueError("--ramp goes with an open loop, and ends at --rate or above")
    except ValueError as err:
        parser.error(str(err))
    return args


def _names(text: str) -> tuple[str, ...]:
    """Names of peers; ValueError for one that is none."""
    wanted = names() if text == "all" else tuple(part for part in text.split(",") if part)
    if unknown := set(wanted) - set(names()):
        raise argparse.ArgumentTypeError(f"{', '.join(sorted(unknown))}: there are {', '.join(names())}")
    return wanted


def _refuse_far(broker: str) -> None:
    """A load test is for one's own machine."""
    host = broker.rpartition(":")[0].strip("[]")
    if host != "localhost" and not (host and ipaddress.ip_address(host).is_loopback):
        raise ValueError(f"{broker}: only brokers on the loopback interface (127.0.0.1:PORT) are loaded")


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def _run(args: argparse.Namespace, stack: ExitStack) -> dict[str, Any]:
    """The whole run; everything that it starts or makes ends with ``stack``."""
    load, host = args.load, machine()
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="esp-load-")))
    workload, kit = _workload(args, folder / "kit")
    parties, left_out = _parties(args, workload, kit)
    rest, own = (shares() if load.rate is None and args.pin else None) or (frozenset(), frozenset())
    if rest:
        keep_to(rest)
    if args.ballast:
        progress.print("writing to free memory")
        turns = (args.runs + 1) * len(parties) if load.rate is None else 0
        stack.enter_context(ballast(load.events * workload.event_bytes * (1 + turns)))
    brokers, kafka_is = stack.enter_context(kafka(args.brokers, KEEPS_FILES if args.ballast else ""))
    topics = stack.enter_context(Topics(brokers, f"load-{uuid.uuid4().hex[:8]}", load.partitions, deletes=bool(args.brokers)))
    ground = Ground(topics, workload, kit, folder, own)
    result = {
        "workload": workload.name,
        "load": {
            "rate": load.rate, "seconds": load.seconds, "events": load.events, "partitions": load.partitions, "linger_ms": load.linger_ms,
            "rows": workload.about, "event_bytes": workload.event_bytes, "runs": args.runs, "cores": [sorted(rest), sorted(own)],
            "ballast": args.ballast,
        },
        "left_out": left_out,
    }  # fmt: skip
    result |= _course(args, ground, parties)
    return result | {"machine": host, "versions": versions(), "kafka": kafka_is, "commit": commit(ROOT)}


def _course(args: argparse.Namespace, ground: Ground, parties: list[Party]) -> dict[str, Any]:
    if args.load.rate is None:
        return filled(ground, args.load, parties, args.runs, progress.print, warms=not args.brokers)
    if args.ramp is not None:
        return ramping(ground, args.load, args.ramp, parties, progress.print)
    return flowing(ground, args.load, parties, args.runs, progress.print)


def _workload(args: argparse.Namespace, folder: Path) -> tuple[Workload, Kit]:
    if args.model is not None:
        return digits(folder, args.model)
    return WORKLOADS[args.workload](folder)


def _parties(args: argparse.Namespace, workload: Workload, kit: Kit) -> tuple[list[Party], dict[str, str]]:
    """The engine first, then who runs beside it; and why a peer does not."""
    parties, left_out = [engine(kit)], {}
    if not args.no_passthrough:
        parties.append(passthrough())
    for name in args.peers:
        progress.print(f"making {name}")
        try:
            parties.append(peer(name, workload, is_open_loop=args.load.rate is not None))
        except PeerMissing as err:
            left_out[name] = str(err)
            progress.print(f"{name} is left out: {err}")
    return parties, left_out


@contextmanager
def kafka(brokers: str | None, more_properties: str = "") -> Iterator[tuple[str, str]]:
    """A broker's address, and what it is: the one that was named, or Apache Kafka started for this run."""
    if brokers:
        require_broker(brokers)
        yield brokers, f"Kafka at {brokers}"
        return
    from tests.broker import VERSION, Broker, missing

    if reason := missing():
        raise LoadTestError(reason.replace("name a running broker in ESP_TEST_BROKERS=HOST:PORT", "give --brokers HOST:PORT"))
    progress.print(f"starting Apache Kafka {VERSION}")
    broker = Broker(heap_mb=HEAP_MB, more_properties=more_properties)
    try:
        yield broker.start().bootstrap, f"Apache Kafka {VERSION} on the same machine"
    finally:
        broker.remove()


if __name__ == "__main__":
    sys.exit(main())
