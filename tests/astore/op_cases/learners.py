"""The ops of ai.onnx.ml: forests, linear models and the preparing of features."""

from collections.abc import Callable

import numpy as np

from esp.astore.ops.row import Tensor
from tests.astore.op_cases.case import BATCH, Case, flip, floats

MODES = ("BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ")
FEATURES = 4


def reals(array):
    return tuple(float(number) for number in array)


def table(rng, dtype="float32"):
    """Small whole and half numbers, so that equality happens, and now and then a NaN."""
    x = rng.integers(-4, 5, (BATCH, FEATURES)) / 2
    x[rng.random(x.shape) < 0.1] = np.nan
    return x.astype(dtype) if np.dtype(dtype).kind == "f" else np.nan_to_num(x).astype(dtype)


def grow(rng, tree, depth, rows, leaf):
    """Appends a random tree's nodes to ``rows``: (tree, node, feature, split, mode, true, false, tracks); calls ``leaf`` of each."""
    numbers = iter(range(1, 1000))

    def add(node, left):
        if left == 0 or (rng.random() < 0.2 and node):
            rows.append((tree, node, 0, 0.0, "LEAF", 0, 0, 0))
            leaf(tree, node)
            return
        yes, no = next(numbers), next(numbers)
        mode = MODES[int(rng.integers(6))] if flip(rng) else "BRANCH_LEQ"
        # a NaN that is unequal takes the side that the attribute tracks or, in the runtimes, always that of "true"
        tracks = 1 if mode == "BRANCH_NEQ" else int(flip(rng))
        rows.append((tree, node, int(rng.integers(FEATURES)), float(rng.integers(-4, 5)) / 2, mode, yes, no, tracks))
        add(yes, left - 1)
        add(no, left - 1)

    add(0, depth)


def forest(rng, votes, targets, most):
    """Attributes of a forest, a leaf voting for up to ``most`` targets of ``targets``; the nodes in a random order."""
    rows, given = [], []

    def leaf(tree, node):
        for target in rng.choice(targets, int(rng.integers(1, most + 1)), replace=False):
            given.append((tree, node, int(target), float(np.float32(rng.standard_normal()))))

    for tree in range(int(rng.integers(1, 6))):
        grow(rng, tree * 3, int(rng.integers(0, 4)), rows, leaf)
    trees, nodes, features, splits, modes, yes, no, tracks = zip(*rows)
    attrs = {
        "nodes_treeids": trees, "nodes_nodeids": nodes, "nodes_featureids": features, "nodes_values": splits, "nodes_modes": modes,
        "nodes_truenodeids": yes, "nodes_falsenodeids": no, "nodes_missing_value_tracks_true": tracks,
    }  # fmt: skip
    names = ("treeids", "nodeids", "ids", "weights")
    return attrs | {f"{votes}_{name}": column for name, column in zip(names, zip(*given))}


def regressor(rng):
    targets = int(rng.integers(1, 4))
    attrs = forest(rng, "target", range(targets), targets) | {"n_targets": targets}
    attrs["aggregate_function"] = str(rng.choice(["SUM", "AVERAGE", "MIN", "MAX"]))
    if targets > 1:
        attrs["post_transform"] = str(rng.choice(["NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO"]))
    sums = attrs["aggregate_function"] in ("SUM", "AVERAGE") and attrs.get("post_transform") != "SOFTMAX_ZERO"
    if flip(rng) and sums:  # in others onnxruntime forgets the base of what has no votes
        attrs["base_values"] = reals(floats(rng, targets))
    return Case("TreeEnsembleRegressor", [table(rng)], attrs)


def classifier(rng):
    """Three classes or more, each voted for by every leaf; or two, with votes for the second alone, as boosting has them."""
    classes = int(rng.integers(2, 5))
    attrs = forest(rng, "class", range(classes if classes > 2 else 1), 1)
    if classes > 2:
        # every class has a score in every row: without one onnxruntime leaves it out of the choice
        ids = [(tree, node) for tree, node in zip(attrs["class_treeids"], attrs["class_nodeids"])]
        spread = [(tree, node, kind, float(np.float32(rng.standard_normal()))) for tree, node in ids for kind in range(classes)]
        attrs |= {f"class_{name}": column for name, column in zip(("treeids", "nodeids", "ids", "weights"), zip(*spread))}
        attrs["post_transform"] = str(rng.choice(["NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO"]))
        attrs |= {"base_values": reals(floats(rng, classes))} if flip(rng) else {}
    else:
        if flip(rng):
            attrs["class_weights"] = tuple(abs(weight) for weight in attrs["class_weights"])
        attrs |= {"base_values": reals(floats(rng, 1))} if flip(rng) else {}
        attrs["post_transform"] = str(rng.choice(["NONE", "LOGISTIC"]))
    attrs["classlabels_int64s"] = tuple(range(7, 7 + classes))
    return Case("TreeEnsembleClassifier", [table(rng)], attrs, outputs=2)


def ensemble(rng):
    """The branches and leaves of TreeEnsemble, grown top down; a node may ask for a member of a set."""
    dtype = np.float32 if flip(rng) else np.float64
    targets = int(rng.integers(1, 4))
    nodes, leaves, members, roots = [], [], [], []

    def leaf():
        leaves.append((int(rng.integers(targets)), float(rng.standard_normal())))
        return len(leaves) - 1, 1

    def branch(left):
        at, mode = len(nodes), int(rng.integers(7)) if flip(rng) else 0
        nodes.append(None)
        if mode == 6:
            members.extend([*rng.choice(5, int(rng.integers(1, 4)), replace=False) - 2, np.nan])
        split = 0.0 if mode == 6 else float(rng.integers(-4, 5)) / 2
        sides = [branch(left - 1) if left and flip(rng) else leaf() for _ in range(2)]
        nodes[at] = (int(rng.integers(FEATURES)), split, mode, *sides[0], *sides[1], 1 if mode == 5 else int(flip(rng)))
        return at, 0

    for _ in range(int(rng.integers(1, 5))):
        roots.append(branch(3)[0])
    features, splits, modes, yes, yes_leaf, no, no_leaf, tracks = zip(*nodes)
    attrs = {
        "tree_roots": tuple(roots), "nodes_featureids": features, "nodes_splits": Tensor.of(np.array(splits, dtype)),
        "nodes_modes": Tensor.of(np.array(modes, np.uint8)), "nodes_truenodeids": yes, "nodes_trueleafs": yes_leaf,
        "nodes_falsenodeids": no, "nodes_falseleafs": no_leaf, "nodes_missing_value_tracks_true": tracks,
        "leaf_targetids": tuple(target for target, _ in leaves), "leaf_weights": Tensor.of(np.array([w for _, w in leaves], dtype)),
        "n_targets": targets, "aggregate_function": int(rng.integers(4)),
    }  # fmt: skip
    if members:
        attrs["membership_values"] = Tensor.of(np.array(members, dtype))
    x = table(rng, dtype)
    return Case("TreeEnsemble", [np.nan_to_num(np.floor(x)) if members else x], attrs)  # onnxruntime knows sets of whole numbers


def linear_regressor(rng):
    targets = int(rng.integers(1, 4))
    attrs = {"targets": targets, "coefficients": reals(floats(rng, targets * FEATURES))}
    if flip(rng):
        attrs["intercepts"] = reals(floats(rng, targets))
    if targets > 1:
        attrs["post_transform"] = str(rng.choice(["NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO"]))
    return Case("LinearRegressor", [floats(rng, BATCH, FEATURES)], attrs)


def linear_classifier(rng):
    classes = int(rng.integers(2, 5))
    rows = 1 if classes == 2 and flip(rng) else classes
    attrs = {"classlabels_ints": tuple(range(5, 5 + classes)), "coefficients": reals(floats(rng, rows * FEATURES))}
    attrs["intercepts"] = reals(floats(rng, rows))
    attrs["post_transform"] = "LOGISTIC" if rows == 1 else str(rng.choice(["NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO"]))
    return Case("LinearClassifier", [floats(rng, BATCH, FEATURES)], attrs, outputs=2)


def scaler(rng):
    count = FEATURES if flip(rng) else 1
    dtype = rng.choice(["float32", "float64", "int64", "int32"])
    x = (floats(rng, BATCH, FEATURES) * 9).astype(dtype)
    return Case("Scaler", [x], {"scale": reals(floats(rng, count)), "offset": reals(floats(rng, count))})


def label_encoder(rng):
    count = int(rng.integers(1, 6))
    keys, values = rng.permutation(6)[:count] - 2, rng.integers(-9, 9, count)
    attrs = {}
    if flip(rng):
        attrs["keys_int64s"], dtype = tuple(keys.tolist()), np.int64
    else:
        attrs["keys_floats"], dtype = (*reals(keys), float("nan")), np.float32
        values = np.append(values, 3)
    if flip(rng):
        attrs |= {"values_int64s": tuple(values.tolist()), "default_int64": 50}
    else:
        attrs |= {"values_floats": reals(values / 4), "default_float": 0.5}
    x = rng.integers(-3, 5, (BATCH, 3)).astype(dtype)
    if dtype == np.float32:
        x[rng.random(x.shape) < 0.2] = np.nan
    return Case("LabelEncoder", [x], attrs)


def normalizer(rng):
    x = floats(rng, BATCH, FEATURES) * rng.integers(0, 2, (BATCH, 1)).astype(np.float32)
    return Case("Normalizer", [x], {"norm": str(rng.choice(["MAX", "L1", "L2"]))})


def imputer(rng):
    count = FEATURES if flip(rng) else 1
    if flip(rng):
        x = rng.integers(-2, 3, (BATCH, FEATURES))
        return Case("Imputer", [x], {"imputed_value_int64s": tuple(range(9, 9 + count)), "replaced_value_int64": -1})
    replaced = float("nan") if flip(rng) else 0.5
    return Case("Imputer", [table(rng)], {"imputed_value_floats": reals(floats(rng, count)), "replaced_value_float": replaced})


def binarizer(rng):
    return Case("Binarizer", [floats(rng, BATCH, FEATURES)], {"threshold": 0.25} if flip(rng) else {})


def extractor(rng):
    x = floats(rng, BATCH, *([2] if flip(rng) else []), FEATURES)
    return Case("ArrayFeatureExtractor", [x, rng.integers(0, FEATURES, (1, 3) if flip(rng) else 2)])


LEARNERS: dict[str, Callable] = {
    "TreeEnsembleRegressor": regressor,
    "TreeEnsembleClassifier": classifier,
    "TreeEnsemble": ensemble,
    "LinearRegressor": linear_regressor,
    "LinearClassifier": linear_classifier,
    "Scaler": scaler,
    "LabelEncoder": label_encoder,
    "Normalizer": normalizer,
    "Imputer": imputer,
    "Binarizer": binarizer,
    "ArrayFeatureExtractor": extractor,
}
