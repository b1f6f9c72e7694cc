"""The command ``esp`` for tests: called in this process or as one of its own, with all that it leaves."""

import logging
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from esp import cli


@dataclass
class Answer:
    """What a call left: exit status, stdout, stderr."""

    status: int
    out: str
    err: str

    def one_line(self, status: int, *parts: str) -> None:
        """It failed with this status, and said so in one line that holds these parts."""
        assert self.status == status, self
        assert self.out == ""
        (line,) = self.err.splitlines()
        assert line.startswith("esp: ")
        for part in parts:
            assert part in line, line


Esp = Callable[..., Answer]


def esp_in(folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Esp:
    """The command, called in this process in a folder."""
    monkeypatch.chdir(folder)
    for name in ("ESP_TOKEN", "ESP_URL", "ESP_BROKERS", "ESP_CA_FILE"):
        monkeypatch.delenv(name, raising=False)

    def call(*args: object) -> Answer:
        monkeypatch.setattr(sys, "argv", ["esp", *map(str, args)])
        root, status = logging.getLogger(), 0
        before = root.handlers[:], root.level
        capfd.readouterr()
        try:
            cli.main()
        except SystemExit as end:
            status = int(end.code or 0)
        root.handlers[:], root.level = before
        return Answer(status, *capfd.readouterr())

    return call


def run_process(*args: object, cwd: Path) -> Answer:
    """The command as a process of its own."""
    env = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("ESP_TOKEN", "ESP_URL", "ESP_BROKERS", "ESP_CA_FILE"))
    }
    done = subprocess.run(
        [sys.executable, "-m", "esp", *map(str, args)], cwd=cwd, env=env, capture_output=True, text=True, timeout=240, check=False
    )
    return Answer(done.returncode, done.stdout, done.stderr)
