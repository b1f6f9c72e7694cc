"""The register tile all dense work goes through: rows x vectors of float32 sums, emitted as LLVM vector IR.

Each sum starts from its bias and takes one fused multiply-add a k, in the order of k, whatever the tile: so a row's
result depends neither on its neighbours nor on the batch. A tile that has more rows than are left computes the last one
again and writes the same numbers to the same place.
"""

from dataclasses import dataclass
from typing import Any

from numba import types

from esp.kernels.lanes import LANES, PANEL
from esp.kernels.pointers import emitted
from esp.kernels.vector_ir import F32, I64, entry, first_lanes, floats, fma, load, loop, spread, store, within


@dataclass(frozen=True, slots=True)
class Tile:
    """The IR builder of one tile, and what its parts share."""

    builder: Any
    rows: int
    vectors: int

    def places(self, base: Any, step: Any, left: Any) -> list[Any]:
        """Where each vector of each row lies, rows ``step`` floats apart; where only ``left`` are there, the last stands in."""
        b, last = self.builder, self.builder.sub(left, I64(1))
        numbers = [b.select(b.icmp_signed("<", I64(row), left), I64(row), last) for row in range(self.rows)]
        return [floats(b, base, b.mul(step, row), I64(v * LANES)) for row in numbers for v in range(self.vectors)]

    def add_products(self, sums: list[Any], ones: list[Any], many: list[Any]) -> list[Any]:
        """The sums, row by row, with a row's one number times each of the vectors."""
        return [fma(self.builder, ones[at // self.vectors], many[at % self.vectors], value) for at, value in enumerate(sums)]

    def keep(self, sums: list[Any], places: list[Any], columns: Any, low: Any, high: Any) -> None:
        """Stores the sums within low and high; columns past the last are masked."""
        b = self.builder
        floor, ceiling = spread(b, low), spread(b, high)
        ends = [within(b, value, floor, ceiling) for value in sums]
        with b.if_else(b.icmp_signed(">=", columns, I64(self.vectors * LANES))) as (full, tail):
            with full:
                for value, place in zip(ends, places):
                    store(b, value, place)
            with tail:
                masks = [first_lanes(b, b.sub(columns, I64(v * LANES))) for v in range(self.vectors)]
                for at, (value, place) in enumerate(zip(ends, places)):
                    store(b, value, place, masks[at % self.vectors])


def _multiply(tile: Tile, args: list[Any], sums: list[Any]) -> list[Any]:
    """Adds, for every segment of k, the outer products of the rows' values and the panel's rows."""
    b, width = tile.builder, I64(min(tile.vectors * LANES, PANEL))
    row_at, segments, segment_at, size, panel, panel_step = args
    starts = [entry(b, row_at, I64(row)) for row in range(tile.rows)]
    columns = [(v * LANES // PANEL, I64(v * LANES % PANEL)) for v in range(tile.vectors)]

    def segment(s: Any, state: list[Any]) -> list[Any]:
        shift, weights = entry(b, segment_at, s), state[0]
        bases = [floats(b, start, shift) for start in starts]

        def step(i: Any, sums: list[Any]) -> list[Any]:
            row = floats(b, weights, b.mul(i, width))
            many = [load(b, floats(b, row, b.mul(panel_step, I64(number)), at)) for number, at in columns]
            ones = [spread(b, b.load(floats(b, base, i), typ=F32)) for base in bases]
            return tile.add_products(sums, ones, many)

        return [floats(b, weights, b.mul(size, width)), *loop(b, I64(0), size, state[1:], step)]

    return loop(b, I64(0), segments, [floats(b, panel), *sums], segment)[1:]


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
            sums = [load(builder, place) for place in shape.places(bias, bias_step, left)]
            sums = _multiply(shape, product, sums)
            shape.keep(sums, shape.places(out, out_step, left), columns, low, high)
            return context.get_dummy_value()

        return types.void(*[types.intp] * 12, types.float32, types.float32), codegen

    return tile
