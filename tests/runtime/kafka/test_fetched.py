"""What a fetch brought, against aiokafka's own reading of the same bytes, record by record; and every kind of damage."""

import itertools
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from aiokafka import TopicPartition
from aiokafka.consumer.fetcher import READ_COMMITTED, READ_UNCOMMITTED, PartitionRecords
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.legacy_records import LegacyRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords

from esp.errors import TransportError
from esp.kernels import records as r
from esp.runtime.events import RawBlock
from esp.runtime.headers import decode_headers
from esp.runtime.kafka import compression
from esp.runtime.kafka import fetched as fetched_module
from esp.runtime.kafka.fetched import Fetched
from esp.runtime.kafka.fetching import FetchedOnce, RawRecords
from esp.runtime.reading import Reader
from esp.runtime.unread import Damage, OnCorrupt
from tests.kernels.test_records import control, marked

TP = TopicPartition("t", 3)
STAMP = 1_700_000_000_000
Aborted = list[tuple[int, int]]


def fetched(data: bytes, wanted: int = 0, aborted: Aborted | None = None, on_corrupt: OnCorrupt = "fail") -> Fetched:
    """What the consumer hands out of a fetch; ``again`` remembers what it was asked for."""
    consumer: Any = SimpleNamespace(
        again=lambda partition, offset: AGAIN.append((partition, offset)), on_corrupt=on_corrupt, place="q: t"
    )
    isolation = READ_UNCOMMITTED if aborted is None else READ_COMMITTED
    source = FetchedOnce(TP, RawRecords(data), aborted, wanted, consumer, None, True, isolation)
    (found,) = list(source)
    assert source.next_fetch_offset == found.following
    return found


AGAIN: list[tuple[int, int]] = []


@pytest.fixture(autouse=True)
def nothing_asked() -> None:
    AGAIN.clear()


def rows(block: RawBlock) -> list[tuple[Any, ...]]:
    return [
        (int(block.offset[i]), int(block.ts_ms[i]), block.key(i), block.value(i), tuple(decode_headers(block.headers(i))))
        for i in range(len(block))
    ]


def by_aiokafka(data: bytes, wanted: int = 0, aborted: Aborted | None = None) -> tuple[list[tuple[Any, ...]], int]:
    isolation = READ_UNCOMMITTED if aborted is None else READ_COMMITTED
    records = PartitionRecords(TP, MemoryRecords(data), aborted, wanted, None, None, True, isolation)
    return [(one.offset, one.timestamp, one.key, one.value, one.headers) for one in records], records.next_fetch_offset


def batch(base: int, n: int, *, codec: int = 0, seed: int = 0, attributes: int = 0, producer: int = -1) -> bytes:
    pick, transactional = random.Random(seed), int(bool(attributes & r.TRANSACTIONAL))
    builder = DefaultRecordBatchBuilder(
        2, codec, is_transactional=transactional, producer_id=producer, producer_epoch=0, base_sequence=0, batch_size=1 << 30
    )
    for i in range(n):
        key, value = pick.choice([None, b"", b"k%d" % i]), pick.choice([None, b"", pick.randbytes(9) * pick.randrange(200)])
        headers = pick.choice([[], [("a", b"1"), ("a", None)], [("\u00e4", b"x" * 100)]])
        builder.append(i, STAMP + pick.randrange(1000), key, value, headers)
    data = bytes(builder.build())
    packed = data[r.ATTRIBUTES + 1] & r.CODEC  # aiokafka leaves a batch as it is where compression does not make it smaller
    return marked(data, base, attributes | packed)


@pytest.mark.parametrize(("codec", "seed"), list(itertools.product(range(5), range(3))))
def test_both_paths_read_the_same_of_every_compression(codec: int, seed: int) -> None:
    data = batch(5, 200, codec=codec, seed=seed) + batch(205, 1, seed=seed) + batch(300, 80, codec=codec, seed=seed + 9)
    for wanted in (5, 6, 150, 204):
        found, following = by_aiokafka(data, wanted)
        once = fetched(data, wanted)
        assert rows(once.block()) == found
        assert (once.following, once.batches, len(once)) == (following, 3, 281)


def test_both_paths_leave_out_what_was_aborted_and_control_batches() -> None:
    def sent(base: int, producer: int, codec: int = 0) -> bytes:
        return batch(base, 10, codec=codec, seed=base, attributes=r.TRANSACTIONAL, producer=producer)

    data = (
        sent(0, 7) + control(10, 7, 1) + sent(11, 7, codec=3) + sent(21, 8) + control(31, 7, 0) + sent(32, 7) + batch(42, 5)
        + control(47, 8, 0) + control(48, 7, 1)
    )  # fmt: skip
    aborted = [(7, 11), (8, 21)]
    found, following = by_aiokafka(data, 0, list(aborted))
    assert {record[0] for record in found} == {*range(10), *range(32, 47)}
    once = fetched(data, 0, aborted)
    assert (rows(once.block()), once.following) == (found, following)
    assert rows(fetched(data).block()) == by_aiokafka(data)[0]


def test_append_time_is_the_same_on_both_paths() -> None:
    data = batch(0, 20, seed=4, attributes=r.APPEND_TIME)
    assert rows(fetched(data).block()) == by_aiokafka(data)[0]


@pytest.mark.parametrize(("magic", "codec"), list(itertools.product((0, 1), (0, 1, 2))))
def test_old_formats_are_aiokafkas_to_read(magic: int, codec: int) -> None:
    builder = LegacyRecordBatchBuilder(magic, codec, 1 << 20)
    for i in range(30):
        builder.append(i, timestamp=STAMP + i, key=b"k", value=b"v%d" % i)
    data = bytes(builder.build())
    found, following = by_aiokafka(data, 4 if not codec else 0)
    once = fetched(data, 4 if not codec else 0)
    assert [row[3] for row in rows(once.block())] == [record[3] for record in found]
    assert once.following == following
    damaged = bytearray(data)
    damaged[-1] ^= 1
    with pytest.raises(Damage, match="aiokafka cannot read it"):
        fetched(bytes(damaged)).block()


# ------------------------------------------------------------------------------------------------------------- damage


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :]


GOOD, BAD, MORE = batch(100, 10), batch(110, 10, seed=1), batch(120, 10, seed=2)


def refused(records: Fetched) -> Damage:
    with pytest.raises(Damage) as caught:
        records.block()
    return caught.value


def test_records_before_and_after_damage_are_kept_apart() -> None:
    bad = flipped(BAD, 200)
    damage = refused(fetched(GOOD + bad + MORE, 100))
    assert (damage.what, damage.first, damage.last) == ("its checksum is wrong", 110, 119)
    assert damage.at == len(GOOD)
    assert damage.data.tobytes() == bad
    assert rows(damage.before) == by_aiokafka(GOOD, 100)[0]
    assert damage.rest is not None
    assert rows(damage.rest.block()) == by_aiokafka(MORE, 100)[0]
    assert refused(fetched(GOOD + bad, 100)).rest is None


def test_a_wrong_record_is_told_with_its_byte_and_none_of_its_batch_is_read() -> None:
    bad = bytearray(batch(110, 3))
    bad[r.HEADER] = 1  # a size of -1
    damage = refused(fetched(GOOD + marked(bytes(bad), 110, 0) + MORE, 105))
    assert damage.what == "a record is wrong"
    assert damage.at == len(GOOD) + r.HEADER
    assert rows(damage.before) == by_aiokafka(GOOD, 105)[0]


@pytest.mark.parametrize("codec", [1, 2, 3, 4])
def test_compressed_bytes_that_do_not_expand_are_damage(codec: int, monkeypatch: pytest.MonkeyPatch) -> None:
    packed = bytearray(batch(110, 200, codec=codec, seed=3))
    packed[r.HEADER + 20 : r.HEADER + 60] = bytes(40)
    damage = refused(fetched(GOOD + marked(bytes(packed), 110, codec), 100))
    assert (damage.first, damage.last) == (110, 309)
    assert rows(damage.before) == by_aiokafka(GOOD, 100)[0]
    monkeypatch.setattr(compression, "LARGEST_BYTES", 1000)
    assert "holds more than" in refused(fetched(GOOD + batch(110, 200, codec=codec, seed=3), 100)).what


def test_a_fetch_of_many_batches_that_expand_is_bounded_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    many = [batch(100 + 200 * i, 200, codec=4, seed=i) for i in range(5)]
    sizes = np.cumsum([compression.expand(4, np.frombuffer(one[r.HEADER :], np.uint8)).nbytes for one in many])
    monkeypatch.setattr(fetched_module, "LARGEST_BYTES", int(sizes[2]))
    damage = refused(fetched(b"".join(many), 100))
    assert (damage.first, damage.last, "the batches of the fetch hold more than" in damage.what) == (700, 899, True)
    assert rows(damage.before) == by_aiokafka(b"".join(many[:3]), 100)[0]


def test_a_count_that_the_expanded_bytes_cannot_hold_makes_no_room_for_it() -> None:
    packed = bytearray(batch(110, 200, codec=3, seed=3))
    packed[r.COUNT : r.COUNT + 4] = (2**31 - 1).to_bytes(4, "big")
    damage = refused(fetched(marked(bytes(packed), 110, 3), 100))
    assert damage.what == "its number of records is wrong"


def test_a_wrong_length_leaves_no_rest() -> None:
    bad = bytearray(BAD)
    bad[r.LENGTH : r.LENGTH + 4] = (20).to_bytes(4, "big")
    damage = refused(fetched(GOOD + bytes(bad) + MORE, 100))
    assert (damage.what, damage.first, damage.last, damage.rest) == ("its length is wrong", 110, 119, None)
    bad[r.LENGTH] = 0x7F  # more than there is: as if it were cut off, so it is fetched as the first of the next
    once = fetched(GOOD + bytes(bad), 100)
    assert (rows(once.block()), once.following) == (by_aiokafka(GOOD, 100)[0], 110)
    again = fetched(bytes(bad), 110)
    assert (refused(again).what, again.following, len(again)) == ("its length is wrong", 110, 0)


@pytest.mark.parametrize("magic", [3, 0x7F, 0xFF])
def test_a_format_that_there_is_none_of_is_damage(magic: int) -> None:
    bad = bytearray(BAD)
    bad[r.MAGIC] = magic
    damage = refused(fetched(GOOD + bytes(bad) + MORE, 100))
    assert (damage.what, damage.first, damage.last) == ("its format is none that there is", 110, 119)
    assert rows(damage.before) == by_aiokafka(GOOD, 100)[0]
    assert damage.rest is not None
    assert rows(damage.rest.block()) == by_aiokafka(MORE, 120)[0]


def test_what_aiokafka_cannot_read_of_an_old_format_is_damage_whatever_it_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    bad = bytearray(BAD)
    bad[r.MAGIC] = 1  # an old record of a size below nothing, at which its reader in C raises SystemError
    monkeypatch.setattr(fetched_module, "PartitionRecords", lambda *_: raising(SystemError("Negative size")))
    assert refused(fetched(bytes(bad), 110)).what == "aiokafka cannot read it (Negative size)"


def raising(err: Exception) -> Iterator[Any]:
    yield from ()
    raise err


# ------------------------------------------------------------------------------------------------------- the reader


def read(reader: Reader, records: Fetched) -> list[Any]:
    return [found if isinstance(found, Damage) else [row[0] for row in rows(found)] for found in reader.read(records)]


def test_damage_is_fetched_once_more_and_nothing_behind_it_is_read_before() -> None:
    reader, bad = Reader(), flipped(BAD, 200)
    assert read(reader, fetched(GOOD + bad, 100)) == [list(range(100, 110))]
    assert AGAIN == [(3, 110)]
    assert read(reader, fetched(MORE, 120)) == []  # it was on its way already
    assert read(reader, fetched(BAD + MORE, 110)) == [list(range(110, 130))]
    assert read(reader, fetched(batch(130, 1), 130)) == [[130]]
    assert AGAIN == [(3, 110)]


def test_damage_that_comes_again_stops_the_task_with_its_place() -> None:
    reader, bad = Reader(), flipped(BAD, 200)
    assert read(reader, fetched(GOOD + bad + MORE, 100)) == [list(range(100, 110))]
    with pytest.raises(TransportError, match=r"q: t/3/110-119: a record batch is damaged \(its checksum is wrong, at byte 0 "):
        read(reader, fetched(bad + MORE, 110))


def test_damage_that_comes_again_is_given_up_once_where_told() -> None:
    reader, bad = Reader(), flipped(BAD, 200)
    read(reader, fetched(GOOD + bad + MORE, 100, on_corrupt="dead_letter"))
    before, damage, after = read(reader, fetched(bad + MORE, 110, on_corrupt="dead_letter"))
    assert (before, after, damage.data.tobytes()) == ([], list(range(120, 130)), bad)
    assert str(damage) == "offsets 110 to 119: its checksum is wrong, at byte 0 of the fetch"
    assert AGAIN == [(3, 110)]


def test_a_second_damage_gets_a_second_fetch_of_its_own() -> None:
    reader, bad, worse = Reader(), flipped(BAD, 200), flipped(MORE, 90)
    read(reader, fetched(GOOD + bad + MORE, 100))
    assert read(reader, fetched(BAD + worse, 110)) == [list(range(110, 120))]
    assert read(reader, fetched(MORE, 120)) == [list(range(120, 130))]
    assert AGAIN == [(3, 110), (3, 120)]


def test_behind_a_wrong_length_the_next_fetch_is_asked_for() -> None:
    reader, bad = Reader(), bytearray(BAD)
    bad[r.LENGTH] = 0x7F
    give_up: Callable[[], Fetched] = lambda: fetched(bytes(bad), 110, on_corrupt="dead_letter")  # noqa: E731
    assert read(reader, give_up()) == [[]]
    before, damage = read(reader, give_up())
    assert (before, damage.first, damage.last) == ([], 110, 119)
    assert read(reader, give_up()) == [[]]  # it was on its way already
    assert AGAIN == [(3, 110), (3, 120)]
    assert read(reader, fetched(MORE, 120)) == [list(range(120, 130))]


def test_any_damaged_byte_is_found_or_changes_no_record() -> None:
    """Offsets and lengths stand outside the checksum; all else is within."""
    data, rng = GOOD + BAD + MORE, np.random.default_rng(0)
    whole, starts = rows(fetched(data, 100).block()), (0, len(GOOD), len(GOOD + BAD))
    for at in rng.integers(0, len(data), 600).tolist():
        if any(start <= at < start + r.LENGTH for start in starts):
            continue
        once = fetched(flipped(data, at), 100)
        try:
            found = rows(once.block())
        except Damage as damage:
            found = rows(damage.before)
        else:
            assert once.following == (found[-1][0] + 1 if found else 100)
        assert found == whole[: len(found)]


def test_a_damaged_fetch_may_be_read_twice() -> None:
    once = fetched(GOOD + flipped(BAD, 200) + MORE, 100)
    assert str(refused(once)) == str(refused(replace(once)))
