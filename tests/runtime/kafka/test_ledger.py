"""The transactions and the changelog of a task over a real Kafka: seen together or not at all, fenced, and brought back from wherever they are."""

import asyncio
import gc
import shutil
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupLoadInProgressError
from confluent_kafka import Consumer, KafkaError
from confluent_kafka import TopicPartition as Part

from esp.errors import FencedError, StartError, StateError
from esp.runtime.connect import connection
from esp.runtime.events import VarColumn, raw_block
from esp.runtime.kafka.changelog import check_policy, read_log
from esp.runtime.kafka.ledger import Ledger, LedgerSettings, Pointer
from esp.runtime.kafka.patience import patiently
from esp.runtime.kafka.settings import CreateTopic, KafkaConnection
from esp.runtime.kafka.sink import KafkaSink
from esp.runtime.state.chain import Checkpoint
from esp.runtime.state.checkpoint import CheckpointStore
from esp.runtime.state.progress import Restore
from esp.runtime.state.tables import Tables
from tests.conftest import Kafka
from tests.engine_process import wait_until
from tests.runtime.backfill.ranges import ends_of

pytestmark = pytest.mark.kafka

COUNTS = {"n": ("int64", ()), "last": ("bytes", ())}


class Offsets:
    """What the group has committed, as an administrator is told it."""

    def __init__(self, brokers: str, group: str, topic: str) -> None:
        self.brokers, self.group, self.topic = brokers, group, topic

    async def committed(self, partition: int) -> tuple[int, str] | None:
        admin = AIOKafkaAdminClient(bootstrap_servers=self.brokers)
        await admin.start()
        try:
            part = TopicPartition(self.topic, partition)

            async def ask() -> Any:
                found = await admin.list_consumer_group_offsets(self.group, partitions=[part])
                if part not in found:  # the answer of a coordinator that does not know yet
                    raise GroupLoadInProgressError
                return found[part]

            found = await patiently(ask, "the group's coordinator of a broker that has just started")
        finally:
            await admin.close()
        return None if found.offset < 0 else (found.offset, found.metadata or "")

    def now(self, partition: int = 0) -> tuple[int, str] | None:
        with ThreadPoolExecutor(1) as beside:  # whoever asks may be in an event loop
            return beside.submit(asyncio.run, self.committed(partition)).result()


class World:
    """A source, an output and a changelog of their own, and engines' ledgers over them."""

    def __init__(self, kafka: Kafka, folder: Path, records: str = "columns") -> None:
        self.kafka, self.folder, self.lost = kafka, folder, list[int]()
        self.source, self.out = kafka.topic(2), kafka.topic(2)
        self.group, self.log = f"g-{self.source}", f"{self.source}-changelog"
        self.records = records
        self.offsets = Offsets(kafka.bootstrap, self.group, self.source)

    def connection(self, topic: str) -> KafkaConnection:
        settings = {"topic": topic, "brokers": self.kafka.bootstrap, "records": self.records, "create": {"partitions": 2}}
        found = connection({"connector": "kafka", **settings}, "q")
        assert isinstance(found, KafkaConnection)
        return found

    async def ledger(self, state: str = "state", is_fresh: bool = False) -> tuple[Ledger, KafkaSink]:
        sink = KafkaSink(self.connection(self.out), "q")
        await sink.start()
        create = CreateTopic(config={"cleanup.policy": "compact"})
        changelog = self.connection(self.log).model_copy(update={"create": create})
        settings = LedgerSettings("events", self.connection(self.source), self.group, changelog, 60_000, True, "q")
        ledger = Ledger(settings, CheckpointStore(self.folder / state, "q", "f", "kafka:t"), {"out": sink}, self.lost.append)
        await ledger.open(is_fresh)
        return ledger, sink

    def run(self, *works: Callable[..., Coroutine[Any, Any, None]], **options: Any) -> None:
        """Each work with the ledger of an engine of its own, one after another; no future may be left with a failure that nobody heard."""
        unheard: list[Any] = []

        async def one(work: Callable[..., Coroutine[Any, Any, None]]) -> None:
            asyncio.get_running_loop().set_exception_handler(lambda loop, context: unheard.append(context))
            ledger, sink = await self.ledger(**options)
            try:
                await work(ledger)
            finally:
                await ledger.close()
                await sink.stop()

        for work in works:
            asyncio.run(one(work))
            gc.collect()
        assert unheard == []

    def seen(self, topic: str, isolation: str = "read_committed") -> list[bytes]:
        """What librdkafka reads of both partitions."""
        reader = Consumer(
            {
                "bootstrap.servers": self.kafka.bootstrap, "group.id": "r", "isolation.level": isolation, "enable.partition.eof": True,
                "auto.offset.reset": "earliest", "enable.auto.commit": False,
            }
        )  # fmt: skip
        reader.assign([Part(topic, number, 0) for number in range(2)])
        values, ended = list[bytes](), set[int]()
        while len(ended) < 2:
            for message in reader.consume(100, 0.2):
                if message.error() is None:
                    values.append(message.value())
                else:
                    assert message.error().code() == KafkaError._PARTITION_EOF
                    ended.add(message.partition())
        reader.close()
        return values

    def settle(self) -> None:
        """Returns when no transaction is open: its markers come a moment after the commit."""
        for topic in (self.out, self.log):
            ends_of(self.kafka.bootstrap, topic, 2)

    def offset_comes(self) -> int:
        """The first offset of partition 0 that the group knows of: a commit by transaction shows a moment later."""
        wait_until(lambda: self.offsets.now() is not None, "the offset")
        found = self.offsets.now()
        assert found is not None
        assert Pointer.parse(found[1]) is not None
        return found[0]

    async def seen_by_aiokafka(self) -> list[bytes]:
        options = {"bootstrap_servers": self.kafka.bootstrap, "isolation_level": "read_committed", "auto_offset_reset": "earliest"}
        async with AIOKafkaConsumer(**options) as reader:
            part, found = TopicPartition(self.out, 0), list[bytes]()
            reader.assign([part])
            end = (await reader.end_offsets([part]))[part]
            while await reader.position(part) < end:
                found += [record.value for records in (await reader.getmany(timeout_ms=200)).values() for record in records]
            return found


async def taken(ledger: Ledger, world: World, progress: Restore | None = None) -> tuple[Tables, int | None]:
    """The state of partition 0, and the offset that it equals."""
    found = await ledger.take(0, world.offsets, progress or Restore())
    return (Tables(), None) if found is None else (found.tables, found.offsets["events", 0])


def counted(tables: Tables, *keys: str) -> Tables:
    """Counts keys, and remembers each one's name in capitals."""
    table = tables.table("count", "by_key", COUNTS)
    rows = table.rows(VarColumn.of(keys))
    np.add.at(table.column("n"), rows, 1)
    table.put("last", rows, np.zeros(len(rows), np.int64), VarColumn.of([key.upper() for key in keys]))
    return tables


def counts(tables: Tables) -> dict[bytes, tuple[int, int, bytes]]:
    """Key -> row, count, name."""
    table = tables.table("count", "by_key", COUNTS)
    rows = table.live()
    keys, names = table.keys(rows), table.get("last", rows, np.zeros(len(rows), np.int64))
    return {keys.value(i): (int(row), int(table.column("n")[row]), names.value(i)) for i, row in enumerate(rows)}


def checkpoint(ledger: Ledger, tables: Tables, offset: int, partition: int = 0) -> Checkpoint:
    return Checkpoint({("events", partition): offset}, tables.dump(ledger.wants_changes(partition)))


async def kept(ledger: Ledger, tables: Tables, offset: int) -> None:
    """A checkpoint, and its copy on local disk."""
    link = await ledger.commit(0, checkpoint(ledger, tables, offset))
    assert link is not None
    ledger.store.mirror(0, link)


@pytest.fixture(params=["columns", "client"])
def world(request: pytest.FixtureRequest, kafka: Kafka, tmp_path: Path) -> World:
    return World(kafka, tmp_path, request.param)


@pytest.fixture
def plain(kafka: Kafka, tmp_path: Path) -> World:
    return World(kafka, tmp_path)


def test_outputs_state_and_offset_are_seen_together_and_what_is_taken_back_never(world: World) -> None:
    async def work(ledger: Ledger) -> None:
        tables, offset = await taken(ledger, world)
        producer = ledger.producer(0)
        assert offset is None
        assert producer is not None
        await producer.send("out", raw_block([b"one", b"two"]))
        await producer.flush()
        assert world.seen(world.out) == []
        assert world.seen(world.out, "read_uncommitted") == [b"one", b"two"]
        assert (world.offsets.now(), world.seen(world.log)) == (None, [])
        await ledger.commit(0, checkpoint(ledger, counted(tables, "a"), 42))
        world.settle()
        assert world.seen(world.out) == await world.seen_by_aiokafka() == [b"one", b"two"]
        assert len(world.seen(world.log)) == 1
        assert world.offset_comes() == 42
        await producer.send("out", raw_block([b"three"]))
        await producer.flush()

    world.run(work)
    assert world.seen(world.out) == [b"one", b"two"]
    assert world.seen(world.out, "read_uncommitted") == [b"one", b"two", b"three"]


def test_an_owner_that_is_fenced_writes_nothing_more_and_learns_it_once(world: World) -> None:
    async def work(first: Ledger) -> None:
        tables, _ = await taken(first, world)
        old = first.producer(0)
        assert old is not None
        await old.send("out", raw_block([b"begun"]))
        await old.flush()
        second, sink = await world.ledger("other")
        await taken(second, world)
        await old.send("out", raw_block([b"too late"]))
        await old.flush()
        for _ in range(2):
            with pytest.raises(FencedError, match=f"another engine has started '{world.group}-events-0'"):
                await first.commit(0, checkpoint(first, counted(tables, "a"), 1))
        await old.send("out", raw_block([b"swallowed"]))
        assert first.counts.fenced == 1
        await second.commit(0, checkpoint(second, Tables(), 2))
        await second.close()
        await sink.stop()

    world.run(work)
    assert world.lost == [0]
    assert world.seen(world.out) == []
    assert world.offset_comes() == 2


def test_state_comes_back_with_its_rows_from_local_disk_and_without_one_from_the_changelog(plain: World, tmp_path: Path) -> None:
    wanted: dict[bytes, Any] = {}

    async def fill(ledger: Ledger) -> None:
        tables, _ = await taken(ledger, plain)
        await kept(ledger, counted(tables, *"abcdefgh"), 8)
        for at, (key, gone) in enumerate([("a", ["c"]), ("a", ["d"]), ("x", [])]):
            table = tables.table("count", "by_key", COUNTS)
            table.remove(table.find(VarColumn.of(gone)))
            await kept(ledger, counted(tables, key), 9 + at)
        wanted.update(counts(tables))

    async def again(ledger: Ledger, way: str, offset: int = 11) -> None:
        progress = Restore()
        tables, found = await taken(ledger, plain, progress)
        assert (found, progress.way, progress.done_bytes) == (offset, way, progress.total_bytes)
        assert counts(tables) == wanted

    plain.run(fill, lambda ledger: again(ledger, "local disk"))
    assert wanted[b"x"] == (3, 1, b"X")  # the row that became free last
    shutil.rmtree(tmp_path / "state")
    plain.run(lambda ledger: again(ledger, "the changelog"), lambda ledger: again(ledger, "local disk"))
    newest = max((tmp_path / "state").glob("p0-*"))
    newest.write_bytes(newest.read_bytes()[:-1] + b"?")
    plain.run(lambda ledger: again(ledger, "the changelog"), lambda ledger: again(ledger, "local disk"))

    async def further(ledger: Ledger) -> None:
        tables, _ = await taken(ledger, plain)
        await kept(ledger, counted(tables, "y"), 12)
        wanted.update(counts(tables))

    plain.run(further, state="elsewhere")
    assert wanted[b"y"] == (2, 1, b"Y")
    plain.run(lambda ledger: again(ledger, "the changelog", 12))  # what lies on this disk is older than what is committed


def test_a_full_link_takes_the_chain_before_it_away(plain: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("esp.runtime.kafka.changelog.CHUNK_BYTES", 300)

    async def work(ledger: Ledger) -> None:
        tables, _ = await taken(ledger, plain)
        for number in range(30):
            await kept(ledger, counted(tables, "a", f"key-{number}"), number)
        changelog = ledger.settings.changelog
        assert changelog is not None
        plain.settle()
        held = await read_log(changelog, 0, 0, "q", lambda read, share: None)
        chain = held.chain()
        assert chain[0].is_full
        assert [link.number for link in chain] == list(range(chain[0].number, 31))
        assert chain[0].number > 3
        assert {number for number, _ in held.links} == {link.number for link in chain}
        assert len(held.keys()) > len(chain)  # a full link is more than one record

    plain.run(work)

    async def again(ledger: Ledger) -> None:
        tables, offset = await taken(ledger, plain)
        assert offset == 29
        assert counts(tables)[b"a"] == (0, 30, b"A")

    plain.run(again, state="elsewhere")


def test_a_start_afresh_goes_on_from_the_commit_with_no_state_and_leaves_none_of_the_old(plain: World) -> None:
    async def fill(ledger: Ledger) -> None:
        tables, _ = await taken(ledger, plain)
        await kept(ledger, counted(tables, "a"), 5)

    async def afresh(ledger: Ledger) -> None:
        tables, offset = await taken(ledger, plain)
        assert (offset, len(tables)) == (None, 0)
        await kept(ledger, counted(tables, "b"), 6)

    async def again(ledger: Ledger) -> None:
        tables, offset = await taken(ledger, plain)
        assert (offset, set(counts(tables))) == (6, {b"b"})

    plain.run(fill)
    plain.run(afresh, is_fresh=True)
    plain.run(again, state="elsewhere")


def test_what_an_engine_without_a_changelog_left_on_disk_is_taken_up(plain: World, tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path / "state", "q", "f", "kafka:t")
    store.save(0, Checkpoint({("events", 0): 7}, counted(Tables(), "a").dump(changed_only=False)))

    async def work(ledger: Ledger) -> None:
        tables, offset = await taken(ledger, plain)
        assert (offset, set(counts(tables))) == (7, {b"a"})
        await kept(ledger, counted(tables, "b"), 8)

    async def again(ledger: Ledger) -> None:
        tables, offset = await taken(ledger, plain)
        assert (offset, set(counts(tables))) == (8, {b"a", b"b"})

    plain.run(work)
    plain.run(again, state="elsewhere")


def test_a_changelog_that_lacks_what_is_committed_is_refused(plain: World) -> None:
    async def fill(ledger: Ledger) -> None:
        tables, _ = await taken(ledger, plain)
        await kept(ledger, counted(tables, "a"), 5)

    async def refused(ledger: Ledger) -> None:
        with pytest.raises(StateError, match=r"the changelog is empty, and link 1 is committed; put .* back, or start anew"):
            await taken(ledger, plain)

    plain.run(fill)
    plain.log = f"{plain.source}-another"
    plain.run(refused, state="elsewhere")


def test_a_changelog_that_lets_state_go_is_refused(plain: World) -> None:
    log = plain.kafka.topic(2)

    async def work(ledger: Ledger) -> None:
        with pytest.raises(StartError, match=r"cleanup.policy = delete, and state would go from it; set cleanup.policy = compact"):
            await check_policy(plain.connection(log), "q")

    plain.run(work)
