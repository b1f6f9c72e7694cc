"""Reads a pickle of plain numpy arrays, lists and numbers, and nothing else: no code of the file's choosing runs."""

import codecs
import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from esp.errors import FileError

_RECONSTRUCT = np.zeros(0).__reduce__()[0]
_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): codecs.encode,
}


class _ArraysOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"{module}.{name} is not an array, a list or a number")
        return _ALLOWED[module, name]


def read_object_npy(path: Path) -> Any:
    """The one object in a ``.npy`` file that was saved as a pickle."""
    try:
        file = io.BytesIO(path.read_bytes())
        version = np.lib.format.read_magic(file)
        shape, _, dtype = (
            np.lib.format.read_array_header_1_0(file) if version == (1, 0) else np.lib.format.read_array_header_2_0(file)
        )
        if dtype != np.dtype(object):
            raise ValueError(f"holds {dtype}{list(shape)}, wanted one pickled object")
        value = _ArraysOnly(file).load()
    except (OSError, ValueError, EOFError, pickle.UnpicklingError, TypeError, AttributeError) as err:
        raise FileError(f"cannot read: {err}", where=str(path), mend="install the package anew") from err
    return value.item() if isinstance(value, np.ndarray) and value.shape == () else value
