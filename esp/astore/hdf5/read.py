"""A Keras file of any generation, recognised by what it holds: ``.h5`` full or weights only, ``.weights.h5``, ``.keras``."""

import io
import json
import mmap
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import h5py

from esp.astore.hdf5.file import Flavour, KerasFile, LayerWeights
from esp.astore.hdf5.guard import Budget, has, opened, subgroup, text
from esp.astore.hdf5.heaps import check_heaps
from esp.astore.hdf5.legacy import is_legacy, read_legacy
from esp.astore.hdf5.native import container_of, layer_names, read_native
from esp.errors import FileError

_ZIP_START = b"PK\x03\x04"
_MEMBERS = ("config.json", "metadata.json", "model.weights.h5")


def read_keras(path: Path, flavour: Flavour = "keras") -> KerasFile:
    """The config and the weights of a Keras file.

    ``flavour`` "dlpy" says that DLPy wrote it. Raises FileError, naming file and group, for a file that is not whole, is none
    of Keras', asks for more memory than its size justifies or leads to another file. The HDF5 library may crash on a file
    that is damaged on purpose: ``apart.read_apart`` is for files of strangers.
    """
    try:
        budget = Budget(path, path.stat().st_size)
        is_zip = not path.is_dir() and zipfile.is_zipfile(path)
    except OSError as err:
        raise FileError(f"cannot be read: {err.strerror}", where=str(path), mend="name a file that is there") from err
    if path.is_dir():
        raise budget.fault("is a folder, wanted a file", "", "save the model as a file: model.save('model.keras')")
    if is_zip:
        return _read_archive(path, budget)
    _check_file(path, budget)
    with opened(path, budget) as root:
        return _read_root(root, budget, flavour)


def _check_file(path: Path, budget: Budget) -> None:
    if not path.stat().st_size:
        return
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            if data[:4] == _ZIP_START:
                raise budget.fault("begins as a zip (.keras) and is no whole one: it is cut", "", "copy or save it again")
            check_heaps(data, budget)
    except OSError as err:
        raise budget.fault(f"cannot be read: {err.strerror}", "", "name a file that can be read") from err


def _read_root(root: h5py.File, budget: Budget, flavour: Flavour) -> KerasFile:
    group = subgroup(root, "model_weights", budget) if has(root, "model_weights") else root
    version, backend = (text(group, name, budget) or text(root, name, budget) or "" for name in ("keras_version", "backend"))
    if is_legacy(group):
        generation = _generation(version or ("2" if flavour == "dlpy" else "1"), budget)
        config = text(root, "model_config", budget)
        parsed = None if config is None else _model_config(config, "attribute 'model_config'", budget)
        return KerasFile(budget.path, generation, parsed, version, backend, read_legacy(group, budget), {}, False, flavour)
    if container_of(root) is None:
        what = "is no file of Keras: it has neither the attribute 'layer_names' nor a group 'layers'"
        raise budget.fault(what, group.name, "give a .h5, .weights.h5 or .keras file of Keras 1 to 3")
    layers = read_native(root, budget)
    return KerasFile(budget.path, 3, None, version, backend, layers, layer_names(root, layers, budget), True, flavour)


def _read_archive(path: Path, budget: Budget) -> KerasFile:
    try:
        with zipfile.ZipFile(path) as archive:
            config, metadata, weights = (_member(archive, name, budget) for name in _MEMBERS)
    except (zipfile.BadZipFile, zlib.error, OSError, RuntimeError, ValueError, EOFError) as err:
        raise budget.fault(f"cannot be unpacked: {err}", "", "save it again with Keras") from err
    about = _mapping(metadata, "metadata.json", budget)
    version = about.get("keras_version")
    if not isinstance(version, str):
        raise budget.fault("names no 'keras_version'", "metadata.json", "save it again with Keras")
    parsed = _model_config(config, "config.json", budget)
    check_heaps(weights, budget)
    layers, names = _archive_layers(io.BytesIO(weights), budget)
    return KerasFile(path, _generation(version, budget), parsed, version, "", layers, names, True)


def _archive_layers(source: BinaryIO, budget: Budget) -> tuple[dict[str, LayerWeights], dict[str, str]]:
    with opened(source, budget) as root:
        layers = read_native(root, budget)
        return layers, layer_names(root, layers, budget)


def _member(archive: zipfile.ZipFile, name: str, budget: Budget) -> bytes:
    """The bytes of a member, which never unpacks to more than it says."""
    found = [info for info in archive.infolist() if info.filename == name]
    if len(found) != 1:
        raise budget.fault(f"is there {len(found)} times, wanted once", name, "save it again with Keras 3")
    if found[0].compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise budget.fault("is compressed in a way that Keras does not use", name, "save it again with Keras 3")
    budget.charge(found[0].file_size, name)
    with archive.open(found[0]) as file:
        return file.read(found[0].file_size)


def _generation(version: str, budget: Budget) -> int:
    major = version.partition(".")[0]
    if major not in ("1", "2", "3"):
        raise budget.fault(f"keras_version {version!r} is not known", "", "save it with Keras 1, 2 or 3")
    return int(major)


def _model_config(document: str | bytes, where: str, budget: Budget) -> Mapping[str, Any]:
    """The config of a model, seen to have a class and a config; what is in it is the config reader's to judge."""
    config = _mapping(document, where, budget)
    if not isinstance(config.get("class_name"), str) or not isinstance(config.get("config"), dict | list):
        raise budget.fault("is no model's config: it wants 'class_name' and 'config'", where, "save it again with Keras")
    return config


def _mapping(document: str | bytes, where: str, budget: Budget) -> Mapping[str, Any]:
    try:
        parsed = json.loads(document)
    except (ValueError, RecursionError) as err:
        raise budget.fault(f"is not JSON: {err}", where, "save it again with Keras") from err
    if not isinstance(parsed, dict):
        raise budget.fault(f"wanted a JSON object, got {type(parsed).__name__}", where, "save it again with Keras")
    return parsed
