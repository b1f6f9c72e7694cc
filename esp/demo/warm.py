"""Compiles the kernels that the engine will need, in a process beside the training, so that it finds them in the cache."""

import contextlib
import importlib
import subprocess
import sys
from typing import Any

# What the two queries bring in. What is missing here is compiled by the engine when it starts.
MODULES = (
    "esp.runtime.engine", "esp.runtime.backends.numba", "esp.kernels.msgpack", "esp.kernels.msgpack_write",
    "esp.kernels.json_write", "esp.kernels.json",
)  # fmt: skip


class Warming:
    """A process that imports what has kernels; leaving the context ends it."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[Any] | None = None

    def __enter__(self) -> "Warming":
        command = [sys.executable, "-m", "esp.demo.warm"]
        quiet = subprocess.DEVNULL
        self._process = subprocess.Popen(command, stdin=quiet, stdout=quiet, stderr=quiet, start_new_session=True)
        return self

    def wait(self) -> None:
        """Returns when everything is compiled. A failure here will show, with its reason, when the engine starts."""
        assert self._process is not None
        self._process.wait()

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            self._process.wait()


def main() -> None:
    for module in MODULES:
        importlib.import_module(module)


if __name__ == "__main__":
    main()
