"""The onnxruntime backend: it runs what the op table holds, or says in one line which op it cannot."""

from typing import Any

import numpy as np
import onnxruntime
import pytest

from esp.astore.graph import Attr, Graph, Node, Tensor, Value, run_reference
from esp.errors import BackendError
from esp.runtime.backends import bind


def one(op: str, dtype: str = "float32", made: str = "", *weights: Any, **attrs: Attr) -> Graph:
    """An op over rows of three numbers."""
    held = {f"w{at}": np.asarray(array) for at, array in enumerate(weights)}
    node = Node(op, ("x", *held), ("y",), attrs)
    return Graph((node,), (Value("x", dtype, (None, 3)),), (Value("y", made or dtype, (None, 3)),), held)


GRAPHS = {
    "Swish of opset 24": one("Swish", alpha=1.5),
    "RMSNormalization of opset 23": one("RMSNormalization", "float32", "", np.float32([1, 2, 3])),
    "CumProd of opset 26": one("CumProd", "float32", "", np.int64(1)),
    "Scaler of ai.onnx.ml": one("Scaler", offset=(1.0, 2.0, 3.0), scale=(0.5, 1.0, 2.0)),
    "Normalizer of ai.onnx.ml": one("Normalizer", norm="L2"),
    "Imputer of ai.onnx.ml": one("Imputer", imputed_value_floats=(7.0,), replaced_value_float=float("nan")),
    "LabelEncoder of ai.onnx.ml": one("LabelEncoder", "int64", "float32", keys_int64s=(1, 2), values_floats=(0.25, 0.5), default_float=-1.0),
    "TreeEnsemble of ai.onnx.ml 5": Graph(
        (
            Node("TreeEnsemble", ("x",), ("t",), {
                "tree_roots": (0,), "n_targets": 3, "nodes_featureids": (1,), "nodes_splits": Tensor.of(np.float32([0.5])),
                "nodes_modes": Tensor.of(np.uint8([0])), "nodes_truenodeids": (0,), "nodes_trueleafs": (1,),
                "nodes_falsenodeids": (1,), "nodes_falseleafs": (1,), "leaf_targetids": (0, 2), "leaf_weights": Tensor.of(np.float32([10, 20])),
            }),
            Node("Swish", ("t",), ("y",)),
        ),
        (Value("x", "float32", (None, 3)),),
        (Value("y", "float32", (None, 3)),),
        {},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("rows", [1, 7])
def test_ops_of_newer_sets_and_of_learners_run(name: str, rows: int) -> None:
    graph = GRAPHS[name]
    x = np.random.default_rng(rows).standard_normal((rows, 3)) * 2
    x = x.astype(graph.inputs[0].dtype)
    (made,) = bind("onnxruntime", graph, 16).run([x])
    np.testing.assert_allclose(made, run_reference(graph, [x])[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("op", ["Elu", "Softplus", "Acosh"])
def test_op_that_it_lacks_in_a_dtype_is_named_in_one_line(op: str) -> None:
    with pytest.raises(
        BackendError, match=rf"^onnxruntime cannot take the graph: Could not find .* {op}\(.*'0_{op}'; use"
    ) as caught:
        bind("onnxruntime", one(op, "float64"), 16)
    assert "\n" not in str(caught.value)


def test_graph_that_no_opset_holds_is_refused_with_the_ops_named() -> None:
    trees = GRAPHS["TreeEnsemble of ai.onnx.ml 5"]
    old = {
        "nodes_treeids": (0,), "nodes_nodeids": (0,), "nodes_featureids": (0,), "nodes_values": (0.0,), "nodes_modes": ("LEAF",),
        "nodes_truenodeids": (0,), "nodes_falsenodeids": (0,), "target_treeids": (0,), "target_nodeids": (0,), "target_ids": (0,),
        "target_weights": (1.0,), "n_targets": 1,
    }  # fmt: skip
    nodes = (*trees.nodes, Node("TreeEnsembleRegressor", ("x",), ("z",), old))
    with pytest.raises(BackendError, match=r"onnxruntime cannot take .* TreeEnsemble and TreeEnsembleRegressor"):
        bind("onnxruntime", Graph(nodes, trees.inputs, trees.outputs, {}), 16)


def test_node_that_fails_on_the_data_is_named_in_one_line() -> None:
    nodes = (Node("Cast", ("x",), ("rows",), {"to": 7}), Node("Gather", ("table", "rows"), ("y",)))
    graph = Graph(
        nodes, (Value("x", "float32", (None,)),), (Value("y", "float32", (None, 2)),), {"table": np.ones((4, 2), np.float32)}
    )
    bound = bind("onnxruntime", graph, 16)
    assert bound.run([np.float32([3])])[0].tolist() == [[1, 1]]
    with pytest.raises(BackendError, match=r"onnxruntime failed: .*'1_Gather'.*; use the backend numpy") as caught:
        bound.run([np.float32([9])])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("times", "disabled"), [(4, []), (1 << 12, ["ConstantFolding"])])
def test_numbers_that_cost_much_are_not_left_to_its_own_folding(
    times: int, disabled: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would compute and keep each of them when the session opens, whatever they take."""
    nodes = (
        Node("Constant", (), ("size",), {"value_ints": (3 << 12,)}), Node("ConstantOfShape", ("size",), ("zeros",), {}),
        Node("Constant", (), ("times",), {"value_ints": (times,)}), Node("Tile", ("zeros", "times"), ("wide",), {}),
        Node("ReduceMax", ("wide",), ("most",), {"keepdims": 0}), Node("Add", ("x", "most"), ("y",), {}),
    )  # fmt: skip
    given: list[list[str]] = []
    session = onnxruntime.InferenceSession

    def opened(*args: Any, **options: Any) -> Any:
        given.append(options["disabled_optimizers"])
        return session(*args, **options)

    monkeypatch.setattr(onnxruntime, "InferenceSession", opened)
    graph = Graph(nodes, (Value("x", "float32", (None, 3)),), (Value("y", "float32", (None, 3)),), {})
    x = np.ones((2, 3), np.float32)
    np.testing.assert_array_equal(bind("onnxruntime", graph, 16).run([x])[0], x)
    assert given == [disabled]
