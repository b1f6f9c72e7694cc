"""The scorer: columns of events in, scores out; preprocessing judged by ``prepare``, scores by the numpy references."""

import logging
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from esp.astore.graph import Graph, Node, Value, run_reference
from esp.astore.model import Astore, Input, Output, Step, check
from esp.astore.preprocess import prepare
from esp.errors import BackendError
from esp.runtime.backends import numpy as numpy_backend
from esp.runtime.backends.choice import Chooser
from esp.runtime.drift import Drift
from esp.runtime.events import VarColumn
from esp.runtime.models import Models
from esp.runtime.query import load_query
from esp.runtime.scorer import Scorer
from tests.runtime import streams
from tests.runtime.backends.nets import Maker

LABELS = ("cat", "dog", "owl")


def classifier(
    steps: tuple[Step, ...] = (),
    missing: Any = "refuse",
    dtype: str = "uint8",
    shape: tuple[int, ...] = (4, 5, 2),
    channels: int = 2,
) -> Astore:
    """A small convolutional network over a picture whose events have the channels last."""
    m = Maker(5, (channels, 4, 5))
    x = m.add("Relu", m.add("Conv", "x0", m.weight(6, channels, 3, 3, fan=18), m.weight(6)))
    m.add("Softmax", m.add("Gemm", m.add("Flatten", x), m.weight(36, 3, fan=36)))
    graph = m.graph()
    name = graph.outputs[0].name
    source = Input("image", dtype, shape, steps, missing)
    made = Astore("pets", graph, (source,), (Output(name, "float32", (3,), "probabilities", LABELS),), digest="ab" * 32)
    check(made)
    return made


STEPS = (
    Step("scale", {"scale": 1 / 16, "offset": -0.5}), Step("normalise", {"mean": (0.1, 0.3), "std": (0.5, 0.25)}), Step("channels_first"),
)  # fmt: skip


def pictures(n: int, seed: int = 1) -> Any:
    return np.random.default_rng(seed).integers(0, 17, (n, 4, 5, 2)).astype(np.uint8)


def expected(astore: Astore, column: Any, valid: Any = None) -> Any:
    return run_reference(astore.graph, [prepare(astore.inputs[0], column, valid).array])[0]


@pytest.mark.parametrize("backend", ["numba", "numpy", "onnxruntime"])
@pytest.mark.parametrize("n", [0, 1, 40])
def test_every_backend_scores_as_the_reference_preprocessing_and_graph_do(backend: str, n: int) -> None:
    astore, column = classifier(STEPS), pictures(n)
    scorer = Scorer.bind(astore, backend, max_batch=16)
    scorer.warm()
    scores = scorer.score([column], [None])
    assert (scorer.backend, scorer.digest, scores.refused, scores.reasons) == (backend, astore.digest, None, ())
    assert scores.outputs[0].shape == (n, 3)
    if n:
        np.testing.assert_allclose(scores.outputs[0], expected(astore, column), atol=1e-5)


@pytest.mark.parametrize("dtype", ["uint8", "bool", "int32", "int64", "float32", "float64"])
def test_fused_intake_gives_the_bits_that_prepare_gives(dtype: str) -> None:
    astore, column = classifier(STEPS, dtype=dtype), pictures(9).astype(dtype)
    (intake,) = Scorer.bind(astore, "numpy").intakes
    assert intake.fused
    np.testing.assert_array_equal(intake.take(column, None).array, prepare(astore.inputs[0], column).array)


@pytest.mark.parametrize(
    "steps",
    [
        (Step("reshape", {"shape": (5, 4, 2)}), Step("reshape", {"shape": (4, 5, 2)}), Step("channels_first")),
        (Step("channels_first"), Step("scale", {"scale": 0.5, "offset": 1.0})),
        (Step("resize", {"height": 4, "width": 5}), Step("channels_first")),
        (
            Step("reshape", {"shape": (5, 4, 2)}),
            Step("letterbox", {"height": 4, "width": 5, "fill": (0.5, 9)}),
            Step("channels_first"),
        ),
        (Step("scale", {"scale": (0.5, 2.0), "offset": 1.0}), Step("reshape", {"shape": (2, 4, 5)})),
    ],
)
@pytest.mark.parametrize("backend", ["numba", "numpy"])
def test_any_chain_of_steps_scores_as_prepare_says(steps: tuple[Step, ...], backend: str) -> None:
    astore, column = classifier(steps), pictures(7)
    np.testing.assert_allclose(Scorer.bind(astore, backend).score([column], [None]).outputs[0], expected(astore, column), atol=1e-5)


@pytest.mark.parametrize("backend", ["numba", "onnxruntime"])
@pytest.mark.parametrize(
    "between",
    [
        (Step("resize", {"height": 4, "width": 5}),),
        (Step("letterbox", {"height": 4, "width": 5, "fill": 114}), Step("reverse_channels")),
    ],
)
def test_image_files_are_decoded_and_a_broken_one_is_refused(between: tuple[Step, ...], backend: str) -> None:
    steps = Step("decode", {"channels": 3}), *between, Step("channels_first")
    astore = classifier(steps, dtype="blob", shape=(), channels=3)
    files = []
    for picture in np.random.default_rng(2).integers(0, 255, (2, 8, 8, 3)).astype(np.uint8):
        files.append(BytesIO())
        Image.fromarray(picture).save(files[-1], "PNG")
    column = VarColumn.of([files[0].getvalue(), b"no image", files[1].getvalue()])
    scores = Scorer.bind(astore, backend).score([column], [None])
    assert scores.refused is not None
    assert scores.refused.tolist() == [False, True, False]
    assert len(scores.reasons) == 1
    wanted = expected(astore, column)
    np.testing.assert_allclose(scores.outputs[0][[0, 2]], wanted[[0, 2]], atol=1e-5)
    assert not scores.outputs[0][1].any()


def test_warming_takes_the_way_of_events_and_leaves_no_trace_in_the_drift() -> None:
    m = Maker(8, (3, 4, 5), (3,))
    total = m.add("Add", m.add("Gemm", m.add("Flatten", "x0"), m.weight(60, 3, fan=60)), "x1")
    steps = Step("decode", {"channels": 3}), Step("resize", {"height": 4, "width": 5}), Step("channels_first")
    inputs = Input("photo", "blob", (), steps), Input("acc", "float64", (3,), statistics={"mean": [1.0], "std": [1.0]})
    scorer = Scorer.bind(Astore("seen", m.graph(total), inputs, (Output(total, "float32", (3,)),), digest="23" * 32), "numpy")
    sizes = []
    score = scorer.score

    def watched(columns: Any, validity: Any) -> Any:
        scores = score(columns, validity)
        assert scores.refused is None
        sizes.append([len(column) for column in columns])
        return scores

    scorer.score = watched  # type: ignore[method-assign]
    scorer.warm()
    assert sizes == [[1, 1], [2, 2], [7, 7], [64, 64]]
    assert scorer.drifts[1].shifts() == []


def test_what_would_fail_at_the_first_event_fails_when_warmed(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Drift, column: Any) -> None:
        raise ValueError("cannot reshape")

    scorer = Scorer.bind(classifier(STEPS), "numpy")
    monkeypatch.setattr(Drift, "observe", fail)
    with pytest.raises(ValueError, match="cannot reshape"):
        scorer.warm()


def test_rows_with_missing_values_are_refused_and_the_others_keep_their_bits() -> None:
    astore = classifier((Step("channels_first"),), dtype="float32")
    column = pictures(6).astype(np.float32)
    scorer = Scorer.bind(astore)
    whole = scorer.score([column], [None]).outputs[0]
    column[2, 1, 1, 1] = np.nan
    scores = scorer.score([column], [np.array([True, True, True, True, False, True])])
    assert scores.refused is not None
    assert scores.refused.tolist() == [False, False, True, False, True, False]
    assert scores.reasons == ("input 'image' is NaN at [1,1,1]", "input 'image' is null")
    np.testing.assert_array_equal(scores.outputs[0][~scores.refused], whole[~scores.refused])


def test_nan_is_passed_on_or_imputed_as_the_input_says() -> None:
    column = pictures(3).astype(np.float32)
    column[1, 0, 0, 0] = np.nan
    passed = classifier((Step("channels_first"),), "nan", "float32")
    scores = Scorer.bind(passed).score([column], [None])
    assert scores.refused is None
    assert np.isnan(scores.outputs[0]).all(axis=1).tolist() == [False, True, False]
    imputed = replace(passed, inputs=(replace(passed.inputs[0], missing="impute", impute=3.0),))
    filled = np.nan_to_num(column, nan=3.0)
    np.testing.assert_array_equal(
        Scorer.bind(imputed).score([column], [None]).outputs[0], Scorer.bind(passed).score([filled], [None]).outputs[0]
    )


def two_inputs(missing: Any = "refuse") -> Astore:
    m = Maker(6, (3,), ())
    x = m.add("Gemm", "x0", m.weight(3, 4))
    one = m.add("Reshape", "x1", m.const(np.array([0, 1])))
    total = m.add("Add", x, one)
    inputs = Input("acc", "float32", (3,), (), missing), Input("temp", "float64", (), (), missing)
    astore = Astore(
        "two", m.graph(total, x), inputs, (Output(total, "float32", (4,)), Output(x, "float32", (4,))), digest="cd" * 32
    )
    check(astore)
    return astore


def test_several_inputs_and_outputs_are_taken_in_the_models_order() -> None:
    astore = two_inputs()
    acc, temp = np.random.default_rng(3).random((5, 3), np.float32), np.arange(5.0)
    scores = Scorer.bind(astore).score([acc, temp], [None, None])
    for found, wanted in zip(scores.outputs, run_reference(astore.graph, [acc, temp.astype(np.float32)])):
        np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_a_row_that_two_inputs_refuse_is_refused_once() -> None:
    acc, temp = np.ones((4, 3), np.float32), np.ones(4)
    there = np.array([True, False, True, False]), np.array([True, False, False, True])
    scores = Scorer.bind(two_inputs()).score([acc, temp], list(there))
    assert scores.refused is not None
    assert scores.refused.tolist() == [False, True, True, True]
    assert scores.reasons == ("input 'acc' is null", "input 'temp' is null", "input 'acc' is null")


@pytest.mark.parametrize("cut", [1, 3, 64])
def test_scores_do_not_depend_on_the_batch_they_travel_in(cut: int) -> None:
    scorer, column = Scorer.bind(classifier(STEPS), "numba", max_batch=16), pictures(50)
    parts = [scorer.score([column[at : at + cut]], [None]).outputs[0] for at in range(0, 50, cut)]
    np.testing.assert_array_equal(np.concatenate(parts), scorer.score([column], [None]).outputs[0])


def _unplanned() -> Astore:
    """A graph that the references and onnxruntime know, but no plan."""
    m = Maker(7, (5,))
    out = m.add("Hardmax", "x0")
    return Astore("bent", m.graph(out), (Input("x", "float32", (5,)),), (Output(out, "float32", (5,)),), digest="ef" * 32)


class Fakes:
    """Backends in the place of the real ones: a batch costs ``costs[backend]`` seconds of the chooser's clock, inf is refused."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path, **costs: float) -> None:
        self.costs, self.now, self.bound = costs, 0.0, list[str]()
        self.chooser = Chooser(folder, lambda: self.now)
        monkeypatch.setattr("esp.runtime.scorer.bind", self.bind)
        monkeypatch.setattr("esp.runtime.scorer.HAS_FMA", True)

    def bind(self, backend: str, graph: Graph, max_batch: int, threads: int = 1) -> Any:
        self.bound.append(backend)
        if self.costs[backend] == np.inf:
            raise BackendError(f"{backend} cannot take it")
        bound = numpy_backend.bind(graph, max_batch)
        score = bound.run

        def run(inputs: Any) -> Any:
            self.now += self.costs[backend]
            return score(inputs)

        return SimpleNamespace(run=run)

    def auto(self, astore: Astore | None = None) -> str:
        """The backend that ``auto`` takes, which scores then."""
        scorer, column = Scorer.bind(astore or classifier(STEPS), "auto", 8, self.chooser), pictures(3)
        np.testing.assert_allclose(scorer.score([column], [None]).outputs[0], expected(scorer.astore, column), atol=1e-5)
        return scorer.backend


@pytest.mark.parametrize(("costs", "faster"), [((0.01, 0.02), "numba"), ((0.02, 0.01), "onnxruntime"), ((0.01, 0.01), "numba")])
def test_auto_keeps_the_faster_backend_and_binds_it_alone_from_then_on(
    costs: tuple[float, float], faster: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fakes = Fakes(monkeypatch, tmp_path, numba=costs[0], onnxruntime=costs[1])
    with caplog.at_level(logging.INFO, "esp"):
        assert fakes.auto() == faster
        assert sorted(fakes.bound) == ["numba", "onnxruntime"]
        ratio = f"{costs[1] / costs[0]:.2f}"
        told = (
            f"model pets (abababababab): backend {faster} (onnxruntime's time by numba's: {ratio} at batch 1, {ratio} at batch 8)"
        )
        assert told in caplog.messages
        again = Fakes(monkeypatch, tmp_path, numba=costs[1], onnxruntime=costs[0])  # who would now measure would choose the other
        assert again.auto() == faster
    assert (again.bound, again.now) == ([faster], costs[faster == "numba"])  # it scored once, for this test
    assert f"{told}, remembered" in caplog.messages


def test_auto_measures_another_model_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Fakes(monkeypatch, tmp_path, numba=0.01, onnxruntime=0.02).auto() == "numba"
    other = Fakes(monkeypatch, tmp_path, numba=0.02, onnxruntime=0.01)
    assert other.auto(replace(classifier(STEPS), digest="cd" * 32)) == "onnxruntime"


def test_auto_measures_nothing_where_one_backend_alone_can_take_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = Fakes(monkeypatch, tmp_path / "one", numba=np.inf, onnxruntime=0.5)
    assert (one.auto(), one.now) == ("onnxruntime", 0.5)
    other = Fakes(monkeypatch, tmp_path / "other", numba=0.5, onnxruntime=np.inf)
    assert (other.auto(), other.now) == ("numba", 0.5)
    assert (other.auto(), other.bound) == ("numba", ["numba", "onnxruntime", "numba"])  # it is not asked again
    neither = Fakes(monkeypatch, tmp_path / "neither", numba=np.inf, onnxruntime=np.inf, numpy=0.5)
    assert (neither.auto(), neither.now) == ("numpy", 0.5)


def test_auto_measures_anew_where_the_remembered_backend_no_longer_takes_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Fakes(monkeypatch, tmp_path, numba=0.01, onnxruntime=0.02).auto() == "numba"
    assert Fakes(monkeypatch, tmp_path, numba=np.inf, onnxruntime=0.02).auto() == "onnxruntime"


def test_auto_takes_numba_where_measuring_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fakes = Fakes(monkeypatch, tmp_path, numba=0.01, onnxruntime=0.01)
    bind = fakes.bind

    def failing(backend: str, graph: Graph, max_batch: int, threads: int = 1) -> Any:
        def fail(inputs: Any) -> Any:
            raise BackendError("onnxruntime failed: no memory")

        bound = bind(backend, graph, max_batch)
        return SimpleNamespace(run=fail) if backend == "onnxruntime" else bound

    monkeypatch.setattr("esp.runtime.scorer.bind", failing)
    assert fakes.auto() == "numba"
    assert "no memory; it takes numba unmeasured" in caplog.text
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["HAS_FMA", "MEASURED_FLOPS"])
def test_auto_takes_onnxruntime_without_fma_and_for_a_model_too_large_to_measure(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fakes = Fakes(monkeypatch, tmp_path, numba=0.01, onnxruntime=0.5)
    monkeypatch.setattr(f"esp.runtime.scorer.{name}", 0)
    assert (fakes.auto(), fakes.bound, fakes.now) == ("onnxruntime", ["onnxruntime"], 0.5)


def test_auto_leaves_no_trace_of_its_measuring_in_the_drift() -> None:
    m = Maker(9, (3,))
    out = m.add("Gemm", "x0", m.weight(3, 2, fan=3))
    source = Input("acc", "float32", (3,), statistics={"mean": [1.0], "std": [1.0]})
    scorer = Scorer.bind(Astore("seen", m.graph(out), (source,), (Output(out, "float32", (2,)),), digest="45" * 32))
    assert scorer.drifts[0].shifts() == []


def test_auto_takes_onnxruntime_for_what_a_plan_cannot_express_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "esp"):
        scorer = Scorer.bind(_unplanned())
    assert scorer.backend == "onnxruntime"
    assert (
        "model 'bent': node of 't1': the numba backend cannot take Hardmax: it has no rule; trying the next backend" in caplog.text
    )
    x = np.arange(10, dtype=np.float32).reshape(2, 5)
    np.testing.assert_allclose(scorer.score([x], [None]).outputs[0], run_reference(scorer.astore.graph, [x])[0], atol=1e-5)


def test_a_backend_asked_for_that_cannot_take_the_graph_is_refused() -> None:
    with pytest.raises(BackendError, match=r"model 'bent'.*numba backend cannot take Hardmax.*; use the backend onnxruntime"):
        Scorer.bind(_unplanned(), "numba")


def test_a_model_of_wide_rows_scores_few_at_a_time() -> None:
    nodes = (Node("Tile", ("x", "times"), ("wide",)), Node("ReduceMax", ("wide", "axis"), ("y",), {"keepdims": 1}))
    weights = {"times": np.array([1, 1 << 23]), "axis": np.array([1])}
    graph = Graph(nodes, (Value("x", "float32", (None, 2)),), (Value("y", "float32", (None, 1)),), weights)
    astore = Astore("wide", graph, (Input("x", "float32", (2,)),), (Output("y", "float32", (1,)),))
    check(astore)
    assert Scorer.bind(astore, "numpy", max_batch=4096).max_batch == (1 << 28) // (1 << 24)
    assert Scorer.bind(classifier(STEPS), "numpy", max_batch=4096).max_batch == 4096


def test_refusals_of_a_block_that_is_scored_in_parts_stand_in_row_order() -> None:
    column, bad = pictures(20).astype(np.float32), [1, 9, 18]
    column[bad, 0, 0, 0] = np.nan
    astore = classifier(STEPS, dtype="float32")
    parts, whole = (Scorer.bind(astore, "numpy", max_batch=size).score([column], [None]) for size in (4, 64))
    assert parts.refused is not None
    assert np.flatnonzero(parts.refused).tolist() == bad
    assert parts.reasons == whole.reasons
    assert len(parts.reasons) == 3
    np.testing.assert_array_equal(parts.outputs[0], whole.outputs[0])


def test_model_of_endless_work_is_refused() -> None:
    size = 1 << 12
    weights = {
        "w": np.zeros((1, 1), np.float32),
        "shape": np.array([1, 1, size, size], np.int64),
        "flat": np.array([0, -1], np.int64),
    }
    nodes = (
        Node("Reshape", ("x", "grid"), ("picture",)),
        Node("ConstantOfShape", ("shape",), ("kernel",)),
        Node("Conv", ("picture", "kernel"), ("c",), {"pads": (size // 2, size // 2, size // 2 - 1, size // 2 - 1)}),
        Node("GlobalAveragePool", ("c",), ("mean",)),
        Node("Reshape", ("mean", "flat"), ("y",)),
    )  # 2 * 4096 ** 4 operations in the convolution
    weights["grid"] = np.array([0, 1, size, size], np.int64)
    del weights["w"]
    graph = Graph(nodes, (Value("x", "float32", (None, size * size)),), (Value("y", "float32", (None, 1)),), weights)
    astore = Astore("endless", graph, (Input("x", "float32", (size * size,)),), (Output("y", "float32", (1,)),))
    with pytest.raises(BackendError, match=r"an event costs 5\.6e\+14 FLOPs"):
        Scorer.bind(astore)


def test_both_backends_get_the_same_number_of_threads() -> None:
    bounds: list[Any] = [Scorer.bind(classifier(STEPS), backend, 16, threads=3).bound for backend in ("numba", "onnxruntime")]
    assert bounds[0].threads == 3
    assert bounds[1].session.get_session_options().intra_op_num_threads == 3


def test_a_scorer_on_several_threads_gives_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("esp.runtime.backends.numba.PART_NS", 1.0)
    monkeypatch.setattr("esp.runtime.backends.numba.Payoff.is_due", lambda self: True)
    astore, column = classifier(STEPS), pictures(300)
    alone, together = (Scorer.bind(astore, "numba", 64, threads=threads) for threads in (1, 4))
    (wanted,) = alone.score([column], [None]).outputs
    for n in (1, 2, 5, 63, 64, 65, 300):
        np.testing.assert_array_equal(together.score([column[:n]], [None]).outputs[0], wanted[:n])


@pytest.mark.parametrize(("setting", "wanted"), [("", 5), (", threads = 1", 1), (", threads = 3", 3)])
def test_a_query_says_how_many_threads_score(setting: str, wanted: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("esp.runtime.backends.cores.cores", lambda quota: 6)
    path = streams.query_file(tmp_path, streams.memory("threads", 1))
    path.write_text(path.read_text().replace("queue_events = 4096", f"queue_events = 4096{setting}"))
    models = Models(load_query(path), tmp_path / "models")
    models.start(is_fresh=True)
    bound: Any = models.scorers["scored"].bound
    assert (models.scorers["scored"].threads, bound.threads) == (wanted, wanted)
