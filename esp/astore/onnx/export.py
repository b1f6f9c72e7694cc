"""A graph as an ONNX model: the nodes as they are but for explicit pads, the weights as initializers, the batch as axis "N"."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

import esp
from esp.astore.graph import Attr, Graph, Node, Shape, Value, complete_attrs
from esp.astore.onnx.opsets import OPSET as OPSET
from esp.astore.onnx.opsets import opsets_for
from esp.astore.onnx.told import PRODUCER
from esp.astore.ops import OPS
from esp.astore.ops.convolution import explicit_pads, transpose_spread
from esp.astore.ops.row import Array, Tensor, as_type
from esp.astore.validation import validate

_TYPES = {
    "int": onnx.AttributeProto.INT,
    "float": onnx.AttributeProto.FLOAT,
    "string": onnx.AttributeProto.STRING,
    "tensor": onnx.AttributeProto.TENSOR,
    "ints": onnx.AttributeProto.INTS,
    "floats": onnx.AttributeProto.FLOATS,
    "strings": onnx.AttributeProto.STRINGS,
}


def held(name: str, array: Array) -> Any:
    """A weight with its numbers in the model itself."""
    return numpy_helper.from_array(np.asarray(array, order="C"), name)


def to_onnx(graph: Graph, batched: bool = True, opset: int | None = None, weight: Callable[[str, Array], Any] = held) -> Any:
    """The ``onnx.ModelProto`` that computes what ``graph`` computes; ``batched`` as ``validate`` takes it.

    ``opset`` is the operator set that it declares, as ``opsets_for`` takes it; ``weight`` makes the TensorProto of a weight.
    Raises GraphError where ``validate`` and ``opsets_for`` do.
    """
    shapes = validate(graph, batched)
    opsets = opsets_for(graph.nodes, opset)
    proto = helper.make_graph(
        [_node(node, name, shapes) for node, name in zip(graph.nodes, _node_names(graph))],
        "graph",
        [_value(value) for value in graph.inputs],
        [_value(value) for value in graph.outputs],
        [weight(name, array) for name, array in graph.weights.items()],
    )
    return helper.make_model(
        proto,
        opset_imports=opsets,
        ir_version=helper.find_min_ir_version_for(opsets),
        producer_name=PRODUCER,
        producer_version=esp.__version__,
    )


def _node_names(graph: Graph) -> list[str]:
    """A name for each node, that of its layer before it."""
    layers = {at: f"{layer.name}/" for layer in graph.layers for at in layer.nodes}
    return [f"{layers.get(at, '')}{at}_{node.op}" for at, node in enumerate(graph.nodes)]


def _node(node: Node, name: str, shapes: Mapping[str, Shape]) -> Any:
    row = OPS[node.op]
    proto = helper.make_node(node.op, node.inputs, node.outputs, name=name, domain=row.domain)
    for key, value in sorted(_attrs(node, shapes).items()):
        kind = row.attrs[key].type
        plain = numpy_helper.from_array(value.array) if isinstance(value, Tensor) else as_type(value, kind)
        proto.attribute.append(helper.make_attribute(key, plain, attr_type=_TYPES[kind]))
    return proto


def _attrs(node: Node, shapes: Mapping[str, Shape]) -> Mapping[str, Attr]:
    """The attributes as given, but what onnxruntime wants said is written out.

    That is the size of a recurrent state, and pads: it refuses or shifts some SAME pads (dilations, wide strides), and does
    not pad a transposed convolution to the size of SAME.
    """
    if node.op in ("RNN", "GRU", "LSTM"):
        units = shapes[node.inputs[2]][-1]
        assert isinstance(units, int)
        return {**node.attrs, "hidden_size": units}
    if node.op == "ConvTranspose":
        return _spread_pads(node, shapes)
    if node.attrs.get("auto_pad", "NOTSET") == "NOTSET":
        return node.attrs
    pads = explicit_pads(complete_attrs(node), [shapes[name] for name in node.inputs[:2]])
    return {**_without(node.attrs, "auto_pad"), "pads": pads}


def _spread_pads(node: Node, shapes: Mapping[str, Shape]) -> Mapping[str, Attr]:
    """The attributes of a ConvTranspose, with the pads that ``auto_pad`` or a size asked for come to, where pads can give it."""
    attrs = complete_attrs(node)
    spread = transpose_spread(attrs, *(shapes[name] for name in node.inputs[:2]))
    if attrs["output_shape"] and sum(spread.more) > sum(attrs["output_padding"] or ()):
        return node.attrs
    return {**_without(node.attrs, "auto_pad", "output_shape"), "pads": spread.pads, "output_padding": spread.more}


def _without(attrs: Mapping[str, Attr], *names: str) -> dict[str, Attr]:
    return {name: value for name, value in attrs.items() if name not in names}


def _value(value: Value) -> Any:
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(value.dtype))
    return helper.make_tensor_value_info(
        value.name, kind, ["N" if size is None else str(size) if not isinstance(size, int) else size for size in value.shape]
    )
