"""Words of LLVM vector IR: a scalar in every lane, loads and stores of some lanes, counted loops with their state in registers."""

from typing import Any

from llvmlite import ir

from esp.kernels.lanes import LANES
from esp.kernels.pointers import declare

I64, F32, I32 = ir.IntType(64), ir.FloatType(), ir.IntType(32)
VEC, WHOLE = ir.VectorType(F32, LANES), ir.VectorType(I32, LANES)
MASK = ir.VectorType(ir.IntType(1), LANES)


def floats(b: Any, address: Any, *offsets: Any) -> Any:
    """A pointer that many floats beyond an address (an integer, or a pointer)."""
    place = b.inttoptr(address, F32.as_pointer()) if address.type == I64 else address
    for offset in offsets:
        place = b.gep(place, [offset], source_etype=F32)
    return place


def entry(b: Any, table: Any, index: Any) -> Any:
    """The int64 at an index of a table, by its address."""
    return b.load(b.gep(b.inttoptr(table, I64.as_pointer()), [index], source_etype=I64), typ=I64)


def spread(b: Any, scalar: Any) -> Any:
    """A float or a truth in every lane."""
    kind = ir.VectorType(scalar.type, LANES)
    one = b.insert_element(ir.Constant(kind, ir.Undefined), scalar, I32(0))
    return b.shuffle_vector(one, one, ir.Constant(WHOLE, [0] * LANES))


def fma(b: Any, one: Any, other: Any, plus: Any) -> Any:
    return b.call(declare(b.module, ir.FunctionType(VEC, [VEC] * 3), f"llvm.fma.v{LANES}f32"), [one, other, plus])


def first_lanes(b: Any, count: Any) -> Any:
    """A mask of the first ``count`` lanes."""
    return b.icmp_signed("<", ir.Constant(WHOLE, list(range(LANES))), spread(b, b.trunc(count, I32)))


def load(b: Any, place: Any, mask: Any = None) -> Any:
    """A vector; 0 in lanes that a mask leaves out, which are not read."""
    pointer = b.bitcast(place, VEC.as_pointer())
    if mask is None:
        return b.load(pointer, align=4, typ=VEC)
    kind = ir.FunctionType(VEC, [VEC.as_pointer(), I32, MASK, VEC])
    masked = declare(b.module, kind, f"llvm.masked.load.v{LANES}f32.p0")
    return b.call(masked, [pointer, I32(4), mask, ir.Constant(VEC, [0.0] * LANES)])


def store(b: Any, value: Any, place: Any, mask: Any = None) -> None:
    """Stores a vector, or the lanes of a mask."""
    pointer = b.bitcast(place, VEC.as_pointer())
    if mask is None:
        b.store(value, pointer, align=4)
        return
    kind = ir.FunctionType(ir.VoidType(), [VEC, VEC.as_pointer(), I32, MASK])
    b.call(declare(b.module, kind, f"llvm.masked.store.v{LANES}f32.p0"), [value, pointer, I32(4), mask])


def within(b: Any, value: Any, low: Any, high: Any) -> Any:
    """min(max(value, low), high) of vectors, NaN kept."""
    value = b.select(b.fcmp_ordered("<", value, low), low, value)
    return b.select(b.fcmp_ordered(">", value, high), high, value)


def loop(b: Any, first: Any, end: Any, state: list[Any], body: Any) -> list[Any]:
    """``state = body(i, state)`` for i from ``first`` to before ``end``, the state in registers."""
    before, function = b.block, b.function
    head, inside, after = (function.append_basic_block(name) for name in ("head", "inside", "after"))
    b.branch(head)
    b.position_at_end(head)
    i, *held = (b.phi(value.type) for value in (first, *state))
    b.cbranch(b.icmp_signed("<", i, end), inside, after)
    b.position_at_end(inside)
    new = [b.add(i, I64(1)), *body(i, held)]
    for phi, start, value in zip((i, *held), (first, *state), new):
        phi.add_incoming(start, before)
        phi.add_incoming(value, b.block)
    b.branch(head)
    b.position_at_end(after)
    return held
