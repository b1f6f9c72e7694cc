"""glibc's allocator told to keep what is freed: blocks of megabytes come and go many times a second, and each page that is new costs a fault."""

import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8  # names of mallopt's parameters, malloc.h
KEPT_BYTES = 128 << 20  # free at the end of the heap
LARGEST_BYTES = 32 << 20  # of a piece of the heap, the most that glibc takes; what is larger goes back at once


def keep_freed_memory() -> None:
    """One heap for all threads, made before they are; nothing changes where the C library is another one."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    for parameter, value in ((_ARENA_MAX, 1), (_MMAP_THRESHOLD, LARGEST_BYTES), (_TRIM_THRESHOLD, KEPT_BYTES)):
        mallopt(parameter, value)
