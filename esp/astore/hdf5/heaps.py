"""The heaps in which HDF5 keeps strings, walked before HDF5 does: it never ends on one whose sizes are wrong."""

import mmap

from esp.astore.hdf5.guard import Budget

_SIGNATURE = b"GCOL\x01\x00\x00\x00"  # "III.E. Disk Format: Level 1E - Global Heap" of the HDF5 file format specification
_HEADER = 16  # bytes of a heap's header, and of the header of an object in it


def check_heaps(data: bytes | mmap.mmap, budget: Budget) -> None:
    """Raises FileError unless the objects of each heap fill it one after the other."""
    at = data.find(_SIGNATURE)
    while at >= 0:
        end = at + int.from_bytes(data[at + 8 : at + _HEADER], "little")
        if not _is_whole(data, at + _HEADER, end):
            raise budget.fault("has strings that lie in one another", f"byte {at}", "save it again with Keras")
        at = data.find(_SIGNATURE, at + len(_SIGNATURE))


def _is_whole(data: bytes | mmap.mmap, at: int, end: int) -> bool:
    if end > len(data):
        return False
    while at + _HEADER <= end:
        size = int.from_bytes(data[at + 8 : at + _HEADER], "little")
        if data[at : at + 2] == b"\0\0":  # free space: its size counts its own header
            return at + size == end
        at += _HEADER + (size + 7) // 8 * 8
    return at <= end
