"""One file of a checkpoint: a checked image of plain values and arrays, written whole or not at all.

Layout: 8 bytes magic ``ESPSTATE``, uint32 version, uint64 size of the body (both little-endian), the body (msgpack, arrays as
extension 1: dtype, shape, bytes), 32 bytes SHA-256 over everything before.
"""

import hashlib
import struct
from pathlib import Path
from typing import Any

import msgpack
import numpy as np

from esp.errors import StateError
from esp.files import write_whole

_MAGIC, _VERSION = b"ESPSTATE", 1
_HEAD = struct.Struct("<8sIQ")
_DIGEST_BYTES = 32
_ARRAY = 1


class TornError(StateError):
    """A segment is not what was written."""


def write_segment(path: Path, image: Any) -> tuple[bytes, int]:
    """Writes a segment so that it is there whole or not at all; gives its digest and its size in bytes."""
    body = msgpack.packb(image, default=_pack)
    head = _HEAD.pack(_MAGIC, _VERSION, len(body))
    digest = hashlib.sha256(head + body).digest()
    write_whole(path, [head, body, digest])
    return digest, len(head) + len(body) + _DIGEST_BYTES


def read_segment(path: Path) -> tuple[Any, bytes]:
    """The image of a segment and its digest; TornError when a byte is not as written, StateError for a later version."""
    try:
        data = path.read_bytes()
    except OSError as err:
        raise StateError(f"the checkpoint cannot be read: {err.strerror}", where=str(path), mend="let the engine read it") from err
    if len(data) < _HEAD.size + _DIGEST_BYTES:
        raise TornError("the checkpoint is cut short", where=str(path))
    magic, version, size = _HEAD.unpack_from(data)
    digest = data[-_DIGEST_BYTES:]
    whole = _HEAD.size + size + _DIGEST_BYTES == len(data)
    if magic != _MAGIC or not whole or hashlib.sha256(memoryview(data)[:-_DIGEST_BYTES]).digest() != digest:
        raise TornError("the checkpoint is damaged", where=str(path))
    if version != _VERSION:
        raise StateError(
            f"the checkpoint has version {version}, this engine reads {_VERSION}", where=str(path),
            mend="run the engine that wrote it, or start anew with --fresh",
        )  # fmt: skip
    return msgpack.unpackb(data[_HEAD.size : -_DIGEST_BYTES], ext_hook=_unpack, strict_map_key=False), digest


def _pack(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return msgpack.ExtType(_ARRAY, msgpack.packb([value.dtype.str, value.shape, value.tobytes()]))
    raise TypeError(f"{type(value).__name__} is no part of a checkpoint")


def _unpack(code: int, data: bytes) -> Any:
    dtype, shape, values = msgpack.unpackb(data)
    return np.frombuffer(values, dtype).reshape(shape)
