"""The plan of a step: as any graph is lowered, but that what joins a ring with what is new reads and writes the ring."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from esp.astore.graph import Array, Node
from esp.kernels import plan
from esp.kernels.sliding import KEEP
from esp.runtime.backends.lowering.assembly import Table, assemble
from esp.runtime.backends.lowering.lowering import Lowering, Operand, Row, lower
from esp.runtime.backends.lowering.packed import Packed
from esp.runtime.backends.lowering.passes import Attrs
from esp.runtime.backends.lowering.rules import CLAMPED, RULES
from esp.runtime.backends.lowering.values import Buffer, Scattered, Value
from esp.runtime.backends.sliding.cuts import NONE
from esp.runtime.backends.sliding.step import Ring, Steps

PLACES = Buffer(0, -2)  # the caller's second array: where the rings of each window lie


@dataclass(frozen=True, slots=True)
class Rings:
    """Where each ring lies in the block of a row, and how many floats the block has."""

    at: Mapping[str, int]
    floats: int

    @classmethod
    def of(cls, rings: Sequence[Ring]) -> "Rings":
        at, floats = dict[str, int](), 0
        for ring in rings:
            at[ring.name] = floats
            floats += ring.kept.phases * ring.kept.size * ring.inner
        return cls(at, floats)


def lower_step(steps: Steps, rings: Rings, max_batch: int) -> Table:
    """BackendError for what a plan cannot express."""
    known = {ring.name: ring for ring in steps.rings}
    whole = lower(steps.whole, RULES, CLAMPED, is_simple=True).values
    joined: dict[str, Value] = {}

    def laid(made: Lowering, node: Node, value: Value) -> list[Value]:
        name = steps.wholes.get(node.outputs[0])
        return [_lying_as(made, value, whole[name]) if name is not None else value]

    def concat(made: Lowering, node: Node, attrs: Attrs) -> Sequence[Value | None]:
        ring = next((known[name] for name in node.inputs if name in known), None)
        if ring is None:
            return laid(made, node, _one(RULES["Concat"](made, node, attrs)))
        value = joined[node.outputs[0]] = _joined(made, node, ring, rings.at[ring.name])
        return laid(made, node, value) if ring.zeros == NONE else [value]

    def pad(made: Lowering, node: Node, attrs: Attrs) -> Sequence[Value | None]:
        value = joined.get(node.inputs[0])
        if value is None:
            return RULES["Pad"](made, node, attrs)
        return [Value(value.buffer, made.net.shapes[node.outputs[0]], value.order)]

    def cut(made: Lowering, node: Node, attrs: Attrs) -> Sequence[Value | None]:
        return laid(made, node, _one(RULES["Slice"](made, node, attrs)))

    rules = {**RULES, "Concat": concat, "Pad": pad, "Slice": cut}
    return assemble(shared(viewed(lower(steps.step, rules, CLAMPED, is_simple=True).rows)), max_batch)


def _one(values: Sequence[Value | None]) -> Value:
    (value,) = values
    assert value is not None
    return value


def _joined(made: Lowering, node: Node, ring: Ring, at: int) -> Value:
    """What is known of a tensor's positions, zeros beside them included: the node's own shape leaves those out."""
    kept, shape = ring.kept, made.net.shapes[node.outputs[0]]
    new, left = (made.arranged(made.values[name], ring.order) if name else None for name in (ring.new, ring.left))
    assert new is not None
    counts = [value.size // ring.inner if value else 0 for value in (new, left)]
    out = Value(Buffer((kept.asked + sum(counts) + sum(ring.zeros)) * ring.inner), shape, ring.order)
    head, tail = kept.head - kept.ring[0], kept.tail - kept.ring[0]
    fields = (at, kept.phases, kept.size, kept.shift, ring.inner, head, tail, *counts, *ring.zeros)
    made.emit(KEEP, new.buffer, out.buffer, *fields, b=PLACES, c=left and left.buffer)
    return out


# Where an instruction says how far the rows of its x lie apart, among its fields.
X_STEPS = {
    plan.MULTIPLY: 1,
    plan.MAX_POOL: 4,
    plan.AVERAGE_POOL: 5,
    plan.GATHER: 2,
    plan.GATHER_OR: 2,
    plan.GATHER_RUNS: 3,
    plan.COPY: 2,
}


def viewed(rows: Sequence[Row]) -> list[Row]:
    """The rows without copies of a run of numbers: what reads such a copy reads the numbers where they lie."""
    done, at = list(rows), 0
    while at < len(done):
        copy = done[at]
        users = {id(row) for row in done if copy.y in row.buffers and row is not copy}
        if _is_run(copy) and all(_reads(row, copy.y) for row in done if id(row) in users):
            done = [_moved(row, copy) if id(row) in users else row for row in done if row is not copy]
        else:
            at += 1
    return done


def _is_run(row: Row) -> bool:
    is_inside = isinstance(row.x, Buffer) and isinstance(row.y, Buffer) and not row.y.slot
    return row.does is plan.GATHER_RUNS and row.fields[0] == 1 and is_inside


def _reads(row: Row, buffer: Operand) -> bool:
    """Whether a row reads a buffer as its x alone, and says how far its rows lie apart."""
    assert isinstance(buffer, Buffer)
    at = X_STEPS.get(row.does)
    return row.x is buffer and row.buffers.count(buffer) == 1 and at is not None and row.fields[at] == buffer.size


def _moved(row: Row, copy: Row) -> Row:
    at = X_STEPS[row.does]
    fields = (*row.fields[:at], copy.fields[3], *row.fields[at + 1 :])
    return replace(row, x=copy.x, x_at=row.x_at + copy.x_at + int(copy.fields[2][0]), fields=fields)


def _lying_as(made: Lowering, value: Value, model: Value) -> Value:
    """The value with its numbers where they lie in a whole window's plan, whose sums go in that order."""
    if _is_scattered(model):  # for a pool, whose windows are summed in the same order however they lie
        return value
    mine, theirs = (one.positions().reshape(-1) for one in (value, model))
    buffer = value.buffer
    if (mine != theirs).any():
        index = np.empty_like(mine)
        index[theirs] = mine
        buffer = Buffer(value.size)
        made.emit(plan.GATHER, value.buffer, buffer, buffer.size, index, buffer.size)
    return _laid(model, buffer)


def _is_scattered(model: Value) -> bool:
    return isinstance(model.flat, Scattered) or (model.flat is not None and _is_scattered(model.flat))


def _laid(model: Value, buffer: Buffer) -> Value:
    """The same note of where numbers lie, for another buffer."""
    flat = _laid(model.flat, buffer) if isinstance(model.flat, Value) else None
    return Value(buffer, model.shape, model.order, flat)


def shared(rows: Sequence[Row]) -> list[Row]:
    """The rows with equal constants as one: the ranges of a layer have the same weights."""
    known: dict[tuple[type, str, tuple[int, ...], bytes], Array | Packed] = {}

    def one(item: Any) -> Any:
        if not isinstance(item, np.ndarray | Packed):
            return item
        array = item.weights if isinstance(item, Packed) else item
        return known.setdefault((type(item), array.dtype.str, array.shape, hashlib.sha256(array.tobytes()).digest()), item)

    return [replace(row, x=one(row.x), b=one(row.b), c=one(row.c), fields=tuple(one(item) for item in row.fields)) for row in rows]
