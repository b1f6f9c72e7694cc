"""Forests and boosted trees: TreeEnsemble and its two elder forms, of ai.onnx.ml."""

from collections.abc import Sequence
from math import ceil, log2
from typing import Any

import numpy as np

from esp.astore.ops.forest import LEAF, MEMBER, Forest, checked, gathered, inside, leaves, numbers, of_tensor, reals, tracks
from esp.astore.ops.links import POST_TRANSFORM, POST_TRANSFORMS, check_labels, check_link, transformed
from esp.astore.ops.named_trees import named, named_attrs
from esp.astore.ops.row import FLOATS, Array, Attrs, AttrSpec, Dtypes, Op, Shape, Tensor, given, given_shape
from esp.astore.ops.rules import show
from esp.errors import GraphError

AGGREGATES = ("AVERAGE", "SUM", "MIN", "MAX")
INPUTS = (*FLOATS, "int64", "int32")  # of the ops of ai.onnx.ml


def features_of(shape: Shape) -> int:
    """How many features [rows, features] has. Raises GraphError for any other shape."""
    if len(shape) != 2 or not isinstance(shape[1], int):
        raise GraphError(f"wants [N, features], got {show(shape)}", mend="flatten the input first")
    return shape[1]


def floating(x: Array) -> Array:
    return x if x.dtype.kind == "f" else x.astype(np.float64)


def _base(attrs: Attrs, allowed: tuple[int, ...]) -> Array:
    base = reals(attrs, "base_values")
    if len(base) not in (0, *allowed):
        raise GraphError(f"base_values hold {len(base)} numbers", mend=f"give {' or '.join(map(str, allowed))}, or none")
    return base if len(base) else np.zeros(1, np.float32)


def _targets(attrs: Attrs) -> int:
    targets = attrs["n_targets"]
    if targets is None or targets < 1:
        raise GraphError(f"n_targets is {targets}", mend="say how many targets there are")
    return int(targets)


def _regress_shapes(attrs: Attrs, shapes: Sequence[Shape | None], constants: Sequence[Array | None]) -> list[Shape]:
    x, targets = given_shape(shapes[0]), _targets(attrs)
    checked(named(attrs, "target"), features_of(x), targets)
    check_link(attrs["post_transform"], targets)
    _base(attrs, (targets,))
    return [(x[0], targets)]


def _regress(attrs: Attrs, inputs: Sequence[Array | None], outputs: int) -> list[Array]:
    forest, targets = named(attrs, "target"), _targets(attrs)
    scores = gathered(forest, leaves(forest, floating(given(inputs[0]))), targets, attrs["aggregate_function"])
    return [transformed(scores + _base(attrs, (targets,)), attrs["post_transform"]).astype(np.float32)]


def _classify_shapes(attrs: Attrs, shapes: Sequence[Shape | None], constants: Sequence[Array | None]) -> list[Shape]:
    x, classes = given_shape(shapes[0]), check_labels(attrs, "classlabels_int64s")
    forest = checked(named(attrs, "class"), features_of(x), classes)
    if _has_one_side(forest, classes):
        _check_one_side(attrs, forest)
    else:
        _base(attrs, (classes,))
    return [(x[0],), (x[0], classes)]


def _has_one_side(forest: Forest, classes: int) -> bool:
    """Whether all votes are for one of two classes, so that the other's score follows from it."""
    return classes == 2 and len(np.unique(forest.targets)) < 2


def _check_one_side(attrs: Attrs, forest: Forest) -> None:
    """Raises GraphError but for the form that has an agreed meaning: class_ids are all 0, and stand for the second class."""
    _base(attrs, (1,))
    if forest.targets.any() or attrs["post_transform"] not in ("NONE", "LOGISTIC"):
        what = f"votes for one of two classes, with post_transform {attrs['post_transform']}, have no agreed meaning"
        raise GraphError(what, mend="give them the class_ids 0 and post_transform NONE or LOGISTIC, or vote for both classes")


def _classify(attrs: Attrs, inputs: Sequence[Array | None], outputs: int) -> list[Array]:
    labels = np.array(attrs["classlabels_int64s"], np.int64)
    forest, classes = named(attrs, "class"), len(labels)
    sums = gathered(forest, leaves(forest, floating(given(inputs[0]))), classes, "SUM")
    if _has_one_side(forest, classes):
        which, scores = _one_side(attrs, forest, sums[:, 0] + _base(attrs, (1,)))
    else:
        sums = sums + _base(attrs, (classes,))
        which, scores = np.asarray(sums.argmax(axis=1)), transformed(sums, attrs["post_transform"])
    made: list[Array] = [np.take(labels, which), scores.astype(np.float32)]
    return made[:outputs]


def _one_side(attrs: Attrs, forest: Forest, score: Array) -> tuple[Array, Array]:
    """Class and both scores, where there are votes for the second class alone.

    Votes that are all positive are taken for a probability, others for a margin around 0.
    """
    is_share = bool((forest.weights >= 0).all())
    which = (score > (0.5 if is_share else 0)).astype(np.int64)
    if attrs["post_transform"] == "LOGISTIC":
        return which, transformed(np.stack([-score, score], axis=1), "LOGISTIC")
    return which, np.stack([1 - score if is_share else -score, score], axis=1)


def _flat(attrs: Attrs) -> Forest:
    """The forest of TreeEnsemble: branches by number, and leaves, which follow them here."""
    features = numbers(attrs, "nodes_featureids")
    count, kinds = len(features), attrs["nodes_modes"]
    if kinds.dtype != "uint8" or kinds.shape != (count,) or not count:
        raise GraphError(f"nodes_modes are not {count} numbers of uint8", mend="give each node its mode, 0 to 6")
    modes = inside(kinds.array.astype(np.int64), LEAF, "nodes_modes")
    weights, targets = of_tensor(attrs["leaf_weights"], "leaf_weights"), numbers(attrs, "leaf_targetids")
    splits = of_tensor(attrs["nodes_splits"], "nodes_splits")
    if len(splits) != count or len(weights) != len(targets):
        what = f"{len(splits)} nodes_splits for {count} nodes, {len(weights)} leaf_weights for {len(targets)} targets"
        raise GraphError(what, mend="give each its own")
    size = len(weights)
    none = np.zeros(size, np.int64)
    return Forest(
        inside(numbers(attrs, "tree_roots"), count, "tree_roots"),
        np.concatenate([modes, np.full(size, LEAF)]),
        np.concatenate([features, none]),
        np.concatenate([splits, none.astype(splits.dtype)]),
        np.concatenate([_side(attrs, "true", count, size), none]),
        np.concatenate([_side(attrs, "false", count, size), none]),
        np.concatenate([tracks(attrs, count), none.astype(np.bool_)]),
        np.concatenate([np.zeros(count, np.int64), np.arange(size)]),
        np.concatenate([np.zeros(count, np.int64), np.ones(size, np.int64)]),
        targets,
        weights,
        _members(attrs, np.flatnonzero(modes == MEMBER)),
    )


def _side(attrs: Attrs, side: str, count: int, leaves: int) -> Array:
    """Where each branch leads on one side, leaves counted on after the branches."""
    ids, is_leaf = numbers(attrs, f"nodes_{side}nodeids", count), numbers(attrs, f"nodes_{side}leafs", count) != 0
    inside(ids[is_leaf], leaves, f"nodes_{side}nodeids")
    inside(ids[~is_leaf], count, f"nodes_{side}nodeids")
    return np.where(is_leaf, ids + count, ids)


def _members(attrs: Attrs, nodes: Array) -> dict[int, Array]:
    """The numbers that each node of mode BRANCH_MEMBER looks for: a NaN ends those of a node."""
    tensor: Tensor | None = attrs["membership_values"]
    values = np.zeros(0) if tensor is None else of_tensor(tensor, "membership_values")
    parts = np.split(values, np.flatnonzero(np.isnan(values)))
    parts = [part[~np.isnan(part)] for part in parts]
    if len(parts) < len(nodes) or any(len(part) for part in parts[len(nodes) :]):
        raise GraphError(f"membership_values are not of {len(nodes)} nodes", mend="end the members of each node with a NaN")
    return dict(zip(nodes.tolist(), parts))


def _ensemble_shapes(attrs: Attrs, shapes: Sequence[Shape | None], constants: Sequence[Array | None]) -> list[Shape]:
    x, targets = given_shape(shapes[0]), _targets(attrs)
    forest = checked(_flat(attrs), features_of(x), targets)
    if not len(forest.roots):
        raise GraphError("there are no tree_roots", mend="name the root of each tree")
    check_link(POST_TRANSFORMS[attrs["post_transform"]], targets)
    return [(x[0], targets)]


def _ensemble(attrs: Attrs, inputs: Sequence[Array | None], outputs: int) -> list[Array]:
    x, forest = given(inputs[0]), _flat(attrs)
    scores = gathered(forest, leaves(forest, x), _targets(attrs), AGGREGATES[attrs["aggregate_function"]])
    return [transformed(scores, POST_TRANSFORMS[attrs["post_transform"]]).astype(x.dtype)]


def _flops(attrs: Attrs, ins: Sequence[Shape | None], outs: Sequence[Shape]) -> int:
    """A comparison a level and an addition a tree, as if the trees were even and of one size."""
    nodes = attrs.get("nodes_treeids") or attrs["nodes_featureids"]
    trees = len(attrs["tree_roots"]) if "tree_roots" in attrs else len(set(nodes))
    return trees * (ceil(log2(len(nodes) / trees + 1)) + 1)


def _op(name: str, rules: tuple[Any, Any], attrs: dict[str, AttrSpec], dtypes: Dtypes, outputs: int = 1) -> Op:
    shapes, reference = rules
    return Op(name, (1, 1), shapes, reference, _flops, attrs, (1, outputs), dtypes, trainable=(), domain="ai.onnx.ml")


_REGRESSOR_ATTRS = {
    **named_attrs("target"),
    **POST_TRANSFORM,
    "aggregate_function": AttrSpec("string", "SUM", choices=AGGREGATES),
    "n_targets": AttrSpec("int"),
}
_CLASSIFIER_ATTRS = {
    **named_attrs("class"),
    **POST_TRANSFORM,
    "classlabels_int64s": AttrSpec("ints"),
    "classlabels_strings": AttrSpec("strings"),
}
_ENSEMBLE_ATTRS = {
    "aggregate_function": AttrSpec("int", 1, choices=tuple(range(len(AGGREGATES)))),
    "post_transform": AttrSpec("int", 0, choices=tuple(range(len(POST_TRANSFORMS)))),
    "n_targets": AttrSpec("int"),
    "membership_values": AttrSpec("tensor"),
    "nodes_hitrates": AttrSpec("tensor"),
    "nodes_missing_value_tracks_true": AttrSpec("ints"),
    **{name: AttrSpec("tensor", is_required=True) for name in ("leaf_weights", "nodes_modes", "nodes_splits")},
    **{
        name: AttrSpec("ints", is_required=True)
        for name in (
            "leaf_targetids", "nodes_falseleafs", "nodes_falsenodeids", "nodes_featureids", "nodes_trueleafs", "nodes_truenodeids",
            "tree_roots",
        )
    },
}  # fmt: skip

TREES = {
    "TreeEnsembleRegressor": _op(
        "TreeEnsembleRegressor", (_regress_shapes, _regress), _REGRESSOR_ATTRS, Dtypes(INPUTS, outputs={0: "float32"})
    ),
    "TreeEnsembleClassifier": _op(
        "TreeEnsembleClassifier",
        (_classify_shapes, _classify),
        _CLASSIFIER_ATTRS,
        Dtypes(INPUTS, outputs={0: "int64", 1: "float32"}),
        2,
    ),
    "TreeEnsemble": _op("TreeEnsemble", (_ensemble_shapes, _ensemble), _ENSEMBLE_ATTRS, Dtypes()),
}
