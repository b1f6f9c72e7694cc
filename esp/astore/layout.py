"""Where things lie in an astore file: the fixed prefix, the sections after it, and the place of every tensor."""

import math
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from esp.errors import FileError

MAGIC = b"\x89ASTORE\n"
VERSION = 1
ALIGNMENT = 64
MAX_HEADER = 16 << 20
MAX_SIGNATURE = 4096
MAX_RANK = 16
MAX_DIM = (1 << 31) - 1
DTYPES = {
    "bool": np.dtype("?"), "uint8": np.dtype("u1"), "uint16": np.dtype("<u2"), "uint32": np.dtype("<u4"), "uint64": np.dtype("<u8"),
    "int8": np.dtype("i1"), "int16": np.dtype("<i2"), "int32": np.dtype("<i4"), "int64": np.dtype("<i8"),
    "float16": np.dtype("<f2"), "float32": np.dtype("<f4"), "float64": np.dtype("<f8"),
}  # fmt: skip
ANEW = "the file is damaged; fetch or write it anew"
_PREFIX = struct.Struct("<8sIIQII32s")
_CRC = slice(12, 16)


@dataclass(frozen=True, slots=True)
class Prefix:
    """The first 64 bytes: magic, version, CRC-32, sizes and the digest."""

    file_size: int
    header_size: int
    signature_size: int
    digest: bytes
    crc: int = 0
    version: int = VERSION

    @property
    def data_start(self) -> int:
        """Where tensor offsets count from."""
        return aligned(_PREFIX.size + self.header_size + self.signature_size)

    @property
    def header(self) -> slice:
        return slice(_PREFIX.size, _PREFIX.size + self.header_size)

    @property
    def signature(self) -> slice:
        return slice(self.header.stop, self.header.stop + self.signature_size)

    def to_bytes(self) -> bytes:
        sizes = (self.file_size, self.header_size, self.signature_size)
        return _PREFIX.pack(MAGIC, self.version, self.crc, *sizes, self.digest)

    def sealed(self, header: bytes, signature: bytes) -> "Prefix":
        """With the CRC-32 of itself (the CRC's own bytes as zeros) and of the header and signature."""
        own = zlib.crc32(replace(self, crc=0).to_bytes())
        return replace(self, crc=zlib.crc32(signature, zlib.crc32(header, own)))


@dataclass(frozen=True, slots=True)
class Tensor:
    """The header's entry for one tensor; ``offset`` counts from the start of the data, ``sha256`` is of its bytes.

    ``scale`` names the tensor of scales of an int8 one that stands for float32 numbers, one for each index of ``axis`` (None = one).
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    offset: int
    size: int
    sha256: bytes
    scale: str = ""
    axis: int | None = None


def aligned(at: int) -> int:
    """The next multiple of 64."""
    return -(-at // ALIGNMENT) * ALIGNMENT


def read_prefix(head: bytes, file_size: int, where: str) -> Prefix:
    """The prefix of a file of that size; FileError when it is no astore, a newer one, cut short or grown."""
    if not head.startswith(MAGIC):
        raise FileError(
            "this is not an astore (its first bytes are others)", where=where, mend="give a file written by esp train or esp import"
        )
    if len(head) < _PREFIX.size:
        raise FileError(f"the file is cut short: {len(head)} bytes of a prefix of {_PREFIX.size}", where=where, mend=ANEW)
    _, version, crc, size, header_size, signature_size, digest = _PREFIX.unpack(head[: _PREFIX.size])
    if version > VERSION:
        raise FileError(
            f"astore version {version} is newer than {VERSION}, the newest known here", where=where, mend="upgrade esp-engine"
        )
    if version < 1:
        raise FileError("astore version 0 does not exist", where=f"{where}: byte 8", mend=ANEW)
    prefix = Prefix(size, header_size, signature_size, digest, crc, version)
    _check_sizes(prefix, file_size, where)
    return prefix


def _check_sizes(prefix: Prefix, file_size: int, where: str) -> None:
    if file_size < prefix.file_size:
        raise FileError(f"the file is cut short: {file_size} bytes of {prefix.file_size}", where=where, mend=ANEW)
    if file_size > prefix.file_size:
        raise FileError(
            f"{file_size - prefix.file_size} bytes follow the end of the astore",
            where=f"{where}: byte {prefix.file_size}",
            mend=ANEW,
        )
    if prefix.data_start > file_size:
        raise FileError(
            f"a header of {prefix.header_size} and a signature of {prefix.signature_size} bytes do not fit a file of {file_size}",
            where=f"{where}: byte 24", mend=ANEW,
        )  # fmt: skip
    for kind, size, most in (("header", prefix.header_size, MAX_HEADER), ("signature", prefix.signature_size, MAX_SIGNATURE)):
        if size > most:
            raise FileError(f"a {kind} of {size} bytes is over the limit of {most}", where=where, mend=ANEW)


def place(sizes: Sequence[int]) -> tuple[list[int], int]:
    """The one layout that there is for tensors of these sizes: each at the next multiple of 64; and the end of the last."""
    offsets, end = [], 0
    for size in sizes:
        offsets.append(aligned(end))
        end = offsets[-1] + size
    return offsets, end


def check_tensors(tensors: Sequence[Tensor], data_size: int, where: str) -> None:
    """Raises FileError unless every tensor lies exactly where the rules put it and the last ends with the file."""
    end, names = 0, ""
    for at, tensor in enumerate(tensors):
        path = f"{where}: header.tensors[{at}] {tensor.name[:80]!r}"
        if at and tensor.name <= names:
            raise FileError("names must rise from tensor to tensor, each its own", where=path, mend=ANEW)
        wanted = tensor_size(tensor.dtype, tensor.shape, path)
        if tensor.size != wanted:
            raise FileError(f"{tensor.dtype}{list(tensor.shape)} takes {wanted} bytes, not {tensor.size}", where=path, mend=ANEW)
        if tensor.offset != aligned(end):
            raise FileError(f"offset {tensor.offset} should be {aligned(end)}", where=path, mend=ANEW)
        end, names = tensor.offset + tensor.size, tensor.name
        if end > data_size:
            raise FileError(f"its bytes {tensor.offset} to {end} end past the data's {data_size}", where=path, mend=ANEW)
    if end != data_size:
        raise FileError(f"the tensors end at byte {end} of the data, which has {data_size}", where=where, mend=ANEW)


def tensor_size(dtype: str, shape: tuple[int, ...], where: str) -> int:
    """Bytes of a tensor; FileError for a dtype or shape that cannot be."""
    if dtype not in DTYPES:
        raise FileError(f"dtype {dtype[:40]!r} is unknown", where=where, mend=f"use one of {', '.join(DTYPES)}")
    if len(shape) > MAX_RANK or any(not 0 <= dim <= MAX_DIM for dim in shape):
        raise FileError(
            f"a shape of {len(shape)} axes with these sizes cannot be",
            where=where,
            mend=f"at most {MAX_RANK} axes of 0 to {MAX_DIM}",
        )
    if math.prod(dim for dim in shape if dim) > 1 << 48:
        raise FileError("the shape is too large for any file", where=where, mend=ANEW)
    return math.prod(shape) * DTYPES[dtype].itemsize
