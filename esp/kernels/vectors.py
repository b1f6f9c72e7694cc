"""Vectors of SIZE float32 as values whose operators write LLVM IR: a function of numbers is written once and becomes any loop.

Every target computes the same SIZE numbers at a time, cut as wide as its registers are: so sums have the same order, and
results the same bits, on all of them. Nothing here reorders or contracts; NaN is an ordinary number.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from inspect import Parameter, Signature
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types

from esp.kernels.lanes import FEATURES
from esp.kernels.pointers import declare, emitted

SIZE = 16
F32, F64, I32, I64 = ir.FloatType(), ir.DoubleType(), ir.IntType(32), ir.IntType(64)
VEC, WIDE, WHOLE, MASK = (ir.VectorType(kind, SIZE) for kind in (F32, F64, I32, ir.IntType(1)))
MAGIC = 12582912.0  # 1.5 * 2**23: a number that is added to it is rounded to a whole one, which then lies in its low bits
MAGIC_BITS = 0x4B400000
Operand = Any  # a Vec, or a constant


@dataclass(frozen=True, slots=True)
class Vec:
    """SIZE numbers, of float32 (VEC) or float64 (WIDE); comparisons give masks for ``where``."""

    b: Any
    v: Any

    def like(self, other: Operand) -> Any:
        """The other operand's value; a constant in every place."""
        return other.v if isinstance(other, Vec) else ir.Constant(self.v.type, [float(np.float32(other))] * SIZE)

    def __add__(self, other: Operand) -> "Vec":
        return Vec(self.b, self.b.fadd(self.v, self.like(other)))

    def __sub__(self, other: Operand) -> "Vec":
        return Vec(self.b, self.b.fsub(self.v, self.like(other)))

    def __rsub__(self, other: Operand) -> "Vec":
        return Vec(self.b, self.b.fsub(self.like(other), self.v))

    def __mul__(self, other: Operand) -> "Vec":
        return Vec(self.b, self.b.fmul(self.v, self.like(other)))

    def __truediv__(self, other: Operand) -> "Vec":
        return Vec(self.b, self.b.fdiv(self.v, self.like(other)))

    def __rtruediv__(self, other: Operand) -> "Vec":
        return Vec(self.b, self.b.fdiv(self.like(other), self.v))

    def __neg__(self) -> "Vec":
        return Vec(self.b, self.b.fneg(self.v))

    def __abs__(self) -> "Vec":
        return called("fabs", self)

    def __lt__(self, other: Operand) -> Any:
        return self.b.fcmp_ordered("<", self.v, self.like(other))

    def __gt__(self, other: Operand) -> Any:
        return self.b.fcmp_ordered(">", self.v, self.like(other))

    def __le__(self, other: Operand) -> Any:
        return self.b.fcmp_ordered("<=", self.v, self.like(other))

    @property
    def is_nan(self) -> Any:
        return self.b.fcmp_unordered("uno", self.v, self.v)


def called(name: str, first: Vec, *rest: Operand) -> Vec:
    """One of LLVM's own functions of vectors."""
    args = [first.v, *(first.like(one) for one in rest)]
    kind, word = first.v.type, "f32" if first.v.type == VEC else "f64"
    function = declare(first.b.module, ir.FunctionType(kind, [kind] * len(args)), f"llvm.{name}.v{SIZE}{word}")
    return Vec(first.b, first.b.call(function, args))


def fma(a: Vec, b: Operand, c: Operand) -> Vec:
    """a * b + c, rounded once."""
    return called("fma", a, b, c)


def polynomial(x: Vec, *coefficients: float) -> Vec:
    """The coefficient of the highest power comes first."""
    first, second, *rest = coefficients
    total = fma(x, first, second)
    for one in rest:
        total = fma(total, x, one)
    return total


def where(mask: Any, a: Operand, b: Operand) -> Vec:
    vec = a if isinstance(a, Vec) else b
    return Vec(vec.b, vec.b.select(mask, vec.like(a), vec.like(b)))


def at_least(x: Vec, low: Operand) -> Vec:
    """NaN stays NaN."""
    return where(x < low, low, x)


def at_most(x: Vec, high: Operand) -> Vec:
    """NaN stays NaN."""
    return where(x > high, high, x)


def larger(a: Vec, b: Vec) -> Vec:
    """NaN where either is NaN."""
    return where(a.is_nan, a, where(a > b, a, b))


def smaller(a: Vec, b: Vec) -> Vec:
    """NaN where either is NaN."""
    return where(a.is_nan, a, where(a < b, a, b))


def wide(x: Vec) -> Vec:
    """The numbers in double precision."""
    return Vec(x.b, x.b.fpext(x.v, WIDE))


def narrow(x: Vec) -> Vec:
    """The numbers of double precision as float32."""
    return Vec(x.b, x.b.fptrunc(x.v, VEC))


def bits_of(x: Vec) -> Any:
    return x.b.bitcast(x.v, WHOLE)


def whole(number: int) -> Any:
    return ir.Constant(WHOLE, [number] * SIZE)


def from_whole(b: Any, bits: Any) -> Vec:
    return Vec(b, b.bitcast(bits, VEC))


def power_of_two(shifted: Vec) -> Vec:
    """2**k of ``MAGIC + k`` with a whole k in [-126, 127]; 0 for -127."""
    b = shifted.b
    return from_whole(b, b.add(b.shl(bits_of(shifted), whole(23)), whole(127 << 23)))


def times_power_of_two(x: Vec, shifted: Vec) -> Vec:
    """x * 2**k of ``MAGIC + k``, for k in [-252, 254] and an x near 1: rounded once, and that where the result is subnormal."""
    b = x.b
    if "avx512f" in FEATURES:
        kind = ir.FunctionType(VEC, [VEC, VEC, VEC, ir.IntType(16), I32])
        scale = declare(b.module, kind, "llvm.x86.avx512.mask.scalef.ps.512")
        power = shifted - MAGIC
        return Vec(b, b.call(scale, [x.v, power.v, x.v, ir.IntType(16)(0xFFFF), I32(4)]))
    power = b.sub(bits_of(shifted), whole(MAGIC_BITS))
    first = b.ashr(power, whole(1))
    for part in (first, b.sub(power, first)):
        x = x * from_whole(b, b.shl(b.add(part, whole(127)), whole(23)))
    return x


def spread(b: Any, scalar: Any) -> Vec:
    """A scalar in every place."""
    kind = VEC if scalar.type == F32 else WIDE
    one = b.insert_element(ir.Constant(kind, ir.Undefined), scalar, I32(0))
    return Vec(b, b.shuffle_vector(one, one, whole(0)))


def filled(b: Any, number: float, kind: Any = VEC) -> Vec:
    """A constant in every place."""
    return Vec(b, ir.Constant(kind, [number] * SIZE))


def folded(x: Vec, join: Callable[[Vec, Vec], Vec]) -> Any:
    """One number of all: halves joined with halves, always in the same order."""
    size = SIZE // 2
    while size:
        turned = ir.Constant(WHOLE, [(place + size) % SIZE for place in range(SIZE)])
        x = join(x, Vec(x.b, x.b.shuffle_vector(x.v, x.v, turned)))
        size //= 2
    return x.b.extract_element(x.v, I32(0))


def total(a: Vec, b: Vec) -> Vec:
    return a + b


@dataclass(frozen=True, slots=True)
class Extreme:
    """The largest of many numbers, or the smallest, and NaN if any is: kept as two numbers a place, that a step may be short."""

    is_largest: bool

    @property
    def worst(self) -> float:
        return float("-inf") if self.is_largest else float("inf")

    def start(self, b: Any) -> list[Vec]:
        """The best so far, and a NaN where one has been."""
        return [filled(b, self.worst), filled(b, 0.0)]

    def step(self, x: Vec, state: list[Vec]) -> list[Vec]:
        return [self._better(x, state[0]), where(x.is_nan, x, state[1])]

    def each(self, state: list[Vec]) -> Vec:
        """The result of each place."""
        return where(state[1].is_nan, state[1], state[0])

    def one(self, state: list[Vec]) -> Any:
        """The result of all places, a scalar."""
        b = state[0].b
        reduce = declare(b.module, ir.FunctionType(ir.IntType(1), [MASK]), f"llvm.vector.reduce.or.v{SIZE}i1")
        has_nan = b.call(reduce, [state[1].is_nan])
        return b.select(has_nan, F32(float("nan")), folded(state[0], self._better))

    def _better(self, a: Vec, b: Vec) -> Vec:
        return where(a > b if self.is_largest else a < b, a, b)


@dataclass(frozen=True, slots=True)
class Place:
    """SIZE places from the ``i``-th number on, or the first ones of them that the mask has: what a step of ``span`` works at."""

    b: Any
    i: Any
    mask: Any = None

    def _pointer(self, address: Any) -> Any:
        numbers = self.b.gep(self.b.inttoptr(address, F32.as_pointer()), [self.i], source_etype=F32)
        return self.b.bitcast(numbers, VEC.as_pointer())

    def load(self, address: Any, fill: float = 0.0) -> Vec:
        """The numbers there; ``fill`` where the mask has none."""
        pointer = self._pointer(address)
        if self.mask is None:
            value = self.b.load(pointer, typ=VEC)
            value.align = 4
            return Vec(self.b, value)
        kind = ir.FunctionType(VEC, [VEC.as_pointer(), I32, MASK, VEC])
        function = declare(self.b.module, kind, f"llvm.masked.load.v{SIZE}f32.p0")
        return Vec(self.b, self.b.call(function, [pointer, I32(4), self.mask, ir.Constant(VEC, [fill] * SIZE)]))

    def store(self, x: Vec, address: Any) -> None:
        pointer = self._pointer(address)
        if self.mask is None:
            self.b.store(x.v, pointer).align = 4
            return
        kind = ir.FunctionType(ir.VoidType(), [VEC, VEC.as_pointer(), I32, MASK])
        self.b.call(declare(self.b.module, kind, f"llvm.masked.store.v{SIZE}f32.p0"), [x.v, pointer, I32(4), self.mask])

    def only(self, x: Vec, fill: float) -> Vec:
        """x, and ``fill`` where the mask has no number."""
        return x if self.mask is None else where(self.mask, x, fill)


def near(place: Place, offset: Any, count: Any) -> Place:
    """The places ``offset`` numbers on, of which those from 0 to below ``count`` are there."""
    b = place.b
    first = b.add(place.i, offset)
    numbers = ir.Constant(ir.VectorType(I64, SIZE), list(range(SIZE)))
    one = b.insert_element(ir.Constant(numbers.type, ir.Undefined), first, I32(0))
    at = b.add(b.shuffle_vector(one, one, whole(0)), numbers)
    end = b.insert_element(ir.Constant(numbers.type, ir.Undefined), count, I32(0))
    return Place(b, first, b.icmp_unsigned("<", at, b.shuffle_vector(end, end, whole(0))))


State = list[Vec]
Step = Callable[[Place, State], State | None]


def loop(b: Any, count: Any, state: State, body: Callable[[Any, State], State | None]) -> State:
    """A counted loop that carries ``state``; ``body(i, state)`` gives the next, if any. A count of 0 leaves it as it was."""
    before, inside, after = b.block, b.function.append_basic_block("loop"), b.function.append_basic_block("after")
    b.cbranch(b.icmp_signed(">", count, I64(0)), inside, after)
    b.position_at_end(inside)
    i = b.phi(I64)
    phis = [b.phi(one.v.type) for one in state]
    new = body(i, [Vec(b, phi) for phi in phis]) or []
    end, following = b.block, b.add(i, I64(1))
    b.cbranch(b.icmp_signed("<", following, count), inside, after)
    b.position_at_end(after)
    left = [b.phi(phi.type) for phi in phis]
    for phi, first, later in zip([i, *phis], [I64(0), *(one.v for one in state)], [following, *(one.v for one in new)]):
        phi.add_incoming(first, before)
        phi.add_incoming(later, end)
    for phi, first, last in zip(left, state, new):
        phi.add_incoming(first.v, before)
        phi.add_incoming(last.v, end)
    return [Vec(b, phi) for phi in left]


def span(b: Any, count: Any, step: Step, *state: Vec) -> State:
    """All of ``count`` numbers, SIZE at a time, the last ones under a mask; ``step(place, state)`` gives the next state, if any."""
    full = b.sdiv(count, I64(SIZE))
    whole_steps = loop(b, full, list(state), lambda i, state: step(Place(b, b.mul(i, I64(SIZE))), state))
    at = b.mul(full, I64(SIZE))
    left = b.sub(count, at)
    has_tail = b.zext(b.icmp_signed(">", left, I64(0)), I64)
    return loop(b, has_tail, whole_steps, lambda i, state: step(Place(b, at, first_places(b, left)), state))


def first_places(b: Any, count: Any) -> Any:
    """The mask of the first ``count`` places."""
    one = b.insert_element(ir.Constant(WHOLE, ir.Undefined), b.trunc(count, I32), I32(0))
    return b.icmp_signed("<", ir.Constant(WHOLE, list(range(SIZE))), b.shuffle_vector(one, one, whole(0)))


def choose(b: Any, number: Any, ways: Sequence[Callable[[], None]]) -> None:
    """Emits every way, and a jump to that of the number."""
    after = b.function.append_basic_block("chosen")
    jump = b.switch(number, after)
    for at, way in enumerate(ways):
        block = b.function.append_basic_block(f"way{at}")
        jump.add_case(I64(at), block)
        b.position_at_end(block)
        way()
        b.branch(after)
    b.position_at_end(after)


def routine(signature: str, emit: Callable[..., None]) -> Any:
    """A function for kernels whose body ``emit(builder, *args)`` writes: ``i`` in the signature is an int64, ``f`` a float32."""
    kinds = [types.intp if letter == "i" else types.float32 for letter in signature]

    def function(typingctx: Any, *args: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            emit(builder, *args)
            return context.get_dummy_value()

        return types.void(*kinds), codegen

    names = ["typingctx", *(f"{letter}{at}" for at, letter in enumerate(signature))]  # Numba wants each by a name
    told: Any = function
    told.__signature__ = Signature([Parameter(name, Parameter.POSITIONAL_OR_KEYWORD) for name in names])
    return emitted(function)
