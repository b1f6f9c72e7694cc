"""CRC-32C (Castagnoli, RFC 3720 appendix B.4), the checksum of Kafka's record batches: by the CPU's instruction, or by tables."""

# mypy: allow-untyped-defs, allow-untyped-calls

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types

from esp.kernels.compile import kernel, part
from esp.kernels.lanes import FEATURES
from esp.kernels.pointers import declare, emitted
from esp.kernels.words import load_u8, load_u64, start_of

_POLYNOMIAL = 0x82F63B78  # bits reversed
HAS_INSTRUCTION = bool({"sse4.2", "crc"} & FEATURES)
_ONES, _BYTE = np.uint64(0xFFFFFFFF), np.uint64(0xFF)
STREAM = 1024  # bytes of each of the three streams that go side by side: an instruction begins before the one ahead is done
LINE = 64  # bytes that memory gives at once; of three streams at a time it does not guess which come next, so they are asked for


def _tables() -> Any:
    """Row k: what a byte makes of the checksum when k more bytes follow."""
    tables = np.zeros((8, 256), np.uint64)
    for value in range(256):
        crc = value
        for _ in range(8):
            crc = (crc >> 1) ^ (_POLYNOMIAL if crc & 1 else 0)
        tables[0, value] = crc
    for k in range(1, 8):
        before = tables[k - 1]
        tables[k] = (before >> np.uint64(8)) ^ tables[0, (before & _BYTE).astype(np.int64)]
    return tables


_TABLES = _tables()


def _leaps() -> Any:
    """Row k: what byte k of a checksum makes of it when STREAM zeros follow. A checksum is linear: the four are added up."""
    singles = np.arange(256, dtype=np.uint64)
    leaps = np.stack([singles << np.uint64(8 * k) for k in range(4)])
    for _ in range(STREAM):
        leaps = (leaps >> np.uint64(8)) ^ _TABLES[0, (leaps & _BYTE).astype(np.int64)]
    return leaps


_LEAPS = _leaps()


@emitted
def _step(typingctx: Any, crc: Any, word: Any) -> Any:
    """The checksum after eight more bytes."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        long, short = ir.IntType(64), ir.IntType(32)
        if "sse4.2" in FEATURES:
            step = declare(builder.module, ir.FunctionType(long, [long, long]), "llvm.x86.sse42.crc32.64.64")
            return builder.call(step, args)
        step = declare(builder.module, ir.FunctionType(short, [short, long]), "llvm.aarch64.crc32cx")
        return builder.zext(builder.call(step, [builder.trunc(args[0], short), args[1]]), long)

    return types.uint64(types.uint64, types.uint64), codegen


@part
def _step_by_table(crc, word):
    """``_step`` where the CPU has no instruction for it."""
    word ^= crc
    total = np.uint64(0)
    for k in range(8):
        total ^= _TABLES[7 - k, np.int64((word >> np.uint64(8 * k)) & _BYTE)]
    return total


@part
def _tail(crc, at, end):
    for p in range(at, end):
        crc = _TABLES[0, np.int64((crc ^ np.uint64(load_u8(p))) & _BYTE)] ^ (crc >> np.uint64(8))
    return np.int64(crc ^ _ONES)


@part
def crc32c_by_table(at, size):
    """``crc32c`` on any CPU."""
    crc, end = _ONES, at + size
    while at + 8 <= end:
        crc = _step_by_table(crc, load_u64(at))
        at += 8
    return _tail(crc, at, end)


@part
def _leap(crc):
    """The checksum after STREAM zeros."""
    total = np.uint64(0)
    for k in range(4):
        total ^= _LEAPS[k, np.int64((crc >> np.uint64(8 * k)) & _BYTE)]
    return total


@emitted
def _prefetch(typingctx: Any, address: Any) -> Any:
    """Has a line of memory brought near; any address will do."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        fetch = declare(builder.module, ir.FunctionType(ir.VoidType(), [byte, number, number, number]), "llvm.prefetch.p0")
        builder.call(fetch, [builder.inttoptr(args[0], byte), number(0), number(3), number(1)])
        return context.get_dummy_value()

    return types.void(types.int64), codegen


@part
def _by_instruction(at, size):
    crc, end = _ONES, at + size
    while at + 3 * STREAM <= end:
        second, third = np.uint64(0), np.uint64(0)
        for line in range(at, at + STREAM, LINE):
            for ahead in range(line + 3 * STREAM, line + 6 * STREAM, STREAM):
                _prefetch(ahead)
            for p in range(line, line + LINE, 8):
                crc, second, third = (
                    _step(crc, load_u64(p)),
                    _step(second, load_u64(p + STREAM)),
                    _step(third, load_u64(p + 2 * STREAM)),
                )
        crc = _leap(_leap(crc) ^ second) ^ third
        at += 3 * STREAM
    while at + 8 <= end:
        crc = _step(crc, load_u64(at))
        at += 8
    return _tail(crc, at, end)


crc32c = _by_instruction if HAS_INSTRUCTION else crc32c_by_table  # (address, size) -> the checksum as an int64


@kernel("int64(Array(uint8, 1, 'C', True))")
def checksum(data: Any) -> int:
    """The CRC-32C of bytes."""
    result: int = crc32c(start_of(data), len(data))
    return result
