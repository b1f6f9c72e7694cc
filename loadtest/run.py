"""Load test of the digits query over a real Kafka: ``python loadtest/run.py --rate 30000`` or ``--drain 1000000``."""

import argparse
import ipaddress
import json
import signal
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

ROOT = Path(__file__).resolve().parents[1]
if __name__ == "__main__":
    sys.path[0] = str(ROOT)  # in the place of the script's own folder, whose modules are reached by the package's name

from rich.console import Console  # noqa: E402

from loadtest.machine import commit, machine, versions  # noqa: E402
from loadtest.measure import LoadTestError, Route, drain, generated, open_loop  # noqa: E402
from loadtest.plan import Load  # noqa: E402
from loadtest.report import show  # noqa: E402
from loadtest.subjects import QUERY, SubjectError, engine, passthrough  # noqa: E402
from loadtest.summary import is_good, summarise  # noqa: E402
from loadtest.topics import Topics  # noqa: E402
from loadtest.workload import Images, digit_images, packer  # noqa: E402

BESIDE_S = 15.0  # an open-loop pass-through takes no longer: its quantiles have settled by then
progress = Console(stderr=True, soft_wrap=True)


def main() -> int:
    args = _arguments()
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        with ExitStack() as stack:
            result = _run(args, stack)
    except (LoadTestError, SubjectError, RuntimeError) as err:
        print(f"loadtest: {err}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    if args.json:
        print(json.dumps(result))
    else:
        show(result, Console(soft_wrap=True))
    return 0 if all(is_good(result[name]) for name in ("engine", "passthrough") if name in result) else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--brokers", help="a running Kafka HOST:PORT on the loopback interface; one is started, if left out")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--rate", type=float, help="open loop: events a second (30,000, if neither is said)")
    how.add_argument("--drain", type=int, metavar="N", help="fill the topic with N events first, then let the engine work it off")
    parser.add_argument("--seconds", type=float, default=30.0, help="how long the open loop sends (30)")
    parser.add_argument("--partitions", type=int, default=4, help="partitions of every topic (4)")
    parser.add_argument("--linger-ms", type=float, default=1.0, help="how long the generator gathers a batch (1)")
    parser.add_argument("--model", type=Path, default=QUERY / "digits.astore", help="the astore that scores (that of the query)")
    parser.add_argument("--no-passthrough", action="store_true", help="leave the bare client beside the engine out")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args()
    try:
        rate = None if args.drain is not None else args.rate if args.rate is not None else 30_000.0
        events = args.drain if rate is None else round(rate * args.seconds)
        args.load = Load(events, rate, partitions=args.partitions, linger_ms=args.linger_ms)
        for broker in (args.brokers or "").split(",") if args.brokers else ():
            _refuse_far(broker)
    except ValueError as err:
        parser.error(str(err))
    return args


def _refuse_far(broker: str) -> None:
    """A load test is for one's own machine."""
    host = broker.rpartition(":")[0].strip("[]")
    if host != "localhost" and not (host and ipaddress.ip_address(host).is_loopback):
        raise ValueError(f"{broker}: only brokers on the loopback interface (127.0.0.1:PORT) are loaded")


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def _run(args: argparse.Namespace, stack: ExitStack) -> dict[str, Any]:
    """The whole run; everything that it starts or makes ends with ``stack``."""
    load, images, host = args.load, digit_images(QUERY), machine()
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="esp-load-")))
    brokers, kafka = stack.enter_context(_kafka(args.brokers))
    topics = stack.enter_context(Topics(brokers, f"load-{uuid.uuid4().hex[:8]}", load.partitions, deletes=bool(args.brokers)))
    topics.make("images", notes_append=False)
    topics.make("scores", "counts", "late", "dead", "passed")
    result = {
        "workload": "digits",
        "load": {
            "rate": load.rate, "seconds": load.seconds, "events": load.events, "partitions": load.partitions, "linger_ms": load.linger_ms,
            "images": "held-out digits" if images.are_real else "random images", "event_bytes": len(packer(images)(b"camera-00", 0, 1)),
        },
    }  # fmt: skip
    result |= _filled(args, topics, images, folder) if load.rate is None else _flowing(args, topics, images, folder)
    return result | {"machine": host, "versions": versions(), "kafka": kafka, "commit": commit(ROOT)}


def _filled(args: argparse.Namespace, topics: Topics, images: Images, folder: Path) -> dict[str, Any]:
    """Fills the topic once; the engine drains it, then the pass-through."""
    load, result = args.load, {}
    progress.print(f"filling the topic with {load.events:,} events")
    generated(topics, "images", load, images)
    route = Route("images", "scores", "dead", is_scored=True)
    progress.print("the engine drains it")
    result["engine"] = summarise(
        drain(topics, route, engine(topics.brokers, topics.prefix, folder, args.model), load.events), route, load, images
    )
    if not args.no_passthrough:
        progress.print("the pass-through drains it")
        route = Route("images", "passed")
        subject = passthrough(topics.brokers, topics.name("images"), topics.name("passed"), folder)
        result["passthrough"] = summarise(drain(topics, route, subject, load.events), route, load, images)
    return result


def _flowing(args: argparse.Namespace, topics: Topics, images: Images, folder: Path) -> dict[str, Any]:
    """The engine under an open loop, then the pass-through under the same rate on a topic of its own."""
    load, result = args.load, {}
    route = Route("images", "scores", "dead", is_scored=True)
    progress.print(f"the engine under {load.rate:,.0f} events/s for {load.seconds:g} s")
    sent, seen = open_loop(topics, route, engine(topics.brokers, topics.prefix, folder, args.model), load, images)
    result["engine"] = summarise(seen, route, load, images, sent)
    if not args.no_passthrough:
        load = replace(load, events=min(load.events, max(1, round(load.rate * BESIDE_S))))
        progress.print(f"the pass-through under the same for {load.seconds:g} s")
        topics.make("beside", notes_append=False)
        route = Route("beside", "passed")
        subject = passthrough(topics.brokers, topics.name("beside"), topics.name("passed"), folder)
        sent, seen = open_loop(topics, route, subject, load, images)
        result["passthrough"] = summarise(seen, route, load, images, sent)
    return result


@contextmanager
def _kafka(brokers: str | None) -> Iterator[tuple[str, str]]:
    """A broker's address, and what it is: the one that was named, or Apache Kafka started for this run."""
    if brokers:
        yield brokers, f"Kafka at {brokers}"
        return
    from tests.broker import VERSION, Broker, missing

    if reason := missing():
        raise LoadTestError(reason.replace("name a running broker in ESP_TEST_BROKERS=HOST:PORT", "give --brokers HOST:PORT"))
    progress.print(f"starting Apache Kafka {VERSION}")
    broker = Broker()
    try:
        yield broker.start().bootstrap, f"Apache Kafka {VERSION} on the same machine"
    finally:
        broker.remove()


if __name__ == "__main__":
    sys.exit(main())
