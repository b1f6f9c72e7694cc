"""The text of an ONNX model: names of tensors, nodes, ops and attributes, which must be UTF-8 before anything reads them."""

from collections.abc import Iterator
from typing import Any

from onnx import AttributeProto

from esp.errors import FileError


def check_texts(model: Any) -> None:
    """Raises FileError for a model whose names are no UTF-8: protobuf hands them on as bytes, or fails when they are asked for."""
    try:
        is_bad = any(isinstance(text, bytes) for text in _of_model(model))
    except UnicodeDecodeError:
        is_bad = True
    if is_bad:
        raise FileError("a name in it is no UTF-8", mend="get the file anew")


def _of_model(model: Any) -> Iterator[Any]:
    yield from (model.producer_name, model.producer_version)
    yield from (entry.domain for entry in model.opset_import)
    yield from _of_graph(model.graph)
    for function in model.functions:
        yield from (function.name, function.domain, *function.input, *function.output, *function.attribute)
        yield from (entry.domain for entry in function.opset_import)
        yield from (attr.name for attr in function.attribute_proto)
        for node in function.node:
            yield from _of_node(node)


def _of_graph(graph: Any) -> Iterator[Any]:
    for value in (*graph.input, *graph.output):
        yield value.name
        yield from (dim.dim_param for dim in value.type.tensor_type.shape.dim)
    for tensor in graph.initializer:
        yield tensor.name
        yield from (text for entry in tensor.external_data for text in (entry.key, entry.value))
    yield from (tensor.values.name for tensor in graph.sparse_initializer)
    for node in graph.node:
        yield from _of_node(node)


def _of_node(node: Any) -> Iterator[Any]:
    yield from (node.op_type, node.domain, node.name, *node.input, *node.output)
    for attr in node.attribute:
        yield from (attr.name, attr.ref_attr_name)
        if attr.type == AttributeProto.GRAPH:
            yield from _of_graph(attr.g)
