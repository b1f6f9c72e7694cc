"""The picture of a graph: every layer is in it, boxes do not overlap, edges lead down, and the file is well-formed SVG."""

import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from esp.astore.graph import Graph, Layer, Node, Value
from esp.astore.layered import draw
from esp.astore.picture import svg

SVG = "{http://www.w3.org/2000/svg}"


def residual() -> Graph:
    """conv -> bn -> relu -> conv, added to the first conv's output."""
    w = np.zeros((4, 4, 3), np.float32)
    one = np.ones(4, np.float32)
    nodes = (
        Node("Conv", ("x", "w"), ("c",), {"pads": (1, 1)}),
        Node("BatchNormalization", ("c", "one", "two", "two", "one"), ("n",)),
        Node("Relu", ("n",), ("r",)),
        Node("Conv", ("r", "w"), ("d",), {"pads": (1, 1), "strides": (1,)}),
        Node("Add", ("d", "r"), ("y",)),
    )
    layers = (Layer("conv<1>", "Conv1d", (0,)), Layer("bn", "BatchNorm", (1, 2)), Layer("conv 2", "Conv1d", (3,)))
    shape = (None, 4, 9)
    return Graph(nodes, (Value("x", "float32", shape),), (Value("y", "float32", shape),), {"w": w, "one": one, "two": one}, layers)


def boxes(text: str) -> list[list[str]]:
    groups = ElementTree.fromstring(text).iter(f"{SVG}g")
    return [[line.text or "" for line in group.findall(f"{SVG}text")] for group in groups if group.find(f"{SVG}text") is not None]


def test_every_layer_is_there_and_what_follows_number_by_number_is_joined() -> None:
    assert boxes(svg(residual(), "a & b")) == [
        ["x", "float32[N, 4, 9]"],
        ["conv<1>", "Conv1d 3", "+ BatchNorm + Relu, 8 parameters", "[N, 4, 9], 48 parameters"],
        ["conv 2", "Conv1d 3", "[N, 4, 9]"],
        ["y", "Add", "[N, 4, 9]"],
        ["y", "float32[N, 4, 9]"],
    ]


def test_edges_lead_from_box_to_box_downwards() -> None:
    root = ElementTree.fromstring(svg(residual(), "residual"))
    paths = [path.attrib["d"] for path in root.iter(f"{SVG}path")]
    assert len(paths) == 5  # x to conv, conv to conv, both to add, add to y
    for path in paths:
        heights = [float(number) for number in re.findall(r"[ML]?-?[\d.]+ (-?[\d.]+)", path)]
        assert heights[0] < heights[-1]


def test_title_and_names_are_escaped() -> None:
    root = ElementTree.fromstring(svg(residual(), "a & b <c>"))
    title = root.find(f"{SVG}title")
    assert title is not None
    assert title.text == "a & b <c>"


@pytest.mark.parametrize("seed", range(8))
def test_boxes_of_a_random_graph_do_not_overlap_and_ranks_follow_edges(seed: int) -> None:
    rng = np.random.default_rng(seed)
    count = int(rng.integers(2, 30))
    sizes = [(float(rng.integers(40, 200)), float(rng.integers(20, 60))) for _ in range(count)]
    edges = sorted({(int(rng.integers(0, at)), at) for at in range(1, count) for _ in range(2)})
    drawing = draw(sizes, edges)
    for start, end in edges:
        assert drawing.places[start][1] < drawing.places[end][1]
    for at, ((x, y), (width, height)) in enumerate(zip(drawing.places, sizes)):
        assert width / 2 - 1e-6 <= x <= drawing.size[0] - width / 2 + 1e-6
        for (other_x, other_y), (other_width, other_height) in zip(drawing.places[:at], sizes):
            apart_x, apart_y = abs(x - other_x) - (width + other_width) / 2, abs(y - other_y) - (height + other_height) / 2
            assert max(apart_x, apart_y) > -1e-6


def test_chain_is_drawn_straight() -> None:
    drawing = draw([(100.0, 30.0)] * 5, [(0, 1), (1, 2), (2, 3), (3, 4), (0, 4)])
    inner = [place[0] for place in drawing.places[1:4]]
    assert max(inner) - min(inner) < 1e-6
    (route,) = (route for route in drawing.routes if route)
    assert max(x for x, _ in route) - min(x for x, _ in route) < 1e-6
