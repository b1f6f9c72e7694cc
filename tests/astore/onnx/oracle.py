"""Small ONNX models in a line or two, and what onnxruntime makes of them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper

from esp.astore.graph import Graph, run_reference
from esp.astore.onnx import read_onnx

Ends = Mapping[str, Sequence[int | str | None]]


def node(op: str, inputs: str, outputs: str, **attrs: Any) -> Any:
    """A node; names are parted by blanks, "_" is one left out."""
    plain = [["" if name == "_" else name for name in names.split()] for names in (inputs, outputs)]
    return helper.make_node(op, *plain, name=attrs.pop("name", ""), domain=attrs.pop("domain", ""), **attrs)


def model(
    nodes: Sequence[Any],
    inputs: Ends,
    outputs: Sequence[str],
    weights: Mapping[str, Any] | None = None,
    opset: int = 21,
    **more: Any,
) -> Any:
    """A model whose inputs are float32, or of the dtype that their name says after a dot (``ids.int64``)."""
    entries = [_entry(name, shape) for name, shape in inputs.items()]
    tensors = [numpy_helper.from_array(np.asarray(array), name) for name, array in (weights or {}).items()]
    ends = [onnx.ValueInfoProto(name=name) for name in outputs]
    for end in ends:
        end.type.tensor_type.elem_type = more.get("kind", onnx.TensorProto.FLOAT)
    graph = helper.make_graph(nodes, "g", entries, ends, tensors)
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(*one) for one in more.get("opsets", ()))]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8, functions=more.get("functions"))


def _entry(name: str, shape: Sequence[int | str | None]) -> Any:
    plain, _, dtype = name.partition(".")
    return helper.make_tensor_value_info(plain, helper.np_dtype_to_tensor_dtype(np.dtype(dtype or "float32")), shape)


def runtime(proto: Any, *arrays: np.ndarray, outputs: Sequence[str] | None = None) -> list[np.ndarray]:
    """The outputs by onnxruntime."""
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(outputs, {value.name: array for value, array in zip(session.get_inputs(), arrays, strict=True)})


def agree(proto: Any, *arrays: np.ndarray, rtol: float = 1e-5, atol: float = 1e-6, **how: Any) -> Graph:
    """Reads a model and holds it to onnxruntime: the rows at once, or one by one where the model wants one."""
    graph = read_onnx(proto, **how)
    found = run_reference(graph, arrays)
    size = next((value.type.tensor_type.shape.dim[0].dim_value for value in proto.graph.input), 0)
    if size == 1 and how.get("batch", True):
        parts = [runtime(proto, *(array[at : at + 1] for array in arrays)) for at in range(len(arrays[0]))]
        wanted = [np.concatenate(rows) for rows in zip(*parts, strict=True)]
    else:
        wanted = runtime(proto, *arrays)
    for got, right in zip(found, wanted, strict=True):
        assert got.dtype == right.dtype
        np.testing.assert_allclose(got, right, rtol=rtol, atol=atol)
    return graph


def floats(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
