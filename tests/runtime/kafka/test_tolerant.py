"""Record batches whose header names are no UTF-8; the bytes are written by hand from the record format (KIP-98)."""

import struct

import pytest
from aiokafka import TopicPartition
from aiokafka.consumer import fetcher
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from esp.runtime.events import raw_block
from esp.runtime.headers import decode_headers, encode_headers
from esp.runtime.kafka.client_packing import records_of
from esp.runtime.kafka.consumed import block_of
from esp.runtime.kafka.tolerant import TolerantRecords, read_batch

STAMP = 1_700_000_000_000


def batch(first: int, names: list[str], codec: int = 0) -> bytes:
    """A batch of records with one header each; "??" in a name is put in place of two bytes that are no UTF-8."""
    builder = DefaultRecordBatchBuilder(
        2, codec, is_transactional=0, producer_id=-1, producer_epoch=-1, base_sequence=0, batch_size=1 << 20
    )
    for i, name in enumerate(names):
        builder.append(i, STAMP + i, key=None if i % 2 else b"k", value=b"v%d" % (first + i), headers=[(name, b"h"), ("z", None)])
    data = bytearray(builder.build())
    struct.pack_into(">q", data, 0, first)
    return bytes(data).replace(b"??", b"\xff\xfe")


def consumed(data: bytes) -> list[tuple[int, int, bytes | None, bytes | None, list[tuple[str, bytes | None]]]]:
    """What a consumer of aiokafka makes of a fetch."""
    records = fetcher.PartitionRecords(
        TopicPartition("t", 0), TolerantRecords(data), None, 0, None, None, False, fetcher.READ_UNCOMMITTED
    )
    return [(each.offset, each.timestamp, each.key, each.value, list(each.headers)) for each in records]


def test_a_name_that_is_no_text_comes_with_its_record_and_all_others() -> None:
    names = [["a", "b"], ["c", "x??y", "d"], ["e"]]
    data = batch(0, names[0]) + batch(2, names[1]) + batch(5, names[2])
    texts = [(0, 0, "a"), (1, 1, "b"), (2, 0, "c"), (3, 1, "x\udcff\udcfey"), (4, 2, "d"), (5, 0, "e")]
    assert consumed(data) == [
        (offset, STAMP + i, None if i % 2 else b"k", b"v%d" % offset, [(name, b"h"), ("z", None)]) for offset, i, name in texts
    ]


def test_such_a_name_keeps_its_bytes_in_a_block() -> None:
    records = list(fetcher.PartitionRecords(
        TopicPartition("t", 0), TolerantRecords(batch(0, ["x??y"])), None, 0, None, None, False, fetcher.READ_UNCOMMITTED
    ))  # fmt: skip
    assert block_of("t", 0, records).headers(0) == b"\x04\x08x\xff\xfey\x02h\x02z\x01"


def test_compressed_batches_are_read_as_well() -> None:
    plain = batch(0, ["a"] * 50)
    packed = batch(0, ["a"] * 50, codec=1)
    assert len(packed) < len(plain)
    assert [record.headers for record in read_batch(packed)] == [record.headers for record in read_batch(plain)]


def test_a_batch_that_ends_inside_a_record_is_damaged() -> None:
    with pytest.raises(CorruptRecordException):
        list(read_batch(batch(0, ["x??y"])[:-3]))


def test_such_a_name_goes_out_with_a_question_mark_for_each_odd_byte() -> None:
    block = raw_block([b"v"], headers=[encode_headers([("x\udcff\udcfey", b"h"), ("\u00e4", None)])])
    assert decode_headers(block.headers(0))[0][0] == "x\udcff\udcfey"
    ((_, _, _, headers),) = records_of(block)
    assert headers == [("x??y", b"h"), ("\u00e4", None)]
