"""Unaligned words at addresses: the loads, stores and wide products that kernels over raw bytes are made of."""

from collections.abc import Callable
from typing import Any, cast

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from esp.kernels.compile import part

_BYTE, _WORD, _WIDE = ir.IntType(8), ir.IntType(64), ir.IntType(128)
_POINTERS: dict[str, Any] = {
    "u8": (ir.IntType(8), types.int64),  # small unsigned ones come as int64: no mixing of signs in kernels
    "u16": (ir.IntType(16), types.int64),
    "u32": (ir.IntType(32), types.int64),
    "i32": (ir.IntType(32), types.int64),
    "i64": (ir.IntType(64), types.int64),
    "u64": (ir.IntType(64), types.uint64),
    "f32": (ir.FloatType(), types.float32),
    "f64": (ir.DoubleType(), types.float64),
}


def _widen(builder: Any, value: Any, kind: str, result: Any) -> Any:
    if kind[0] == "f" or value.type.width == result.bitwidth:
        return value
    return (builder.sext if kind[0] == "i" else builder.zext)(value, ir.IntType(result.bitwidth))


def _load(kind: str, is_big_endian: bool = False) -> Callable[[int], int]:
    cell, result = _POINTERS[kind]

    def load(typing: Any, address: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            value = builder.load(builder.inttoptr(args[0], cell.as_pointer()))
            value.align = 1
            value = builder.bswap(value) if is_big_endian else value
            return _widen(builder, value, kind, result)

        return result(types.int64), generate

    return cast(Callable[[int], int], intrinsic(load))


def _store(kind: str, is_big_endian: bool = False) -> Callable[[int, Any], None]:
    cell, given = _POINTERS[kind]

    def store(typing: Any, address: Any, value: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            value = args[1]
            if kind[0] != "f" and value.type.width != cell.width:
                value = builder.trunc(value, cell)
            value = builder.bswap(value) if is_big_endian else value
            builder.store(value, builder.inttoptr(args[0], cell.as_pointer())).align = 1
            return context.get_dummy_value()

        return types.void(types.int64, given), generate

    return cast(Callable[[int, Any], None], intrinsic(store))


# load_*(address) and store_*(address, value), little-endian; *_be big-endian.
load_u8, load_u32, load_i32, load_i64 = _load("u8"), _load("u32"), _load("i32"), _load("i64")
load_u64, load_f32, load_f64 = (cast(Callable[[int], Any], _load(kind)) for kind in ("u64", "f32", "f64"))
load_u16_be, load_u32_be, load_i32_be = _load("u16", True), _load("u32", True), _load("i32", True)
load_i64_be = _load("i64", True)
store_u8, store_u16, store_i32, store_i64 = _store("u8"), _store("u16"), _store("i32"), _store("i64")
store_f32, store_f64 = _store("f32"), _store("f64")
store_u16_be, store_i32_be, store_i64_be = _store("u16", True), _store("i32", True), _store("i64", True)


def _cast(kind_from: Any, kind_to: Any, cell: Any) -> Callable[[Any], Any]:
    def bits(typing: Any, value: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return builder.bitcast(args[0], cell)

        return kind_to(kind_from), generate

    return cast(Callable[[Any], Any], intrinsic(bits))


float_of_bits = _cast(types.int64, types.float64, ir.DoubleType())
bits_of_float = _cast(types.float64, types.int64, _WORD)
single_of_bits = _cast(types.int32, types.float32, ir.FloatType())
bits_of_single = _cast(types.float32, types.int32, ir.IntType(32))


def _copy(typing: Any, target: Any, source: Any, size: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        to, at = (builder.inttoptr(arg, _BYTE.as_pointer()) for arg in args[:2])
        memcpy: Any = cgutils.raw_memcpy
        memcpy(builder, to, at, args[2], 1)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), generate


def _zero(typing: Any, target: Any, size: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        memset: Any = cgutils.memset
        memset(builder, builder.inttoptr(args[0], _BYTE.as_pointer()), args[1], 0)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), generate


def _multiply_high(typing: Any, a: Any, b: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        wide = builder.mul(builder.zext(args[0], _WIDE), builder.zext(args[1], _WIDE))
        return builder.trunc(builder.lshr(wide, ir.Constant(_WIDE, 64)), _WORD)

    return types.uint64(types.uint64, types.uint64), generate


def _leading_zeros(typing: Any, value: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.ctlz(args[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.uint64), generate


def _trailing_zeros(typing: Any, value: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.uint64), generate


copy = cast(Callable[[int, int, int], None], intrinsic(_copy))  # (target, source, size_bytes): no overlap
zero = cast(Callable[[int, int], None], intrinsic(_zero))  # (target, size_bytes)
multiply_high = cast(Callable[[Any, Any], Any], intrinsic(_multiply_high))  # upper 64 bits of an unsigned product
leading_zeros = cast(Callable[[Any], int], intrinsic(_leading_zeros))  # of a uint64; 64 for 0
trailing_zeros = cast(Callable[[Any], int], intrinsic(_trailing_zeros))


def _attribute(name: str) -> Callable[[], None]:
    def mark(typing: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            builder.function.attributes.add(name)
            return context.get_dummy_value()

        return types.void(), generate

    return cast(Callable[[], None], intrinsic(mark))


# Called in a part: it is compiled once and called, not copied into all its callers (which costs seconds of compilation); or always copied.
stand_alone, in_line = _attribute("noinline"), _attribute("alwaysinline")


@part
def start_of(data: Any) -> Any:
    """The address of a contiguous array, signed as all places in kernels are (NumPy's own mixed with them makes floats)."""
    return np.int64(data.ctypes.data)
