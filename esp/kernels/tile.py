"""The register tile all dense work goes through: rows x vectors of float32 sums, emitted as LLVM vector IR.

Each sum starts from its bias and takes one fused multiply-add a k, in the order of k, whatever the tile: so a row's
result depends neither on its neighbours nor on the batch. A tile that has more rows than are left computes the last one
again and writes the same numbers to the same place.
"""

from dataclasses import dataclass
from typing import Any

from llvmlite import ir
from numba import types

from esp.kernels.lanes import LANES, PANEL
from esp.kernels.pointers import declare, emitted

I64, F32, I32 = ir.IntType(64), ir.FloatType(), ir.IntType(32)
VEC = ir.VectorType(F32, LANES)
MASK = ir.VectorType(ir.IntType(1), LANES)


@dataclass(frozen=True, slots=True)
class Tile:
    """The IR builder of one tile, and what its parts share."""

    builder: Any
    rows: int
    vectors: int

    def at(self, pointer: Any, index: Any) -> Any:
        """The address ``index`` floats on."""
        return self.builder.gep(pointer, [index], source_etype=F32)

    def load(self, pointer: Any, kind: Any = VEC) -> Any:
        value = self.builder.load(pointer, typ=kind)
        value.align = 4
        return value

    def spread(self, scalar: Any) -> Any:
        """A scalar in every lane."""
        undefined = ir.Constant(VEC, ir.Undefined)
        one = self.builder.insert_element(undefined, scalar, ir.Constant(I32, 0))
        return self.builder.shuffle_vector(one, undefined, ir.Constant(ir.VectorType(I32, LANES), [0] * LANES))

    def numbers(self, left: Any) -> list[Any]:
        """The row that each row of the tile is, where only ``left`` are there: the last stands in for those that are not."""
        b, last = self.builder, self.builder.sub(left, I64(1))
        return [b.select(b.icmp_signed("<", I64(row), left), I64(row), last) for row in range(self.rows)]

    def grid(self, make: Any) -> list[list[Any]]:
        return [[make(row, vector) for vector in range(self.vectors)] for row in range(self.rows)]


def counted(tile: Tile, count: Any, state: list[Any], body: Any) -> list[Any]:
    """A counted loop (count > 0) that carries ``state`` in registers; ``body(i, state)`` gives the next state."""
    b, function = tile.builder, tile.builder.function
    before, loop, after = b.block, function.append_basic_block("loop"), function.append_basic_block("after")
    b.branch(loop)
    b.position_at_end(loop)
    i = b.phi(I64)
    phis = [b.phi(value.type) for value in state]
    new: list[Any] = body(i, phis)
    step = b.add(i, I64(1))
    i.add_incoming(I64(0), before)
    i.add_incoming(step, b.block)
    for phi, start, end in zip(phis, state, new):
        phi.add_incoming(start, before)
        phi.add_incoming(end, b.block)
    b.cbranch(b.icmp_signed("<", step, count), loop, after)
    b.position_at_end(after)
    return new


def _multiply(tile: Tile, args: list[Any], sums: list[Any]) -> list[Any]:
    """Adds, for every segment of k, the outer products of the rows' values and the panel's rows."""
    b, rows, vectors = tile.builder, tile.rows, tile.vectors
    row_at, segments, segment_at, size, panel, panel_step = args
    pointer = F32.as_pointer()
    fma = declare(b.module, ir.FunctionType(VEC, [VEC] * 3), f"llvm.fma.v{LANES}f32")
    table, segment_table = b.inttoptr(row_at, I64.as_pointer()), b.inttoptr(segment_at, I64.as_pointer())
    starts = [b.inttoptr(b.load(b.gep(table, [I64(row)], source_etype=I64), typ=I64), pointer) for row in range(rows)]

    def segment(s: Any, state: list[Any]) -> list[Any]:
        shift = b.load(b.gep(segment_table, [s], source_etype=I64), typ=I64)
        bases = [tile.at(start, shift) for start in starts]
        weights = tile.at(state[0], I64(0))

        def step(i: Any, sums: list[Any]) -> list[Any]:
            row = tile.at(weights, b.mul(i, I64(min(vectors * LANES, PANEL))))
            many = [
                tile.load(tile.at(row, b.add(b.mul(panel_step, I64(v * LANES // PANEL)), I64(v * LANES % PANEL))))
                for v in range(vectors)
            ]
            ones = [tile.spread(tile.load(tile.at(base, i), F32)) for base in bases]
            return [b.call(fma, [ones[k // vectors], many[k % vectors], sums[k]]) for k in range(rows * vectors)]

        new = counted(tile, size, state[1:], step)
        return [tile.at(weights, b.mul(size, I64(min(vectors * LANES, PANEL)))), *new]

    return counted(tile, segments, [b.inttoptr(panel, pointer), *sums], segment)[1:]


def first_lanes(builder: Any, left: Any, begin: int = 0) -> Any:
    """The mask of the lanes, counted from ``begin`` on, that are below ``left``."""
    wide = ir.VectorType(I32, LANES)
    one = builder.insert_element(ir.Constant(wide, ir.Undefined), builder.trunc(left, I32), I32(0))
    spread = builder.shuffle_vector(one, one, ir.Constant(wide, [0] * LANES))
    return builder.icmp_signed("<", ir.Constant(wide, list(range(begin, begin + LANES))), spread)


def load_masked(builder: Any, place: Any, mask: Any) -> Any:
    """A vector of which only the masked lanes are read, zeros elsewhere."""
    kind = ir.FunctionType(VEC, [VEC.as_pointer(), I32, MASK, VEC])
    load = declare(builder.module, kind, f"llvm.masked.load.v{LANES}f32.p0")
    return builder.call(load, [builder.bitcast(place, VEC.as_pointer()), I32(4), mask, ir.Constant(VEC, [0.0] * LANES)])


def store_masked(builder: Any, value: Any, place: Any, mask: Any) -> None:
    kind = ir.FunctionType(ir.VoidType(), [VEC, VEC.as_pointer(), I32, MASK])
    store = declare(builder.module, kind, f"llvm.masked.store.v{LANES}f32.p0")
    builder.call(store, [value, builder.bitcast(place, VEC.as_pointer()), I32(4), mask])


def store(tile: Tile, sums: list[Any], at: list[list[Any]], columns: Any, low: Any, high: Any) -> None:
    """Stores min(max(sum, low), high), NaN kept; columns past the last are masked."""
    b, width = tile.builder, tile.vectors * LANES
    floor, ceiling = tile.spread(low), tile.spread(high)
    ends = [b.select(b.fcmp_ordered("<", value, floor), floor, value) for value in sums]
    ends = [b.select(b.fcmp_ordered(">", value, ceiling), ceiling, value) for value in ends]
    places = [b.bitcast(at[k // tile.vectors][k % tile.vectors], VEC.as_pointer()) for k in range(len(sums))]
    with b.if_else(b.icmp_signed(">=", columns, I64(width))) as (full, tail):
        with full:
            for value, place in zip(ends, places):
                b.store(value, place).align = 4
        with tail:
            for k, (value, place) in enumerate(zip(ends, places)):
                store_masked(b, value, place, first_lanes(b, columns, k % tile.vectors * LANES))


def make_tile(rows: int, vectors: int) -> Any:
    """An intrinsic: ``rows`` rows of ``vectors * LANES`` columns of bias + A @ B within low and high, all its integers addresses or sizes.

    ``tile(left, row_at, segments, segment_at, size, panel, panel_step, bias, bias_step, out, out_step, columns, low, high)``:
    of the rows only ``left`` may be there (the last address of row_at then stands again in the others' places); row_at
    addresses of the rows of A; segment_at float offsets within a row of each run of ``size`` values; panel rows of
    B as wide as the tile (or PANEL, panels panel_step floats apart); bias and out rows that many floats apart.
    """

    @emitted
    def tile(
        typingctx: Any, left: Any, row_at: Any, segments: Any, segment_at: Any, size: Any, panel: Any, panel_step: Any,
        bias: Any, bias_step: Any, out: Any, out_step: Any, columns: Any, low: Any, high: Any,
    ) -> Any:  # fmt: skip
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            left, *product, bias, bias_step, out, out_step, columns, low, high = args
            shape = Tile(builder, rows, vectors)
            numbers = shape.numbers(left)

            def place(base: Any, step: Any) -> list[list[Any]]:
                pointer = builder.inttoptr(base, F32.as_pointer())
                lines = [shape.at(pointer, builder.mul(step, number)) for number in numbers]
                return shape.grid(lambda row, v: shape.at(lines[row], I64(v * LANES)))

            sums = [shape.load(where) for line in place(bias, bias_step) for where in line]
            sums = _multiply(shape, product, sums)
            store(shape, sums, place(out, out_step), columns, low, high)
            return context.get_dummy_value()

        return types.void(*[types.intp] * 12, types.float32, types.float32), codegen

    return tile
