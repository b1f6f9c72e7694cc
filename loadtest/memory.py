"""Peak memory of scoring with our kernels and with onnxruntime: a fresh process each, over what it held before the model was loaded.

    python loadtest/memory.py [--network resnet50] [--batch 8] [--repeats 3] [--json]

Ours reads an astore and scores with the numba backend, onnxruntime reads the same graph from an ONNX file; one thread each, kernels
compiled before. A figure is the least of the repeats. Exit status: 0, or 2 for wrong usage.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from rich.console import Console
from rich.table import Table

from esp.astore import binary
from esp.astore.graph import Graph
from esp.astore.model import Astore, Input, Output
from esp.astore.onnx import to_onnx
from esp.train.zoo import ZOO, build
from loadtest.machine import commit, machine, versions

CALLS = 3
OURS, THEIRS = "numba", "onnxruntime"
ROOT = Path(__file__).parents[1]


def main() -> None:
    args = _arguments()
    graph = build(args.network, seed=1)
    with tempfile.TemporaryDirectory(prefix="esp-memory-") as folder:
        files = _write(graph, Path(folder))
        for backend, path in files.items():  # the first fills the cache of kernels
            _measured(backend, path, args.batch)
        runs = {backend: [_measured(backend, path, args.batch) for _ in range(args.repeats)] for backend, path in files.items()}
    told = {
        "machine": machine(), "versions": versions(), "commit": commit(ROOT), "network": args.network, "batch": args.batch,
        "weights_mb": round(sum(array.nbytes for array in graph.weights.values()) / 1e6, 1),
    }  # fmt: skip
    figures = {backend: min(found, key=lambda one: one["peak_mb"]) for backend, found in runs.items()}
    if args.json:
        print(json.dumps({**told, "figures": figures}))
    else:
        _show(told, figures)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Peak memory of scoring with our kernels and with onnxruntime.")
    parser.add_argument("--network", default="resnet50", choices=ZOO, metavar="NAME", help="of the zoo")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument("--child", nargs=2, metavar=("BACKEND", "FILE"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(json.dumps(_score(args.child[0], Path(args.child[1]), args.batch)))
        sys.exit()
    args.batch, args.repeats = max(args.batch, 1), max(args.repeats, 1)
    return args


def _write(graph: Graph, folder: Path) -> dict[str, Path]:
    """The graph as a file for each."""
    inputs = tuple(Input(value.name, "float32", tuple(size or 0 for size in value.shape[1:])) for value in graph.inputs)
    outputs = tuple(Output(value.name, "float32", tuple(size or 0 for size in value.shape[1:])) for value in graph.outputs)
    files = {OURS: folder / "model.astore", THEIRS: folder / "model.onnx"}
    binary.write(Astore("model", graph, inputs, outputs), files[OURS])
    files[THEIRS].write_bytes(to_onnx(graph).SerializeToString())
    return files


def _measured(backend: str, path: Path, batch: int) -> dict[str, float]:
    command = [sys.executable, "-m", "loadtest.memory", "--batch", str(batch), "--child", backend, str(path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def _score(backend: str, path: Path, batch: int) -> dict[str, float]:
    """Loads and scores in this process; what its memory rises by at the peak, and by what it stays above."""
    load = {OURS: _ours, THEIRS: _theirs}[backend]()
    before = psutil.Process().memory_info().rss
    _forget_peak()
    run = load(path, batch)
    for _ in range(CALLS):
        run()
    kept = psutil.Process().memory_info().rss
    return {"before_mb": before / 1e6, "peak_mb": (_peak() - before) / 1e6, "kept_mb": (kept - before) / 1e6}


def _forget_peak() -> None:
    """Lets the system's record of this process's peak begin anew: imports are not what is measured."""
    Path("/proc/self/clear_refs").write_text("5")


def _peak() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM"))


def _ours() -> Callable[[Path, int], Callable[[], Any]]:
    from esp.runtime.backends import numba

    def load(path: Path, batch: int) -> Callable[[], Any]:
        astore = binary.read(path)
        bound = numba.bind(astore.graph, batch)
        inputs = [_events(batch, item.shape) for item in astore.inputs]
        return lambda: bound.run(inputs)

    return load


def _theirs() -> Callable[[Path, int], Callable[[], Any]]:
    import onnxruntime

    def load(path: Path, batch: int) -> Callable[[], Any]:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        inputs = {item.name: _events(batch, item.shape[1:]) for item in session.get_inputs()}
        return lambda: session.run(None, inputs)

    return load


def _events(batch: int, shape: tuple[int, ...]) -> Any:
    return np.random.default_rng(0).random((batch, *shape), np.float32)


def _show(told: Mapping[str, Any], figures: Mapping[str, Mapping[str, float]]) -> None:
    out = Console(width=110)
    table = Table("backend", "before MB", "peak over that MB", "kept over that MB")
    for column in table.columns[1:]:
        column.justify = "right"
    for backend, one in figures.items():
        table.add_row(backend, *(f"{one[name]:.0f}" for name in ("before_mb", "peak_mb", "kept_mb")))
    out.print(table)
    what = told["machine"]
    out.print(f"{told['network']}, batch {told['batch']}, weights {told['weights_mb']} MB; {what['cpu']}; commit {told['commit']}")


if __name__ == "__main__":
    main()
