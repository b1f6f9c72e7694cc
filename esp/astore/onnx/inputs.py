"""What goes into an imported graph: which axis is the batch, which sizes are open, which inputs are weights."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from esp.astore.graph import Value
from esp.astore.onnx.draft import Declared, declared_of
from esp.astore.onnx.scope import Scope
from esp.astore.ops.dims import Dim
from esp.astore.ops.row import Array, Shape
from esp.errors import GraphError


@dataclass(frozen=True, slots=True)
class Asked:
    """How a model shall be read; ``read.read_model`` says what each means."""

    batch: bool = True
    shapes: Mapping[str, Sequence[int]] | None = None
    bind: Mapping[str, Array] | None = None
    outputs: Sequence[str] = ()


def entered(protos: Sequence[Any], asked: Asked, scope: Scope) -> tuple[Value, ...]:
    """The graph's inputs, entered into the scope; those that ``asked`` binds are weights of it."""
    shapes, bind = asked.shapes or {}, asked.bind or {}
    _check_names({proto.name for proto in protos}, shapes, bind)
    values, sizes = [], set[int]()
    for proto in protos:
        if proto.name in bind:
            scope.enter_weight(proto.name, bound(declared_of(proto), bind[proto.name]))
            continue
        if asked.outputs and proto.name not in scope.used:
            continue  # the graph is cut: it takes what it needs
        declared = declared_of(proto)
        shape = _shape(declared, shapes.get(proto.name), asked.batch)
        if asked.batch and declared.shape and isinstance(declared.shape[0], int):
            sizes.add(declared.shape[0])
        dtype = scope.widened(declared.dtype)
        scope.enter_input(declared.name, dtype, shape)
        values.append(Value(declared.name, dtype, shape))
    if len(sizes) == 1 and min(sizes) > 0:
        scope.batch = sizes.pop()
    elif sizes:
        what = f"the first sizes of the inputs are {', '.join(map(str, sorted(sizes)))}: no one batch"
        raise GraphError(what, mend="give those that are no batch by bind")
    return tuple(values)


def bound(declared: Declared, array: Array) -> Array:
    """An input's numbers in the dtype that the file declares. Raises GraphError where they are of another shape."""
    given = np.asarray(array)
    fits = declared.shape is None or (
        len(declared.shape) == given.ndim and all(isinstance(a, str) or a == b for a, b in zip(declared.shape, given.shape))
    )
    if not fits:
        what = f"bound to shape {list(given.shape)}, declared {list(declared.shape or ())}"
        raise GraphError(what, where=f"input {declared.name!r}", mend="give numbers of that shape")
    return given.astype(declared.dtype, copy=False)


def _check_names(names: set[str], shapes: Mapping[str, Any], bind: Mapping[str, Any]) -> None:
    for what, given in (("shapes", shapes), ("bind", bind)):
        for name in given:
            if name not in names:
                known = ", ".join(sorted(names)) or "none"
                raise GraphError(f"{what} names {name!r}, which is no input", mend=f"the inputs are: {known}")


def _shape(declared: Declared, given: Sequence[int] | None, is_batched: bool) -> Shape:
    """The shape that an input has in the graph."""
    where = f"input {declared.name!r}"
    said: Sequence[int | str] | None = declared.shape if declared.shape is not None else given
    if said is None:
        raise GraphError("the model does not say its shape", where=where, mend=_mend(declared.name, "N,..."))
    if given is not None and len(given) != len(said):
        what = f"shape {list(given)} for {len(said)} axes"
        raise GraphError(what, where=where, mend="give a size for each, the batch's too")
    if is_batched and not said:
        raise GraphError("it has no axis for the batch", where=where, mend="give its number by bind")
    return tuple(_size(declared, said, given, axis, is_batched and axis == 0) for axis in range(len(said)))


def _size(declared: Declared, said: Sequence[int | str], given: Sequence[int] | None, axis: int, is_batch: bool) -> Dim:
    if is_batch:
        return None
    size = said[axis]
    if given is not None:
        if isinstance(size, int) and size != given[axis]:
            what = f"axis {axis} is {size}, not {given[axis]}"
            raise GraphError(what, where=f"input {declared.name!r}", mend="give the size that the model has")
        size = given[axis]
    if isinstance(size, str) or size < 0:
        example = ",".join("N" if at == 0 else str(one) if isinstance(one, int) else "SIZE" for at, one in enumerate(said))
        what = f"axis {axis} ({size or 'no name'}) has no fixed size"
        raise GraphError(what, where=f"input {declared.name!r}", mend=_mend(declared.name, example))
    return size


def _mend(name: str, example: str) -> str:
    return f"say it: --shape {name}={example}"
