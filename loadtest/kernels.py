"""Our kernels against onnxruntime, side by side in one process: the networks that streams are scored with, at four batch sizes.

    python loadtest/kernels.py [--only "NAME;NAME"] [--threads 1] [--pairs 30] [--auto] [--json]

Each sample times as many calls as take a fifth of a millisecond or more; samples of the two alternate, so that what else the machine does
meets both; a figure is the median, and a ratio above 1 means that ours is faster. Both have as many threads as asked for. With
``--auto`` each network is bound as a score window with ``backend = "auto"`` binds it, and its ratio is told with the backend that this
keeps. Exit status: 0, or 2 for wrong usage.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from math import exp, log
from pathlib import Path
from statistics import median
from time import perf_counter_ns
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from esp.astore.graph import Graph
from esp.astore.model import Astore, Input, Output
from esp.astore.onnx import to_onnx
from esp.errors import BackendError
from esp.runtime.backends import Bound, numba
from esp.runtime.backends.choice import Chooser
from esp.runtime.scorer import Scorer
from esp.train.zoo import build
from loadtest.machine import commit, machine, versions

SAMPLE_NS = 200_000  # a sample takes at least so long
SMALL_BATCHES, LARGE_BATCHES = (1, 8, 64, 512), (1, 8)
Run = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Case:
    """A network of the zoo. ``is_small`` counts for the mean at batch 1, ``is_large`` runs at batch 1 and 8 only."""

    name: str
    network: str
    settings: Mapping[str, Any]
    is_small: bool = False
    is_large: bool = False

    @property
    def batches(self) -> tuple[int, ...]:
        return LARGE_BATCHES if self.is_large else SMALL_BATCHES


CASES = (
    Case("784-32-32-32-32-10", "mlp", {"features": 784, "hidden": (32, 32, 32, 32), "classes": 10}, is_small=True),
    Case("16-64-64-4", "mlp", {"features": 16, "hidden": (64, 64), "classes": 4}, is_small=True),
    Case("autoencoder 64-32-8-32-64", "autoencoder", {}, is_small=True),
    Case("LeNet 28x28", "lenet", {"size": 28}, is_small=True),
    Case("MNIST CNN", "mnist_cnn", {}),
    Case("1-D CNN 6x100", "conv_1d", {}, is_small=True),
    Case("GRU(64) 6x100", "gru", {"length": 100, "units": 64, "bidirectional": False}),
    Case("LSTM(128) 6x100", "lstm", {"length": 100, "units": 128, "bidirectional": False}),
    Case("MobileNetV2-0.35 96x96", "mobilenet_v2", {"size": 96, "width": 0.35, "classes": 10}),
    Case("ResNet18 224x224", "resnet18", {}, is_large=True),
    Case("ResNet50 224x224", "resnet50", {}, is_large=True),
)


@dataclass(frozen=True, slots=True)
class Kept:
    """The backend that ``auto`` keeps for a network; ``ratio``: onnxruntime's time by its, the geometric mean over the batches."""

    name: str
    backend: str
    ratio: float


@dataclass(frozen=True, slots=True)
class Figure:
    """Medians of one call in microseconds; ``ratio`` is theirs by ours. ``ours_us`` is 0 where our backend refuses the network."""

    name: str
    batch: int
    ours_us: float
    theirs_us: float
    ratio: float
    pairs: int


def main() -> None:
    args = _arguments()
    cases = [case for case in CASES if not args.only or case.name in args.only]
    if not cases:
        names = "; ".join(case.name for case in CASES)
        print(f"kernels: nothing of that name; there are: {names}", file=sys.stderr)
        sys.exit(2)
    figures: list[Figure] = []
    kept: list[Kept] = []
    for case in cases:
        bench = Bench(case, args.threads, args.pairs)
        for figure in bench.figures():
            figures.append(figure)
            print(f"{figure.name}, batch {figure.batch}: {figure.ratio:.2f}", file=sys.stderr, flush=True)
        if args.auto:
            kept.append(bench.kept(figures[-len(case.batches) :]))
            print(f"{case.name}: auto keeps {kept[-1].backend}, {kept[-1].ratio:.2f}", file=sys.stderr, flush=True)
    told = {"machine": machine(), "versions": versions(), "commit": commit(Path(__file__).parents[1]), "threads": args.threads}
    if args.json:
        rows = {"figures": [asdict(figure) for figure in figures]} | ({"auto": [asdict(one) for one in kept]} if args.auto else {})
        print(json.dumps({**told, **rows, **_means(figures, kept)}))
        return
    _show(told, figures, kept)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Our kernels against onnxruntime.")
    parser.add_argument("--only", type=lambda text: text.split(";"), help="names of networks, joined by ;")
    parser.add_argument("--threads", type=int, default=1, choices=(1, 2), help="threads of each")
    parser.add_argument("--pairs", type=int, default=30, help="samples of each, at least 3")
    parser.add_argument("--auto", action="store_true", help="tell what auto keeps for each network")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    args = parser.parse_args()
    args.pairs = max(args.pairs, 3)
    return args


class Bench:
    """A network bound to both, on so many threads; ``bound`` is None where our backend refuses it."""

    def __init__(self, case: Case, threads: int, pairs: int) -> None:
        self.case, self.threads, self.pairs = case, threads, pairs
        self.graph = build(case.network, seed=1, **case.settings)
        self.session = open_session(self.graph, threads)
        self.bound = None
        try:
            self.bound = numba.bind(self.graph, max(case.batches), threads)
        except BackendError as err:
            print(f"{case.name}: {err}", file=sys.stderr)

    def figures(self) -> Iterator[Figure]:
        for batch in self.case.batches:
            ours_us, theirs_us = self._times(self.bound, batch)
            told = (ours_us, theirs_us, theirs_us / ours_us) if self.bound else (0.0, theirs_us, 0.0)
            yield Figure(self.case.name, batch, *told, self.pairs)

    def kept(self, figures: Sequence[Figure]) -> Kept:
        """What ``auto`` keeps, measured anew where it is not the backend of the figures."""
        scorer = self._scorer()
        ratios = [figure.ratio for figure in figures]
        if scorer.backend != "numba":
            times = [self._times(scorer.bound, batch) for batch in self.case.batches]
            ratios = [theirs_us / ours_us for ours_us, theirs_us in times]
        return Kept(self.case.name, scorer.backend, _mean(ratios))

    def _times(self, bound: Bound | None, batch: int) -> tuple[float, float]:
        """Microseconds of a call of the backend, and of onnxruntime beside it."""
        inputs = _inputs(self.graph, batch)
        feeds = {value.name: array for value, array in zip(self.graph.inputs, inputs)}
        theirs = partial(self.session.run, None, feeds)
        return interleaved(partial(bound.run, inputs) if bound else theirs, theirs, self.pairs)

    def _scorer(self) -> Scorer:
        inputs = tuple(Input(value.name, value.dtype, value.shape[1:]) for value in self.graph.inputs)  # type: ignore[arg-type]
        outputs = tuple(Output(value.name, value.dtype, value.shape[1:]) for value in self.graph.outputs)  # type: ignore[arg-type]
        astore = Astore(self.case.name, self.graph, inputs, outputs)
        with tempfile.TemporaryDirectory() as folder:
            return Scorer.bind(astore, "auto", max(self.case.batches), Chooser(Path(folder)), self.threads)


def open_session(graph: Graph, threads: int) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(to_onnx(graph).SerializeToString(), options, providers=["CPUExecutionProvider"])


def _inputs(graph: Graph, batch: int) -> list[Any]:
    rng = np.random.default_rng(0)
    return [rng.standard_normal((batch, *value.shape[1:])).astype(np.float32) for value in graph.inputs]  # type: ignore[arg-type]


def interleaved(ours: Run, theirs: Run, pairs: int) -> tuple[float, float]:
    """Medians of one call of each, in microseconds."""
    calls = [_calls(run) for run in (ours, theirs)]
    samples: tuple[list[float], list[float]] = ([], [])
    for at in range(pairs):
        for which in (0, 1) if at % 2 else (1, 0):
            run, count = (ours, theirs)[which], calls[which]
            start = perf_counter_ns()
            for _ in range(count):
                run()
            samples[which].append((perf_counter_ns() - start) / count / 1000)
    return median(samples[0]), median(samples[1])


def _calls(run: Run) -> int:
    """How many calls fill a sample, after a few that warm up."""
    run()
    start = perf_counter_ns()
    run()
    return max(1, SAMPLE_NS // max(perf_counter_ns() - start, 1))


def _mean(ratios: Sequence[float]) -> float:
    """Their geometric mean."""
    return exp(sum(map(log, ratios)) / len(ratios))


def _means(figures: Sequence[Figure], auto: Sequence[Kept]) -> dict[str, float]:
    small = {case.name for case in CASES if case.is_small}
    large = {case.name for case in CASES if case.is_large}
    kept = [figure for figure in figures if figure.ratio]
    groups = {
        "geometric_mean": kept,
        "geometric_mean_small_at_batch_1": [figure for figure in kept if figure.name in small and figure.batch == 1],
    }
    means = {name: _mean([figure.ratio for figure in group]) for name, group in groups.items() if group}
    least = {
        "least": [figure.ratio for figure in kept if figure.name not in large],
        "least_of_224": [figure.ratio for figure in kept if figure.name in large],
        "least_with_auto": [one.ratio for one in auto],
    }
    return means | {name: min(ratios) for name, ratios in least.items() if ratios}


def _show(told: Mapping[str, Any], figures: Sequence[Figure], auto: Sequence[Kept]) -> None:
    out = Console(width=110)
    table = Table("network", "batch", "ours us", "onnxruntime us", "ratio")
    for column in table.columns[1:]:
        column.justify = "right"
    for figure in figures:
        table.add_row(figure.name, str(figure.batch), f"{figure.ours_us:,.1f}", f"{figure.theirs_us:,.1f}", f"{figure.ratio:.2f}")
    out.print(table)
    if auto:
        chosen = Table("network", "auto keeps", "ratio over its batches")
        chosen.columns[2].justify = "right"
        for one in auto:
            chosen.add_row(one.name, one.backend, f"{one.ratio:.2f}")
        out.print(chosen)
    for name, value in _means(figures, auto).items():
        out.print(f"{name.replace('_', ' ')}: {value:.2f}")
    what = told["machine"]
    out.print(f"{what['cpu']}, {what['simd']}, load {what['load_1m']}; {told['threads']} thread(s) each; commit {told['commit']}")


if __name__ == "__main__":
    main()
