"""Losses, optimisers and the training loop, against arithmetic by hand, the references of the ops and central differences."""

import math
from dataclasses import replace

import numpy as np
import pytest

from esp.astore.graph import run_reference
from esp.errors import GraphError
from esp.train.evaluate import evaluate, predict
from esp.train.fit import Epoch, Rows, fit
from esp.train.layers import (
    BN,
    GRU,
    Conv1d,
    Dense,
    Dropout,
    GlobalAveragePool,
    InputLayer,
    OutputLayer,
    RegressionLayer,
    build_graph,
)
from esp.train.losses import Loss, cross_entropy, squared_error
from esp.train.optimizers import SGD, Adam, rate_at
from esp.train.progress import bar, lines, quiet
from esp.train.settings import AdamSettings, FitSettings, SgdSettings, StopSettings
from esp.train.tape import Tape, trainable_weights


def as_is(rows, rng):  # type: ignore[no-untyped-def]
    return rows


def test_cross_entropy_by_hand() -> None:
    loss, grad = cross_entropy(np.log([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]]), np.array([0, 1]))
    assert loss == pytest.approx(-(math.log(0.7) + math.log(0.1)) / 2)
    np.testing.assert_allclose(grad, [[-0.15, 0.1, 0.05], [0.05, -0.45, 0.4]])


def test_cross_entropy_with_smoothing_is_least_at_the_smoothed_target() -> None:
    _, grad = cross_entropy(np.log([[0.9, 0.05, 0.05]]), np.array([0]), 0.15)
    np.testing.assert_allclose(grad, 0, atol=1e-12)


def test_cross_entropy_of_huge_logits_stays_finite() -> None:
    loss, grad = cross_entropy(np.array([[1000.0, 0.0]]), np.array([1]))
    assert loss == 1000
    assert np.isfinite(grad).all()


def test_squared_error_by_hand() -> None:
    loss, grad = squared_error(np.array([[1.0], [4.0]]), np.array([2.0, 2.0]))
    assert loss == 2.5
    assert grad.tolist() == [[-1.0], [2.0]]


def test_cross_entropy_wants_a_softmax_at_the_end() -> None:
    with pytest.raises(GraphError, match="ends in a softmax"):
        Loss.of(build_graph([InputLayer((2,), name="x"), Dense(2)]), "cross_entropy")


def test_sgd_with_momentum_by_hand() -> None:
    weights, sgd = {"w": np.array([1.0])}, SGD(momentum=0.5)
    sgd.step(weights, {"w": np.array([2.0])}, 0.1)  # speed 2
    sgd.step(weights, {"w": np.array([1.0])}, 0.1)  # speed 2
    assert weights["w"] == pytest.approx(1 - 0.2 - 0.2)


def test_adam_takes_the_steps_of_its_paper() -> None:
    weights, adam = {"w": np.array([1.0])}, Adam()
    first = second = 0.0
    expected = 1.0
    for t, grad in enumerate((0.3, -0.1, 0.7), start=1):
        adam.step(weights, {"w": np.array([grad])}, 0.01)
        first, second = 0.9 * first + 0.1 * grad, 0.999 * second + 0.001 * grad**2
        expected -= 0.01 * (first / (1 - 0.9**t)) / (math.sqrt(second / (1 - 0.999**t)) + 1e-8)
    assert weights["w"][0] == pytest.approx(expected, rel=1e-6)


def test_step_schedule_divides_by_ten_twice() -> None:
    assert [rate_at(1.0, "step", at) for at in (0.0, 0.59, 0.6, 0.84, 0.85)] == pytest.approx([1, 1, 0.1, 0.1, 0.01])


def spirals(rows: int, seed: int) -> Rows:
    """Two spirals that no straight line parts."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 2, rows)
    turn = rng.uniform(0.5, 2.0, rows) * np.pi
    points = np.stack([np.cos(turn + label * np.pi), np.sin(turn + label * np.pi)], axis=1) * turn[:, None] / np.pi
    return Rows((points + rng.normal(0, 0.02, points.shape)).astype(np.float32), label)


SPIRAL_NET = [InputLayer((2,), name="x"), Dense(32, "relu"), Dense(32, "relu"), OutputLayer(2)]


@pytest.mark.parametrize(
    "optimizer",
    [AdamSettings(rate=0.01, schedule="cosine"), SgdSettings(kind="sgd", rate=0.2, momentum=0.9, nesterov=True, l2=1e-5)],
)
def test_network_learns_two_spirals(optimizer: AdamSettings | SgdSettings) -> None:
    fitted = fit(build_graph(SPIRAL_NET, 3), spirals(600, 1), FitSettings(epochs=40, batch_size=32), optimizer)
    test = spirals(300, 2)
    metrics = evaluate(fitted.graph, test.x, test.y, "cross_entropy", as_is)
    assert metrics.accuracy is not None
    assert metrics.accuracy > 0.97
    assert sum(map(sum, metrics.confusion)) == metrics.rows == 300
    assert [epoch.number for epoch in fitted.history] == list(range(1, 41))


def test_same_seed_gives_the_same_weights_and_another_seed_does_not() -> None:
    layers = [*SPIRAL_NET[:2], Dropout(0.2), *SPIRAL_NET[2:]]
    runs = [
        fit(build_graph(layers, 3), spirals(100, 1), FitSettings(epochs=2), AdamSettings(), seed=seed).graph for seed in (1, 1, 2)
    ]
    for name in trainable_weights(runs[0]):
        np.testing.assert_array_equal(runs[0].weights[name], runs[1].weights[name])
    assert any(not np.array_equal(runs[0].weights[name], runs[2].weights[name]) for name in runs[0].weights)


def test_fit_leaves_the_graph_it_was_given_alone() -> None:
    graph = build_graph(SPIRAL_NET, 3)
    before = {name: value.copy() for name, value in graph.weights.items()}
    fit(graph, spirals(64, 1), FitSettings(epochs=1), AdamSettings())
    for name, value in before.items():
        np.testing.assert_array_equal(graph.weights[name], value)


def test_early_stopping_restores_the_weights_of_the_best_epoch() -> None:
    watched = spirals(100, 2)
    stop = (StopSettings(patience=3), watched)
    noise = Rows(spirals(60, 1).x, np.random.default_rng(0).integers(0, 2, 60))  # nothing to learn: it soon gets worse
    fitted = fit(build_graph(SPIRAL_NET, 3), noise, FitSettings(epochs=60), AdamSettings(rate=0.02), stop)
    losses = [epoch.validation.loss for epoch in fitted.history if epoch.validation is not None]
    assert len(fitted.history) < 60
    assert fitted.best == int(np.argmin(losses)) + 1 == len(losses) - 3
    assert evaluate(fitted.graph, watched.x, watched.y, "cross_entropy", as_is).loss == min(losses)


def test_linear_regression_finds_the_line() -> None:
    x = np.random.default_rng(0).uniform(-1, 1, (200, 1)).astype(np.float32)
    graph = build_graph([InputLayer((1,), name="x"), RegressionLayer(name="y")], 1)
    settings = FitSettings(epochs=60, batch_size=20, loss="squared_error")
    fitted = fit(graph, Rows(x, 3 * x[:, 0] - 2), settings, SgdSettings(kind="sgd", rate=0.1))
    assert float(fitted.graph.weights["y.weight"][0, 0]) == pytest.approx(3, abs=1e-3)
    assert float(fitted.graph.weights["y.bias"][0]) == pytest.approx(-2, abs=1e-3)
    assert evaluate(fitted.graph, x, 3 * x[:, 0] - 2, "squared_error", as_is).mse == pytest.approx(0, abs=1e-5)


def test_loss_that_is_no_number_stops_training_in_one_line() -> None:
    data = spirals(64, 1)
    with np.errstate(all="ignore"), pytest.raises(GraphError, match="lower the rate"):
        fit(build_graph(SPIRAL_NET, 3), replace(data, x=data.x * np.float32(1e38)), FitSettings(epochs=2), AdamSettings())


def test_trained_network_scores_the_same_as_the_reference_of_its_graph() -> None:
    layers = [
        InputLayer((12, 3), name="x"), Conv1d(6, activation="relu"), BN(), GRU(5, bidirectional=True, sequences=True),
        GlobalAveragePool(), Dropout(0.3), OutputLayer(4),
    ]  # fmt: skip
    rng = np.random.default_rng(7)
    x, y = rng.standard_normal((70, 3, 12)).astype(np.float32), rng.integers(0, 4, 70)
    graph = fit(build_graph(layers, 1), Rows(x, y), FitSettings(epochs=2, batch_size=16), AdamSettings()).graph
    np.testing.assert_allclose(predict(graph, x, as_is), run_reference(graph, [x])[0], rtol=1e-4, atol=1e-6)
    assert not np.array_equal(graph.weights["bn_1.mean"], np.zeros(6))


def test_gradients_of_a_whole_network_equal_central_differences() -> None:
    layers = [
        InputLayer((8, 2), name="x"), Conv1d(3, activation="tanh", name="c"), BN(name="b"), GRU(3, name="g"), OutputLayer(3),
    ]  # fmt: skip
    rng = np.random.default_rng(8)
    x, y = rng.standard_normal((5, 2, 8)), rng.integers(0, 3, 5)
    graph = build_graph(layers, 1, "float64")
    loss = Loss.of(graph, "cross_entropy")

    def value(weights: dict[str, np.ndarray]) -> float:
        tape = Tape.of(replace(graph, weights=weights))
        return loss.compute(tape.run({"x": x}, rng, training=True)[loss.tensor], y, 0.0)[0]

    tape = Tape.of(graph)
    grads = tape.back({loss.tensor: loss.compute(tape.run({"x": x}, rng, training=True)[loss.tensor], y, 0.0)[1]})
    assert set(grads) == set(trainable_weights(graph))
    for name in ("c.weight", "b.scale", "g.weight", "g.recurrent", "outputlayer_1.bias"):
        place = tuple(size - 1 for size in grads[name].shape)
        ends = []
        for step in (1e-5, -1e-5):
            weights = {key: array.copy() for key, array in graph.weights.items()}
            weights[name][place] += step
            ends.append(value(weights))
        assert grads[name][place] == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-5, abs=1e-8)


def test_progress_prints_one_line_an_epoch(capsys: pytest.CaptureFixture[str]) -> None:
    epoch = Epoch(1, 3, 0.5, 0.1, None, 0.25)
    for maker in (lines, quiet, bar):
        with maker("digits", 3) as on_epoch:
            on_epoch(epoch)
    out = capsys.readouterr()
    assert out.out == ""
    assert out.err.splitlines()[0] == "digits: epoch 1/3  loss 0.5000  0.2 s"
