"""The astore file: written whole and in one way, read by mapping it into memory, verified to the last byte."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from esp.astore import contents, header, signing
from esp.astore.contents import Bytes, held, loaded, mapped, take_apart
from esp.astore.graph import Array
from esp.astore.layout import DTYPES, MAX_HEADER, Prefix, Tensor, place, tensor_size
from esp.astore.model import Astore
from esp.astore.packing import pack, scan
from esp.astore.signing import Signature
from esp.astore.storage import Part, parts_of
from esp.errors import FileError, GraphError
from esp.files import write_whole


@dataclass(frozen=True, slots=True)
class Verification:
    """What ``verify`` has found right; a file with anything wrong has none."""

    where: str
    digest: str
    size_bytes: int
    signature: str  # "none", "valid" or "trusted"
    signer: str  # the public key in hexadecimal digits; empty where nobody has signed
    tensors: tuple[Tensor, ...]

    @property
    def checked(self) -> tuple[str, ...]:
        """One line a thing that was checked."""
        signature = {
            "none": "no signature",
            "valid": f"signature by {self.signer} (valid; trusted keys were not given)",
            "trusted": f"signature by {self.signer}, a trusted key",
        }[self.signature]
        parts = (f"tensor {tensor.name}: SHA-256 of {tensor.size} bytes" for tensor in self.tensors)
        return ("sizes, CRC-32 and header digest", "inputs, outputs, preprocessing and graph", "padding", signature, *parts)


def write(astore: Astore, path: Path) -> Astore:
    """Writes the file (beside its place, flushed, then renamed there) and returns the astore with its digest; it is not signed.

    FileError where it cannot be written; GraphError where the astore does not pass ``model.check``.
    """
    chunks, prefix = _encode(astore, str(path))
    _write(path, chunks)
    return replace(astore, digest=prefix.digest.hex())


def to_bytes(astore: Astore) -> bytes:
    """The bytes that ``write`` writes."""
    return b"".join(_encode(astore, astore.name)[0])


def file_size(astore: Astore) -> int:
    """The bytes that a file of it takes."""
    return _encode(astore, astore.name)[1].file_size


def read(path: Path, verify: bool = False, trusted: Sequence[bytes] = ()) -> Astore:
    """The astore in a file; its weights are read-only views of the mapped file, nothing is copied (float16 and int8 ones are widened).

    Finds every damage but flipped bytes within tensors, which ``verify=True`` finds as well (it reads the whole file).
    ``trusted`` public keys: one of them must have signed it; the file is then read into memory, verified there to the last
    byte and used from there, so that nobody who changes it meanwhile changes the model. FileError in one line for whatever
    is wrong, TrustError where it is the signature.
    """
    return take_apart(loaded(path) if trusted else mapped(path), str(path), verify, trusted).astore


def from_bytes(
    data: bytes | bytearray | memoryview, where: str = "upload", verify: bool = True, trusted: Sequence[bytes] = ()
) -> Astore:
    """The astore in bytes held in memory (an upload); they are copied once, to an aligned place. Raises as ``read`` does."""
    return take_apart(held(data), where, verify, trusted).astore


def verify(path: Path, trusted: Sequence[bytes] = ()) -> Verification:
    """Checks every byte of a file; FileError names the tensor and its bytes, or the place in the structure, that is wrong.

    A signature that is there must be valid; with ``trusted`` public keys there must be one by one of them: TrustError.
    """
    found = take_apart(mapped(path), str(path), True, trusted)
    signer = found.signature.key.hex() if found.signature else ""
    if not trusted:
        signing.check(found.signature, found.prefix.digest, (), str(path))
    signature = "trusted" if trusted else "valid" if signer else "none"
    return Verification(str(path), found.astore.digest, found.prefix.file_size, signature, signer, found.tensors)


def signature_of(path: Path) -> Signature | None:
    """Who has signed a file; None where nobody has. The signature is not judged: ``verify`` does."""
    return take_apart(mapped(path), str(path), False).signature


def sign(path: Path, key_path: Path) -> Signature:
    """Signs a file with the private key in another: a new file with the same digest is renamed into its place.

    The file is verified first. Signing twice with one key gives the same bytes; a signature that was there is replaced.
    FileError for a damaged file or what is no key.
    """
    data = mapped(path)
    found = take_apart(data, str(path), True)
    signature = signing.signed(found.prefix.digest, key_path)
    _write(path, _with_signature(data, found.prefix, pack(header.signature_to(signature))))
    return signature


def _with_signature(data: Bytes, before: Prefix, section: bytes) -> Iterator[bytes | memoryview]:
    head = data[before.header].tobytes()
    prefix = replace(before, signature_size=len(section))
    prefix = replace(prefix, file_size=prefix.data_start + before.file_size - before.data_start).sealed(head, section)
    yield from (prefix.to_bytes(), head, section, bytes(prefix.data_start - prefix.signature.stop))
    yield data[before.data_start :].data


def _write(path: Path, chunks: Iterator[bytes | memoryview]) -> None:
    try:
        write_whole(path, chunks)
    except OSError as err:
        raise FileError(
            f"cannot be written: {err.strerror or err}", where=str(path), mend="name a folder that exists and can be written"
        ) from err


def _encode(astore: Astore, where: str) -> tuple[Iterator[bytes | memoryview], Prefix]:
    """The file in parts, and its prefix."""
    arrays = {name: _little_endian(array, f"{where}: weight {name!r}") for name, array in astore.graph.weights.items()}
    parts = parts_of(arrays, astore.storage)
    offsets, end = place([part.array.nbytes for part in parts.values()])
    tensors = [_entry(name, part, offset) for (name, part), offset in zip(parts.items(), offsets)]
    contents.check(astore, tensors)
    head = pack(header.to_header(astore, tensors))
    if len(head) > MAX_HEADER:
        raise FileError(f"the header has {len(head)} bytes, over {MAX_HEADER}", where=where, mend="keep the training card short")
    _check_values(head, where)
    prefix = Prefix(0, len(head), 0, hashlib.sha256(head).digest())
    prefix = replace(prefix, file_size=prefix.data_start + end).sealed(head, b"")
    return _chunks(prefix, head, parts, tensors), prefix


def _check_values(head: bytes, where: str) -> None:
    """Refuses what no reader would take."""
    try:
        scan(head, where)
    except FileError as err:
        mend = "hold large tables as weights, and keep the training card short and flat"
        raise FileError(err.what, where=f"{where}: header", mend=mend) from err


def _chunks(prefix: Prefix, head: bytes, parts: Mapping[str, Part], tensors: Sequence[Tensor]) -> Iterator[bytes | memoryview]:
    yield prefix.to_bytes()
    yield head
    yield bytes(prefix.data_start - prefix.signature.stop)
    end = 0
    for tensor in tensors:
        yield bytes(tensor.offset - end)
        yield _data(parts[tensor.name].array)
        end = tensor.offset + tensor.size


def _little_endian(array: Array, where: str) -> Array:
    if array.dtype.name == "float16":  # in a file it stands for float32
        raise GraphError(
            "a weight cannot be float16", where=where, mend="make it float32, and have the file hold it as float16 (convert)"
        )
    tensor_size(array.dtype.name, array.shape, where)  # refuses dtypes that the file has no place for
    return np.asarray(array, DTYPES[array.dtype.name], order="C")


def _data(array: Array) -> memoryview:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def _entry(name: str, part: Part, offset: int) -> Tensor:
    array = part.array
    sha256 = hashlib.sha256(_data(array)).digest()
    return Tensor(name, array.dtype.name, array.shape, offset, array.nbytes, sha256, part.scale, part.axis)
