"""Where a file's fixed batch size stands among its constants: there it is made symbolic, without a change to any row."""

from collections.abc import Callable, Sequence
from math import prod

import numpy as np

from esp.astore.onnx.draft import Draft
from esp.astore.onnx.opset6 import PAIRWISE
from esp.astore.onnx.scope import Scope
from esp.astore.ops.dims import Rows, outer_of, rows_in
from esp.astore.ops.row import Array, Shape
from esp.astore.ops.rules import batch_axis, is_batch, show, size_of
from esp.errors import GraphError

_STATES = (4, 5, 6)  # of a recurrent node: sequence_lens, initial_h, initial_c
_SIZES = range(1, 1 << 63)  # that int64 holds
RECURRENT = ("RNN", "GRU", "LSTM")
MEETING = (
    *RECURRENT,
    *PAIRWISE,
    "Concat",
    "Expand",
    "Max",
    "Mean",
    "Min",
    "Mod",
    "Sum",
    "Where",
)  # rows of one tensor meet another's
Retarget = Callable[[Shape, list[int], int], list[int] | None]


def with_open_batch(draft: Draft, scope: Scope) -> list[Draft]:
    """The node, what stood for the batch in its constants now open; before it the nodes that this takes.

    A Reshape keeps the batch where it stood, an Expand and a Resize leave it as it is, a constant that meets rows of the batch
    in a Concat or as a recurrent state is repeated for each, where it is the same for all. At the file's own batch size nothing changes.
    """
    if draft.op == "Resize":
        return [_resized(draft, scope)]
    if scope.batch is None:
        return [draft]
    if draft.op == "Reshape" and len(draft.inputs) == 2:
        return [_retargeted(draft, scope, scope.batch, _reshape_target)]
    if draft.op == "Expand" and len(draft.inputs) == 2:
        return [_retargeted(_of_one_row(draft, scope), scope, scope.batch, _expand_target)]
    if draft.op == "Concat":
        return _repeated(draft, scope, range(len(draft.inputs)), None)
    if draft.op in RECURRENT and draft.inputs and len(scope.shape(draft.inputs[0])) == 3:
        return _repeated(draft, scope, [at for at in _STATES if at < len(draft.inputs)], 1)
    return [draft]


def at_fixed_batch(err: GraphError, draft: Draft, scope: Scope) -> GraphError:
    """The error of a node; where a tensor made for the file's batch alone met the rows of any, with what helps."""
    shapes = [scope.shape(name) if name else () for name in draft.inputs]
    if draft.op == "Expand":
        target = scope.facts.numbers.get(scope.resolve(draft.inputs[1]))
        shapes[1] = () if target is None else tuple(target.reshape(-1).tolist())
    behind = max((len(shape) - at for shape in shapes if (at := batch_axis(shape)) is not None), default=0)
    is_recurrent = draft.op in RECURRENT
    meeting = shapes[_STATES[0] : _STATES[-1] + 1] if is_recurrent else [shape for shape in shapes if len(shape) >= behind]
    fixed = [shape for shape in meeting if behind and shape and shape[-min(behind, len(shape))] == scope.batch]
    if err.where or scope.batch in (None, 1) or not fixed or draft.op not in MEETING:
        return err
    what = f"a tensor of shape {show(fixed[0])} holds {scope.batch} rows of its own, the batch of the file ({err.what})"
    return GraphError(what, mend="export it with a dynamic batch, or batch 1")


def canonical_target(draft: Draft, scope: Scope) -> Draft:
    """A Reshape that says -1 for the batch: no chain of nodes is needed to compute its target."""
    if draft.op != "Reshape" or scope.resolve(draft.inputs[1]) in scope.weights:
        return draft
    shape = scope.shape(draft.outputs[0])
    if sum(map(is_batch, shape)) != 1 or not all(is_batch(size) or (isinstance(size, int) and size in _SIZES) for size in shape):
        return draft
    target = np.array([-1 if is_batch(size) else size for size in shape], np.int64)
    return draft.sibling("Reshape", [draft.inputs[0], scope.constant(target, f"{draft.outputs[0]}/shape")], draft.outputs)


def _retargeted(draft: Draft, scope: Scope, batch: int, change: Retarget) -> Draft:
    shape, target = scope.shape(draft.inputs[0]), scope.numbers(draft.inputs[1])
    if batch_axis(shape) is None or target is None or target.ndim != 1:
        return draft
    if draft.attrs.get("allowzero") and 0 in target:  # no numbers at all
        return draft
    wanted = change(shape, [int(size) for size in target], batch)
    if wanted is None or wanted == target.tolist() or not all(size == -1 or size in _SIZES for size in wanted):
        return draft
    name = scope.constant(np.array(wanted, np.int64), f"{draft.outputs[0]}/shape")
    return draft.sibling(draft.op, [draft.inputs[0], name], draft.outputs)


def _reshape_target(shape: Shape, target: list[int], batch: int) -> list[int] | None:
    """The target with -1 in the batch's place: the axis that holds it whole, with what lies before it on that axis."""
    target = [_own(shape, axis, batch) if size == 0 and axis < len(shape) else size for axis, size in enumerate(target)]
    total, known = size_of(shape) * batch, prod(size for size in target if size != -1)
    if -1 in target and known > 0 and total % known == 0:
        target[target.index(-1)] = total // known
    place = _place(shape, target, batch)
    return None if place is None else [*target[:place], -1, *target[place + 1 :]]


def _place(shape: Shape, target: Sequence[int], batch: int) -> int | None:
    """The axis of a target of sizes that the batch is in.

    A batch of 1 may be in several: then it is in one of its own, in the rows of a matrix that was none, or where it was before.
    No other choice gives other numbers, only an axis that the nodes behind it cannot use.
    """
    at = batch_axis(shape)
    assert at is not None
    before = size_of(shape[:at]) * outer_of(shape[at])
    places, own, known = list[int](), list[int](), 1
    for axis, size in enumerate(target):
        if known <= 0 or before % known or size <= 0:
            break
        if size % (before // known * batch) == 0:
            places.append(axis)
            own += [axis] if size == batch and known == before else []
        known *= size
    best = own or places
    if len(target) == 2 < len(shape) and best:
        return best[0]
    return at if at in best else best[0] if best else None


def _own(shape: Shape, axis: int, batch: int) -> int:
    return size_of(shape[axis : axis + 1]) * (batch if is_batch(shape[axis]) else 1)


def _expand_target(shape: Shape, target: list[int], batch: int) -> list[int] | None:
    """The target with 1, which keeps a size, in the batch's place."""
    at = batch_axis(shape)
    assert at is not None
    axis = len(target) - len(shape) + at
    if axis < 0 or target[axis] != batch:
        return None
    return [*target[:axis], 1, *target[axis + 1 :]]


def _of_one_row(draft: Draft, scope: Scope) -> Draft:
    """An Expand to any batch of what holds the same for each row of the file's."""
    shape, target = scope.shape(draft.inputs[0]), scope.facts.numbers.get(scope.resolve(draft.inputs[1]))
    sizes = [] if target is None or batch_axis(shape) is not None else target.reshape(-1).tolist()
    at = next((axis - len(sizes) for axis, size in enumerate(sizes) if isinstance(size, Rows)), -len(shape) - 1)
    one = _one_row(scope, draft.inputs[0], at) if at >= -len(shape) and shape[at] == scope.batch else None
    return draft.sibling("Expand", [one, draft.inputs[1]], draft.outputs) if one else draft


def _resized(draft: Draft, scope: Scope) -> Draft:
    """A Resize to sizes that leaves the batch out of them: it names the axes that it resizes."""
    if len(draft.inputs) != 4 or "axes" in draft.attrs or len(draft.inputs[1]) > 0:
        return draft
    shape, sizes = scope.shape(draft.inputs[0]), scope.facts.numbers.get(scope.resolve(draft.inputs[3]))
    at = batch_axis(shape)
    if at is None or sizes is None or sizes.shape != (len(shape),):
        return draft
    rest = [(axis, size) for axis, size in enumerate(sizes.tolist()) if axis != at]
    if sizes[at] not in (scope.batch, Rows(rows_in(shape[at]))) or not all(isinstance(size, int) for _, size in rest):
        return draft
    name = scope.constant(np.array([size for _, size in rest], np.int64), f"{draft.outputs[0]}/sizes")
    attrs = {**draft.attrs, "axes": tuple(axis for axis, _ in rest)}
    return draft.sibling("Resize", [draft.inputs[0], "", "", name], draft.outputs, attrs)


def _repeated(draft: Draft, scope: Scope, at: Sequence[int], axis: int | None) -> list[Draft]:
    """The node with those of its inputs repeated for each row that have the batch fixed where others have it open."""
    shapes = [scope.shape(name) if name else () for name in draft.inputs]
    leader = next((index for index, shape in enumerate(shapes) if batch_axis(shape) is not None), None)
    if leader is None:
        return [draft]
    batch_at = batch_axis(shapes[leader]) if axis is None else axis
    assert batch_at is not None
    made, inputs = list[Draft](), list(draft.inputs)
    for index in at:
        place = 0 if axis is not None and index == 4 else batch_at  # sequence_lens has the one axis
        if not inputs[index] or place >= len(shapes[index]) or batch_axis(shapes[index]) is not None:
            continue
        if shapes[index][place] != scope.batch or not is_batch(shapes[leader][batch_at]):
            continue
        if axis is not None and _is_default(scope.numbers(inputs[index]), index, shapes[0]):
            inputs[index] = ""
            continue
        one = _one_row(scope, inputs[index], place)
        if one is None:
            continue
        nodes, inputs[index] = _repeat(draft, scope, one, (draft.inputs[leader], batch_at), place)
        made += nodes
    return [*made, draft.sibling(draft.op, inputs, draft.outputs, draft.attrs)]


def _one_row(scope: Scope, name: str, place: int) -> str | None:
    """What a tensor holds for each row of the file's batch, that batch on axis ``place``; None where rows may differ."""
    if scope.shape(name)[place] == 1:
        return name
    numbers = scope.numbers(name)
    first = None if numbers is None else numbers.take([0], place)
    if numbers is None or first is None or not np.array_equal(numbers, np.broadcast_to(first, numbers.shape)):
        return None
    return scope.constant(first, f"{name}/row")


def _is_default(numbers: Array | None, index: int, x: Shape) -> bool:
    """Whether a recurrent input says what is so without it: states of zeros, sequences of full length."""
    return numbers is not None and bool((numbers == (x[0] if index == 4 else 0)).all())


def _repeat(draft: Draft, scope: Scope, name: str, leader: tuple[str, int], place: int) -> tuple[list[Draft], str]:
    """Nodes that repeat ``name`` along its axis ``place`` as often as ``leader`` (tensor, axis) has rows."""
    base, rank = f"{draft.outputs[0] or draft.name}/{name}", len(scope.shape(name))
    rows, target, repeated = (scope.fresh(f"{base}_{part}") for part in ("rows", "shape", "repeated"))
    parts = [rows]
    if place:
        parts.insert(0, scope.constant(np.ones(place, np.int64), f"{base}_before"))
    if place + 1 < rank:
        parts.append(scope.constant(np.ones(rank - place - 1, np.int64), f"{base}_after"))
    nodes = [
        draft.sibling("Shape", [leader[0]], [rows], {"start": leader[1], "end": leader[1] + 1}),
        draft.sibling("Concat", parts, [target], {"axis": 0}),
        draft.sibling("Expand", [name, target], [repeated]),
    ]
    return nodes, repeated
