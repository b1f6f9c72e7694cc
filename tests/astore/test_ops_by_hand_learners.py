"""What the ops of ai.onnx.ml mean: by hand, by onnx's reference where its meaning is plain, and by scikit-learn."""

import numpy as np
import pytest
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator
from sklearn.ensemble import GradientBoostingRegressor, RandomForestClassifier, RandomForestRegressor

from esp.astore.graph import Graph, Node, Value
from esp.astore.ops.row import Tensor
from esp.astore.validation import validate
from esp.errors import GraphError
from tests.astore.op_cases.hand import dtypes, refused, run, work

# forests


def forest_attrs(trees, votes, value):
    """The trees of scikit-learn as attributes; ``value`` makes of a tree and a leaf's values the votes (target, weight)."""
    columns = {name: [] for name in ("treeids", "nodeids", "featureids", "values", "modes", "truenodeids", "falsenodeids")}
    given = {name: [] for name in ("treeids", "nodeids", "ids", "weights")}
    for at, tree in enumerate(trees):
        for node in range(tree.node_count):
            is_leaf = tree.children_left[node] < 0
            split = 0.0 if is_leaf else float(np.float32(tree.threshold[node]))
            yes, no = (0, 0) if is_leaf else (int(tree.children_left[node]), int(tree.children_right[node]))
            row = (at, node, max(int(tree.feature[node]), 0), split, "LEAF" if is_leaf else "BRANCH_LEQ", yes, no)
            for column, item in zip(columns.values(), row):
                column.append(item)
            for target, weight in value(tree, tree.value[node][0]) if is_leaf else ():
                for column, item in zip(given.values(), (at, node, target, float(weight))):
                    column.append(item)
    nodes = {f"nodes_{name}": tuple(column) for name, column in columns.items()}
    return nodes | {f"{votes}_{name}": tuple(column) for name, column in given.items()}


def learnt(model, classes=None):
    """Features in float32 with 3 digits, so that thresholds between them mean the same in both precisions."""
    rng = np.random.default_rng(5)
    x = rng.integers(-500, 500, (300, 5)).astype(np.float32)
    y = x[:, 0] * np.sign(x[:, 1]) + 20 * x[:, 2]
    target = y if classes is None else np.digitize(y, np.quantile(y, np.linspace(0, 1, classes + 1)[1:-1]))
    return model.fit(x, target), x


def test_a_random_forest_of_numbers_gives_what_scikit_learn_gives():
    model, x = learnt(RandomForestRegressor(12, max_depth=6, random_state=1))
    attrs = forest_attrs([tree.tree_ for tree in model.estimators_], "target", lambda tree, value: [(0, value[0])])
    made = run("TreeEnsembleRegressor", x, n_targets=1, aggregate_function="AVERAGE", **attrs)[0]
    np.testing.assert_allclose(made[:, 0], model.predict(x), rtol=1e-5)


def test_a_boosted_forest_gives_what_scikit_learn_gives():
    model, x = learnt(GradientBoostingRegressor(n_estimators=20, random_state=1))
    attrs = forest_attrs([tree.tree_ for (tree,) in model.estimators_], "target", lambda tree, value: [(0, 0.1 * value[0])])
    base = (float(model.init_.constant_[0, 0]),)
    made = run("TreeEnsembleRegressor", x, n_targets=1, base_values=base, **attrs)[0]
    np.testing.assert_allclose(made[:, 0], model.predict(x), rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize("classes", [2, 4])
def test_a_random_forest_of_classes_gives_what_scikit_learn_gives(classes):
    model, x = learnt(RandomForestClassifier(10, max_depth=5, random_state=1), classes)
    trees = [tree.tree_ for tree in model.estimators_]
    attrs = forest_attrs(trees, "class", lambda tree, value: enumerate(value / value.sum() / len(trees)))
    label, scores = run("TreeEnsembleClassifier", x, outputs=2, classlabels_int64s=tuple(range(classes)), **attrs)
    np.testing.assert_allclose(scores, model.predict_proba(x), atol=1e-6)
    is_clear = np.diff(np.sort(scores, axis=1), axis=1)[:, -1] > 1e-5
    assert (label == model.predict(x))[is_clear].all()
    assert is_clear.sum() > 200


STUMP = {
    "nodes_treeids": (0, 0, 0), "nodes_nodeids": (0, 1, 2), "nodes_featureids": (0, 0, 0), "nodes_values": (0.0, 0.0, 0.0),
    "nodes_truenodeids": (1, 0, 0), "nodes_falsenodeids": (2, 0, 0), "nodes_modes": ("BRANCH_LEQ", "LEAF", "LEAF"),
}  # fmt: skip
VOTES = {"treeids": (0, 0), "nodeids": (1, 2), "ids": (0, 0), "weights": (0.25, 0.75)}
REGRESSOR = STUMP | {f"target_{name}": column for name, column in VOTES.items()} | {"n_targets": 1}
CLASSIFIER = STUMP | {f"class_{name}": column for name, column in VOTES.items()} | {"classlabels_int64s": (3, 5)}


def test_a_missing_number_goes_where_the_node_sends_it():
    x = [[-1], [1], [np.nan]]
    assert run("TreeEnsembleRegressor", x, **REGRESSOR)[0].tolist() == [[0.25], [0.75], [0.75]]
    tracking = REGRESSOR | {"nodes_missing_value_tracks_true": (1, 0, 0)}
    assert run("TreeEnsembleRegressor", x, **tracking)[0].tolist() == [[0.25], [0.75], [0.25]]


def test_votes_for_one_of_two_classes_give_both_scores():
    label, scores = run("TreeEnsembleClassifier", [[-1], [1]], outputs=2, **CLASSIFIER)
    assert (label.tolist(), scores.tolist()) == ([3, 5], [[0.75, 0.25], [0.25, 0.75]])
    margins = CLASSIFIER | {"class_weights": (-1.0, 2.0), "post_transform": "LOGISTIC"}
    label, scores = run("TreeEnsembleClassifier", [[-1], [1]], outputs=2, **margins)
    second = 1 / (1 + np.exp([1, -2]))
    assert label.tolist() == [3, 5]
    np.testing.assert_allclose(scores, np.stack([1 - second, second], axis=1), rtol=1e-6)


def test_quantiles_of_the_normal_distribution_are_near_the_true_ones():
    spread = REGRESSOR | {"target_weights": (0.975, 0.16), "post_transform": "PROBIT"}
    np.testing.assert_allclose(run("TreeEnsembleRegressor", [[-1], [1]], **spread)[0][:, 0], [1.95996, -0.99446], atol=6e-3)


def test_double_thresholds_may_stand_in_tensors():
    fine = {name: value for name, value in REGRESSOR.items() if name not in ("nodes_values", "target_weights")}
    fine["nodes_values_as_tensor"] = Tensor.of(np.array([1e-12, 0, 0]))
    fine["target_weights_as_tensor"] = Tensor.of(np.array([2.0, 3.0]))
    assert run("TreeEnsembleRegressor", np.array([[5e-13], [2e-12]]), **fine)[0].tolist() == [[2], [3]]


def test_a_set_of_numbers_that_are_no_whole_ones_is_searched():
    attrs = {
        "tree_roots": (0,), "nodes_featureids": (0,), "nodes_splits": Tensor.of(np.float32([0])), "n_targets": 1,
        "nodes_modes": Tensor.of(np.uint8([6])), "nodes_truenodeids": (0,), "nodes_trueleafs": (1,), "nodes_falsenodeids": (1,),
        "nodes_falseleafs": (1,), "leaf_targetids": (0, 0), "leaf_weights": Tensor.of(np.float32([1, 2])),
        "membership_values": Tensor.of(np.float32([0.5, -3, np.nan])),
    }  # fmt: skip
    assert run("TreeEnsemble", [[0.5], [-3], [0], [np.nan]], **attrs)[0].tolist() == [[1], [1], [2], [2]]


BAD_FORESTS = [
    ("TreeEnsembleRegressor", {"nodes_truenodeids": (0, 0, 0)}, "hangs on no tree"),
    ("TreeEnsembleRegressor", {"nodes_truenodeids": (2, 0, 0)}, "roots"),
    ("TreeEnsembleRegressor", {"nodes_truenodeids": (9, 0, 0)}, "nodes_truenodeids names a node that is not there"),
    ("TreeEnsembleRegressor", {"nodes_nodeids": (0, 1, 1)}, "there twice"),
    ("TreeEnsembleRegressor", {"nodes_featureids": (4, 0, 0)}, "nodes_featureids"),
    ("TreeEnsembleRegressor", {"nodes_featureids": (2**70, 0, 0)}, "64 bits"),
    ("TreeEnsembleRegressor", {"nodes_modes": ("BRANCH_LEQ", "LEAF", "TWIG")}, "nodes_modes"),
    ("TreeEnsembleRegressor", {"nodes_values": (0.0,)}, "nodes_values holds 1 numbers"),
    ("TreeEnsembleRegressor", {"target_ids": (0, 1)}, "targets"),
    ("TreeEnsembleRegressor", {"base_values": (1.0, 2.0)}, "base_values"),
    ("TreeEnsembleRegressor", {"post_transform": "LOGISTIC"}, "no agreed meaning"),
    ("TreeEnsembleClassifier", {"post_transform": "SOFTMAX"}, "no agreed meaning"),
    ("TreeEnsembleClassifier", {"class_ids": (1, 1)}, "no agreed meaning"),
    ("TreeEnsembleClassifier", {"classlabels_strings": ("a", "b")}, "labels of the model's output"),
]


@pytest.mark.parametrize(("op", "change", "said"), BAD_FORESTS, ids=range(len(BAD_FORESTS)))
def test_a_forest_that_is_none_is_refused(op, change, said):
    assert said in refused(op, (None, 2), **{**(REGRESSOR if op.endswith("Regressor") else CLASSIFIER), **change})


def test_a_cycle_beside_a_sound_tree_is_refused():
    """Nodes 3 and 4 lead to one another; neither is a root, so that only the count of roots can tell."""
    attrs = dict(REGRESSOR)
    for name, more in (
        ("treeids", (1, 1)), ("nodeids", (3, 4)), ("featureids", (0, 0)), ("values", (0.0, 0.0)),
        ("modes", ("BRANCH_LT", "BRANCH_LT")), ("truenodeids", (4, 3)), ("falsenodeids", (4, 3)),
    ):  # fmt: skip
        attrs[f"nodes_{name}"] = attrs[f"nodes_{name}"] + more
    assert "2 trees have 1 roots" in refused("TreeEnsembleRegressor", (None, 2), **attrs)


# features, by onnx's own reference where its meaning is plain


def in_onnx(op, x, dtype_out, outputs=1, **attrs):
    kinds = [helper.np_dtype_to_tensor_dtype(np.dtype(kind)) for kind in (x.dtype, dtype_out)]
    node = helper.make_node(op, ["x"], ["y", "z"][:outputs], domain="ai.onnx.ml", **attrs)
    outs = [helper.make_tensor_value_info("y", kinds[1], None), helper.make_tensor_value_info("z", TensorProto.FLOAT, None)]
    graph = helper.make_graph([node], "g", [helper.make_tensor_value_info("x", kinds[0], None)], outs[:outputs])
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("ai.onnx.ml", 4)]
    return ReferenceEvaluator(helper.make_model(graph, opset_imports=opsets)).run(None, {"x": x})


def test_an_encoder_by_tensors_maps_as_onnx_does():
    x = np.array([[1, 7], [3, 1]], np.int16)
    arrays = {"keys_tensor": np.array([1, 3], np.int16), "values_tensor": np.array([0.5, -2.0]), "default_tensor": np.array([9.0])}
    ours = {name: Tensor.of(array) for name, array in arrays.items()}
    theirs = {name: helper.make_tensor(name, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape, a) for name, a in arrays.items()}
    made = run("LabelEncoder", x, **ours)[0]
    np.testing.assert_array_equal(made, in_onnx("LabelEncoder", x, "float64", **theirs)[0])
    assert made.dtype.name == dtypes("LabelEncoder", "int16", **ours)[0] == "float64"
    with pytest.raises(GraphError, match="wants int16"):
        dtypes("LabelEncoder", "int64", **ours)


def test_a_key_that_is_repeated_counts_as_it_was_given_last():
    assert run("LabelEncoder", np.array([4, 5]), keys_int64s=(4, 4), values_int64s=(1, 2))[0].tolist() == [2, -1]
    assert "strings" in refused("LabelEncoder", (None,), keys_strings=("a",), values_int64s=(1,))


def test_two_rows_of_coefficients_choose_as_onnx_does():
    x = np.random.default_rng(3).standard_normal((6, 3)).astype(np.float32)
    attrs = {"coefficients": (0.5, -1.0, 0.25, 1.0, 0.5, -0.5), "intercepts": (0.1, -0.1), "classlabels_ints": (4, 9)}
    theirs = in_onnx("LinearClassifier", x, "int64", 2, post_transform="SOFTMAX", **attrs)
    made = run("LinearClassifier", x, outputs=2, post_transform="SOFTMAX", **attrs)
    np.testing.assert_array_equal(made[0], theirs[0])
    np.testing.assert_allclose(made[1], theirs[1], rtol=1e-5)
    one = {"coefficients": (0.5, -1.0, 0.25), "classlabels_ints": (4, 9)}
    assert "no agreed meaning" in refused("LinearClassifier", (None, 3), **one)


def test_features_keep_their_rows_apart():
    assert "mix the rows" in refused("Normalizer", (None,))
    assert "mix the rows" in refused("ArrayFeatureExtractor", (None,), (1,))


def test_a_forest_in_a_graph_has_a_label_and_scores():
    node = Node("TreeEnsembleClassifier", ("x",), ("label", "scores"), CLASSIFIER)
    outs = (Value("label", "int64", (None,)), Value("scores", "float32", (None, 2)))
    shapes = validate(Graph((node,), (Value("x", "float32", (None, 2)),), outs, {}))
    assert (shapes["label"], shapes["scores"]) == ((None,), (None, 2))


REFUSED = [
    ("Scaler", [(None, 4)], {"scale": (1.0, 2.0), "offset": (0.0,)}, "scale holds 2 numbers"),
    ("Imputer", [(None, 4)], {}, "imputed"),
    ("Imputer", [(None, 4)], {"imputed_value_int64s": (2**70,)}, "64 bits"),
    ("LabelEncoder", [(None, 4)], {"keys_int64s": (1,), "values_int64s": (1,), "default_int64": 2**70}, "is no int64"),
    ("LinearRegressor", [(None, 4)], {"coefficients": (1.0, 2.0)}, "do not fit"),
    ("TreeEnsembleRegressor", [(None, 4)], {"n_targets": 1}, "no nodes"),
]


@pytest.mark.parametrize(("op", "shapes", "attrs", "said"), REFUSED, ids=range(len(REFUSED)))
def test_what_does_not_fit_is_refused_in_one_line(op, shapes, attrs, said):
    assert said in refused(op, *shapes, **attrs)


def test_work_of_a_forest_is_a_comparison_a_level_and_a_sum():
    assert work("TreeEnsembleRegressor", (None, 1), **REGRESSOR) == 2 + 1
    assert work("LinearRegressor", (None, 4), targets=2, coefficients=(1.0,) * 8) == 2 * 8 + 2
