"""Tensors of an ONNX model as arrays: dtypes that a graph knows, data that are there, files that lie beside the model."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from esp.astore.ops.row import DTYPES, Array
from esp.errors import FileError, GraphError

MAX_BYTES = 1 << 40
_EXTERNAL_KEYS = ("location", "offset", "length")
DTYPE_MEND = f"convert the model to one of: {', '.join(DTYPES)}"


@dataclass(frozen=True, slots=True)
class Folder:
    """Where the files of external tensors may lie: beside the model and below it; None = there is no place for any."""

    path: Path | None = None

    def read(self, proto: Any, dtype: np.dtype[Any], count: int, where: str) -> Array:
        """The elements of an external tensor. Raises FileError for a path outside and for a file that is too short."""
        entries = {entry.key: entry.value for entry in proto.external_data if entry.key in _EXTERNAL_KEYS}
        path = self._inside(entries.get("location", ""), where)
        offset = _number(entries.get("offset", "0"), "offset", where)
        length = _number(entries.get("length", str(count * dtype.itemsize)), "length", where)
        if length != count * dtype.itemsize:
            what = f"{length} bytes of external data for {count} elements of {dtype.name}"
            raise FileError(what, where=where, mend="save the model anew")
        try:
            if offset + length > path.stat().st_size:
                what = f"its data end at byte {offset + length}, {path.name!r} at {path.stat().st_size}"
                raise FileError(what, where=where, mend="get the whole file")
            return np.fromfile(path, dtype, count, offset=offset)
        except OSError as err:
            what = f"the external data {path.name!r} cannot be read ({err.strerror or err})"
            raise FileError(what, where=where, mend="put the file beside the model") from err

    def _inside(self, location: str, where: str) -> Path:
        if self.path is None:
            raise FileError("the data lie in another file", where=where, mend="give the path of the model, not its contents")
        try:
            path = (self.path / location).resolve()
        except (OSError, ValueError, RuntimeError) as err:  # a NUL, a link that turns in a circle
            raise FileError(f"{location!r} is no path", where=where, mend="save the model anew") from err
        if not location or not path.is_relative_to(self.path.resolve()):
            raise FileError(
                f"external data {location!r} lie outside the model's folder", where=where, mend="put them beside the model"
            )
        return path


def dtype_of(kind: int, where: str) -> str:
    """The name of an ONNX element type. Raises GraphError for one that no graph holds (string, bfloat16, float8, int4...)."""
    names: dict[int, str] = {value: name.lower() for name, value in TensorProto.DataType.items()}
    name = names.get(kind, f"type {kind}")
    name = {"float": "float32", "double": "float64"}.get(name, name)
    if name not in DTYPES:
        raise GraphError(f"{name} tensors are not supported", where=where, mend=DTYPE_MEND)
    return name


def kind_of(dtype: str) -> int:
    """The ONNX element type of a dtype."""
    return int(helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))


def array_of(proto: Any, where: str, folder: Folder | None = None) -> Array:
    """The numbers of a TensorProto. Raises GraphError for a dtype that no graph holds, FileError where data are missing."""
    dtype = np.dtype(dtype_of(proto.data_type, where)).newbyteorder("<")
    shape = tuple(proto.dims)
    count = _count(shape, dtype.itemsize, where)
    if proto.data_location == TensorProto.EXTERNAL:
        flat = (folder or Folder()).read(proto, dtype, count, where)
    elif proto.HasField("raw_data"):
        flat = _raw(proto.raw_data, dtype, count, where)
    else:
        flat = _typed(proto, shape, count, where)
    return flat.astype(dtype.newbyteorder("="), copy=False).reshape(shape)


def _count(shape: Sequence[int], itemsize: int, where: str) -> int:
    if any(size < 0 for size in shape) or prod(shape) * itemsize > MAX_BYTES:
        raise FileError(f"shape {list(shape)} is no shape of a tensor", where=where, mend="save the model anew")
    return prod(shape)


def _raw(data: bytes, dtype: np.dtype[Any], count: int, where: str) -> Array:
    if len(data) != count * dtype.itemsize:
        what = f"{len(data)} bytes for {count} elements of {dtype.name}"
        raise FileError(what, where=where, mend="save the model anew")
    return np.frombuffer(data, dtype)


def _typed(proto: Any, shape: Sequence[int], count: int, where: str) -> Array:
    """Data in a field of its type; there must be as many as the shape says before any array is made."""
    field = helper.tensor_dtype_to_field(proto.data_type)
    if len(getattr(proto, field)) != count:
        what = f"{len(getattr(proto, field))} numbers for shape {list(shape)}"
        raise FileError(what, where=where, mend="save the model anew")
    try:
        return np.asarray(numpy_helper.to_array(proto)).reshape(-1)
    except (TypeError, ValueError, OverflowError) as err:
        raise FileError(f"its numbers cannot be read ({err})", where=where, mend="save the model anew") from err


def _number(text: str, key: str, where: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise FileError(f"{key} {text!r:.40} of external data is no size", where=where, mend="save the model anew")
    return int(text)


def load_proto(path: Path) -> Any:
    """The ``onnx.ModelProto`` of a file, external data left where they are. Raises FileError where it cannot be read."""
    try:
        return parse_proto(path.read_bytes(), str(path))
    except OSError as err:
        reason = err.strerror or err
        raise FileError(f"the file cannot be read ({reason})", where=str(path), mend="check the path") from err


def parse_proto(data: bytes, where: str) -> Any:
    """A ``ModelProto`` out of its bytes; FileError for what is none."""
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except Exception as err:  # protobuf's own, of one implementation or another
        raise FileError("this is no ONNX model: it does not parse as protobuf", where=where, mend="give an .onnx file") from err
    if not model.HasField("graph"):
        raise FileError("this is no ONNX model: it has no graph", where=where, mend="give an .onnx file")
    return model
