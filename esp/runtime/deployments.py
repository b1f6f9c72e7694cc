"""Which model scores in which window: the query file's, until a deployment puts another in its place; kept over restarts."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import time

import pydantic

from esp.astore.binary import read
from esp.astore.model import Astore
from esp.errors import EspError, StateError, TrustError
from esp.files import write_whole
from esp.runtime.marks import Mark

log = logging.getLogger("esp.deployments")


class _Entry(pydantic.BaseModel):
    """A deployment: the digest of the model, and of the query's own that it stands over; when it was made (0: before that was kept)."""

    digest: str = pydantic.Field(pattern="^[0-9a-f]{64}$")
    over: str
    at_ms: int = 0


_TABLE = pydantic.TypeAdapter(dict[str, _Entry])  # by window


class Deployments:
    """The deployed astores of one query, in a folder: the files by digest, and ``deployed.json`` that names them by window.

    A deployment stands until the query file names another model than it did when the deployment was made. With ``trusted``
    public keys, what is read here must be signed by one of them, and what is scored with lies in memory, not in the folder.
    """

    def __init__(self, folder: Path, trusted: Sequence[bytes] = ()) -> None:
        self.folder, self.trusted = folder, trusted

    def current(self, window: str, named: Astore) -> Astore:
        """The model that a window starts with; ``named`` is the one of the query file.

        StateError for a deployed one that cannot be read, TrustError for one that is not signed as it should be.
        """
        entry = self._table().get(window)
        if entry is None or entry.over != named.digest or entry.digest == named.digest:
            return named
        file, mend = self.file(entry.digest), "deploy it again after a start with --fresh"
        try:
            deployed = read(file, verify=True, trusted=self.trusted)
        except TrustError as err:
            what = f"the model deployed to window '{window}' is refused: {err.what}"
            raise TrustError(what, where=err.where, mend="deploy it signed after a start with --fresh") from err
        except EspError as err:
            what = f"the model deployed to window '{window}' cannot be read: {err.what}"
            raise StateError(what, where=err.where, mend=mend) from err
        if deployed.digest != entry.digest:
            raise StateError(f"the model deployed to window '{window}' is another one now", where=str(file), mend=mend)
        return deployed

    def standing(self, named: Mapping[str, str]) -> dict[str, str]:
        """Window -> digest of the deployed model, where one stands over that of the query file; ``named`` are the digests of those."""
        table = self._table()
        return {
            window: table[window].digest
            for window, digest in named.items()
            if window in table and table[window].over == digest != table[window].digest
        }

    def recorded(self, window: str) -> str | None:
        """The digest of the last deployment to a window; None where there was none."""
        entry = self._table().get(window)
        return entry.digest if entry else None

    def mark(self, window: str, named: Astore, scoring: str) -> Mark:
        """How the model that scores in a window came there; ``named`` is the one of the query file, ``scoring`` the digest."""
        entry = self._table().get(window)
        is_deployed = entry is not None and (entry.digest, entry.over) == (scoring, named.digest)
        return Mark(scoring, named.digest, entry.at_ms if entry is not None and is_deployed else 0)

    def store(self, uploaded: Astore, data: bytes) -> Astore:
        """Keeps the bytes of an uploaded astore under its digest; StateError where they cannot be written.

        Gives it back memory-mapped, but where signatures count: there the upload itself, which is what was checked.
        """
        _write(self.file(uploaded.digest), data)
        return uploaded if self.trusted else read(self.file(uploaded.digest))

    def record(self, window: str, digest: str, named: Astore) -> None:
        """Makes the deployment durable, or changes nothing: StateError. Files that no window uses any more are taken away."""
        table = {**self._table(), window: _Entry(digest=digest, over=named.digest, at_ms=round(time() * 1000))}
        try:
            _write(self.folder / "deployed.json", _TABLE.dump_json(table))
        except StateError as err:
            if self._table() != table:
                raise
            log.warning("the deployment to window '%s' stands, but may not outlive a loss of power: %s", window, err)
        self.tidy()

    def tidy(self) -> None:
        """Takes away the files that no window uses; where one cannot be, that is said in the log, and no failure."""
        try:
            used = {entry.digest for entry in self._table().values()}
            for file in self.folder.glob("*.astore"):
                if file.stem not in used:
                    file.unlink(missing_ok=True)
        except (StateError, OSError) as err:
            log.warning("models that no window uses stay in %s: %s", self.folder, err)

    def _table(self) -> Mapping[str, _Entry]:
        file = self.folder / "deployed.json"
        if not file.exists():
            return {}
        try:
            return _TABLE.validate_json(file.read_bytes())
        except (OSError, ValueError) as err:
            mend = "take the file away to score with the models of the query"
            raise StateError("this is no table of deployed models", where=str(file), mend=mend) from err

    def file(self, digest: str) -> Path:
        """Where a deployed astore lies."""
        return self.folder / f"{digest}.astore"


def _write(path: Path, data: bytes) -> None:
    """Writes a file whole or not at all, durably; StateError where that fails."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, [data])
    except OSError as err:
        mend = "make room, or let the engine write there"
        raise StateError(f"the deployed model cannot be kept: {err.strerror}", where=str(path), mend=mend) from err
