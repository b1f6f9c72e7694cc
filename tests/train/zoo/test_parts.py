"""Parts of zoo networks against naive loops: pairs of factors, boxes about anchors, thinned proposals, states that go on."""

import math
from itertools import combinations

import numpy as np
import pytest

from esp.astore.graph import run_reference
from esp.train.network import Network
from esp.train.zoo import build
from esp.train.zoo.darknet import _decode
from esp.train.zoo.draft import Draft
from esp.train.zoo.faster_rcnn import _anchors, _Regional
from esp.train.zoo.mobile import shuffle


def test_factorization_machine_sums_products_of_pairs() -> None:
    graph = build("factorization_machine", seed=2, vocabulary=20, fields=4, factors=3)
    weights = {name.split(".")[1]: value.astype(np.float64) for name, value in graph.weights.items()}
    rows = np.random.default_rng(1).integers(0, 20, (5, 4))
    (made,) = run_reference(graph, [rows])
    for row, y in zip(rows, made):
        pairs = sum(weights["factors"][i] @ weights["factors"][j] for i, j in combinations(row, 2))
        assert y[0] == pytest.approx(pairs + weights["linear"][row].sum() + weights["bias"][0], rel=1e-4)


def test_autoencoder_gives_the_mean_squared_error_of_each_row() -> None:
    x = np.random.default_rng(1).standard_normal((4, 64)).astype(np.float32)
    reconstruction, error = run_reference(build("autoencoder"), [x])
    np.testing.assert_allclose(error, ((x - reconstruction) ** 2).mean(axis=1, keepdims=True), rtol=1e-5)


def test_yolo_boxes_stand_in_their_cells_and_grow_from_their_anchors() -> None:
    net, anchors, classes, rows, columns = Network(np.random.default_rng(0)), ((1.5, 2.0), (3.0, 0.5)), 3, 2, 4
    maps = np.random.default_rng(1).standard_normal((2, 2 * 8, rows, columns)).astype(np.float32)
    boxes, scores = _decode(net, net.add_input("maps", maps.shape[1:]), classes, anchors)
    made_boxes, made_scores = run_reference(net.freeze({"boxes": boxes, "scores": scores}), [maps])
    for anchor, row, column in ((0, 0, 0), (1, 1, 2), (0, 1, 3)):
        x, y, w, h, confidence, *logits = (float(value) for value in maps[1, 8 * anchor : 8 * anchor + 8, row, column])
        at = (anchor * rows + row) * columns + column
        centre = (column + 1 / (1 + math.exp(-x))) / columns, (row + 1 / (1 + math.exp(-y))) / rows
        extent = anchors[anchor][0] * math.exp(w) / columns, anchors[anchor][1] * math.exp(h) / rows
        np.testing.assert_allclose(made_boxes[1, at], [*centre, *extent], rtol=1e-5)
        powers = np.exp(logits)
        np.testing.assert_allclose(made_scores[1, at], powers / powers.sum() / (1 + math.exp(-confidence)), rtol=1e-5)


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two boxes."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0) * max(height, 0)
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def test_proposals_that_a_better_one_overlaps_score_nothing() -> None:
    rng, net, count = np.random.default_rng(3), Network(np.random.default_rng(0)), 12
    low = rng.uniform(0, 20, (2, count, 2))
    boxes = np.concatenate([low, low + rng.uniform(10, 30, (2, count, 2))], axis=-1).astype(np.float32)
    scores = np.sort(rng.uniform(0.1, 1, (2, count)).astype(np.float32))[:, ::-1]
    places, ranks = net.add_input("boxes", (count, 4)), net.add_input("scores", (count,))
    thinned = _Regional(net, 64, count, 4, 0.5)._thin(places, ranks, count)
    (made,) = run_reference(net.freeze({"kept": thinned}), [boxes, scores])
    expected = scores.copy()
    for row in range(2):
        for j in range(count):
            if any(overlap(boxes[row, i], boxes[row, j]) > 0.5 for i in range(j)):
                expected[row, j] = 0
    assert 0 < (expected == 0).sum() < expected.size
    np.testing.assert_array_equal(made, expected)


def test_anchors_stand_about_the_centres_of_their_cells() -> None:
    anchors = _anchors(2, (16,), (1.0, 4.0))
    np.testing.assert_allclose(anchors[:2], [[0, 0, 16, 16], [4, -8, 12, 24]])
    np.testing.assert_allclose(anchors[2], [16, 0, 32, 16])  # the next cell of the row


def test_changed_boxes_move_by_their_size_and_stay_in_the_picture() -> None:
    net = Network(np.random.default_rng(0))
    boxes, changes = net.add_input("boxes", (2, 4)), net.add_input("changes", (2, 4))
    graph = net.freeze({"made": _Regional(net, 100, 2, 2, 0.5)._change(boxes, changes)})
    starts = np.array([[[10, 20, 30, 60], [50, 50, 90, 90]]], np.float32)
    steps = np.array([[[0.5, 0.25, math.log(2), 0], [0, 0, 9, math.log(0.5)]]], np.float32)
    (made,) = run_reference(graph, [starts, steps])
    np.testing.assert_allclose(made, [[[10, 30, 50, 70], [0, 60, 100, 80]]], rtol=1e-5)


@pytest.mark.parametrize("name", ["rnn", "gru", "lstm"])
def test_series_goes_on_from_the_states_that_its_first_half_left(name: str) -> None:
    settings = {"channels": 3, "units": 5, "states": True, "bidirectional": False, "depth": 2}
    half, whole = (build(name, length=length, **settings) for length in (4, 8))
    rng = np.random.default_rng(1)
    x = rng.standard_normal((2, 8, 3)).astype(np.float32)
    states = [rng.standard_normal((2, 1, 5)).astype(np.float32) for _ in whole.inputs[1:]]
    names = [value.name for value in half.inputs[1:]]
    first = dict(zip([value.name for value in half.outputs], run_reference(half, [x[:, :4], *states])))
    second = run_reference(half, [x[:, 4:], *(first[f"{kept}_last"] for kept in names)])
    for parts, straight in zip(second, run_reference(whole, [x, *states]), strict=True):
        np.testing.assert_allclose(parts, straight, rtol=1e-5, atol=1e-6)


def test_steps_past_the_length_of_a_row_do_not_count() -> None:
    graph = build("gru", length=6, channels=3, units=5, lengths=True, depth=2)
    x = np.random.default_rng(1).standard_normal((2, 6, 3)).astype(np.float32)
    other = x.copy()
    other[0, 4:], other[1, 2:] = 9, -9
    lengths = np.array([4, 2], np.int32)
    np.testing.assert_array_equal(run_reference(graph, [x, lengths])[0], run_reference(graph, [other, lengths])[0])
    assert not np.array_equal(run_reference(graph, [x, lengths])[0], run_reference(graph, [other, lengths + 1])[0])


def test_temporal_network_never_looks_ahead() -> None:
    graph = build("tcn", length=16, filters=4, blocks=2)
    last = max(at for at, node in enumerate(graph.nodes) if node.op == "Relu")
    name = graph.nodes[last].outputs[0]
    seen = type(graph)(
        graph.nodes[: last + 1], graph.inputs, (type(graph.outputs[0])(name, "float32", (None, 4, 16)),), graph.weights
    )
    x = np.random.default_rng(1).standard_normal((1, 6, 16)).astype(np.float32)
    other = x.copy()
    other[:, :, 10:] = 5
    (one,), (two,) = run_reference(seen, [x]), run_reference(seen, [other])
    np.testing.assert_array_equal(one[:, :, :10], two[:, :, :10])
    assert not np.array_equal(one[:, :, 10:], two[:, :, 10:])


def test_shuffled_channels_are_dealt_out_group_by_group() -> None:

    draft = Draft.of(0, "drawn")
    y = shuffle(draft, draft.input("x", 6, 1, 1), 2)
    (made,) = run_reference(draft.net.freeze({"y": y}), [np.arange(6, dtype=np.float32).reshape(1, 6, 1, 1)])
    assert made.ravel().tolist() == [0, 3, 1, 4, 2, 5]
