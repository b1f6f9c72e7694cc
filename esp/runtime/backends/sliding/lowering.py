"""The plan of a step: as any graph is lowered, but that what joins a ring with what is new reads and writes the ring."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from esp.astore.graph import Node
from esp.kernels.sliding import KEEP
from esp.runtime.backends.lowering.assembly import Table, assemble
from esp.runtime.backends.lowering.lowering import Lowering, lower
from esp.runtime.backends.lowering.passes import Attrs
from esp.runtime.backends.lowering.rules import CLAMPED, RULES
from esp.runtime.backends.lowering.values import Buffer, Value
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

    def concat(made: Lowering, node: Node, attrs: Attrs) -> Sequence[Value | None]:
        ring = known.get(node.inputs[0])
        return RULES["Concat"](made, node, attrs) if ring is None else [_joined(made, node, ring, rings.at[ring.name])]

    return assemble(lower(steps.step, {**RULES, "Concat": concat}, CLAMPED).rows, max_batch)


def _joined(made: Lowering, node: Node, ring: Ring, at: int) -> Value:
    kept, shape = ring.kept, made.net.shapes[node.outputs[0]]
    new = made.arranged(made.value(node, 1), ring.order)
    count = new.size // ring.inner
    out = Value(Buffer((kept.asked + count) * ring.inner), shape, ring.order)
    head, tail = kept.head - kept.ring[0], kept.tail - kept.ring[0]
    fields = (at, kept.phases, kept.size, kept.shift, ring.inner, head, tail, count)
    made.emit(KEEP, new.buffer, out.buffer, *fields, b=PLACES)
    return out
