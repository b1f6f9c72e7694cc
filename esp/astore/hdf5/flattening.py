"""Whether a dense layer's input was flattened, and in which order of axes its rows stand in a Keras file."""

from collections.abc import Mapping
from typing import Literal

from esp.astore.graph import Graph, Node, Shape
from esp.errors import GraphError

Rows = Literal["channels_last", "as_in_graph"]  # the order of a dense kernel's rows in the file, after Flatten

# One tensor in, the same axes out.
_ALIKE = {"Relu", "LeakyRelu", "PRelu", "Elu", "Selu", "Sigmoid", "HardSigmoid", "HardSwish", "Tanh", "Softplus", "Softsign"}
_ALIKE |= {"Gelu", "Mish", "Clip", "Abs", "Exp", "Neg", "Sqrt", "Dropout", "Identity", "Cast", "Pad", "Slice", "Where"}
_ALIKE |= {"Add", "Sub", "Mul", "Div", "Sum", "Max", "Min", "Concat"}
_CHANNELS_FIRST = {"Conv", "ConvTranspose", "MaxPool", "AveragePool", "LpPool", "GlobalMaxPool", "GlobalAveragePool", "LRN"}
_CHANNELS_FIRST |= {"BatchNormalization", "InstanceNormalization", "Resize", "DepthToSpace", "SpaceToDepth"}


def flattened_from(graph: Graph, shapes: Mapping[str, Shape], node: Node, rows: Rows | None) -> tuple[int, ...] | None:
    """The shape, channels first, whose flattening feeds ``node``, where the file has its rows channels last; else None.

    Raises GraphError where the graph does not tell which axis holds the channels and ``rows`` does not either.
    """
    makers = {name: maker for maker in graph.nodes for name in maker.outputs if name}
    flat = _source(node.inputs[0], makers, graph)
    if flat is None or rows == "as_in_graph":
        return None
    shape = tuple(size for size in shapes[flat][1:] if isinstance(size, int))
    if len(shape) < 2 or len(shapes[node.inputs[0]]) != 2 or shape[0] == 1 or max(shape[1:]) == 1:
        return None  # either order of the axes is the same
    known = True if rows == "channels_last" else _is_channels_first(flat, makers, graph)
    if known is None:
        what = f"tensor {flat!r} of shape {list(shapes[flat])} is flattened and nothing tells which axis holds its channels"
        raise GraphError(what, mend="say the order of the rows: channels_last or as_in_graph")
    return shape if known else None


def _source(name: str, makers: Mapping[str, Node], graph: Graph) -> str | None:
    """The tensor that is flattened to make ``name``, through what leaves its order alone; None where nothing is."""
    while name in makers:
        maker = makers[name]
        if maker.op in ("Flatten", "Reshape"):
            return maker.inputs[0]
        if maker.op not in _ALIKE and maker.op not in ("BatchNormalization", "LayerNormalization"):
            return None
        name = _tensors(maker, graph)[0] if _tensors(maker, graph) else ""
    return None


def _is_channels_first(name: str, makers: Mapping[str, Node], graph: Graph) -> bool | None:
    while name in makers:
        maker = makers[name]
        if maker.op in _CHANNELS_FIRST:
            return True
        if maker.op == "Transpose" and _moves_channels_last(maker) and _is_channels_first(maker.inputs[0], makers, graph):
            return False
        if maker.op not in _ALIKE:
            return None
        name = _tensors(maker, graph)[0] if _tensors(maker, graph) else ""
    return None


def _moves_channels_last(node: Node) -> bool:
    perm = node.attrs.get("perm")
    return isinstance(perm, tuple) and perm == (0, *range(2, len(perm)), 1)


def _tensors(node: Node, graph: Graph) -> list[str]:
    return [name for name in node.inputs if name and name not in graph.weights]
