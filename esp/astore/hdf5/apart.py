"""A file of a stranger read in a process of its own: on damaged files the HDF5 library itself may crash or never end."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, BinaryIO

import msgpack
import numpy as np

from esp.astore.hdf5.file import Flavour, KerasFile, LayerWeights
from esp.astore.hdf5.guard import ALLOWANCE_BYTES, AMPLIFICATION
from esp.astore.hdf5.read import read_keras
from esp.errors import FileError

SECONDS = 20.0  # for a small file
BYTES_PER_SECOND = 20e6  # read at least so fast beyond that
_LIBRARY_BYTES = 4 << 30  # address space of the interpreter and its libraries


def read_apart(path: Path, flavour: Flavour = "keras", timeout_s: float | None = None) -> KerasFile:
    """What ``read_keras`` gives, or its FileError; also where the file brings the HDF5 library down or makes it hang."""
    try:
        size_bytes = path.stat().st_size
    except OSError as err:
        raise FileError(f"cannot be read: {err.strerror}", where=str(path), mend="name a file that is there") from err
    command = [sys.executable, "-m", "esp.astore.hdf5", str(path), flavour]
    wait_s = SECONDS + size_bytes / BYTES_PER_SECOND if timeout_s is None else timeout_s
    try:
        done = subprocess.run(command, capture_output=True, timeout=wait_s, check=False)
    except subprocess.TimeoutExpired as err:
        what = f"the HDF5 library did not end within {wait_s:.0f} s"
        raise FileError(what, where=str(path), mend="save it again with Keras") from err
    if done.returncode:
        what = f"the HDF5 library cannot bear it (exit status {done.returncode})"
        raise FileError(what, where=str(path), mend="save it again with Keras")
    return _unpacked(path, flavour, msgpack.unpackb(done.stdout, unicode_errors="surrogateescape", strict_map_key=False))


def serve(path: Path, flavour: Flavour, out: BinaryIO) -> None:
    """The work of that process: reads the file and writes what it holds, or what is wrong with it, to ``out``."""
    _limit_memory(path)
    try:
        answer = _packed(read_keras(path, flavour))
    except FileError as err:
        answer = {"error": (err.what, err.where, err.mend)}
    out.write(msgpack.packb(answer, unicode_errors="surrogateescape"))


def _limit_memory(path: Path) -> None:
    if sys.platform != "win32" and path.exists():
        import resource

        most_bytes = _LIBRARY_BYTES + 4 * (AMPLIFICATION * path.stat().st_size + ALLOWANCE_BYTES)
        resource.setrlimit(resource.RLIMIT_AS, (most_bytes, most_bytes))


def _packed(file: KerasFile) -> dict[str, Any]:
    layers = {
        key: [(name, array.dtype.str, array.shape, array.tobytes()) for name, array in zip(weights.names, weights.arrays)]
        for key, weights in file.layers.items()
    }
    about = (file.generation, json.dumps(file.config), file.keras_version, file.backend, dict(file.names), file.is_by_path)
    return {"about": about, "layers": layers}


def _unpacked(path: Path, flavour: Flavour, answer: dict[str, Any]) -> KerasFile:
    if "error" in answer:
        what, where, mend = answer["error"]
        raise FileError(what, where=where, mend=mend)
    generation, config, version, backend, names, is_by_path = answer["about"]
    layers = {}
    for key, weights in answer["layers"].items():
        arrays = (np.frombuffer(data, dtype).reshape(shape) for _, dtype, shape, data in weights)
        layers[key] = LayerWeights(tuple(name for name, *_ in weights), tuple(arrays))
    return KerasFile(path, generation, json.loads(config), version, backend, layers, names, is_by_path, flavour)
