"""Compression of whole record batches: gzip, snappy, lz4 and zstd, both ways; what comes out is bounded whatever comes in."""

import zlib
from collections.abc import Callable
from typing import Any, Final

import cramjam
import numpy as np
from aiokafka.codec import snappy_encode

from esp.runtime.events import U8

CODECS: Final = {"gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}  # the numbers of the record format
LARGEST_BYTES = 128 << 20  # what a batch may hold once it is expanded
GZIP = 16 + zlib.MAX_WBITS
FAST_LZ4 = 1
_XERIAL = b"\x82SNAPPY\0"  # snappy as Java writes it: blocks with their sizes before them
_XERIAL_HEADER_BYTES = 16


def shrink(codec: int, data: U8) -> bytes:
    """The bytes compressed, as every client of Kafka reads them."""
    return _SHRINK[codec](data)


def expand(codec: int, data: U8) -> U8:
    """The bytes before they were compressed; ValueError when they cannot be expanded, or to more than is allowed."""
    if codec not in _EXPAND:
        raise ValueError(f"compression {codec} is not known")
    try:
        return _EXPAND[codec](data)
    except (zlib.error, cramjam.DecompressionError, IndexError) as err:
        raise ValueError(f"it cannot be decompressed ({err})") from err


def _too_large() -> ValueError:
    return ValueError(f"it holds more than {LARGEST_BYTES >> 20} MiB")


def _gzip(data: Any) -> bytes:
    packer = zlib.compressobj(wbits=GZIP)
    return packer.compress(data) + packer.flush()


def _gunzip(data: Any) -> U8:
    unpacker = zlib.decompressobj(GZIP)
    found = unpacker.decompress(data, LARGEST_BYTES)
    if not unpacker.eof:
        raise _too_large() if unpacker.unconsumed_tail else ValueError("it cannot be decompressed (it ends early)")
    return np.frombuffer(found, np.uint8)


def _lz4(data: Any) -> bytes:
    packer = cramjam.lz4.Compressor(level=FAST_LZ4, content_checksum=False, block_linked=False)
    packer.compress(data.tobytes())
    return bytes(packer.finish())


def _growing(into: Callable[[Any, Any], int]) -> Callable[[U8], U8]:
    """Expands into room that is doubled until it is enough: these formats need not tell the size."""

    def expanded(data: U8) -> U8:
        room = min(max(8 * len(data), 1 << 16), LARGEST_BYTES)
        while True:
            out = np.empty(room, np.uint8)
            try:
                return out[: into(data, out)]
            except cramjam.DecompressionError as err:
                if "whole buffer" not in str(err):
                    raise
            if room == LARGEST_BYTES:
                raise _too_large()
            room = min(8 * room, LARGEST_BYTES)

    return expanded


def _unsnappy(data: U8) -> U8:
    if data[: len(_XERIAL)].tobytes() != _XERIAL:
        return _raw_snappy(data, LARGEST_BYTES)
    parts, at, left = [], _XERIAL_HEADER_BYTES, LARGEST_BYTES
    while at < len(data):
        size = int.from_bytes(data[at : at + 4].tobytes(), "big")
        if size > len(data) - at - 4:
            raise ValueError("it cannot be decompressed (a block is cut off)")
        parts.append(_raw_snappy(data[at + 4 : at + 4 + size], left))
        at, left = at + 4 + size, left - len(parts[-1])
    return np.concatenate(parts) if parts else np.zeros(0, np.uint8)


def _raw_snappy(data: Any, most: int) -> U8:
    size = int(cramjam.snappy.decompress_raw_len(data))
    if size > most:
        raise _too_large()
    out: Any = np.empty(size, np.uint8)
    found: U8 = out[: cramjam.snappy.decompress_raw_into(data, out)]
    return found


_SHRINK: dict[int, Callable[[Any], bytes]] = {
    1: _gzip,
    2: snappy_encode,
    3: _lz4,
    4: lambda data: bytes(cramjam.zstd.compress(data, level=3)),
}
_EXPAND: dict[int, Callable[[U8], U8]] = {
    1: _gunzip,
    2: _unsnappy,
    3: _growing(cramjam.lz4.decompress_into),
    4: _growing(cramjam.zstd.decompress_into),
}
