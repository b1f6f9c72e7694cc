"""Each pass on graphs made for it: what must go goes, what must stay stays, and the outputs are those of the graph before."""

from collections.abc import Sequence
from dataclasses import replace
from math import sqrt
from typing import Any

import numpy as np
import pytest

from esp.astore.graph import Array, Attr, Graph, Layer, Node, Value, run_reference
from esp.astore.passes import PASSES, has_costly_constants, simplify
from esp.astore.passes.nodes import Nodes
from esp.astore.validation import validate
from esp.errors import GraphError

EXACT = ("fold_constants", "fold_sizes", "drop_identities", "drop_unused")
RNG = np.random.default_rng(4)


def node(op: str, inputs: str, outputs: str, **attrs: Attr) -> Node:
    return Node(op, tuple(inputs.split()), tuple(outputs.split()), attrs)


def graph(nodes: Sequence[Node], x: tuple[int, ...], y: tuple[int, ...], layers: tuple[Layer, ...] = (), **weights: Any) -> Graph:
    """One input x, one output y; weights as arrays."""
    arrays = {name: np.asarray(value) for name, value in weights.items()}
    made = Graph(tuple(nodes), (Value("x", "float32", (None, *x)),), (Value("y", "float32", (None, *y)),), arrays, layers)
    validate(made)
    return made


def drawn(*shape: int) -> Array:
    return RNG.standard_normal(shape).astype(np.float32)


def ops(made: Graph) -> list[str]:
    return [one.op for one in made.nodes]


def check_same(before: Graph, after: Graph, exact: bool) -> None:
    """Outputs for one row and for five, odd numbers among them."""
    validate(after)
    assert (after.inputs, after.outputs) == (before.inputs, before.outputs)
    for rows in (1, 5):
        feeds = [drawn(rows, *value.shape[1:]) * 3 for value in before.inputs]  # type: ignore[arg-type]
        feeds[0].reshape(-1)[0] = 0
        for got, wanted in zip(run_reference(after, feeds), run_reference(before, feeds), strict=True):
            if exact:
                np.testing.assert_array_equal(got, wanted)
            else:
                np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5)


DENSE = [node("Gemm", "x w b", "h"), node("Relu", "h", "y")]
DENSE_WEIGHTS = {"w": drawn(4, 3), "b": drawn(3)}


def test_dead_nodes_weights_and_outputs_go() -> None:
    dead = [node("Tanh", "h", "t"), node("Dropout", "t", "u v")]
    before = graph([DENSE[0], *dead, DENSE[1]], (4,), (3,), **DENSE_WEIGHTS, never=drawn(2))
    after = simplify(before, ["drop_unused"])
    assert ops(after) == ["Gemm", "Relu"]
    assert set(after.weights) == {"w", "b"}
    check_same(before, after, exact=True)


def test_outputs_that_an_op_always_has_stay_without_a_name() -> None:
    nodes = [node("TopK", "x k", "top places"), node("Split", "top", "y rest last", axis=1, num_outputs=3)]
    before = graph(nodes, (8,), (2,), k=np.int64([6]))
    after = simplify(before, ["drop_unused"])
    assert [one.outputs for one in after.nodes] == [("top", ""), ("y", "", "")]
    check_same(before, after, exact=True)


def test_identity_dropout_and_needless_casts_go_and_names_of_outputs_stay() -> None:
    nodes = [
        node("Identity", "x", "i"),
        node("Dropout", "i", "d mask"),
        node("Cast", "d", "c", to=1),
        node("Relu", "c", "r"),
        node("Identity", "r", "y"),
    ]
    before = graph(nodes, (4,), (4,))
    after = simplify(before, ["drop_unused", "drop_identities"])
    assert [(one.op, one.inputs, one.outputs) for one in after.nodes] == [("Relu", ("x",), ("y",))]
    check_same(before, after, exact=True)


def test_identity_that_makes_an_output_of_an_input_stays() -> None:
    before = graph([node("Identity", "x", "y")], (4,), (4,))
    assert ops(simplify(before)) == ["Identity"]


def test_identity_between_two_outputs_stays() -> None:
    nodes = [node("Relu", "x", "y"), node("Identity", "y", "z"), node("Tanh", "z", "t")]
    before = replace(graph(nodes, (4,), (4,)), outputs=tuple(Value(name, "float32", (None, 4)) for name in ("y", "z", "t")))
    after = simplify(before, ["drop_identities"])
    check_same(before, after, exact=True)


def test_dropout_whose_mask_is_used_stays() -> None:
    nodes = [node("Dropout", "x", "d mask"), node("Where", "mask d x", "y")]
    assert ops(simplify(graph(nodes, (4,), (4,)))) == ["Dropout", "Where"]


def test_nodes_over_weights_become_weights() -> None:
    nodes = [node("Transpose", "w", "wt"), node("Mul", "b two", "b2"), node("Gemm", "x wt b2", "y")]
    before = graph(nodes, (4,), (3,), w=drawn(3, 4), b=drawn(3), two=np.float32(2))
    after = simplify(before, ["fold_constants"])
    assert ops(after) == ["Gemm"]
    assert set(after.weights) == {"wt", "b2"}
    check_same(before, after, exact=True)


def test_constant_that_would_grow_the_model_is_left_as_it_is() -> None:
    nodes = [node("Expand", "w shape", "big"), node("ReduceSum", "big axes", "s", keepdims=0), node("Add", "x s", "y")]
    before = graph(nodes, (4,), (4,), w=drawn(4), shape=np.array([300_000, 4]), axes=np.array([0]))
    assert ops(simplify(before, ["fold_constants"])) == ["Expand", "ReduceSum", "Add"]


def test_sizes_made_of_shapes_become_constants() -> None:
    nodes = [
        node("Shape", "x", "s"), node("Gather", "s zero", "n", axis=0), node("Concat", "n rest", "target", axis=0),
        node("Reshape", "x target", "y"),
    ]  # fmt: skip
    before = graph(nodes, (2, 6), (12,), zero=np.array([0]), rest=np.array([-1]))
    after = simplify(before)
    assert ops(after) == ["Reshape"]
    assert [array.tolist() for array in after.weights.values()] == [[-1, 12]]
    check_same(before, after, exact=True)


def test_sizes_that_leave_two_open_stay_computed() -> None:
    nodes = [node("Shape", "x", "s"), node("Expand", "w s", "e"), node("Add", "x e", "y")]
    before = graph(nodes, (4,), (4,), w=drawn(1, 4))
    check_same(before, simplify(before), exact=True)


NORM = {"gamma": drawn(6), "beta": drawn(6), "mean": drawn(6), "variance": np.abs(drawn(6)) + 0.1}
NORMALISED = [
    ("Conv", {}, (4, 7), (6, 5), {"w": drawn(6, 4, 3), "b": drawn(6)}),
    ("Conv", {}, (4, 7), (6, 5), {"w": drawn(6, 4, 3)}),
    ("Conv", {"group": 2, "pads": (1, 1, 1, 1)}, (4, 5, 5), (6, 5, 5), {"w": drawn(6, 2, 3, 3), "b": drawn(6)}),
    ("ConvTranspose", {"strides": (2,)}, (4, 5), (6, 11), {"w": drawn(4, 6, 3), "b": drawn(6)}),
    ("ConvTranspose", {"group": 2}, (4, 5), (6, 7), {"w": drawn(4, 3, 3)}),
    ("Gemm", {}, (4,), (6,), {"w": drawn(4, 6), "b": drawn(6)}),
    ("Gemm", {"transB": 1, "alpha": 0.5, "beta": 3.0}, (4,), (6,), {"w": drawn(6, 4), "b": drawn(1, 6)}),
    ("Gemm", {"beta": 2.0}, (4,), (6,), {"w": drawn(4, 6), "b": np.float32(0.75)}),
]


@pytest.mark.parametrize(("op", "attrs", "x", "y", "weights"), NORMALISED)
def test_batch_normalisation_goes_into_the_product_before_it(op: str, attrs: Any, x: Any, y: Any, weights: Any) -> None:
    product = node(op, " ".join(("x", *weights)), "h", **attrs)
    nodes = [product, node("BatchNormalization", "h gamma beta mean variance", "n", epsilon=1e-3), node("Relu", "n", "y")]
    layers = (Layer("conv", op, (0,)), Layer("bn", "BN", (1, 2)))
    before = graph(nodes, x, y, layers, **weights, **NORM)
    after = simplify(before)
    assert ops(after) == [op, "Relu"]
    assert [(layer.name, layer.nodes) for layer in after.layers] == [("conv", (0,)), ("bn", (1,))]
    check_same(before, after, exact=False)


def test_batch_normalisation_stays_where_others_see_the_product_or_weights_move() -> None:
    w = drawn(6, 4, 1)
    norm = node("BatchNormalization", "h gamma beta mean variance", "n")
    seen = graph([node("Conv", "x w", "h"), norm, node("Add", "h n", "y")], (4, 3), (6, 3), w=w, **NORM)
    assert "BatchNormalization" in ops(simplify(seen))
    first = graph([node("BatchNormalization", "x gamma beta mean variance", "h"), node("Relu", "h", "y")], (6, 3), (6, 3), **NORM)
    assert "BatchNormalization" in ops(simplify(first))


@pytest.mark.parametrize("shape", [(6,), (1, 6), (), (1,)])
def test_constant_after_a_gemm_becomes_its_bias(shape: tuple[int, ...]) -> None:
    before = graph([node("Gemm", "x w", "h"), node("Add", "c h", "y")], (4,), (6,), w=drawn(4, 6), c=drawn(*shape))
    after = simplify(before)
    assert ops(after) == ["Gemm"]
    check_same(before, after, exact=False)


def test_constant_that_differs_by_place_is_no_bias() -> None:
    before = graph([node("Conv", "x w", "h"), node("Add", "h c", "y")], (4, 3), (6, 3), w=drawn(6, 4, 1), c=drawn(6, 3))
    assert ops(simplify(before)) == ["Conv", "Add"]
    channels = graph([node("Conv", "x w", "h"), node("Add", "h c", "y")], (4, 3), (6, 3), w=drawn(6, 4, 1), c=drawn(6, 1))
    assert ops(simplify(channels)) == ["Conv"]
    check_same(channels, simplify(channels), exact=False)


HALF, ONE, ROOT = np.float32(0.5), np.float32(1), np.float32(sqrt(2))
WRITTEN_OUT = {
    "Gelu": [
        [node("Div", "x root", "a"), node("Erf", "a", "b"), node("Add", "b one", "c"), node("Mul", "x c", "d"), node("Mul", "d half", "y")],
        [node("Div", "x root", "a"), node("Erf", "a", "b"), node("Add", "one b", "c"), node("Mul", "half x", "d"), node("Mul", "d c", "y")],
    ],
    "HardSwish": [[node("HardSigmoid", "x", "a", alpha=1 / 6, beta=0.5), node("Mul", "a x", "y")]],
    "Mish": [[node("Softplus", "x", "a"), node("Tanh", "a", "b"), node("Mul", "x b", "y")]],
    "LeakyRelu": [[node("Mul", "x half", "a"), node("Max", "a x", "y")]],
}  # fmt: skip


@pytest.mark.parametrize(("op", "at"), [(op, at) for op, forms in WRITTEN_OUT.items() for at in range(len(forms))])
def test_activation_that_is_written_out_becomes_one_op(op: str, at: int) -> None:
    before = graph(WRITTEN_OUT[op][at], (7,), (7,), half=HALF, one=ONE, root=ROOT)
    after = simplify(before)
    assert ops(after) == [op]
    check_same(before, after, exact=False)


def test_arithmetic_that_only_looks_like_an_activation_stays() -> None:
    other = np.float32(0.51)
    for nodes in (WRITTEN_OUT["Gelu"][0], WRITTEN_OUT["Gelu"][1]):
        before = graph(nodes, (7,), (7,), half=other, one=ONE, root=ROOT)
        assert "Erf" in ops(simplify(before))
    wrong = [node("HardSigmoid", "x", "a", alpha=0.2, beta=0.5), node("Mul", "a x", "y")]
    assert ops(simplify(graph(wrong, (7,), (7,)))) == ["HardSigmoid", "Mul"]
    used = [*WRITTEN_OUT["Mish"][0][:2], node("Mul", "x b", "c"), node("Add", "a c", "y")]
    assert "Mish" not in ops(simplify(graph(used, (7,), (7,))))


def test_every_pass_is_said_to_be_exact_or_near() -> None:
    assert set(EXACT) < set(PASSES)
    assert set(PASSES) - set(EXACT) == {"fuse_activations", "fold_normalisation", "fold_bias"}


def heavy(steps: int) -> Graph:
    """Numbers made of nothing, a million a step, of which two are added to the event."""
    made = [
        node("Constant", "", "size", value_ints=(1 << 18,)),
        node("ConstantOfShape", "size", "c"),
        node("Constant", "", "four", value_ints=(4,)),
        node("Tile", "c four", "n0"),
        *(node("Neg", f"n{at}", f"n{at + 1}") for at in range(steps)),
        node("Constant", "", "begin", value_ints=(0,)),
        node("Constant", "", "end", value_ints=(2,)),
        node("Slice", f"n{steps} begin end", "two"),
        node("Add", "x two", "y"),
    ]
    return graph(made, (2,), (2,))


def test_a_long_chain_of_numbers_made_of_nothing_is_not_computed_ahead() -> None:
    before = heavy(40)
    after = simplify(before)
    assert sum(array.size for array in after.weights.values()) < 1 << 22
    assert ops(after).count("Neg") > 30
    assert has_costly_constants(before)
    assert not has_costly_constants(graph([node("Add", "x w", "y")], (2,), (2,), w=drawn(2)))
    check_same(before, after, exact=True)


def test_an_einsum_over_weights_is_not_computed_ahead() -> None:
    before = graph(
        [node("Einsum", "w w w w w", "s", equation="ab,cd,ef,gh,ij->a"), node("Add", "x s", "y")], (2,), (2,), w=drawn(2, 2)
    )
    assert ops(simplify(before)) == ["Einsum", "Add"]
    check_same(before, simplify(before), exact=True)


def test_an_index_beyond_a_large_weight_is_an_error_of_the_graph() -> None:
    wide, beyond = drawn(5000), np.full(2, 5000)
    made = graph([node("Gather", "w at", "s"), node("Add", "x s", "y")], (2,), (2,), w=wide, at=beyond)
    with pytest.raises(GraphError, match="Gather -> 's': its numbers cannot be computed"):
        simplify(made)


def test_passes_look_at_each_node_of_a_long_graph_a_few_times_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted by how many nodes are handed out, for a chain of all that passes look for, and for one of twice its length."""
    looks = 0
    plain = Nodes._at

    def counted(self: Nodes, place: int) -> Node:
        nonlocal looks
        looks += 1
        return plain(self, place)

    monkeypatch.setattr(Nodes, "_at", counted)
    counts = []
    for links in (50, 100):
        before, looks = _links(links), 0
        after = simplify(before)
        counts.append(looks)
        assert len(after.nodes) == 4 * links
        check_same(before, after, exact=False)
    assert counts[1] < 2.2 * counts[0]


def _links(count: int) -> Graph:
    """So many times: a product, its normalisation and bias, an identity, a Mish and a LeakyRelu written out; and a weight."""
    nodes, x = [], "x"
    for at in range(count):
        a, b, c, d, e, f, g, h, i, j = (f"{letter}{at}" for letter in "abcdefghij")
        nodes += [
            node("Gemm", f"{x} w", a), node("BatchNormalization", f"{a} one zero zero one", b), node("Identity", b, c),
            node("Softplus", c, d), node("Tanh", d, e), node("Mul", f"{c} {e}", f), node("Mul", f"{f} tenth", g),
            node("Max", f"{g} {f}", h), node("Neg", "zero", i), node("Add", f"{i} {h}", j),
        ]  # fmt: skip
        x = j
    nodes[-1] = replace(nodes[-1], outputs=("y",))
    weights = {"w": np.eye(3, dtype=np.float32), "one": np.ones(3, np.float32), "zero": np.zeros(3, np.float32)}
    return graph(nodes, (3,), (3,), **weights, tenth=np.float32(0.1))


def test_nodes_know_makers_and_readers_after_every_change() -> None:
    rng, held = np.random.default_rng(8), [node("Tanh", "x", "t0")]
    for at in range(1, 40):
        inputs = " ".join(f"t{rng.integers(0, at)}" for _ in range(rng.integers(1, 4)))
        held.append(node("Sum", inputs, f"t{at}"))
    nodes = Nodes(held)
    for _ in range(200):
        at = int(rng.integers(0, len(held)))
        if rng.random() < 0.2 and len(held) > 5:
            nodes.remove(held.pop(at))
        else:
            new = replace(held[at], inputs=tuple(f"t{rng.integers(0, 40)}" for _ in range(rng.integers(1, 4))))
            nodes.swap(held[at], new)
            held[at] = new
        assert list(nodes) == held
        for name in (f"t{at}" for at in range(40)):
            assert nodes.readers(name) == [one for one in held if name in one.inputs]
            assert nodes.maker(name) == next((one for one in held if name in one.outputs), None)
