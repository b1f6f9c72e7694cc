"""Peers: others who score the same topics, a folder each with a ``peer.toml`` that says how they are made and started."""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
BUILD_S = 900.0


class PeerMissing(Exception):
    """A peer cannot be made here; the message says what lacks."""


@dataclass(frozen=True, slots=True)
class Peer:
    """What a ``peer.toml`` says: a title, lingers of its producer, the programs it needs, how it is built, how it is started.

    Each of ``build`` is a list of commands that are tried in turn until one succeeds, run in a copy of the folder. In commands
    ``{python}`` is this interpreter and ``{built}`` the folder of the build.
    """

    name: str
    title: str
    command: tuple[str, ...]
    linger_ms: float
    open_loop_linger_ms: float
    needs: tuple[str, ...] = ()
    build: tuple[tuple[tuple[str, ...], ...], ...] = ()
    workloads: tuple[str, ...] = ()  # those that it takes; all, if left out

    def filled_in(self, command: tuple[str, ...], built: Path) -> list[str]:
        return [part.format(python=sys.executable, built=built) for part in command]


def names() -> tuple[str, ...]:
    return tuple(sorted(path.parent.name for path in FOLDER.glob("*/peer.toml")))


def read_peer(name: str) -> Peer:
    path = FOLDER / name / "peer.toml"
    if not path.is_file():
        raise PeerMissing(f"there is no peer of this name; there are {', '.join(names())}")
    table = tomllib.loads(path.read_text())
    build = tuple(tuple(tuple(command) for command in ways) for ways in table.pop("build", ()))
    return Peer(name=name, build=build, **{key: tuple(value) if isinstance(value, list) else value for key, value in table.items()})


def built(peer: Peer) -> Path:
    """The folder of the peer's build, made on first use in the user's cache; PeerMissing where that cannot be."""
    if absent := [program for program in peer.needs if not shutil.which(program)]:
        raise PeerMissing(f"{' and '.join(absent)} not found")
    if not peer.build:
        return FOLDER / peer.name
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "esp-engine" / "peers"
    cache.mkdir(parents=True, exist_ok=True)
    folder = cache / f"{peer.name}-{_digest(FOLDER / peer.name)}"
    with (cache / f"{peer.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "built").is_file():
            _build(peer, folder)
    return folder


def _digest(folder: Path) -> str:
    """Names what a build depends on: the files of the folder, and the interpreter."""
    found = hashlib.sha256(sys.version.encode())
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc"):
        found.update(str(path.relative_to(folder)).encode() + b"\0" + path.read_bytes())
    return found.hexdigest()[:12]


def _build(peer: Peer, folder: Path) -> None:
    """A virtual environment holds its own path, so it is built where it stays; a file says that it is whole."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(FOLDER / peer.name, folder)
    for ways in peer.build:
        said: str | None = None
        for command in ways:
            said = _run(peer.filled_in(command, folder), folder)
            if said is None:
                break
        if said is not None:
            raise PeerMissing(f"it could not be built: {said}")
    (folder / "built").touch()


def _run(command: list[str], folder: Path) -> str | None:
    """What a command that failed said last; None when it succeeded."""
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=BUILD_S)
    except (OSError, subprocess.TimeoutExpired) as err:
        return str(err)
    return (done.stdout + done.stderr).strip()[-300:].replace("\n", " ") or command[0] if done.returncode else None
