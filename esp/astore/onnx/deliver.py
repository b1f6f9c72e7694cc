"""An astore as an ONNX file that a stranger can run: its preprocessing within, its labels and card as metadata."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from esp.astore.graph import Graph
from esp.astore.model import Astore, check
from esp.astore.onnx.export import held, to_onnx
from esp.astore.onnx.prefix import event_graph, prepared_graph
from esp.astore.onnx.tensors import kind_of
from esp.astore.onnx.told import input_doc, metadata
from esp.astore.ops.row import Array
from esp.errors import FileError
from esp.files import write_whole

LARGEST = 2**31 - 1  # bytes of a protobuf message
PAGE = 4096  # where a tensor in a file of its own may begin, so that it can be mapped
OUTSIDE_BYTES = 1024  # a smaller weight stays within
DIGITS = 12


@dataclass(slots=True)
class Outside:
    """Weights in a file beside the model, one after the other, each at the beginning of a page."""

    location: str
    arrays: list[Array] = field(default_factory=list)
    size: int = 0

    def weight(self, name: str, array: Array) -> Any:
        """The TensorProto of a weight, which says where its numbers lie."""
        if array.nbytes < OUTSIDE_BYTES:
            return held(name, array)
        start = -(-self.size // PAGE) * PAGE
        self.size = start + array.nbytes
        self.arrays.append(array)
        proto = onnx.TensorProto(name=name, dims=array.shape, data_type=kind_of(array.dtype.name))
        proto.data_location = onnx.TensorProto.EXTERNAL
        for key, value in (("location", self.location), ("offset", str(start)), ("length", str(array.nbytes))):
            proto.external_data.add(key=key, value=value)
        return proto

    def parts(self) -> Iterator[bytes | memoryview]:
        """The file's bytes."""
        at = 0
        for array in self.arrays:
            yield bytes(-at % PAGE)
            yield _bytes(array)
            at += -at % PAGE + array.nbytes


def onnx_bytes(astore: Astore, *, opset: int | None = None, preprocessing: bool = True, largest: int = LARGEST) -> bytes:
    """The ONNX model of an astore; the same astore gives the same bytes.

    It takes any number of rows (axis "N") of what an event gives, under the names of the astore's inputs, and gives its
    outputs; without ``preprocessing`` it takes prepared events. ``opset`` is as ``opsets_for`` takes it: None is 21, which
    every runtime in use loads, or the first that has all ops of the graph. Name, digest, labels and card are metadata (esp.*).
    Raises GraphError where the astore or the opset does not fit, FileError where one message of ``largest`` bytes cannot hold it.
    """
    graph = _graph(astore, preprocessing)
    if _size(graph) > largest:
        raise _too_large(_size(graph), largest, "write it to a file: the weights go beside it")
    return _message(_model(astore, graph, to_onnx(graph, opset=opset), preprocessing), largest)


def export_onnx(
    astore: Astore, path: Path, *, opset: int | None = None, preprocessing: bool = True, largest: int = LARGEST
) -> tuple[Path, ...]:
    """Writes the model of ``onnx_bytes`` to a file, whole or not at all, and gives the files written, the model first.

    Where the weights take more than half of what one message holds (``largest`` bytes) they go to a file beside it, named
    after the model and their SHA-256, so that no model ever finds the weights of another. Raises FileError where a file cannot
    be written, and what ``onnx_bytes`` raises.
    """
    graph = _graph(astore, preprocessing)
    if _size(graph) <= largest // 2:
        _write(path, iter([onnx_bytes(astore, opset=opset, preprocessing=preprocessing, largest=largest)]))
        return (path,)
    outside = Outside(f"{path.name}.{_digest(graph)}.data")
    model = _model(astore, graph, to_onnx(graph, opset=opset, weight=outside.weight), preprocessing)
    message = _message(model, largest)
    data = path.with_name(outside.location)
    is_new = not data.exists()
    try:
        _write(data, outside.parts())
        _write(path, iter([message]))
    except FileError:
        if is_new:
            data.unlink(missing_ok=True)
        raise
    return path, data


def _graph(astore: Astore, preprocessing: bool) -> Graph:
    check(astore)
    return event_graph(astore) if preprocessing else prepared_graph(astore)


def _model(astore: Astore, graph: Graph, model: Any, preprocessing: bool) -> Any:
    """The model with what the astore says of itself."""
    model.graph.name = model.doc_string = astore.name
    for item, proto in zip(astore.inputs, model.graph.input):
        proto.doc_string = input_doc(item, preprocessing)
        if preprocessing and item.dtype == "blob":
            for axis, name in ((1, "H"), (2, "W")):
                proto.type.tensor_type.shape.dim[axis].dim_param = f"{item.name}.{name}"
    for output, proto in zip(astore.outputs, model.graph.output):
        proto.doc_string = f"probabilities of {', '.join(output.labels)}" if output.labels else output.kind
    names = {output.name: value.name for output, value in zip(astore.outputs, graph.outputs)}
    for key, text in metadata(astore, preprocessing, names).items():
        model.metadata_props.add(key=key, value=text)
    return model


def _size(graph: Graph) -> int:
    return sum(array.nbytes for array in graph.weights.values())


def _message(model: Any, largest: int) -> bytes:
    try:
        message: bytes = model.SerializeToString(deterministic=True)
    except Exception as err:  # protobuf's own, of one implementation or another
        raise _too_large(LARGEST + 1, largest, "make the graph smaller") from err
    if len(message) > largest:
        raise _too_large(len(message), largest, "make the graph smaller")
    return message


def _too_large(size: int, largest: int, mend: str) -> FileError:
    return FileError(f"{size} bytes or more do not fit an ONNX message of {largest}", where="export", mend=mend)


def _bytes(array: Array) -> memoryview:
    """The elements, little-endian, in C order."""
    return np.ascontiguousarray(array, array.dtype.newbyteorder("<")).reshape(-1).view(np.uint8).data


def _digest(graph: Graph) -> str:
    digest = hashlib.sha256()
    for array in graph.weights.values():
        digest.update(_bytes(array))
    return digest.hexdigest()[:DIGITS]


def _write(path: Path, parts: Iterator[bytes | memoryview]) -> None:
    try:
        write_whole(path, parts)
    except OSError as err:
        mend = "name a folder that exists and can be written"
        raise FileError(f"cannot be written: {err.strerror or err}", where=str(path), mend=mend) from err
