"""Addresses as typed pointers, and the few float32 instructions that Numba does not give: fma, plain division, bits."""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

declare: Any = cgutils.get_or_insert_function
_memcpy: Any = cgutils.raw_memcpy


def emitted(function: Callable[..., Any]) -> Any:
    """Marks a function that writes the LLVM IR of an instruction; the others call it as what it computes."""
    return intrinsic(function)


def _pointer(element: Any) -> Any:
    @emitted
    def pointer(typingctx: Any, address: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return builder.inttoptr(args[0], context.get_value_type(signature.return_type))

        kind: Any = types.CPointer
        return kind(element)(types.intp), codegen

    return pointer


f4 = _pointer(types.float32)  # f4(address)[i]: a float32
i8 = _pointer(types.int64)  # i8(address)[i]: an int64
f8, i4, u1 = _pointer(types.float64), _pointer(types.int32), _pointer(types.uint8)


@emitted
def fma(typingctx: Any, a: Any, b: Any, c: Any) -> Any:
    """a * b + c, rounded once."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = ir.FunctionType(ir.FloatType(), [ir.FloatType()] * 3)
        return builder.call(declare(builder.module, kind, "llvm.fma.f32"), args)

    return types.float32(types.float32, types.float32, types.float32), codegen


@emitted
def divide(typingctx: Any, a: Any, b: Any) -> Any:
    """a / b as IEEE says; division by zero is no error."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.fdiv(*args)

    return types.float32(types.float32, types.float32), codegen


@emitted
def whole(typingctx: Any, value: Any) -> Any:
    """The int32 nearest to zero of a float32 in its range."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.fptosi(args[0], ir.IntType(32))

    return types.int32(types.float32), codegen


@emitted
def times_power_of_two(typingctx: Any, value: Any, power: Any) -> Any:
    """value * 2**power for a power in [-252, 254], in two steps, for 2**power alone may be out of range."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        value, power = args
        number = ir.IntType(32)
        first = builder.ashr(power, number(1))
        for part in (first, builder.sub(power, first)):
            bits = builder.shl(builder.add(part, number(127)), number(23))
            value = builder.fmul(value, builder.bitcast(bits, ir.FloatType()))
        return value

    return types.float32(types.float32, types.int32), codegen


# The bits of float32's half of the square root of two: below it a mantissa is doubled, so that it lies about 1.
_HALF_ROOT = 0x3F3504F3


def _exponent(builder: Any, bits: Any) -> Any:
    return builder.ashr(builder.sub(bits, ir.IntType(32)(_HALF_ROOT)), ir.IntType(32)(23))


@emitted
def exponent(typingctx: Any, value: Any) -> Any:
    """The whole e, as float32, of a normal positive value = m * 2**e with m in [0.7071, 1.4142)."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.sitofp(_exponent(builder, builder.bitcast(args[0], ir.IntType(32))), ir.FloatType())

    return types.float32(types.float32), codegen


@emitted
def mantissa(typingctx: Any, value: Any) -> Any:
    """The m that belongs to ``exponent``."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        bits = builder.bitcast(args[0], ir.IntType(32))
        whole = builder.shl(_exponent(builder, bits), ir.IntType(32)(23))
        return builder.bitcast(builder.sub(bits, whole), ir.FloatType())

    return types.float32(types.float32), codegen


@emitted
def from_bits(typingctx: Any, bits: Any) -> Any:
    """The float32 whose bits are the low half of an int64."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(builder.trunc(args[0], ir.IntType(32)), ir.FloatType())

    return types.float32(types.int64), codegen


@emitted
def copy_floats(typingctx: Any, to: Any, source: Any, count: Any) -> Any:
    """Copies float32 values from address to address; they may not overlap."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        to, source, count = args
        byte = ir.IntType(8).as_pointer()
        size = builder.mul(count, ir.Constant(count.type, 4))
        _memcpy(builder, builder.inttoptr(to, byte), builder.inttoptr(source, byte), size, 1)
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, types.intp), codegen


@emitted
def call_row(typingctx: Any, function: Any, n: Any, x: Any, y: Any, b: Any, c: Any, f: Any, scratch: Any) -> Any:
    """Calls an instruction of a plan by its address."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        function, *rest = args
        kind = ir.FunctionType(ir.VoidType(), [value.type for value in rest])
        builder.call(builder.inttoptr(function, kind.as_pointer()), rest)
        return context.get_dummy_value()

    return types.void(*[types.intp] * 8), codegen
