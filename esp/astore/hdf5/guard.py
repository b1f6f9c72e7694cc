"""HDF5 files of strangers: what may be followed and read, and how much memory a file of some size may ask for."""

import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import h5py
import numpy as np

from esp.astore.graph import Array
from esp.errors import FileError

AMPLIFICATION = 64  # bytes of arrays for each byte of the file, at most
ALLOWANCE_BYTES = 1 << 20  # what a small file may ask for beyond that
MOST_OBJECTS = 100_000  # groups and arrays read of one file
MOST_DEPTH = 32  # groups within groups
_SHUFFLE, _DEFLATE, _FLETCHER = 2, 1, 3  # numbers of HDF5's filters (1 = deflate)
_TROUBLE = (OSError, KeyError, RuntimeError, ValueError, TypeError, AttributeError, IndexError, UnicodeError)


class Budget:
    """What reading one file may still cost."""

    def __init__(self, path: Path, size_bytes: int) -> None:
        self.path = path
        self.left_bytes = AMPLIFICATION * size_bytes + ALLOWANCE_BYTES
        self.left_objects = MOST_OBJECTS

    def charge(self, size_bytes: int, where: str) -> None:
        """Takes ``size_bytes`` from what is left. Raises FileError where that is not enough."""
        self.left_objects -= 1
        if size_bytes > self.left_bytes or self.left_objects < 0:
            what = f"claims {size_bytes:,} bytes, more than a file of this size may hold"
            raise self.fault(what, where, "save it again with Keras, without compression")
        self.left_bytes -= size_bytes

    def fault(self, what: str, where: str, mend: str) -> FileError:
        """The error that names the file and the place in it."""
        return FileError(what, where=f"{self.path}: {where}" if where else str(self.path), mend=mend)


@contextmanager
def opened(source: Path | BinaryIO, budget: Budget) -> Iterator[h5py.File]:
    """The root of an HDF5 file; whatever HDF5 itself finds wrong with the file becomes a FileError."""
    try:
        with h5py.File(source, "r") as file:
            yield file
    except _TROUBLE as err:
        raise budget.fault(f"cannot be read as HDF5: {err}", "", "save it again with Keras") from err


def names_in(group: h5py.Group, budget: Budget) -> list[str]:
    """The names in a group, checked to be neither too many nor too deep."""
    if group.name.count("/") > MOST_DEPTH or len(group) > budget.left_objects:
        raise budget.fault("too many groups, or a group within itself", group.name, "save it again with Keras")
    return list(group)


def child(group: h5py.Group, path: str, budget: Budget) -> Any:
    """The group or dataset at ``path`` below ``group``, reached by hard links alone. Raises FileError."""
    at: Any = group
    for name in filter(None, path.split("/")):
        where = f"{at.name.rstrip('/')}/{name}"
        link = at.get(name, getlink=True) if isinstance(at, h5py.Group) else None
        if link is None:
            raise budget.fault("is not in the file", where, "save it again, the file is not whole")
        if not isinstance(link, h5py.HardLink):
            raise budget.fault("is a link to another place", where, "save it with the arrays themselves in it")
        at = at[name]
    return at


def has(group: h5py.Group, name: str) -> bool:
    """Whether a group holds ``name`` (looked up, not followed)."""
    return group.get(name, getlink=True) is not None


def subgroup(group: h5py.Group, path: str, budget: Budget) -> h5py.Group:
    """The group at ``path``. Raises FileError where there is none."""
    found = child(group, path, budget)
    if not isinstance(found, h5py.Group):
        raise budget.fault("wanted a group, got an array", found.name, "save it again with Keras")
    budget.charge(0, found.name)
    return found


def array_at(group: h5py.Group, path: str, budget: Budget) -> Array:
    """The numbers of the dataset at ``path``, in this machine's byte order; all is checked before memory is asked for."""
    data = child(group, path, budget)
    if not isinstance(data, h5py.Dataset):
        raise budget.fault("wanted an array, got a group", data.name, "save it again with Keras")
    dtype = data.dtype
    if data.shape is None or dtype.kind not in "fiub" or dtype.itemsize > 8:
        raise budget.fault(f"wanted an array of plain numbers, got {dtype}", data.name, "save it as float16, 32 or 64")
    if data.is_virtual or data.external:
        raise budget.fault("its numbers are in another file", data.name, "save it with the arrays themselves in it")
    size_bytes = math.prod(data.shape) * dtype.itemsize
    chunk_bytes = math.prod(data.chunks or ()) * dtype.itemsize
    budget.charge(max(size_bytes, chunk_bytes), data.name)
    if size_bytes and not data.id.get_storage_size():
        raise budget.fault(f"claims shape {list(data.shape)} and holds no numbers", data.name, "save it again, it is not whole")
    _check_filters(data, chunk_bytes, budget)
    return np.asarray(data[()], dtype.newbyteorder("="))


def _check_filters(data: h5py.Dataset, chunk_bytes: int, budget: Budget) -> None:
    """Raises FileError unless each chunk unpacks to what it says, found out without ever holding more."""
    properties = data.id.get_create_plist()
    filters = [properties.get_filter(at)[0] for at in range(properties.get_nfilters())]
    if not set(filters) <= {_SHUFFLE, _DEFLATE, _FLETCHER} or filters.count(_DEFLATE) > 1:
        raise budget.fault("is compressed in a way that is not known", data.name, "save it without compression, or with gzip")
    if _DEFLATE not in filters:
        return
    for at in range(data.id.get_num_chunks()):
        info = data.id.get_chunk_info(at)
        if info.filter_mask:
            raise budget.fault("is compressed in part", data.name, "save it without compression")
        raw = data.id.read_direct_chunk(info.chunk_offset)[1]
        unpacking = zlib.decompressobj()
        try:
            unpacking.decompress(raw, chunk_bytes + 4)  # a checksum may stand before the compression
        except zlib.error as err:
            raise budget.fault(f"cannot be unpacked: {err}", data.name, "save it again") from err
        if not unpacking.eof:
            raise budget.fault("unpacks to more than it says", data.name, "save it without compression")


def texts(group: h5py.Group, attribute: str, budget: Budget) -> list[str] | None:
    """The strings of an attribute, or of its parts (attribute0, attribute1, ...); None where it is not there."""
    if attribute in group.attrs:
        return _texts(group, attribute, budget)
    parts: list[str] = []
    count = 0
    while f"{attribute}{count}" in group.attrs:
        parts += _texts(group, f"{attribute}{count}", budget)
        count += 1
    return parts if count else None


def text(group: h5py.Group, attribute: str, budget: Budget) -> str | None:
    """The one string of an attribute; None where it is not there."""
    found = _texts(group, attribute, budget) if attribute in group.attrs else None
    if found is not None and len(found) != 1:
        raise budget.fault(f"attribute {attribute!r} wants one string, got {len(found)}", group.name, "save it again with Keras")
    return found[0] if found else None


def _texts(group: h5py.Group, attribute: str, budget: Budget) -> list[str]:
    """Strings, bytes of UTF-8 made strings; an empty list of numbers, as Keras writes one of no names, is one of no strings."""
    shape = group.attrs.get_id(attribute).shape
    budget.charge(16 * math.prod(shape), f"{group.name}, attribute {attribute!r}")
    values = np.asarray(group.attrs[attribute], object).reshape(-1).tolist()
    for at, value in enumerate(values):
        if isinstance(value, bytes):
            values[at] = value.decode("utf-8")
        elif not isinstance(value, str):
            raise budget.fault(f"attribute {attribute!r} wants strings", group.name, "save it again with Keras")
    return values
