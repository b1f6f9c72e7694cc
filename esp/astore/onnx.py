"""A graph as an ONNX model: the nodes as they are but for explicit pads, the weights as initializers, the batch as axis "N"."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from esp.astore.graph import Attr, Graph, Node, Shape, Value, complete_attrs
from esp.astore.ops import OPS
from esp.astore.ops.convolution import explicit_pads
from esp.astore.ops.row import as_type
from esp.astore.validation import validate

OPSET = 21
IR_VERSION = 10  # the one that came with opset 21
_TYPES = {
    "int": onnx.AttributeProto.INT,
    "float": onnx.AttributeProto.FLOAT,
    "string": onnx.AttributeProto.STRING,
    "ints": onnx.AttributeProto.INTS,
    "floats": onnx.AttributeProto.FLOATS,
    "strings": onnx.AttributeProto.STRINGS,
}


def to_onnx(graph: Graph) -> Any:
    """The ``onnx.ModelProto`` that computes what ``graph`` computes. Raises GraphError where ``validate`` does."""
    shapes = validate(graph)
    proto = helper.make_graph(
        [_node(node, f"{index}_{node.op}", shapes) for index, node in enumerate(graph.nodes)],
        "graph",
        [_value(value) for value in graph.inputs],
        [_value(value) for value in graph.outputs],
        [numpy_helper.from_array(np.asarray(array, order="C"), name) for name, array in graph.weights.items()],
    )
    opsets = [helper.make_opsetid("", OPSET)]
    return helper.make_model(proto, opset_imports=opsets, ir_version=IR_VERSION, producer_name="esp")


def _node(node: Node, name: str, shapes: Mapping[str, Shape]) -> Any:
    proto = helper.make_node(node.op, node.inputs, node.outputs, name=name)
    for key, value in sorted(_attrs(node, shapes).items()):
        kind = OPS[node.op].attrs[key].type
        proto.attribute.append(helper.make_attribute(key, as_type(value, kind), attr_type=_TYPES[kind]))
    return proto


def _attrs(node: Node, shapes: Mapping[str, Shape]) -> Mapping[str, Attr]:
    """The attributes as given, but what onnxruntime wants said is written out.

    That is the size of a recurrent state, and pads: it refuses or shifts some SAME pads (dilations, wide strides).
    """
    if node.op in ("RNN", "GRU", "LSTM"):
        units = shapes[node.inputs[2]][-1]
        assert isinstance(units, int)
        return {**node.attrs, "hidden_size": units}
    if node.attrs.get("auto_pad", "NOTSET") == "NOTSET":
        return node.attrs
    pads = explicit_pads(complete_attrs(node), [shapes[name] for name in node.inputs[:2]])
    return {**{key: value for key, value in node.attrs.items() if key != "auto_pad"}, "pads": pads}


def _value(value: Value) -> Any:
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(value.dtype))
    return helper.make_tensor_value_info(
        value.name, kind, ["N" if size is None else str(size) if not isinstance(size, int) else size for size in value.shape]
    )
