"""A file's bytes taken apart, from the outside in: every rule of the format checked before what it guards is believed."""

import contextlib
import hashlib
import itertools
import mmap
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from esp.astore import header, model, signing
from esp.astore.fields import Fields
from esp.astore.graph import Array
from esp.astore.layout import ANEW, DTYPES, Prefix, Tensor, check_tensors, read_prefix
from esp.astore.model import Astore
from esp.astore.packing import unpack
from esp.astore.signing import Signature
from esp.astore.storage import TELLING, aligned_room, check_scales, is_narrow, storage_of, weights_in
from esp.errors import FileError, GraphError

Bytes = npt.NDArray[np.uint8]
PREFIX_SIZE = 64


@dataclass(frozen=True, slots=True)
class Contents:
    """What a file holds."""

    astore: Astore
    prefix: Prefix
    tensors: tuple[Tensor, ...]
    signature: Signature | None


def mapped(path: Path) -> Bytes:
    """The bytes of a file, mapped read-only."""
    with _opened(path) as file:
        if os.fstat(file).st_size < PREFIX_SIZE:
            return np.frombuffer(os.read(file, PREFIX_SIZE), np.uint8)
        return np.frombuffer(mmap.mmap(file, 0, access=mmap.ACCESS_READ), np.uint8)


def loaded(path: Path) -> Bytes:
    """The bytes of a file, read into memory: whoever changes the file later does not change these."""
    with _opened(path) as file:
        data = aligned_room(os.fstat(file).st_size)
        at = 0
        while at < len(data) and (got := os.preadv(file, [data[at:].data], at)):
            at += got
    return _frozen(data[:at])


def held(data: bytes | bytearray | memoryview) -> Bytes:
    """Bytes held in memory, copied once, to an aligned place."""
    room = aligned_room(len(data))
    room[:] = np.frombuffer(data, np.uint8)
    return _frozen(room)


def _frozen(data: Bytes) -> Bytes:
    data.flags.writeable = False
    return data


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[int]:
    """A descriptor of a file; whatever the system refuses is a FileError."""
    if os.path.exists(path) and not os.path.isfile(path):  # unlike those of Path, they raise nothing for odd paths
        raise FileError("this is not a file", where=str(path), mend="give the path of an .astore file")
    try:
        with open(path, "rb", buffering=0) as file:
            yield file.fileno()
    except (OSError, ValueError) as err:  # ValueError: a NUL in the path
        reason = getattr(err, "strerror", None) or err
        raise FileError(f"cannot be read: {reason}", where=str(path), mend="check the path and its permissions") from err


def take_apart(data: Bytes, where: str, verify: bool, trusted: Sequence[bytes] = ()) -> Contents:
    """Everything but the tensors' own bytes checked; with ``verify`` or ``trusted`` keys these too.

    With keys the signature is judged before the header is looked into. FileError for whatever is wrong.
    """
    prefix, head, signature = _sections(data, where)
    if trusted:
        signing.check(signature, prefix.digest, trusted, where)
    fields = Fields(unpack(head, f"{where}: header"), f"{where}: header")
    del head
    header.check_requirements(fields)
    tensors = tuple(header.tensors_of(fields))
    check_tensors(tensors, prefix.file_size - prefix.data_start, where)
    _check_padding(data, prefix, tensors, where)

    def view(tensor: Tensor) -> Array:
        start = prefix.data_start + tensor.offset
        return data[start : start + tensor.size].view(DTYPES[tensor.dtype]).reshape(tensor.shape)

    check_scales(tensors, view, where)
    astore = header.from_header(fields, weights_in(tensors, view, TELLING), prefix.digest.hex())
    del fields
    with as_file_errors(where):
        check(astore, tensors)
    if verify or trusted:
        _check_data(data, prefix, tensors, where)
    graph = replace(astore.graph, weights=weights_in(tensors, view))
    return Contents(replace(astore, graph=graph, storage=storage_of(tensors)), prefix, tensors, signature)


def check(astore: Astore, tensors: Sequence[Tensor]) -> None:
    """What a file's astore must pass, when it is written as when it is read: GraphError."""
    large = {tensor.name for tensor in tensors if is_narrow(tensor) and np.prod(tensor.shape, dtype=object) > TELLING}
    model.check(astore, untold=large)


def _sections(data: Bytes, where: str) -> tuple[Prefix, bytes, Signature | None]:
    """Prefix, header and signature, as CRC-32 and digest have them."""
    prefix = read_prefix(data[:PREFIX_SIZE].tobytes(), len(data), where)
    head, signature = data[prefix.header].tobytes(), data[prefix.signature].tobytes()
    if prefix.sealed(head, signature).crc != prefix.crc or hashlib.sha256(head).digest() != prefix.digest:
        raise FileError(
            f"the first {prefix.signature.stop} bytes do not match their checksum", where=f"{where}: byte 12", mend=ANEW
        )
    return prefix, head, header.signature_in(signature, f"{where}: signature")


@contextlib.contextmanager
def as_file_errors(where: str) -> Iterator[None]:
    """An astore that breaks the rules is, here, a file that does."""
    try:
        yield
    except GraphError as err:
        raise FileError(err.what, where=f"{where}: {err.where}" if err.where else where, mend=err.mend) from err
    except (ArithmeticError, LookupError, TypeError, ValueError, RecursionError, MemoryError) as err:  # values that no rule foresaw
        raise FileError(f"the graph cannot be judged: {err}", where=where, mend=ANEW) from err


def _check_padding(data: Bytes, prefix: Prefix, tensors: tuple[Tensor, ...], where: str) -> None:
    start = prefix.data_start
    gaps = [(prefix.signature.stop, start)]
    gaps += [(start + tensor.offset + tensor.size, start + after.offset) for tensor, after in itertools.pairwise(tensors)]
    for begin, end in gaps:
        if data[begin:end].any():
            at = begin + int(np.flatnonzero(data[begin:end])[0])
            raise FileError("padding must be zero", where=f"{where}: byte {at}", mend=ANEW)


def _check_data(data: Bytes, prefix: Prefix, tensors: tuple[Tensor, ...], where: str) -> None:
    for tensor in tensors:
        start = prefix.data_start + tensor.offset
        part = data[start : start + tensor.size]
        place = f"{where}: tensor {tensor.name[:80]!r}, bytes {start} to {start + tensor.size}"
        if hashlib.sha256(part.data).digest() != tensor.sha256:
            raise FileError("the bytes do not match their SHA-256", where=place, mend=ANEW)
        if tensor.dtype == "bool" and part.size and part.max() > 1:
            raise FileError("a bool is a byte of 0 or 1", where=place, mend=ANEW)
