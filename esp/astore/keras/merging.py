"""Layers that make one tensor of several."""

import numpy as np

from esp.astore.keras import values
from esp.astore.keras.activations import scaled
from esp.astore.keras.call import Call
from esp.astore.keras.values import Held, Perm

_MODES = {"sum": "Add", "mul": "Mul", "ave": "Mean", "max": "Max", "min": "Min"}
_SEVERAL = {"Add": "Sum", "Max": "Max", "Min": "Min"}  # ops that take any number of inputs


def merge(call: Call, op: str) -> Held:
    """Number by number, broadcast; tensors of fewer axes get new ones behind the batch."""
    call.settings.ignore("axis", "axes")
    if len(call.inputs) < 2 or (op == "Sub" and len(call.inputs) != 2):
        raise call.refused(f"it is called on {len(call.inputs)} tensors", "call it on two")
    perm, names = values.together(call.build, [_raised(call, call.floating(value)) for value in call.inputs])
    return call.held(_joined(call, op, names), perm)


def _joined(call: Call, op: str, names: list[str]) -> str:
    if op == "Mean":
        return scaled(call, _joined(call, "Add", names), 1 / len(names))
    if op in _SEVERAL and (len(names) > 2 or op != "Add"):
        return call.build.add(_SEVERAL[op], *names)
    joined = names[0]
    for name in names[1:]:
        joined = call.build.add(op, joined, name)
    return joined


def _raised(call: Call, value: Held) -> Held:
    """The tensor with as many axes as the input that has most."""
    missing = max(len(other.shape) for other in call.inputs) - len(value.shape)
    if not missing:
        return value
    shape = (value.shape[0], *(1,) * missing, *value.shape[1:])
    return call.held(values.reshape(call.build, call.tensor(value), shape))


def concatenate(call: Call) -> Held:
    """Side by side along an axis of the Keras tensors."""
    rank = call.rank(1, call.inputs[0])
    axis = call.settings.get("axis", -1)
    if not isinstance(axis, int) or not -rank <= axis < rank:
        raise call.settings.refused("axis", f"the inputs have {rank} axes", "mend the model")
    if len(call.inputs) == 1:
        return call.inputs[0]
    dtypes = {value.dtype for value in call.inputs}
    given = list(call.inputs) if len(dtypes) == 1 else [call.floating(value) for value in call.inputs]
    perm, names = values.together(call.build, given)
    return call.held(call.build.add("Concat", *names, axis=perm.index(axis % rank)), perm)


def old_merge(call: Call) -> Held:
    """Keras 1's Merge, whose mode says which of the others it is."""
    mode = call.settings.choice("mode", (*_MODES, "concat", "dot", "cos"), "sum")
    call.settings.ignore("mode", "concat_axis", "dot_axes", "mode_type", "output_shape_type", "output_mask_type", "arguments")
    if mode in _MODES:
        return merge(call, _MODES[mode])
    if mode == "concat":
        call.settings.config = {**call.settings.config, "axis": call.settings.get("concat_axis", -1)}
        return concatenate(call)
    call.settings.config = {**call.settings.config, "axes": call.settings.get("dot_axes", -1), "normalize": mode == "cos"}
    return dot(call)


def dot(call: Call) -> Held:
    """The product of two tensors, summed over an axis of each, row by row."""
    if len(call.inputs) != 2:
        raise call.refused(f"it is called on {len(call.inputs)} tensors", "call it on two")
    left, right = (call.floating(value) for value in call.inputs)
    axes = call.settings.get("axes")
    pair = [axes, axes] if isinstance(axes, int) else axes
    ranks = len(left.shape), len(right.shape)
    if not isinstance(pair, list | tuple) or len(pair) != 2 or not all(rank in (2, 3) for rank in ranks):
        raise call.refused(f"axes {axes!r} of inputs with {ranks[0]} and {ranks[1]} axes have no rule", "use inputs of 2 or 3 axes")
    at_left, at_right = (axis % rank for axis, rank in zip(pair, ranks))
    if 0 in (at_left, at_right):
        raise call.refused("it sums over the batch", "sum over another axis")
    is_normal = call.settings.flag("normalize")
    one = _matrix(call, left, at_left, is_normal, is_left=True)
    two = _matrix(call, right, at_right, is_normal, is_left=False)
    rest = [
        value.shape[axis] for value, at in ((left, at_left), (right, at_right)) for axis in range(1, len(value.shape)) if axis != at
    ]
    product = call.build.add("MatMul", one, two)
    return call.held(values.reshape(call.build, product, (left.shape[0], *(rest or [1]))))


def _matrix(call: Call, value: Held, axis: int, is_normal: bool, is_left: bool) -> str:
    """[N, rest, axis] of the left tensor, [N, axis, rest] of the right one; a rest that it lacks is 1."""
    rank = len(value.shape)
    if is_normal:
        value = normalised(call, value, (axis,))
    others = [other for other in range(1, rank) if other != axis]
    perm: Perm = (0, *others, axis) if is_left else (0, axis, *others)
    name = call.tensor(value, perm)
    if rank == 3:
        return name
    size = call.size(axis, value)
    return values.reshape(call.build, name, (value.shape[0], 1, size) if is_left else (value.shape[0], size, 1))


def normalised(call: Call, value: Held, axes: tuple[int, ...]) -> Held:
    """x over the root of its sum of squares along axes, which counts as 1e-12 at least."""
    perm, name = values.favourite(call.build, value)
    places = call.ints(*sorted(perm.index(axis) for axis in axes))
    total = call.build.add("ReduceSum", call.build.add("Mul", name, name), places, keepdims=1)
    root = call.build.add("Sqrt", call.build.add("Max", total, call.build.weight("floor", np.array(1e-12, np.float32))))
    return call.held(call.build.add("Div", name, root), perm)
