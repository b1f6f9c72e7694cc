"""Images from an event's bytes to a network's input: our pass beside the reference, Pillow with numpy, and onnxruntime.

    python loadtest/images.py [--only NAME;NAME] [--rounds 30] [--json]

One process, one thread. Each sample times as many calls as take a fifth of a millisecond or more; samples of the four alternate, so that
what else the machine does meets them all; a figure is the median, and a ratio above 1 means that ours is faster. Pillow's bilinear filter
reads every pixel when it makes an image smaller, which is another picture than the network was given in training by ``resize``; it
stands here for what is used. Exit status: 0, or 2 for wrong usage.
"""

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from time import perf_counter_ns
from typing import Any

import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

from esp.astore.graph import Graph, Node, Value
from esp.astore.image import letterbox_place
from esp.astore.model import Astore, Input, Output, Step
from esp.astore.onnx import to_onnx
from esp.astore.onnx.prefix import event_graph
from esp.astore.preprocess import prepare
from esp.astore.steps import prepared_shape
from esp.runtime.backends.intake import Intake
from loadtest.machine import commit, machine, versions

SAMPLE_NS = 200_000  # a sample takes at least so long
MEAN, STD = np.float32([123.675, 116.28, 103.53]), np.float32([58.395, 57.12, 57.375])
FACTOR, SHIFT = (1 / STD).reshape(3, 1, 1), (-MEAN / STD).reshape(3, 1, 1)  # as one product and one sum
FIRST = Step("channels_first")
Run = Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Case:
    """Events of one shape, what is made of them, and how Pillow and numpy make about the same of a batch."""

    name: str
    shape: tuple[int, ...]
    steps: tuple[Step, ...]
    by_hand: Callable[[Any], Any]
    batches: tuple[int, ...]


def _scaled(column: Any) -> Any:
    return np.multiply(column, np.float32(1 / 255), dtype=np.float32)


def _resized(column: Any) -> Any:
    made = np.empty((len(column), 3, 224, 224), np.float32)
    for image, out in zip(column, made):
        small = _smaller(image, 224, 224).transpose(2, 0, 1)
        np.multiply(small, FACTOR, out=out)
        out += SHIFT
    return made


def _boxed(column: Any) -> Any:
    place = letterbox_place(*column.shape[1:3], 416, 416)
    made = np.full((len(column), 3, 416, 416), 114 / 255, np.float32)
    rows, columns = slice(place.top, place.top + place.height), slice(place.left, place.left + place.width)
    for image, out in zip(column, made):
        np.multiply(_smaller(image, place.height, place.width).transpose(2, 0, 1), np.float32(1 / 255), out=out[:, rows, columns])
    return made


def _smaller(image: Any, height: int, width: int) -> Any:
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))


SCALE = Step("scale", {"scale": 1 / 255, "offset": 0.0})
CASES = (
    Case("28x28x1, scale", (28, 28, 1), (SCALE,), _scaled, (1, 64)),
    Case(
        "640x480x3, resize 224x224, normalise, channels first", (480, 640, 3),
        (Step("resize", {"height": 224, "width": 224}), Step("normalise", {"mean": MEAN.tolist(), "std": STD.tolist()}), FIRST),
        _resized, (1, 8),
    ),
    Case(
        "1280x720x3, letterbox 416x416, scale, channels first", (720, 1280, 3),
        (Step("letterbox", {"height": 416, "width": 416, "fill": 114}), SCALE, FIRST),
        _boxed, (1, 8),
    ),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Figure:
    """Medians of one call in microseconds."""

    name: str
    batch: int
    ours_us: float
    reference_us: float
    pillow_us: float
    onnxruntime_us: float


def main() -> None:
    args = _arguments()
    cases = [case for case in CASES if not args.only or case.name in args.only]
    if not cases:
        names = "; ".join(case.name for case in CASES)
        print(f"images: nothing of that name; there are: {names}", file=sys.stderr)
        sys.exit(2)
    figures = [_figure(case, batch, args.rounds) for case in cases for batch in case.batches]
    told = {"machine": machine(), "versions": versions(), "commit": commit(Path(__file__).parents[1])}
    if args.json:
        print(json.dumps({**told, "figures": [asdict(figure) for figure in figures]}))
        return
    _show(told, figures)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Our pass over images beside other ways.")
    parser.add_argument("--only", type=lambda text: text.split(";"), help="names of cases, joined by ;")
    parser.add_argument("--rounds", type=int, default=30, help="samples of each, at least 3")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    args = parser.parse_args()
    args.rounds = max(args.rounds, 3)
    return args


def _figure(case: Case, batch: int, rounds: int) -> Figure:
    item = Input("image", "uint8", case.shape, case.steps)
    column = np.random.default_rng(0).integers(0, 256, (batch, *case.shape)).astype(np.uint8)
    intake, session = Intake(item, "float32", is_lifted=False), _session(item)
    runs: tuple[Run, ...] = (
        lambda: intake.take(column, None).array,
        lambda: prepare(item, column).array,
        lambda: case.by_hand(column),
        lambda: session.run(None, {"image": column})[0],
    )
    ours, reference, by_hand, theirs = (run() for run in runs)
    assert np.array_equal(ours, reference)
    assert np.abs(ours - theirs).max() < 0.01
    assert by_hand.shape == ours.shape
    return Figure(case.name, batch, *_medians(runs, rounds))


def _session(item: Input) -> Any:
    """The same steps as a graph on one thread of onnxruntime."""
    import onnxruntime

    shape = prepared_shape(item)
    values = [Value(name, "float32", (None, *shape)) for name in ("x", "y")]
    graph = Graph((Node("Identity", ("x",), ("y",)),), (values[0],), (values[1],), {})
    made = event_graph(Astore("images", graph, (item,), (Output("made", "float32", shape),)))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(to_onnx(made).SerializeToString(), options, providers=["CPUExecutionProvider"])


def _medians(runs: Sequence[Run], rounds: int) -> list[float]:
    """Medians of one call of each, in microseconds."""
    calls = [_calls(run) for run in runs]
    samples: list[list[float]] = [[] for _ in runs]
    for at in range(rounds):
        for turn in range(len(runs)):
            which = (at + turn) % len(runs)
            start = perf_counter_ns()
            for _ in range(calls[which]):
                runs[which]()
            samples[which].append((perf_counter_ns() - start) / calls[which] / 1000)
    return [median(some) for some in samples]


def _calls(run: Run) -> int:
    """How many calls fill a sample, after one that warms up."""
    run()
    start = perf_counter_ns()
    run()
    return max(1, SAMPLE_NS // max(perf_counter_ns() - start, 1))


def _show(told: Mapping[str, Any], figures: Sequence[Figure]) -> None:
    out = Console(width=130)
    table = Table("images", "batch", "ours us", "reference us", "ratio", "Pillow us", "ratio", "onnxruntime us", "ratio")
    for column in table.columns[1:]:
        column.justify = "right"
    for figure in figures:
        others = (figure.reference_us, figure.pillow_us, figure.onnxruntime_us)
        cells = [text for other in others for text in (f"{other:,.1f}", f"{other / figure.ours_us:.1f}")]
        table.add_row(figure.name, str(figure.batch), f"{figure.ours_us:,.1f}", *cells)
    out.print(table)
    what = told["machine"]
    out.print(f"{what['cpu']}, {what['simd']}, load {what['load_1m']}; commit {told['commit']}")


if __name__ == "__main__":
    main()
