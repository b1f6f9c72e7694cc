"""One piece of a checkpoint: a checked image of plain values and arrays, written whole or not at all.

Layout: 8 bytes magic ``ESPSTATE``, uint32 version, uint64 size of the body (both little-endian), the body (msgpack, arrays as
extension 1: dtype, shape, bytes), 32 bytes SHA-256 over everything before.
"""

import hashlib
import struct
from pathlib import Path
from typing import Any, NamedTuple

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


class Packed(NamedTuple):
    """A segment as bytes, in the order of its parts."""

    parts: list[bytes]
    digest: bytes

    @property
    def size_bytes(self) -> int:
        return sum(map(len, self.parts))


def pack_segment(image: Any) -> Packed:
    """An image as the bytes of a segment."""
    body = msgpack.packb(image, default=_pack)
    head = _HEAD.pack(_MAGIC, _VERSION, len(body))
    digest = hashlib.sha256(head)
    digest.update(body)
    return Packed([head, body, digest.digest()], digest.digest())


def unpack_segment(data: bytes | memoryview, where: str) -> tuple[Any, bytes]:
    """The image of a segment and its digest; TornError when a byte is not as written, StateError for a later version."""
    view = memoryview(data)
    if len(view) < _HEAD.size + _DIGEST_BYTES:
        raise TornError("the checkpoint is cut short", where=where)
    magic, version, size = _HEAD.unpack_from(view)
    digest = bytes(view[-_DIGEST_BYTES:])
    whole = _HEAD.size + size + _DIGEST_BYTES == len(view)
    if magic != _MAGIC or not whole or hashlib.sha256(view[:-_DIGEST_BYTES]).digest() != digest:
        raise TornError("the checkpoint is damaged", where=where)
    if version != _VERSION:
        raise StateError(
            f"the checkpoint has version {version}, this engine reads {_VERSION}", where=where,
            mend="run the engine that wrote it, or start anew with --fresh",
        )  # fmt: skip
    return msgpack.unpackb(view[_HEAD.size : -_DIGEST_BYTES], ext_hook=_unpack, strict_map_key=False), digest


def write_segment(path: Path, packed: Packed) -> None:
    """Writes a segment so that it is there whole or not at all."""
    write_whole(path, packed.parts)


def read_segment(path: Path) -> tuple[Any, bytes]:
    """The image of a segment and its digest; TornError when a byte is not as written, StateError for a later version."""
    try:
        data = path.read_bytes()
    except OSError as err:
        raise StateError(f"the checkpoint cannot be read: {err.strerror}", where=str(path), mend="let the engine read it") from err
    return unpack_segment(data, str(path))


def _pack(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return msgpack.ExtType(_ARRAY, msgpack.packb([value.dtype.str, value.shape, value.tobytes()]))
    raise TypeError(f"{type(value).__name__} is no part of a checkpoint")


def _unpack(code: int, data: bytes) -> Any:
    dtype, shape, values = msgpack.unpackb(data)
    return np.frombuffer(values, dtype).reshape(shape)
