"""Compression of batches against the codecs of aiokafka and the standard library; what comes in may be anything."""

import gzip

import numpy as np
import pytest
from aiokafka import codec

from esp.runtime.kafka import compression
from esp.runtime.kafka.compression import CODECS, expand, shrink

ENCODE = {1: gzip.compress, 2: codec.snappy_encode, 3: codec.lz4_encode, 4: codec.zstd_encode}
DECODE = {1: gzip.decompress, 2: codec.snappy_decode, 3: codec.lz4_decode, 4: codec.zstd_decode}
BODIES = [b"", b"x", b"abc" * 70_000, np.random.default_rng(0).bytes(100_000), bytes(5_000_000)]


def array(data: bytes) -> np.ndarray:
    return np.frombuffer(data, np.uint8)


@pytest.mark.parametrize("number", CODECS.values(), ids=CODECS)
@pytest.mark.parametrize("body", BODIES, ids=len)
def test_others_expand_what_is_compressed_here_and_the_other_way_round(number: int, body: bytes) -> None:
    if body:
        assert bytes(DECODE[number](shrink(number, array(body)))) == body
    assert expand(number, array(ENCODE[number](body))).tobytes() == body


def test_snappy_without_the_frame_of_java_is_expanded() -> None:
    assert expand(2, array(codec.snappy_encode(b"abc" * 100, xerial_compatible=False))).tobytes() == b"abc" * 100


@pytest.mark.parametrize("number", CODECS.values(), ids=CODECS)
def test_what_would_become_too_large_is_refused(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compression, "LARGEST_BYTES", 1 << 20)
    assert len(expand(number, array(ENCODE[number](bytes(1 << 20))))) == 1 << 20
    with pytest.raises(ValueError, match="it holds more than 1 MiB"):
        expand(number, array(ENCODE[number](bytes((1 << 20) + 1))))


@pytest.mark.parametrize("number", CODECS.values(), ids=CODECS)
def test_damaged_bytes_are_refused_or_expanded_and_nothing_else(number: int) -> None:
    rng, refused = np.random.default_rng(number), 0
    whole = array(ENCODE[number](b"".join(b"%d," % i for i in range(2000))))
    for _ in range(300):
        data = whole[: rng.integers(0, len(whole))].copy() if rng.random() < 0.3 else whole.copy()
        data[rng.integers(0, max(len(data), 1), min(len(data), 3))] = rng.integers(0, 256)
        try:
            expand(number, data)
        except ValueError:
            refused += 1
    assert refused > 50


def test_a_compression_that_nobody_knows_is_refused() -> None:
    with pytest.raises(ValueError, match="compression 6 is not known"):
        expand(6, array(b"x"))
