"""Models that go along a stream against onnxruntime, which scores the whole window at every event.

    python loadtest/streaming.py [--only NAME;NAME] [--threads 1] [--pairs 30] [--json]

One process; batches of events of different keys. Ours is the path of a scorer: the event is taken in, the states (or the layers
of the window before) are found by the key's row, brought one event further and put back. onnxruntime scores as many whole windows,
prepared beforehand. Samples of the two alternate; a figure is the median by event, and a ratio above 1 means that ours is
faster. Exit status: 0, or 2 for wrong usage.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from esp.astore.graph import Graph
from esp.astore.model import Astore, Input, Output, Step
from esp.runtime.events import VarColumn
from esp.runtime.state.tables import KeyedTable
from esp.runtime.stateful import Memory, StatefulScorer
from esp.runtime.windowed import WindowScorer
from esp.train.zoo import build
from loadtest.kernels import Run, interleaved, open_session
from loadtest.machine import commit, machine, versions

BATCHES = (1, 8, 64, 512)
PERIOD = 16  # events after which the readings of a key come again, so that windows may slide without end
CHANNELS = 6


@dataclass(frozen=True, slots=True)
class Case:
    """A network of the zoo over windows of ``length`` events, and what makes of it a call that scores the next event of ``batch`` keys."""

    name: str
    network: str
    length: int
    settings: Mapping[str, Any]
    stream: Callable[[Astore, int], Run]


@dataclass(frozen=True, slots=True)
class Figure:
    """Medians of one event in microseconds; ``ratio`` is theirs by ours. ``ours_us`` is 0 where the network cannot go along a stream."""

    name: str
    batch: int
    ours_us: float
    theirs_us: float
    ratio: float
    pairs: int


def stepping(astore: Astore, batch: int) -> Run:
    """One event of each key, a step of its states."""
    scorer = StatefulScorer.bind(astore, "numba", max(BATCHES))
    table = KeyedTable("states", {"count": ("int64", ()), "last_ns": ("int64", ()), "states": ("float32", scorer.initial.shape)})
    rows, memory = table.rows(_keys(batch)), Memory(table, "states", scorer.initial)
    events = np.random.default_rng(1).standard_normal((batch, 1, CHANNELS)).astype(np.float32)
    return partial(scorer.step, events, None, rows, np.arange(batch, dtype=np.int64), memory)


def sliding(astore: Astore, batch: int) -> Run:
    """The window of each key, one event further; ValueError where it is scored whole."""
    scorer = WindowScorer.bind(astore, "numba", max(BATCHES), hop=1)
    by, length = scorer.sliding(), astore.inputs[0].shape[0]
    if by is None:
        raise ValueError(scorer.way)
    readings = np.random.default_rng(1).standard_normal((batch, PERIOD, CHANNELS)).astype(np.float32)
    series = np.tile(readings, (1, length // PERIOD + 2, 1))
    windows = [np.ascontiguousarray(series[:, at : at + length]) for at in range(PERIOD)]
    rows, counts, course = np.arange(batch, dtype=np.int64), np.full(batch, length, np.int64), cycle(windows)
    one = np.ones(1, np.int64)

    def score() -> object:
        np.add(counts, one, counts)
        return scorer.score_windows(next(course), rows, counts, by)

    return score


CASES = (
    Case("stateful GRU(64) 6x100", "gru", 100, {"units": 64, "bidirectional": False}, stepping),
    Case("stateful LSTM(128) 6x100", "lstm", 100, {"units": 128, "bidirectional": False}, stepping),
    Case("sliding 1-D CNN 6x128, hop 1", "conv_1d", 128, {"channels": CHANNELS}, sliding),
    Case("sliding 1-D CNN 6x128, pooled, hop 1", "conv_1d", 128, {"channels": CHANNELS, "pooled": True}, sliding),
    Case(
        "sliding 1-D CNN 6x128, pooled, unpadded, hop 1",
        "conv_1d",
        128,
        {"channels": CHANNELS, "pooled": True, "padding": "valid"},
        sliding,
    ),
    Case("sliding TCN 6x128, hop 1", "tcn", 128, {"channels": CHANNELS}, sliding),
)


def main() -> None:
    args = _arguments()
    cases = [case for case in CASES if not args.only or case.name in args.only]
    if not cases:
        print(f"streaming: nothing of that name; there are: {'; '.join(case.name for case in CASES)}", file=sys.stderr)
        sys.exit(2)
    figures = []
    for figure in _figures(cases, args.threads, args.pairs):
        figures.append(figure)
        print(f"{figure.name}, batch {figure.batch}: {figure.ratio:.1f}", file=sys.stderr, flush=True)
    told = {"machine": machine(), "versions": versions(), "commit": commit(Path(__file__).parents[1]), "threads": args.threads}
    if args.json:
        print(json.dumps({**told, "figures": [asdict(figure) for figure in figures]}))
        return
    _show(told, figures)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Models that go along a stream against whole windows on onnxruntime.")
    parser.add_argument("--only", type=lambda text: text.split(";"), help="names of cases, joined by ;")
    parser.add_argument("--threads", type=int, default=1, choices=(1, 2), help="threads of onnxruntime")
    parser.add_argument("--pairs", type=int, default=30, help="samples of each, at least 3")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    args = parser.parse_args()
    args.pairs = max(args.pairs, 3)
    return args


def _figures(cases: Sequence[Case], threads: int, pairs: int) -> Iterator[Figure]:
    for case in cases:
        graph = build(case.network, seed=1, length=case.length, **case.settings)
        session, astore = open_session(graph, threads), _astore(graph)
        for batch in BATCHES:
            shape = [size for size in graph.inputs[0].shape[1:] if isinstance(size, int)]
            feeds = {graph.inputs[0].name: np.random.default_rng(0).standard_normal((batch, *shape)).astype(np.float32)}
            theirs = partial(session.run, None, feeds)
            try:
                ours = case.stream(astore, batch)
            except ValueError as err:
                print(f"{case.name}: {err}", file=sys.stderr)
                yield Figure(case.name, batch, 0.0, 0.0, 0.0, pairs)
                continue
            ours_us, theirs_us = interleaved(ours, theirs, pairs)
            yield Figure(case.name, batch, ours_us / batch, theirs_us / batch, theirs_us / ours_us, pairs)


def _astore(graph: Graph) -> Astore:
    """A model of the network whose events are [length, channels], as windows of a stream are."""
    shape = [size for size in graph.inputs[0].shape[1:] if isinstance(size, int)]
    is_channels_first = shape[0] == CHANNELS
    steps = (Step("channels_first"),) if is_channels_first else ()
    item = Input("series", "float32", (shape[1], shape[0]) if is_channels_first else (shape[0], shape[1]), steps)
    outputs = tuple(
        Output(value.name, value.dtype, tuple(size for size in value.shape if isinstance(size, int))) for value in graph.outputs
    )
    return Astore("stream", graph, (item,), outputs)


def _keys(count: int) -> VarColumn:
    return VarColumn.of([f"device {number}" for number in range(count)])


def _show(told: Mapping[str, Any], figures: Sequence[Figure]) -> None:
    out = Console(width=110)
    table = Table("model", "keys at once", "ours us an event", "onnxruntime us a window", "ratio")
    for column in table.columns[1:]:
        column.justify = "right"
    for figure in figures:
        table.add_row(figure.name, str(figure.batch), f"{figure.ours_us:,.2f}", f"{figure.theirs_us:,.1f}", f"{figure.ratio:.1f}")
    out.print(table)
    what = told["machine"]
    out.print(
        f"{what['cpu']}, {what['simd']}, load {what['load_1m']}; onnxruntime on {told['threads']} thread(s); commit {told['commit']}"
    )


if __name__ == "__main__":
    main()
