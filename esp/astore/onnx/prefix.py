"""An astore as one graph over its events: the steps of preprocessing are nodes, inputs and outputs have the astore's names."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from esp.astore.graph import Array, Attr, Graph, Layer, Node, Value
from esp.astore.image import letterbox_place
from esp.astore.model import Astore, Input
from esp.astore.onnx.tensors import kind_of
from esp.astore.steps import Dims, prepared_shape


@dataclass(slots=True)
class Prefix:
    """Nodes and weights that come before those of a graph; every name that is taken, those of the outputs among them."""

    taken: set[str] = field(default_factory=set)
    ends: list[str] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)
    weights: dict[str, Array] = field(default_factory=dict)

    def name(self, wanted: str) -> str:
        """The name, or the first one numbered after it that is free; taken from now on."""
        name, at = wanted, 1
        while name in self.taken:
            at += 1
            name = f"{wanted}_{at}"
        self.taken.add(name)
        return name

    def add(self, op: str, inputs: Sequence[str], wanted: str, **attrs: Attr) -> str:
        """The output of a new node."""
        output = self.name(wanted)
        self.nodes.append(Node(op, tuple(inputs), (output,), attrs))
        return output

    def weight(self, wanted: str, array: Array) -> str:
        name = self.name(wanted)
        self.weights[name] = array
        return name


def event_graph(astore: Astore) -> Graph:
    """The graph with the preprocessing before it: it takes columns of events, under the names of the astore's inputs.

    An image file cannot be decoded in a graph: such an input takes the decoded image, uint8[N, height, width, channels]. Here
    it has the size that it is brought to, which the nodes do not lean on. A null is no event of a graph, and what
    ``missing`` refuses is not refused: a NaN is replaced (impute) or passes.
    """
    prefix, own = _named(astore, [item.name for item in astore.inputs])
    for item, value in zip(astore.inputs, astore.graph.inputs):
        own[value.name] = _prepared(item, value.dtype, prefix)
    inputs = [Value(item.name, _event_dtype(item), (None, *_event_shape(item))) for item in astore.inputs]
    return _joined(astore, prefix, own, inputs)


def prepared_graph(astore: Astore) -> Graph:
    """The graph as it is, what it takes and gives under the names of the astore's inputs and outputs."""
    prefix, own = _named(astore, [item.name for item in astore.inputs])
    inputs = [replace(value, name=item.name) for item, value in zip(astore.inputs, astore.graph.inputs)]
    own |= {value.name: item.name for item, value in zip(astore.inputs, astore.graph.inputs)}
    return _joined(astore, prefix, own, inputs)


def _named(astore: Astore, events: Sequence[str]) -> tuple[Prefix, dict[str, str]]:
    """New names for the graph's weights and for what its nodes make; an output's own, unless an input has it."""
    graph, prefix = astore.graph, Prefix(set(events))
    prefix.ends = [prefix.name(output.name) for output in astore.outputs]
    own = {value.name: end for value, end in zip(graph.outputs, prefix.ends)}
    made = (name for node in graph.nodes for name in node.outputs if name)
    own |= {name: prefix.name(name) for name in (*graph.weights, *made) if name not in own}
    return prefix, own


def _joined(astore: Astore, prefix: Prefix, own: Mapping[str, str], inputs: Sequence[Value]) -> Graph:
    graph, first = astore.graph, len(prefix.nodes)
    names = {**own, "": ""}
    nodes = [
        replace(node, inputs=tuple(names[name] for name in node.inputs), outputs=tuple(names[name] for name in node.outputs))
        for node in graph.nodes
    ]
    given = {value.name for value in graph.inputs}
    for value, end in zip(graph.outputs, prefix.ends):
        if value.name in given:  # what goes in comes out: one tensor cannot have both names
            nodes.append(Node("Identity", (names[value.name],), (end,)))
    outputs = tuple(replace(value, name=end) for value, end in zip(graph.outputs, prefix.ends))
    weights = {**prefix.weights, **{names[name]: array for name, array in graph.weights.items()}}
    layers = tuple(Layer(layer.name, layer.kind, tuple(at + first for at in layer.nodes)) for layer in graph.layers)
    return Graph((*prefix.nodes, *nodes), tuple(inputs), outputs, weights, layers)


def _event_dtype(item: Input) -> str:
    return "uint8" if item.dtype == "blob" else item.dtype


def _event_shape(item: Input) -> Dims:
    if item.dtype != "blob":
        return item.shape
    size = item.steps[1].params
    return size["height"], size["width"], item.steps[0].params["channels"]


def _prepared(item: Input, dtype: str, prefix: Prefix) -> str:
    """The tensor that ``preprocess.prepare`` would make of the event's, by the same steps in the same order."""
    x = item.name
    if _event_dtype(item) != dtype:
        x = prefix.add("Cast", [x], f"{item.name}/cast", to=kind_of(dtype))
    if item.missing == "impute" and item.dtype.startswith("float"):
        missing = prefix.add("IsNaN", [x], f"{item.name}/missing")
        value = prefix.weight(f"{item.name}/impute", np.asarray(item.impute, dtype))
        x = prefix.add("Where", [missing, value, x], f"{item.name}/imputed")
    for at, step in enumerate(item.steps):
        if step.op != "decode":
            shape = prepared_shape(replace(item, steps=item.steps[:at])) if at > 1 or item.dtype != "blob" else ()
            x = _STEPS[step.op](prefix, f"{item.name}/{step.op}", x, shape, step.params, dtype)
    return x


Params = Mapping[str, Any]


def _resize(prefix: Prefix, name: str, x: str, shape: Dims, params: Params, dtype: str) -> str:
    sides = params["height"], params["width"]
    if shape[:2] == sides:
        return x
    sizes = prefix.weight(f"{name}/sizes", np.array(sides, np.int64))
    attrs: dict[str, Attr] = {"mode": "linear", "coordinate_transformation_mode": "half_pixel", "axes": (1, 2)}
    return prefix.add("Resize", [x, "", "", sizes], name, **attrs)


def _letterbox(prefix: Prefix, name: str, x: str, shape: Dims, params: Params, dtype: str) -> str:
    """Resized to a place within the frame, the rest filled; the place of an image of any size is computed in the graph."""
    frame = np.array([params["height"], params["width"]], np.int64)
    sizes, pads = _known_place(prefix, name, shape, frame) if shape else _computed_place(prefix, name, x, frame)
    attrs: dict[str, Attr] = {"mode": "linear", "coordinate_transformation_mode": "half_pixel", "axes": (1, 2)}
    inner = prefix.add("Resize", [x, "", "", sizes], f"{name}/inner", **attrs)
    axes = prefix.weight(f"{name}/axes", np.array([1, 2], np.int64))
    fills = np.asarray(params["fill"], dtype).reshape(-1)
    if len(fills) == 1:
        return prefix.add("Pad", [inner, pads, prefix.weight(f"{name}/fill", fills.reshape(())), axes], name)
    planes = []
    for c, fill in enumerate(fills):
        plane = prefix.add(
            "Gather", [inner, prefix.weight(f"{name}/channel{c}", np.array([c], np.int64))], f"{name}/plane{c}", axis=3
        )
        planes.append(prefix.add("Pad", [plane, pads, prefix.weight(f"{name}/fill{c}", fill), axes], f"{name}/framed{c}"))
    return prefix.add("Concat", planes, name, axis=3)


def _known_place(prefix: Prefix, name: str, shape: Dims, frame: Array) -> tuple[str, str]:
    """The sizes and pads of images of a known size, as ``image.letterbox_place`` has them."""
    place = letterbox_place(*shape[:2], *frame.tolist())
    inner, begin = np.array([place.height, place.width], np.int64), np.array([place.top, place.left], np.int64)
    pads = np.concatenate([begin, frame - inner - begin])
    return prefix.weight(f"{name}/sizes", inner), prefix.weight(f"{name}/pads", pads)


def _computed_place(prefix: Prefix, name: str, x: str, frame: Array) -> tuple[str, str]:
    """The same in the graph: for height and width at once, ``other`` being width and height."""
    two, one = prefix.weight(f"{name}/two", np.array([2], np.int64)), prefix.weight(f"{name}/one", np.array([1], np.int64))
    sides = prefix.add("Shape", [x], f"{name}/sides", start=1, end=3)
    turned = prefix.weight(f"{name}/turned", np.array([1, 0], np.int64))
    other = prefix.add("Gather", [sides, turned], f"{name}/other", axis=0)
    scaled = prefix.add("Mul", [sides, prefix.weight(f"{name}/twice", 2 * frame[::-1])], f"{name}/scaled")
    halves = prefix.add("Div", [prefix.add("Add", [scaled, other], f"{name}/raised"),
                                prefix.add("Mul", [other, two], f"{name}/divisor")], f"{name}/rounded")  # fmt: skip
    whole = prefix.weight(f"{name}/frame", frame)
    sizes = prefix.add("Max", [prefix.add("Min", [halves, whole], f"{name}/least"), one], f"{name}/sizes")
    margin = prefix.add("Sub", [whole, sizes], f"{name}/margin")
    begin = prefix.add("Div", [margin, two], f"{name}/begin")
    end = prefix.add("Sub", [margin, begin], f"{name}/end")
    return sizes, prefix.add("Concat", [begin, end], f"{name}/pads", axis=0)


def _scale(prefix: Prefix, name: str, x: str, shape: Dims, params: Params, dtype: str) -> str:
    factor = prefix.weight(f"{name}/scale", np.asarray(params["scale"], dtype))
    offset = prefix.weight(f"{name}/offset", np.asarray(params["offset"], dtype))
    return prefix.add("Add", [prefix.add("Mul", [x, factor], f"{name}/scaled"), offset], name)


def _normalise(prefix: Prefix, name: str, x: str, shape: Dims, params: Params, dtype: str) -> str:
    mean = prefix.weight(f"{name}/mean", np.asarray(params["mean"], dtype))
    std = prefix.weight(f"{name}/std", np.asarray(params["std"], dtype))
    return prefix.add("Div", [prefix.add("Sub", [x, mean], f"{name}/centred"), std], name)


def _reverse_channels(prefix: Prefix, name: str, x: str, shape: Dims, params: Params, dtype: str) -> str:
    places = prefix.weight(f"{name}/places", np.array([2, 1, 0], np.int64))
    return prefix.add("Gather", [x, places], name, axis=len(shape))


def _channels_first(prefix: Prefix, name: str, x: str, shape: Dims, params: Params, dtype: str) -> str:
    return prefix.add("Transpose", [x], name, perm=(0, len(shape), *range(1, len(shape))))


def _reshape(prefix: Prefix, name: str, x: str, shape: Dims, params: Params, dtype: str) -> str:
    return prefix.add("Reshape", [x, prefix.weight(f"{name}/shape", np.array([0, *params["shape"]], np.int64))], name)


_STEPS: Mapping[str, Callable[[Prefix, str, str, Dims, Params, str], str]] = {
    "resize": _resize,
    "letterbox": _letterbox,
    "scale": _scale,
    "normalise": _normalise,
    "reverse_channels": _reverse_channels,
    "channels_first": _channels_first,
    "reshape": _reshape,
}
