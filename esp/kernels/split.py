"""A batch split over threads: helpers sleep in a kernel, without the GIL, and take pieces of the batch as they wake.

Who scores a batch posts it to helpers, wakes them, and takes pieces itself meanwhile; a helper that has not come by the end
is called off. So a split waits for no thread that the machine is slow to run. A piece is some rows, and a row's result does not
depend on who takes it.

A batch is int64[4]: the next row, the rows, the rows of a piece, the address of the caller's arrays. A helper is int64[4]: the
batch that is posted to it (0: none), the call that it runs with, the lock that it sleeps on, the lock that it opens when it
has done its part. Locks are those of CPython's threads, which work without the GIL on every platform.
"""

# mypy: allow-untyped-defs, allow-untyped-calls

import ctypes
from typing import Any

from llvmlite import ir
from numba import types

from esp.kernels.compile import kernel, part
from esp.kernels.plan import ARRAYS, CHUNK, LENGTH, READ, SCRATCH, STEPS, TABLE, enter, walk
from esp.kernels.pointers import emitted, i8

NEXT, ROWS, PIECE, CALLER = range(4)  # of a batch
POSTED, CALL, WAKE, DONE = range(4)  # of a helper
SIZE = 4  # of either
TRIES = 2000  # to find a helper done before one sleeps: some microseconds


def _entry(name: str) -> int:
    return ctypes.cast(getattr(ctypes.pythonapi, name), ctypes.c_void_p).value or 0


LOCKS = (_entry("PyThread_acquire_lock"), _entry("PyThread_release_lock"))  # what kernels take and open locks with


def closed_lock() -> int:
    """The address of a lock, closed; it lives as long as the process, for a thread may sleep on it until then."""
    make = ctypes.pythonapi.PyThread_allocate_lock
    make.restype = ctypes.c_void_p
    address: int = make()
    take = ctypes.pythonapi.PyThread_acquire_lock
    take.argtypes = (ctypes.c_void_p, ctypes.c_int)
    take(address, 1)
    return address


@emitted
def _acquire(typingctx: Any, function: Any, lock: Any, waits: Any) -> Any:
    """Takes a lock, by the address of PyThread_acquire_lock: 1 once it is taken, 0 where it is closed and one does not wait."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        function, lock, waits = args
        byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(number, [byte, number])
        call = builder.inttoptr(function, kind.as_pointer())
        return builder.sext(builder.call(call, [builder.inttoptr(lock, byte), builder.trunc(waits, number)]), args[0].type)

    return types.intp(types.intp, types.intp, types.intp), codegen


@emitted
def _release(typingctx: Any, function: Any, lock: Any) -> Any:
    """Opens a lock, by the address of PyThread_release_lock."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        function, lock = args
        byte = ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [byte])
        builder.call(builder.inttoptr(function, kind.as_pointer()), [builder.inttoptr(lock, byte)])
        return context.get_dummy_value()

    return types.void(types.intp, types.intp), codegen


def _atomic(operation: str) -> Any:
    """number = *address, then *address = operation(number, value), as one step of memory."""

    def atomic(typingctx: Any, address: Any, value: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            address, value = args
            return builder.atomic_rmw(operation, builder.inttoptr(address, value.type.as_pointer()), value, "seq_cst")

        return types.intp(types.intp, types.intp), codegen

    return emitted(atomic)


_add, _swap = _atomic("add"), _atomic("xchg")


@part
def _take(batch, call):
    """Scores pieces of a batch until none is left."""
    w, c = i8(batch), i8(call)
    n, piece = w[ROWS], w[PIECE]
    start = _add(batch, piece)
    while start < n:
        walk(c[TABLE], c[LENGTH], start, min(piece, n - start), c[CHUNK], w[CALLER], c[STEPS], c[SCRATCH])
        start = _add(batch, piece)


@part
def _await(acquire, lock):
    """Takes a lock that will be open soon."""
    for _ in range(TRIES):
        if _acquire(acquire, lock, 0):
            return
    _acquire(acquire, lock, 1)


@kernel("void(intp, intp, intp)")
def serve(helper: int, acquire: int, release: int) -> None:
    """The life of a helper, which does not end: it sleeps, and takes part in what was posted to it."""
    h = i8(helper)
    while True:
        _acquire(acquire, h[WAKE], 1)
        batch = _swap(helper, 0)
        if batch:
            _take(batch, h[CALL])
            _release(release, h[DONE])


@kernel(types.void(types.intp, types.intp, READ, types.float32[::1], types.intp, types.intp, types.intp, types.intp, types.intp))
def score_split(call: int, n: int, x: Any, out: Any, batch: int, team: int, count: int, acquire: int, release: int) -> None:
    """``plan.score`` with the help of ``count`` helpers, whose addresses are ``team``; ``batch`` has its ROWS and PIECE."""
    enter(call, n, x, out)
    i8(batch)[NEXT], i8(batch)[CALLER] = 0, i8(call)[ARRAYS]
    members = i8(team)
    for at in range(count):
        _swap(members[at], batch)
        _release(release, i8(members[at])[WAKE])
    _take(batch, call)
    for at in range(count):
        if not _swap(members[at], 0):  # it came; else it is called off
            _await(acquire, i8(members[at])[DONE])
