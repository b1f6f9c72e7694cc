"""Compiles the kernels that the engine will need, in processes beside the training, so that it finds them in the cache."""

import contextlib
import importlib
import subprocess
import sys
from typing import Any

# What the two queries bring in, in two shares that take about as long. What is missing here the engine compiles when it starts.
SHARES = (
    ("esp.runtime.backends.numba",),
    (
        "esp.runtime.engine", "esp.kernels.msgpack", "esp.kernels.msgpack_write", "esp.kernels.json_write", "esp.kernels.json",
    ),
)  # fmt: skip


class Warming:
    """A process for each share that imports what has kernels; leaving the context ends them."""

    def __init__(self) -> None:
        self._processes: list[subprocess.Popen[Any]] = []

    def __enter__(self) -> "Warming":
        quiet = subprocess.DEVNULL
        for share in range(len(SHARES)):
            command = [sys.executable, "-m", "esp.demo.warm", str(share)]
            self._processes.append(subprocess.Popen(command, stdin=quiet, stdout=quiet, stderr=quiet, start_new_session=True))
        return self

    def wait(self) -> None:
        """Returns when everything is compiled. A failure here will show, with its reason, when the engine starts."""
        for process in self._processes:
            process.wait()

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            process.wait()


def main() -> None:
    for module in SHARES[int(sys.argv[1])]:
        importlib.import_module(module)


if __name__ == "__main__":
    main()
