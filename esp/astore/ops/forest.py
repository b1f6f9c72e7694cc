"""A forest as flat arrays, made of the attributes of the ops of ai.onnx.ml and checked to be trees, and the walk down it."""

from dataclasses import dataclass

import numpy as np

from esp.astore.ops.row import Array, Attrs, Tensor
from esp.errors import GraphError

MODES = ("BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ", "BRANCH_MEMBER", "LEAF")
LEAF, MEMBER = MODES.index("LEAF"), MODES.index("BRANCH_MEMBER")
_FOLDS = {"MIN": (np.minimum, np.inf), "MAX": (np.maximum, -np.inf)}


@dataclass(frozen=True, slots=True)
class Forest:
    """Nodes of all trees by number, leaves among them, and what each leaf adds to which target, in the order of the leaves."""

    roots: Array
    modes: Array
    features: Array
    splits: Array
    when_true: Array
    when_false: Array
    tracks_true: Array  # where a missing number goes
    first_vote: Array  # of each node
    votes: Array  # how many it has
    targets: Array
    weights: Array
    members: dict[int, Array]  # of each BRANCH_MEMBER node


def numbers(attrs: Attrs, name: str, size: int | None = None) -> Array:
    """A list of whole numbers as an array. Raises GraphError where they are too large, or not ``size``."""
    try:
        array = np.array(attrs[name] or (), np.int64)
    except OverflowError as err:
        raise GraphError(f"{name} holds a number past 64 bits", mend="write numbers that int64 holds") from err
    return _sized(array, name, size)


def reals(attrs: Attrs, name: str, size: int | None = None) -> Array:
    """The list ``name``, float32, or the tensor that may stand in its place."""
    tensor: Tensor | None = attrs.get(f"{name}_as_tensor")
    array = np.array(attrs[name] or (), np.float32) if tensor is None else of_tensor(tensor, f"{name}_as_tensor")
    return _sized(array, name, size)


def of_tensor(tensor: Tensor, name: str) -> Array:
    if tensor.dtype not in ("float16", "float32", "float64") or len(tensor.shape) != 1:
        what = f"{name} is {tensor.dtype} of {len(tensor.shape)} axes"
        raise GraphError(what, mend="give a floating tensor of one axis")
    return tensor.array


def _sized(array: Array, name: str, size: int | None) -> Array:
    if size is not None and len(array) != size:
        raise GraphError(f"{name} holds {len(array)} numbers, {size} wanted", mend="give each its own")
    return array


def inside(array: Array, size: int, name: str) -> Array:
    """Raises GraphError unless every number is in [0, size)."""
    if array.size and not (array.min() >= 0 and array.max() < size):
        raise GraphError(f"{name} is not within 0 and {size - 1} throughout", mend="name what is there")
    return array


def checked(forest: Forest, features: int, targets: int) -> Forest:
    """The forest, if its nodes make trees. Raises GraphError for a cycle, a shared node, an unknown feature or target."""
    is_branch = forest.modes != LEAF
    inside(forest.features[is_branch], features, "nodes_featureids")
    inside(forest.targets, targets, "the targets of the leaves")
    is_seen = np.zeros(len(forest.modes), np.bool_)
    front = forest.roots
    while len(front):
        if is_seen[front].any() or len(np.unique(front)) < len(front):
            raise GraphError("a node of a tree is reached in two ways", mend="give each node one parent")
        is_seen[front] = True
        front = front[is_branch[front]]
        front = np.concatenate([forest.when_true[front], forest.when_false[front]])
    if not is_seen[is_branch].all():
        raise GraphError("a branch hangs on no tree", mend="let each node but the roots be another's child")
    return forest


def leaves(forest: Forest, x: Array) -> Array:
    """The leaf that each row of ``x`` [rows, features] ends at; [rows, trees]."""
    at = np.repeat(forest.roots[None], len(x), axis=0)
    rows = np.arange(len(x))[:, None]
    while True:
        is_on = forest.modes[at] != LEAF
        if not is_on.any():
            return at
        seen = x[rows, np.where(is_on, forest.features[at], 0)]
        goes_on = _holds(forest, at, seen) | (np.isnan(seen) & forest.tracks_true[at])
        at = np.where(is_on, np.where(goes_on, forest.when_true[at], forest.when_false[at]), at)


def _holds(forest: Forest, at: Array, seen: Array) -> Array:
    """Whether the condition of each node holds for what it sees."""
    splits = forest.splits[at]
    less, same, more = seen < splits, seen == splits, seen > splits
    holds = np.select([forest.modes[at] == mode for mode in range(6)], [less | same, less, more | same, more, same, ~same])
    for node, members in forest.members.items():
        is_here = at == node
        holds[is_here] = np.isin(seen[is_here], members)
    return np.asarray(holds, np.bool_)


def gathered(forest: Forest, ends: Array, targets: int, aggregate: str) -> Array:
    """What the leaves reached [rows, trees] make of each target, in float64; 0 where none votes for it; [rows, targets]."""
    fold, start = _FOLDS.get(aggregate, (np.add, 0.0))
    out = np.full((len(ends), targets), start)
    for at in range(int(forest.votes.max(initial=0))):
        rows, trees = np.nonzero(forest.votes[ends] > at)
        vote = forest.first_vote[ends[rows, trees]] + at
        fold.at(out, (rows, forest.targets[vote]), forest.weights[vote].astype(np.float64))
    if aggregate == "AVERAGE":
        return np.asarray(out / len(forest.roots))
    return np.where(np.isinf(out) & (out == start), 0, out)


def tracks(attrs: Attrs, count: int) -> Array:
    """Whether a missing number takes the side of a condition that holds, node by node."""
    if not attrs["nodes_missing_value_tracks_true"]:
        return np.zeros(count, np.bool_)
    return np.asarray(numbers(attrs, "nodes_missing_value_tracks_true", count) != 0)
