"""Where data comes from: settings with a loader each, for two real data sets that come in packages, and for files."""

import csv
import gzip
import hashlib
import importlib.util
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pydantic

from esp.errors import FileError
from esp.train.data import Array, Dataset
from esp.train.unpickle import read_object_npy


class Windows(pydantic.BaseModel):
    """Recordings are cut into windows."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    length: int = pydantic.Field(ge=1, description="steps in a window")
    hop: int = pydantic.Field(ge=1, description="steps from one window of the held-out data to the next")
    train_hop: int = pydantic.Field(0, ge=0, description="the same for the training data; 0 = as hop")


class Source(pydantic.BaseModel):
    """What every source has: how its data is split, and cut into windows."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    hold_out: float = pydantic.Field(
        0.0, ge=0.0, lt=1.0, description="share of the rows (of the groups, if any) held out by chance"
    )
    leave_out: tuple[str, ...] = pydantic.Field((), description="groups held out by name, instead of by chance")
    windows: Windows | None = pydantic.Field(None, description="cut recordings into windows")

    @pydantic.field_validator("leave_out", mode="before")
    @classmethod
    def _as_names(cls, value: Any) -> Any:
        return tuple(str(name) for name in value) if isinstance(value, list | tuple) else value

    def load(self, folder: Path) -> Dataset:
        """Reads the data; paths are relative to ``folder``, the recipe's."""
        raise FileError("a source without a loader", mend="use a source of SOURCES")


class Digits(Source):
    """1,797 images of handwritten digits, 8 x 8 grey of 0 to 16, that come in the scikit-learn package (UCI, 1998)."""

    source: Literal["digits"]

    def load(self, folder: Path) -> Dataset:
        path = package_file("sklearn", "datasets/data/digits.csv.gz", "scikit-learn")
        raw = path.read_bytes()
        with _reading(path):
            table = np.loadtxt(gzip.decompress(raw).decode("ascii").splitlines(), delimiter=",", dtype=np.float64)
            images = table[:, :64].astype(np.uint8).reshape(-1, 8, 8, 1)
            return Dataset("digits", images, table[:, 64].astype(np.int64), tuple("0123456789"), digest=_sha256([raw]))


class Shoulder(Source):
    """140 recordings of seven shoulder exercises by ten subjects: wrist IMU, 3 accelerations (g), 3 rates (rad/s), 50 Hz.

    They come in the seglearn package (Burns et al. 2018). The groups are the subjects.
    """

    source: Literal["shoulder"]

    def load(self, folder: Path) -> Dataset:
        path = package_file("seglearn", "data/watch_dataset.npy", "seglearn")
        with _reading(path):
            content = read_object_npy(path)
            rows = tuple(np.ascontiguousarray(recording, np.float32) for recording in content["X"])
            groups = tuple(str(int(subject)) for subject in content["subject"])
            targets = np.asarray(content["y"], np.int64)
            return Dataset("shoulder", rows, targets, tuple(content["y_labels"]), groups, _sha256([path.read_bytes()]))


class Csv(Source):
    """A table with a header line: ``features`` are numbers, one row an event."""

    source: Literal["csv"]
    path: Path
    target: str = pydantic.Field(description="the column to predict")
    features: tuple[str, ...] = pydantic.Field((), description="columns to predict from; none = all others")
    group: str = pydantic.Field("", description="the column whose values a split keeps together")
    task: Literal["classify", "regress"] = "classify"

    def load(self, folder: Path) -> Dataset:
        path = folder / self.path
        with _reading(path):
            raw = path.read_bytes()
            lines = list(csv.DictReader(raw.decode("utf-8").splitlines()))
            columns = list(lines[0])
            features = self.features or tuple(name for name in columns if name not in (self.target, self.group))
            for name in (*features, self.target, *([self.group] if self.group else [])):
                if name not in columns:
                    raise FileError(f"no column {name}", where=str(path), mend=f"use of {', '.join(columns)}")
            rows = np.array([[_number(line[name]) for name in features] for line in lines], np.float32)
            groups = tuple(line[self.group] for line in lines) if self.group else ()
            targets, classes = _targets([line[self.target] for line in lines], self.task)
            return Dataset(path.stem, rows, targets, classes, groups, _sha256([raw]))


class Npz(Source):
    """A ``.npz`` file with arrays for rows ``[n, *shape]``, targets and, perhaps, groups."""

    source: Literal["npz"]
    path: Path
    rows: str = "x"
    target: str = "y"
    group: str = ""
    task: Literal["classify", "regress"] = "classify"

    def load(self, folder: Path) -> Dataset:
        path = folder / self.path
        with _reading(path), np.load(path, allow_pickle=False) as file:
            for name in (self.rows, self.target, *([self.group] if self.group else [])):
                if name not in file:
                    raise FileError(f"no array {name}", where=str(path), mend=f"use of {', '.join(file)}")
            targets, classes = _targets([str(value) for value in file[self.target]], self.task)
            groups = tuple(str(value) for value in file[self.group]) if self.group else ()
            return Dataset(path.stem, file[self.rows], targets, classes, groups, _sha256([path.read_bytes()]))


class Idx(Source):
    """A pair of IDX files (MNIST's format), gzipped or not: images ``[n, height, width]`` of bytes, and their labels."""

    source: Literal["idx"]
    images: Path
    labels: Path
    classes: tuple[str, ...] = pydantic.Field((), description="names of the labels; none = the numbers")

    def load(self, folder: Path) -> Dataset:
        raws = []
        for path in (folder / self.images, folder / self.labels):
            with _reading(path):
                raws.append(path.read_bytes())
        images, targets = (read_idx(raw, str(folder / path)) for raw, path in zip(raws, (self.images, self.labels)))
        if len(images) != len(targets):
            raise FileError(
                f"{len(targets)} labels for {len(images)} images", where=str(self.labels), mend="name files that belong together"
            )
        classes = self.classes or tuple(str(i) for i in range(int(targets.max()) + 1))
        return Dataset(self.images.name.split(".")[0], images[..., None], targets.astype(np.int64), classes, digest=_sha256(raws))


AnySource = Annotated[Digits | Shoulder | Csv | Npz | Idx, pydantic.Field(discriminator="source")]


def package_file(package: str, path: str, distribution: str) -> Path:
    """A data file inside an installed package, found without importing the package."""
    spec = importlib.util.find_spec(package)
    for root in (spec.submodule_search_locations or []) if spec else []:
        if (Path(root) / path).is_file():
            return Path(root) / path
    raise FileError(f"the data of {distribution} is not installed", where=f"{package}/{path}", mend="pip install esp-engine[demo]")


def read_idx(raw: bytes, where: str) -> Array:
    """An array of bytes in IDX form: two zeros, the type 8, the rank, sizes as big-endian uint32, then the values."""
    try:
        raw = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
    except (OSError, EOFError) as err:
        raise FileError(f"cannot read: {err}", where=where, mend="fetch the file anew") from err
    if raw[:3] != b"\0\0\x08" or len(raw) < 4 + 4 * raw[3]:
        raise FileError("is no IDX file of bytes", where=where, mend="name a file such as train-images-idx3-ubyte.gz")
    shape = np.frombuffer(raw, ">u4", raw[3], 4).tolist()
    values = np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3])
    if values.size != np.prod(shape, dtype=object):
        raise FileError(f"holds {values.size} values, its header says {shape}", where=where, mend="fetch the file anew")
    return values.reshape(shape)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turns what can go wrong in reading a file into one line."""
    try:
        yield
    except (OSError, ValueError, KeyError, IndexError, TypeError, EOFError) as err:
        raise FileError(f"cannot read: {err}", where=str(path), mend="name a file of the right kind") from err


def _number(text: str) -> float:
    return float(text) if text.strip() else float("nan")


def _targets(values: Sequence[str], task: str) -> tuple[Array, tuple[str, ...]]:
    """Class indices and sorted class names, or numbers."""
    if task == "regress":
        return np.array([float(value) for value in values], np.float32), ()
    classes = tuple(sorted(set(values), key=lambda name: (len(name), name) if name.isdigit() else (1 << 30, name)))
    index = {name: i for i, name in enumerate(classes)}
    return np.array([index[value] for value in values], np.int64), classes


def _sha256(raws: Sequence[bytes]) -> str:
    digest = hashlib.sha256()
    for raw in raws:
        digest.update(raw)
    return digest.hexdigest()
