"""The astore file: written whole and in one way, read by mapping it into memory, verified to the last byte."""

import contextlib
import hashlib
import itertools
import mmap
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from esp.astore import header, model
from esp.astore.fields import Fields
from esp.astore.graph import Array
from esp.astore.layout import ALIGNMENT, ANEW, DTYPES, MAX_HEADER, Prefix, Tensor, check_tensors, place, read_prefix, tensor_size
from esp.astore.model import Astore
from esp.astore.packing import pack, unpack
from esp.errors import FileError, GraphError
from esp.files import write_whole

Bytes = npt.NDArray[np.uint8]
_PREFIX_SIZE = 64


@dataclass(frozen=True, slots=True)
class Verification:
    """What ``verify`` has found right; a file with anything wrong has none."""

    where: str
    digest: str
    size_bytes: int
    signature: str  # "none" or "present, not checked"
    tensors: tuple[Tensor, ...]

    @property
    def checked(self) -> tuple[str, ...]:
        """One line a thing that was checked."""
        parts = (f"tensor {tensor.name}: SHA-256 of {tensor.size} bytes" for tensor in self.tensors)
        return ("sizes, CRC-32 and header digest", "inputs, outputs, preprocessing and graph", "padding", *parts)


@dataclass(frozen=True, slots=True)
class _Parsed:
    astore: Astore
    prefix: Prefix
    tensors: tuple[Tensor, ...]
    data: Bytes
    where: str


def write(astore: Astore, path: Path) -> Astore:
    """Writes the file (beside its place, flushed, then renamed there) and returns the astore with its digest.

    FileError where it cannot be written; GraphError where the astore does not pass ``model.check``.
    """
    chunks, digest = _encode(astore, str(path))
    try:
        write_whole(path, chunks)
    except OSError as err:
        raise FileError(
            f"cannot be written: {err.strerror or err}", where=str(path), mend="name a folder that exists and can be written"
        ) from err
    return replace(astore, digest=digest)


def to_bytes(astore: Astore) -> bytes:
    """The bytes that ``write`` writes."""
    return b"".join(_encode(astore, astore.name)[0])


def read(path: Path, verify: bool = False) -> Astore:
    """The astore in a file; its weights are read-only views of the mapped file, nothing is copied.

    Finds every damage but flipped bytes within tensors, which ``verify=True`` finds as well (it reads the whole file).
    FileError in one line for whatever is wrong.
    """
    parsed = _parse(_mapped(path), str(path))
    if verify:
        _check_data(parsed)
    return parsed.astore


def from_bytes(data: bytes | bytearray | memoryview, where: str = "upload", verify: bool = True) -> Astore:
    """The astore in bytes held in memory (an upload); they are copied once, to an aligned place."""
    room = np.empty(len(data) + ALIGNMENT, np.uint8)
    start = -room.ctypes.data % ALIGNMENT
    buffer = room[start : start + len(data)]
    buffer[:] = np.frombuffer(data, np.uint8)
    buffer.flags.writeable = False
    parsed = _parse(buffer, where)
    if verify:
        _check_data(parsed)
    return parsed.astore


def verify(path: Path) -> Verification:
    """Checks every byte of a file; FileError names the tensor and its bytes, or the place in the structure, that is wrong."""
    parsed = _parse(_mapped(path), str(path))
    _check_data(parsed)
    signature = "present, not checked" if parsed.prefix.signature_size else "none"
    return Verification(str(path), parsed.astore.digest, parsed.prefix.file_size, signature, parsed.tensors)


def _encode(astore: Astore, where: str) -> tuple[Iterator[bytes | memoryview], str]:
    """The file in parts, and its digest."""
    model.check(astore)
    arrays = {
        name: _little_endian(astore.graph.weights[name], f"{where}: weight {name!r}") for name in sorted(astore.graph.weights)
    }
    offsets, end = place([array.nbytes for array in arrays.values()])
    tensors = [_entry(name, array, offset) for (name, array), offset in zip(arrays.items(), offsets)]
    head = pack(header.to_header(astore, tensors))
    if len(head) > MAX_HEADER:
        raise FileError(f"the header has {len(head)} bytes, over {MAX_HEADER}", where=where, mend="keep the training card short")
    digest = hashlib.sha256(head)
    prefix = Prefix(0, len(head), 0, digest.digest())
    prefix = replace(prefix, file_size=prefix.data_start + end).sealed(head)
    return _chunks(prefix, head, arrays, tensors), digest.hexdigest()


def _chunks(prefix: Prefix, head: bytes, arrays: Mapping[str, Array], tensors: list[Tensor]) -> Iterator[bytes | memoryview]:
    yield prefix.to_bytes()
    yield head
    yield bytes(prefix.data_start - prefix.signature.stop)
    end = 0
    for tensor in tensors:
        yield bytes(tensor.offset - end)
        yield _data(arrays[tensor.name])
        end = tensor.offset + tensor.size


def _little_endian(array: Array, where: str) -> Array:
    tensor_size(array.dtype.name, array.shape, where)  # refuses dtypes that the file has no place for
    return np.asarray(array, DTYPES[array.dtype.name], order="C")


def _data(array: Array) -> memoryview:
    return array.reshape(-1).view(np.uint8).data


def _entry(name: str, array: Array, offset: int) -> Tensor:
    return Tensor(name, array.dtype.name, array.shape, offset, array.nbytes, hashlib.sha256(_data(array)).digest())


def _mapped(path: Path) -> Bytes:
    """The bytes of a file, mapped read-only."""
    if os.path.exists(path) and not os.path.isfile(path):  # unlike those of Path, they raise nothing for odd paths
        raise FileError("this is not a file", where=str(path), mend="give the path of an .astore file")
    try:
        with open(path, "rb") as file:
            if os.fstat(file.fileno()).st_size < _PREFIX_SIZE:
                return np.frombuffer(file.read(_PREFIX_SIZE), np.uint8)
            return np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), np.uint8)
    except (OSError, ValueError) as err:  # ValueError: a NUL in the path
        reason = getattr(err, "strerror", None) or err
        raise FileError(f"cannot be read: {reason}", where=str(path), mend="check the path and its permissions") from err


def _parse(data: Bytes, where: str) -> _Parsed:
    """Everything but the tensors' own bytes, checked from the outside in."""
    prefix = read_prefix(data[:_PREFIX_SIZE].tobytes(), len(data), where)
    head, signature = data[prefix.header].tobytes(), data[prefix.signature].tobytes()
    digest = hashlib.sha256(head)
    if prefix.sealed(head + signature).crc != prefix.crc or digest.digest() != prefix.digest:
        raise FileError(
            f"the first {prefix.signature.stop} bytes do not match their checksum", where=f"{where}: byte 12", mend=ANEW
        )
    fields = Fields(unpack(head, where), f"{where}: header")
    header.check_requirements(fields)
    tensors = tuple(header.tensors_of(fields))
    check_tensors(tensors, prefix.file_size - prefix.data_start, where)
    _check_padding(data, prefix, tensors, where)
    weights = {tensor.name: _view(data, prefix, tensor) for tensor in tensors}
    astore = header.from_header(fields, weights, digest.hexdigest())
    with _as_file_errors(where):
        model.check(astore)
    return _Parsed(astore, prefix, tensors, data, where)


def _view(data: Bytes, prefix: Prefix, tensor: Tensor) -> Array:
    start = prefix.data_start + tensor.offset
    return data[start : start + tensor.size].view(DTYPES[tensor.dtype]).reshape(tensor.shape)


@contextlib.contextmanager
def _as_file_errors(where: str) -> Iterator[None]:
    """An astore that breaks the rules is, here, a file that does."""
    try:
        yield
    except GraphError as err:
        raise FileError(err.what, where=f"{where}: {err.where}" if err.where else where, mend=err.mend) from err
    except (ArithmeticError, LookupError, TypeError, ValueError, RecursionError) as err:  # values that no rule foresaw
        raise FileError(f"the graph cannot be judged: {err}", where=where, mend=ANEW) from err


def _check_padding(data: Bytes, prefix: Prefix, tensors: tuple[Tensor, ...], where: str) -> None:
    start = prefix.data_start
    gaps = [(prefix.signature.stop, start)]
    gaps += [(start + tensor.offset + tensor.size, start + after.offset) for tensor, after in itertools.pairwise(tensors)]
    for begin, end in gaps:
        if data[begin:end].any():
            at = begin + int(np.flatnonzero(data[begin:end])[0])
            raise FileError("padding must be zero", where=f"{where}: byte {at}", mend=ANEW)


def _check_data(parsed: _Parsed) -> None:
    for tensor in parsed.tensors:
        start = parsed.prefix.data_start + tensor.offset
        data = parsed.data[start : start + tensor.size]
        place = f"{parsed.where}: tensor {tensor.name!r}, bytes {start} to {start + tensor.size}"
        if hashlib.sha256(data.data).digest() != tensor.sha256:
            raise FileError("the bytes do not match their SHA-256", where=place, mend=ANEW)
        if tensor.dtype == "bool" and (data > 1).any():
            raise FileError("a bool is a byte of 0 or 1", where=place, mend=ANEW)
