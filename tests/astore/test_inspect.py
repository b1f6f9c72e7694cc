"""The description of an astore, for machines and for a terminal."""

import io
import json
from dataclasses import replace
from typing import Any

import numpy as np
from rich.console import Console

from esp.astore.graph import Graph, Layer, Node, Value
from esp.astore.inspect import describe, render
from esp.astore.model import Astore, Input, Output, Step


def network(**changes: Any) -> Astore:
    """Dense 2 -> 3 with softmax: 2 * 3 + 3 = 9 parameters, 36 bytes."""
    graph = Graph(
        (Node("Gemm", ("x", "w", "b"), ("z",)), Node("Softmax", ("z",), ("p",), {"axis": -1})),
        (Value("x", "float32", (None, 2)),),
        (Value("p", "float32", (None, 3)),),
        {"w": np.zeros((2, 3), "f4"), "b": np.zeros(3, "f4")},
        (Layer("fc [red]", "Dense", (0, 1)),),
    )
    steps = (Step("normalise", {"mean": (0.5, 1.5), "std": 2.0}),)
    item = Input("acc", "float64", (2,), steps, "impute", 0.125, {"mean": [0.5], "max": [float("inf")]})
    output = Output("p", "float32", (3,), "probabilities", ("up", "down", "still"))
    card = {"metrics": {"accuracy": np.float64(0.975)}, "data": "digest", "history": list(range(20))}
    return replace(Astore("shoulder", graph, (item,), (output,), card, "ab" * 32), **changes)


def shown(astore: Astore) -> str:
    console = Console(file=io.StringIO(), width=160)
    console.print(render(describe(astore)))
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return text


def test_the_description_is_json_and_says_what_the_model_holds() -> None:
    found = json.loads(json.dumps(describe(network()), allow_nan=False))
    assert (found["name"], found["digest"]) == ("shoulder", "ab" * 32)
    assert found["inputs"] == [
        {
            "name": "acc",
            "type": "float64[2]",
            "steps": [{"op": "normalise", "mean": [0.5, 1.5], "std": 2.0}],
            "graph_input": "x",
            "graph_type": "float32[2]",
            "missing": "impute",
            "impute": 0.125,
            "statistics": {"mean": [0.5], "max": [None]},
        }
    ]
    assert found["outputs"] == [{"name": "p", "type": "float32[3]", "kind": "probabilities", "labels": ["up", "down", "still"]}]
    assert found["card"]["metrics"] == {"accuracy": 0.975}


def test_signature_is_told_by_its_key_and_its_lack_too() -> None:
    assert describe(network())["signed_by"] == ""
    assert describe(network(), bytes(range(32)))["signed_by"] == bytes(range(32)).hex()
    assert "not signed" in shown(network())


def test_a_signature_is_told_to_be_valid_or_not() -> None:
    key = bytes(range(32))
    assert [describe(network(), *args)["signature"] for args in ((), (key, True), (key, False))] == ["none", "valid", "invalid"]
    console = Console(file=io.StringIO(), width=160)
    console.print(render(describe(network(), key, False)))
    assert f"signed by {key.hex()}: NOT VALID" in console.file.getvalue()  # type: ignore[attr-defined]


def test_layers_and_totals_count_what_hand_arithmetic_counts() -> None:
    found = describe(network())
    assert [(row["name"], row["kind"], row["output_shape"], row["parameters"]) for row in found["layers"]] == [
        ("fc [red]", "Dense", [None, 3], 9)
    ]
    assert (found["totals"]["parameters"], found["totals"]["weight_bytes"]) == (9, 36)


def test_the_tables_show_names_steps_labels_card_and_layers() -> None:
    text = shown(network())
    for part in (
        "shoulder", "ab" * 32, "float64[2]", "normalise mean=0.5 1.5 std=2", "impute 0.125", "up, down, still",
        "metrics.accuracy", "0.975", "(20 values)", "fc [red]", "Dense", "9 parameters", "36 bytes of weights",
    ):  # fmt: skip
        assert part in text


def test_a_model_without_card_or_statistics_has_no_tables_for_them() -> None:
    bare = network(card={}, digest="", inputs=(Input("acc", "float32", (2,)),))
    text = shown(bare)
    assert "Training" not in text
    assert "(not written yet)" in text


def test_words_of_a_file_cannot_steer_the_terminal() -> None:
    text = shown(network(card={"note": "\x1b[31mred\x07"}))
    assert "\x1b" not in text
    assert "?[31mred?" in text
