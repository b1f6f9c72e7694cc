"""What a row of the op table says of an op; nothing else describes one."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from esp.astore.graph import Array, Attr, Shape

Attrs = Mapping[str, Any]  # complete: defaults filled in


@dataclass(frozen=True, slots=True)
class AttrSpec:
    """An attribute: its type as in ONNX (int, float, string, ints, floats, strings), its default (None = left out means 'not given')."""

    type: str
    default: Attr | None = None
    is_required: bool = False
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Op:
    """One operator with ONNX meaning.

    ``shapes(attrs, shapes, constants)`` gives the shapes of the outputs, or raises GraphError; ``constants[i]`` is input i
    where it is a weight (Reshape's shape, say), else None. ``reference(attrs, inputs, outputs)`` is the obvious numpy
    computation, with ``outputs`` the number of outputs wanted; an optional input left out is None. ``flops(attrs, ins, outs)``
    counts floating-point operations for one row (batch axis taken as 1; a multiply-add counts two).
    """

    name: str
    inputs: tuple[int, int]  # at least, at most
    shapes: Callable[[Attrs, Sequence[Shape | None], Sequence[Array | None]], list[Shape]]
    reference: Callable[[Attrs, Sequence[Array | None], int], list[Array]]
    flops: Callable[[Attrs, Sequence[Shape | None], Sequence[Shape]], int]
    attrs: Mapping[str, AttrSpec] = field(default_factory=dict)
    outputs: tuple[int, int] = (1, 1)
