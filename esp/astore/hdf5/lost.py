"""Graphs of which a file of Keras would hold only a part: refused."""

from collections.abc import Mapping
from pathlib import Path

from esp.astore.graph import Graph, Shape
from esp.astore.hdf5.place import Place
from esp.astore.hdf5.slots import slot_of
from esp.astore.ops import OPS
from esp.errors import FileError


def refuse_lost(graph: Graph, shapes: Mapping[str, Shape], path: Path, has_weights: bool) -> None:
    """Raises FileError where ops learn what no layer of Keras has, nodes of no layer have weights, or nothing has any."""
    foreign = sorted({node.op for node in graph.nodes if OPS[node.op].domain})
    if foreign:
        what = f"{', '.join(foreign)}: nothing in it is a weight that Keras has"
        raise FileError(what, where=str(path), mend="use onnx to carry this graph")
    covered = {at for layer in graph.layers for at in layer.nodes}
    for at, node in enumerate(graph.nodes):
        if at not in covered and slot_of(Place(graph, shapes, node)) is not None:
            what = f"node {node.op} -> {node.outputs[0]!r} has weights and is in no layer"
            raise FileError(what, where=str(path), mend="use onnx to carry this graph")
    if not has_weights:
        ops = ", ".join(sorted({node.op for node in graph.nodes}))
        what = f"nothing in it is a weight that Keras has: it is made of {ops}"
        raise FileError(what, where=str(path), mend="use onnx to carry this graph")
