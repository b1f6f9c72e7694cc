"""Checksums and the hash of keys, against aiokafka's own and published values."""

from typing import Any

import numpy as np
import pytest
from aiokafka.partitioner import murmur2
from aiokafka.record.util import calc_crc32c_py

from esp.kernels.compile import kernel
from esp.kernels.crc import checksum, crc32c_by_table
from esp.kernels.murmur import partitions


@kernel("int64(Array(uint8, 1, 'C', True))")
def _by_table(data: Any) -> int:
    result: int = crc32c_by_table(np.int64(data.ctypes.data), len(data))
    return result


def _bytes(n: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).integers(0, 256, n).astype(np.uint8)


@pytest.mark.parametrize("crc", [checksum, _by_table])
def test_the_check_value_of_crc_32c_comes_out(crc: Any) -> None:
    assert crc(np.frombuffer(b"123456789", np.uint8)) == 0xE3069283
    assert crc(np.zeros(32, np.uint8)) == 0x8A9136AA  # RFC 3720, appendix B.4


@pytest.mark.parametrize("n", [*range(26), 1000, 3071, 3072, 3073, 4097, 6143, 9999])
def test_every_length_gives_what_aiokafka_gives(n: int) -> None:
    data = _bytes(n, seed=n)
    assert checksum(data) == _by_table(data) == calc_crc32c_py(data.tobytes())


def test_keys_go_to_the_partition_of_the_java_client() -> None:
    # values of the Java client's own test of murmur2 (org.apache.kafka.common.utils.UtilsTest)
    known = {b"21": -973932308, b"foobar": -790332482, b"a-little-bit-long-string": -985981536, b"abc": 479470107}
    for key, signed in known.items():
        assert _partition(key, 1 << 31) == signed & 0x7FFFFFFF
    for size in range(40):
        key = _bytes(size, seed=size).tobytes()
        assert _partition(key, 31) == (murmur2(key) & 0x7FFFFFFF) % 31


def _partition(key: bytes, count: int) -> int:
    out = np.zeros(2, np.int64)
    sizes = np.array([len(key), -1], np.int64)
    partitions(np.frombuffer(b"##" + key, np.uint8), np.array([2, 0], np.int64), sizes, count, 99, out)
    assert out[1] == 99  # a record without a key
    return int(out[0])
