"""Record batches against aiokafka's reader and writer, record by record; and every way in which the bytes can be wrong."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy as Builder
from aiokafka.record.legacy_records import LegacyRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.record.util import calc_crc32c

from esp.kernels import records as r
from esp.kernels.records import walk
from esp.kernels.records_write import BATCH, RECORDS, SIZE, lay, seal
from esp.runtime.events import RawBlock, raw_block
from esp.runtime.headers import encode_headers

NONE = np.zeros((0, 2), np.int64)
Record = tuple[int, int, bytes | None, bytes | None, bytes]  # offset, stamp, key, value, headers
Headers = list[tuple[str, bytes | None]]


def drawn(n: int, seed: int = 0) -> tuple[RawBlock, list[Headers]]:
    """Records with nulls, empty parts, long parts and headers."""
    rng = np.random.default_rng(seed)

    def part(most: int) -> bytes | None:
        return None if rng.random() < 0.2 else rng.bytes(int(rng.integers(0, most)))

    headers: list[Headers] = [[(f"h{k}", part(9)) for k in range(rng.integers(0, 4))] for _ in range(n)]
    values, keys = [part(400) for _ in range(n)], [part(80) for _ in range(n)]
    return raw_block(values, keys=keys, headers=list(map(encode_headers, headers)), ts_ms=rng.integers(1, 1 << 42, n)), headers


def batch_of(records: RawBlock, base: int = 0, *, attributes: int = 0, producer: int = -1) -> bytes:
    """One batch that aiokafka has written."""
    builder = Builder(
        magic=2, compression_type=0, is_transactional=int(bool(attributes & r.TRANSACTIONAL)), producer_id=producer, producer_epoch=0,
        base_sequence=0, batch_size=1 << 30,
    )  # fmt: skip
    for row in range(len(records)):
        pairs = _pairs(records.headers(row))
        builder.append(row, int(records.ts_ms[row]), records.key(row), records.value(row), pairs)
    return marked(bytes(builder.build()), base, attributes)


def _pairs(data: bytes) -> Headers:
    from esp.runtime.headers import decode_headers

    return decode_headers(data)


def marked(batch: bytes, base: int, attributes: int) -> bytes:
    """The batch as the broker stores it: from an offset on, with these attributes."""
    out = bytearray(batch)
    out[:8], out[r.ATTRIBUTES : r.LAST_DELTA] = base.to_bytes(8, "big"), attributes.to_bytes(2, "big")
    out[r.LENGTH : r.LENGTH + 4] = (len(out) - r.BEFORE_LENGTH).to_bytes(4, "big")
    out[r.CRC : r.ATTRIBUTES] = calc_crc32c(bytes(out[r.ATTRIBUTES :])).to_bytes(4, "big")
    return bytes(out)


def read(data: bytes, wanted: int = 0, aborted: Any = NONE, has_crc: bool = True) -> tuple[list[Record], list[int]]:
    """The records of a fetch, and what was told."""
    buffer, told = np.frombuffer(data, np.uint8), np.zeros(5, np.int64)
    state, aborted = np.zeros(len(aborted), np.int64), np.ascontiguousarray(aborted, np.int64)
    count = r.scan(buffer, has_crc, wanted, aborted, state.copy(), np.zeros((0, r.TABLE), np.int64), told)
    table = np.zeros((count, r.TABLE), np.int64)
    assert r.scan(buffer, has_crc, wanted, aborted, state, table, told) == count
    if told[0]:
        return [], told.tolist()
    columns = np.zeros((r.COLUMNS, int(table[:, r.RECORDS].sum()) + 1), np.int64)
    n = r.parse(buffer, table, wanted, columns, told)
    return list(_records(data, columns[:, :n])), told.tolist()


def _records(data: bytes, columns: Any) -> Iterator[Record]:
    def cut(at: int, size: int) -> bytes | None:
        return None if size < 0 else data[at : at + size]

    for one in columns.T.tolist():
        value, key = cut(one[r.VALUE_AT], one[r.VALUE_SIZE]), cut(one[r.KEY_AT], one[r.KEY_SIZE])
        yield one[r.OFFSET], one[r.TS_MS], key, value, cut(one[r.HEADER_AT], one[r.HEADER_SIZE]) or b""


def wanted_of(records: RawBlock, base: int = 0) -> list[Record]:
    return [
        (base + row, int(records.ts_ms[row]), records.key(row), records.value(row), records.headers(row))
        for row in range(len(records))
    ]


@pytest.mark.parametrize("seed", range(8))
def test_what_aiokafka_wrote_is_read_record_by_record(seed: int) -> None:
    first, second = drawn(40, seed)[0], drawn(3, 100 + seed)[0]
    found, told = read(batch_of(first, 5) + batch_of(second, 45))
    assert found == wanted_of(first, 5) + wanted_of(second, 45)
    assert told == [r.FINE, 0, 0, 0, 48]


def laid(block: RawBlock, first: int, out: Any, batch: Any, now_ms: int = 7) -> int:
    """The columns of a block in the order that the kernel wants."""
    return lay(
        block.buffer, block.value_at, block.value_size, block.key_at, block.key_size, block.header_at, block.header_size,
        block.ts_ms, first, now_ms, out, batch,
    )  # fmt: skip


@pytest.mark.parametrize("seed", range(8))
def test_aiokafka_reads_what_is_written_here(seed: int) -> None:
    block, headers = drawn(300, seed)
    out, first, found = np.zeros(20_000, np.uint8), 0, []
    while first < len(block):
        batch, begin = np.zeros(BATCH, np.int64), first
        first = laid(block, first, out, batch)
        data = out[: batch[SIZE]].copy()
        seal(data, batch, r.TRANSACTIONAL, 9, 3, begin)
        read_back = MemoryRecords(data.tobytes()).next_batch()
        assert read_back.validate_crc()
        assert (read_back.producer_id, read_back.producer_epoch, read_back.base_sequence) == (9, 3, begin)
        assert read_back.is_transactional
        records = list(read_back)
        assert [record.offset for record in records] == list(range(first - begin))
        assert read_back.first_timestamp == records[0].timestamp
        assert read_back.max_timestamp == max(record.timestamp for record in records)
        found += [(record.timestamp, record.key, record.value, list(record.headers)) for record in records]
    assert found == [(int(block.ts_ms[i]), block.key(i), block.value(i), headers[i]) for i in range(len(block))]


def test_a_batch_takes_records_of_several_blocks() -> None:
    out, batch, blocks = np.zeros(40_000, np.uint8), np.zeros(BATCH, np.int64), [drawn(20, seed)[0] for seed in (1, 2)]
    assert [laid(block, 0, out, batch) for block in blocks] == [20, 20]
    assert batch[RECORDS] == 40
    data = out[: batch[SIZE]]
    seal(data, batch, 0, -1, -1, -1)
    assert read(data.tobytes())[0] == wanted_of(blocks[0]) + wanted_of(blocks[1], 20)


def test_a_stamp_that_is_missing_is_the_present() -> None:
    block = raw_block([b"a", b"b"], ts_ms=[0, 99])
    out, batch = np.zeros(200, np.uint8), np.zeros(BATCH, np.int64)
    laid(block, 0, out, batch, now_ms=50)
    seal(out[: batch[SIZE]], batch, 0, -1, -1, -1)
    assert [record[1] for record in read(out[: batch[SIZE]].tobytes())[0]] == [50, 99]


def test_the_lengths_alone_tell_how_much_there_is() -> None:
    told, block = np.zeros(4, np.int64), drawn(5)[0]
    whole = batch_of(block, 10) + batch_of(block, 15)
    for data, expected in (
        (whole, [2, 10, 20, 0]), (whole[:-1], [1, 5, 15, 0]), (b"", [0, 0, 3, 0]), (whole[:40], [0, 0, 3, 0]),
        (bytes(61), [0, 0, 3, 0]),
    ):  # fmt: skip
        walk(np.frombuffer(data, np.uint8), 3, told)
        assert told.tolist() == expected
    legacy = LegacyRecordBatchBuilder(magic=1, compression_type=0, batch_size=1000)
    legacy.append(7, timestamp=1, key=None, value=b"x")
    walk(np.frombuffer(bytes(legacy.build()), np.uint8), 3, told)
    assert told.tolist() == [1, 1, 8, 1]


def test_records_before_the_wanted_offset_are_left_out() -> None:
    block = drawn(10)[0]
    found, told = read(batch_of(block, 100) + batch_of(block, 110), wanted=113)
    assert found == wanted_of(block, 110)[3:]
    assert told[4] == 120


def test_append_time_is_the_batchs() -> None:
    block = drawn(5)[0]
    found, _ = read(batch_of(block, attributes=r.APPEND_TIME))
    assert {record[1] for record in found} == {int(block.ts_ms.max())}


def control(base: int, producer: int, kind: int) -> bytes:
    """The batch that ends a transaction: kind 0 aborts it, 1 commits it."""
    key = b"\0\0" + kind.to_bytes(2, "big")
    return batch_of(raw_block([b"\0" * 6], keys=[key], ts_ms=[1]), base, attributes=r.CONTROL | r.TRANSACTIONAL, producer=producer)


def test_control_batches_are_left_out_and_moved_past() -> None:
    block = drawn(4)[0]
    found, told = read(batch_of(block, 0, attributes=r.TRANSACTIONAL, producer=7) + control(4, 7, 1))
    assert found == wanted_of(block)
    assert told[4] == 5


def test_aborted_transactions_are_left_out_from_their_first_offset_to_their_end() -> None:
    one, other = drawn(3, 1)[0], drawn(2, 2)[0]

    def sent(base: int, producer: int, block: RawBlock = one) -> bytes:
        return batch_of(block, base, attributes=r.TRANSACTIONAL, producer=producer)

    data = (
        sent(0, 7) + sent(3, 8) + control(6, 7, 1)  # producer 7 commits what it sent first
        + sent(7, 7) + batch_of(other, 10) + control(12, 7, 0)  # and aborts the second, in the midst of others
        + sent(13, 7) + control(16, 8, 0) + sent(17, 8) + control(20, 8, 1)
    )  # fmt: skip
    found, told = read(data, aborted=np.array([[8, 3], [7, 7]]))
    assert sorted({record[0] for record in found}) == [0, 1, 2, 10, 11, 13, 14, 15, 17, 18, 19]
    assert told[4] == 21
    assert len(read(data)[0]) == 3 * 5 + 2  # read uncommitted


def test_gaps_that_compaction_leaves_are_kept() -> None:
    block = drawn(6)[0]
    data = bytearray(batch_of(block, 10))
    at = r.HEADER
    count = int.from_bytes(data[r.COUNT : r.COUNT + 4], "big") - 1
    size = data[at] >> 1 if data[at] < 128 else ((data[at] & 0x7F) | (data[at + 1] << 7)) >> 1
    del data[at : at + size + (1 if data[at] < 128 else 2)]  # the first record goes; offsets and the last delta stay
    data[r.COUNT : r.COUNT + 4] = count.to_bytes(4, "big")
    found, told = read(marked(bytes(data), 10, 0))
    assert found == wanted_of(block, 10)[1:]
    assert told[4] == 16


def test_a_batch_that_all_records_left_moves_the_offset() -> None:
    data = np.frombuffer(batch_of(drawn(3)[0], 10), np.uint8)[: r.HEADER].copy()
    data[r.COUNT : r.COUNT + 4] = 0
    assert read(marked(data.tobytes(), 10, 0)) == ([], [r.FINE, 0, 0, 0, 13])


def test_a_batch_that_is_cut_off_waits_for_the_next_fetch() -> None:
    block = drawn(5)[0]
    whole, more = batch_of(block), batch_of(block, 5)
    for size in (1, 11, 12, 30, len(more) - 1):
        found, told = read(whole + more[:size])
        assert (found, told) == (wanted_of(block), [r.FINE, 0, 0, 0, 5])
    assert read(whole[:-1])[1][0] == r.WRONG_LENGTH  # the broker always sends the first one whole


def damaged(at: int, value: int, resealed: bool = True) -> bytes:
    """Two batches, a byte of the second set to another value."""
    second = bytearray(batch_of(raw_block([b"abc", b"defg"], keys=[b"k", None], ts_ms=[1, 2]), 7))
    second[at] = value
    first = batch_of(drawn(2)[0], 5)
    return first + (marked(bytes(second), 7, 0) if resealed else bytes(second))


@pytest.mark.parametrize(
    ("at", "value", "resealed", "what"),
    [
        (r.MAGIC, 1, False, r.OLD_FORMAT),
        (r.LENGTH + 3, 3, False, r.WRONG_LENGTH),
        (r.LENGTH, 0xFF, False, r.WRONG_LENGTH),
        (r.CRC, 0xAB, False, r.WRONG_CRC),
        (r.HEADER + 7, 0xFF, False, r.WRONG_CRC),
        (r.COUNT, 0x40, True, r.WRONG_COUNT),
        (r.COUNT, 0xFF, True, r.WRONG_COUNT),
        (r.LAST_DELTA, 0x80, True, r.WRONG_COUNT),
        (r.COUNT + 3, 3, True, r.WRONG_RECORD),  # one record more than there are
        (r.COUNT + 3, 1, True, r.WRONG_RECORD),  # one less
        (r.HEADER, 1, True, r.WRONG_RECORD),  # a size of -1
        (r.HEADER, 0x7E, True, r.WRONG_RECORD),  # a record longer than the batch
        (r.HEADER + 3, 0x7E, True, r.WRONG_RECORD),  # an offset behind the batch's last
        (r.HEADER + 4, 0x7E, True, r.WRONG_RECORD),  # a key longer than the record
        (r.HEADER + 4, 3, True, r.WRONG_RECORD),  # a key of size -2
        (r.HEADER + 6, 0x40, True, r.WRONG_RECORD),  # a value longer than the record
        (r.HEADER + 10, 2, True, r.WRONG_RECORD),  # a header that is not there
    ],
)
def test_damage_is_told_with_its_place_and_offsets(at: int, value: int, resealed: bool, what: int) -> None:
    data = damaged(at, value, resealed)
    found, told = read(data)
    start = len(batch_of(drawn(2)[0], 5))
    assert told[0] == what
    assert start <= told[1] <= len(data)
    assert told[2] == 7
    assert len(found) <= 4


def test_a_number_that_never_ends_is_refused() -> None:
    data = bytearray(batch_of(raw_block([bytes(40)], ts_ms=[1])))
    data[r.HEADER + 2 : r.HEADER + 20] = b"\xff" * 18
    assert read(marked(bytes(data), 0, 0))[1][0] == r.WRONG_RECORD


def test_damaged_bytes_never_point_outside() -> None:
    """The checksum is not looked at, so that damage comes through to every check behind it."""
    rng, data = np.random.default_rng(5), b"".join(batch_of(drawn(6, seed)[0], 6 * seed) for seed in range(3))
    refused = 0
    for _ in range(3000):
        bytes_ = np.frombuffer(data, np.uint8).copy()
        for at in rng.integers(0, len(bytes_), rng.integers(1, 5)):
            bytes_[at] = rng.integers(0, 256)
        size = int(rng.integers(0, len(bytes_))) if rng.random() < 0.3 else len(bytes_)
        frame = np.concatenate([bytes_[:size], np.zeros(0, np.uint8)])
        found, told = read(frame.tobytes(), has_crc=False)
        refused += told[0] != r.FINE
        for _offset, _stamp, key, value, headers in found:
            assert sum(len(part or b"") for part in (key, value, headers)) <= size
    assert 500 < refused < 2900
