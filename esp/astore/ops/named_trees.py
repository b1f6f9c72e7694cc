"""The forests of TreeEnsembleRegressor and TreeEnsembleClassifier: lists of nodes that are named by tree and number."""

from collections.abc import Sequence

import numpy as np

from esp.astore.ops.forest import LEAF, MEMBER, MODES, Forest, numbers, reals, tracks
from esp.astore.ops.row import Array, Attrs, AttrSpec
from esp.errors import GraphError

_REAL_LISTS = ("base_values", "nodes_hitrates", "nodes_values")
_WHOLE_LISTS = (
    "nodes_falsenodeids", "nodes_featureids", "nodes_missing_value_tracks_true", "nodes_nodeids", "nodes_treeids", "nodes_truenodeids",
)  # fmt: skip


def named_attrs(votes: str) -> dict[str, AttrSpec]:
    """The attributes of the nodes, and of the votes of the leaves, whose names begin with ``votes``."""
    reals_of = (*_REAL_LISTS, f"{votes}_weights")
    wholes = (*_WHOLE_LISTS, f"{votes}_ids", f"{votes}_nodeids", f"{votes}_treeids")
    return {
        "nodes_modes": AttrSpec("strings"),
        **{name: AttrSpec("floats") for name in reals_of},
        **{f"{name}_as_tensor": AttrSpec("tensor") for name in reals_of},
        **{name: AttrSpec("ints") for name in wholes},
    }


def named(attrs: Attrs, votes: str) -> Forest:
    """The forest that the attributes describe. Raises GraphError where they do not fit together."""
    trees = numbers(attrs, "nodes_treeids")
    count = len(trees)
    if not count:
        raise GraphError("there are no nodes", mend="give nodes_treeids, nodes_nodeids and the others of each node")
    modes = _modes(attrs, count)
    nodes = _Names(trees, numbers(attrs, "nodes_nodeids", count))
    when_true, when_false = (_arm(attrs, name, nodes, trees, modes) for name in ("nodes_truenodeids", "nodes_falsenodeids"))
    voters = nodes.find(numbers(attrs, f"{votes}_treeids"), numbers(attrs, f"{votes}_nodeids"), f"{votes}_nodeids")
    order = np.argsort(voters, kind="stable")
    votes_of = np.bincount(voters, minlength=count)
    return Forest(
        _roots(trees, modes, when_true, when_false),
        modes,
        numbers(attrs, "nodes_featureids", count),
        reals(attrs, "nodes_values", count),
        when_true,
        when_false,
        tracks(attrs, count),
        np.cumsum(votes_of) - votes_of,
        np.where(modes == LEAF, votes_of, 0),
        numbers(attrs, f"{votes}_ids", len(voters))[order],
        reals(attrs, f"{votes}_weights", len(voters))[order],
        {},
    )


def _modes(attrs: Attrs, count: int) -> Array:
    given: Sequence[str] = attrs["nodes_modes"] or ()
    known = {mode: at for at, mode in enumerate(MODES) if at != MEMBER}
    if len(given) != count or any(mode not in known for mode in given):
        raise GraphError(f"nodes_modes are not {count} modes", mend=f"use: {', '.join(known)}")
    return np.array([known[mode] for mode in given], np.int64)


def _arm(attrs: Attrs, name: str, nodes: "_Names", trees: Array, modes: Array) -> Array:
    """Where each branch leads on one of its two sides; 0 for a leaf."""
    is_branch = modes != LEAF
    arm = np.zeros(len(modes), np.int64)
    arm[is_branch] = nodes.find(trees[is_branch], numbers(attrs, name, len(modes))[is_branch], name)
    return arm


def _roots(trees: Array, modes: Array, when_true: Array, when_false: Array) -> Array:
    is_child = np.zeros(len(trees), np.bool_)
    is_child[when_true[modes != LEAF]] = True
    is_child[when_false[modes != LEAF]] = True
    roots = np.flatnonzero(~is_child)
    count = len(np.unique(trees))
    if len(roots) != count or len(np.unique(trees[roots])) != count:
        raise GraphError(f"{count} trees have {len(roots)} roots", mend="give each tree one node that is no other's child")
    return roots


class _Names:
    """Finds a node by the numbers of its tree and of itself within it."""

    def __init__(self, trees: Array, nodes: Array) -> None:
        self._trees, tree_ranks = np.unique(trees, return_inverse=True)
        self._nodes, node_ranks = np.unique(nodes, return_inverse=True)
        keys = tree_ranks * len(self._nodes) + node_ranks
        self._order = np.argsort(keys, kind="stable")
        self._keys = keys[self._order]
        if (self._keys[1:] == self._keys[:-1]).any():
            raise GraphError("a node of a tree is there twice", mend="number the nodes of a tree without repeats")

    def find(self, trees: Array, nodes: Array, what: str) -> Array:
        """Where the nodes stand. Raises GraphError, naming ``what``, where one does not exist."""
        if len(trees) != len(nodes):
            raise GraphError(f"{what} holds {len(nodes)} numbers, {len(trees)} wanted", mend="give each its own")
        tree_at = np.minimum(np.searchsorted(self._trees, trees), len(self._trees) - 1)
        node_at = np.minimum(np.searchsorted(self._nodes, nodes), len(self._nodes) - 1)
        keys = tree_at * len(self._nodes) + node_at
        at = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
        if not ((self._trees[tree_at] == trees) & (self._nodes[node_at] == nodes) & (self._keys[at] == keys)).all():
            raise GraphError(f"{what} names a node that is not there", mend="name nodes of the same tree")
        return np.asarray(self._order[at])
