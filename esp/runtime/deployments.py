"""Which model scores in which window: the query file's, until a deployment puts another in its place; kept over restarts."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

from esp.astore.binary import read
from esp.astore.model import Astore
from esp.errors import EspError, StateError


class Deployments:
    """The deployed astores of one query, in a folder: the files by digest, and ``deployed.json`` that names them by window.

    A deployment stands until the query file names another model than it did when the deployment was made.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def current(self, window: str, named: Astore) -> Astore:
        """The model that a window starts with; ``named`` is the one of the query file."""
        entry = self._table().get(window)
        if entry is None or entry["over"] != named.digest or entry["digest"] == named.digest:
            return named
        try:
            return read(self._file(entry["digest"]), verify=True)
        except EspError as err:
            raise StateError(
                f"the model deployed to window '{window}' cannot be read: {err.what}",
                where=err.where,
                mend="deploy it again after a start with --fresh",
            ) from err

    def store(self, digest: str, data: bytes) -> Astore:
        """Keeps an uploaded astore under its digest and gives it back, memory-mapped."""
        self.folder.mkdir(parents=True, exist_ok=True)
        _write(self._file(digest), data)
        return read(self._file(digest))

    def record(self, window: str, digest: str, named: Astore) -> None:
        """Makes the deployment durable; files that no window uses any more are taken away."""
        table = {**self._table(), window: {"digest": digest, "over": named.digest}}
        _write(self.folder / "deployed.json", json.dumps(table, sort_keys=True).encode())
        used = {entry["digest"] for entry in table.values()}
        for file in self.folder.glob("*.astore"):
            if file.stem not in used:
                file.unlink(missing_ok=True)

    def _table(self) -> Mapping[str, dict[str, str]]:
        file = self.folder / "deployed.json"
        if not file.exists():
            return {}
        try:
            table: dict[str, dict[str, str]] = json.loads(file.read_bytes())
        except ValueError as err:
            raise StateError(
                "this is not JSON", where=str(file), mend="take the file away to score with the models of the query"
            ) from err
        return table

    def _file(self, digest: str) -> Path:
        return self.folder / f"{digest}.astore"


def _write(path: Path, data: bytes) -> None:
    """Writes a file whole or not at all, durably."""
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
