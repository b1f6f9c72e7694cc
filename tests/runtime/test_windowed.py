"""Windows scored incrementally against the same windows scored whole: missing readings, gaps, and keys that come several times."""

from dataclasses import replace
from typing import Literal

import numpy as np
import pytest

from esp.astore.model import Astore, Input, Output, Step
from esp.runtime.scorer import Scorer
from esp.runtime.windowed import WindowScorer
from esp.train.zoo import build

LENGTH, CHANNELS, KEYS = 32, 6, 3
Missing = Literal["refuse", "nan", "impute"]


def _astore(missing: Missing, is_scaled: bool) -> Astore:
    graph = build("conv_1d", seed=1, length=LENGTH, channels=CHANNELS)
    scale = (Step("scale", {"scale": 0.5, "offset": 0.25}),) if is_scaled else ()
    item = Input("series", "float32", (LENGTH, CHANNELS), (*scale, Step("channels_first")), missing=missing)
    outputs = tuple(Output(value.name, value.dtype, (7,)) for value in graph.outputs)
    return Astore("waves", graph, (replace(item, impute=0.5) if missing == "impute" else item,), outputs)


@pytest.mark.parametrize("is_scaled", [False, True])
@pytest.mark.parametrize("missing", ["refuse", "nan", "impute"])
@pytest.mark.parametrize("hop", [1, 3])
def test_windows_with_missing_readings_score_as_whole_windows_do(missing: Missing, is_scaled: bool, hop: int) -> None:
    astore = _astore(missing, is_scaled)
    scorer, whole = WindowScorer.bind(astore, "numba", max_batch=16, hop=hop), Scorer.bind(astore, "numba", max_batch=16)
    assert scorer.way == "windows incrementally"
    by, rng, refused = scorer.sliding(), np.random.default_rng(7), 0
    events = rng.standard_normal((KEYS, 2400, CHANNELS)).astype(np.float32)
    events[rng.random(events.shape) < 0.0005] = np.nan
    starts, counts = np.arange(KEYS) * 100, np.full(KEYS, LENGTH)  # where the next window begins, and what its count is
    for _ in range(60):
        windows, rows, told = [], rng.integers(0, KEYS, int(rng.integers(1, 24))), []
        for row in rows.tolist():
            if rng.random() < 0.02:  # a gap
                starts[row], counts[row] = starts[row] + LENGTH, LENGTH
            windows.append(events[row, starts[row] : starts[row] + LENGTH])
            told.append(int(counts[row]))
            starts[row], counts[row] = starts[row] + hop, counts[row] + hop
        ours = scorer.score_windows(np.stack(windows), rows, np.array(told), by)
        theirs = whole.score([np.stack(windows)], [None])
        assert ours.outputs[0].tobytes() == theirs.outputs[0].tobytes()
        assert (ours.refused is None) == (theirs.refused is None)
        assert ours.refused is None or ours.refused.tolist() == theirs.refused.tolist()
        assert ours.reasons == theirs.reasons
        refused += len(ours.reasons)
    assert bool(refused) == (missing == "refuse")


def test_after_a_gap_a_refused_window_is_not_followed_by_what_was_before_the_gap() -> None:
    astore = _astore("refuse", False)
    scorer, whole = WindowScorer.bind(astore, "numba", max_batch=16), Scorer.bind(astore, "numba", max_batch=16)
    by, row = scorer.sliding(), np.zeros(1, np.int64)
    before, after = np.random.default_rng(3).standard_normal((2, 60, CHANNELS)).astype(np.float32)
    after[0, 2] = np.nan
    scorer.score_windows(before[None, :LENGTH], row, np.array([LENGTH]), by)
    assert scorer.score_windows(after[None, :LENGTH], row, np.array([LENGTH]), by).reasons
    for first in range(1, 9):
        window = after[None, first : first + LENGTH]
        ours, theirs = scorer.score_windows(window, row, np.array([LENGTH + first]), by), whole.score([window], [None])
        assert ours.outputs[0].tobytes() == theirs.outputs[0].tobytes()
