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
