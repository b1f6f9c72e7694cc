"""How soon the engine scores: from `import esp` to the first score, a model into a running process, and all kernels from nothing.

    python loadtest/start.py [--repeats 5] [--cold] [--json]

The model is LeNet, whose backend is remembered, with compiled kernels. A figure is the median of fresh processes (of loads in one process
for the second). ``--cold`` also compiles all kernels into an empty folder, as `esp warmup` does, once. Exit status: 0, or 2 for wrong usage.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from loadtest.machine import commit, machine, versions

ROOT = Path(__file__).parents[1]
LOADS = 21
FIRST = """
from time import perf_counter
start = perf_counter()
import esp
import sys
from pathlib import Path
import numpy as np
from esp.astore import binary
from esp.runtime.scorer import Scorer
astore = binary.read(Path(sys.argv[1]))
Scorer.bind(astore).score([np.zeros((1, *astore.inputs[0].shape), np.float32)], [None])
print(perf_counter() - start)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description="How soon the engine scores.")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--cold", action="store_true", help="compile all kernels anew, too")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="esp-start-") as folder:
        path = _lenet(Path(folder) / "lenet.astore")
        figures = {"import_to_first_score_s": _first(path, args.repeats), "load_ms": _load(path)}
        if args.cold:
            figures["cold_compile_s"] = _cold(Path(folder) / "cache")
    told: dict[str, Any] = {"machine": machine(), "versions": versions(), "commit": commit(ROOT), "cores": os.cpu_count()}
    if args.json:
        print(json.dumps({**told, **figures}))
        return
    for name, value in figures.items():
        print(f"{name}: {value:.3g}")
    what = told["machine"]
    print(f"{what['cpu']}, {what['simd']}, {told['cores']} cores, load {what['load_1m']}; commit {told['commit']}")


def _lenet(path: Path) -> Path:
    from esp.astore import binary
    from esp.astore.model import Astore, Input, Output
    from esp.train.zoo import build

    graph = build("lenet", seed=1, size=28)
    inputs = tuple(Input(value.name, "float32", value.shape[1:]) for value in graph.inputs)  # type: ignore[arg-type]
    outputs = tuple(Output(value.name, value.dtype, value.shape[1:]) for value in graph.outputs)  # type: ignore[arg-type]
    binary.write(Astore("lenet", graph, inputs, outputs), path)
    return path


def _first(path: Path, repeats: int) -> float:
    """Seconds in a fresh process; the first process fills the cache and chooses the backend."""
    command = [sys.executable, "-c", FIRST, str(path)]
    runs = [float(subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout) for _ in range(repeats + 1)]
    return median(runs[1:])


def _load(path: Path) -> float:
    """Milliseconds from the file to a scorer that has scored at several batch sizes, as a deployment does."""
    from esp.astore import binary
    from esp.runtime.scorer import Scorer

    times = []
    for _ in range(LOADS + 1):
        start = perf_counter()
        Scorer.bind(binary.read(path)).warm()
        times.append(1e3 * (perf_counter() - start))
    return median(times[1:])


def _cold(cache: Path) -> float:
    """Seconds of `esp warmup` with an empty cache."""
    env = {**os.environ, "ESP_CACHE_DIR": str(cache)}
    start = perf_counter()
    subprocess.run(
        [sys.executable, "-c", "from esp.cli import main; main()", "warmup"], cwd=ROOT, env=env, check=True, capture_output=True
    )
    return perf_counter() - start


if __name__ == "__main__":
    main()
