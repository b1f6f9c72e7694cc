"""A node over a range of its positions: with the padding that the range still has, and its sizes along time told anew."""

from collections.abc import Callable
from dataclasses import replace

from esp.astore.graph import Node
from esp.runtime.backends.sliding.cuts import Range
from esp.runtime.backends.sliding.layers import Layer, Layers
from esp.runtime.backends.sliding.timeline import cuts_of, geometry_of, widths_of

Number = Callable[..., str]  # stores whole numbers as a constant, and tells its name
_ENDLESS = -(1 << 62)


def refitted(layers: Layers, node: Node, layer: Layer, one: Range, number: Number) -> Node:
    """``node`` reads what the range ``one`` of a layer reads, and is the layer's own but for its names."""
    if node.op in ("Conv", "MaxPool", "AveragePool"):
        return _windows(layers, node, layer, one)
    if node.op in ("Reshape", "Flatten", "Squeeze", "Unsqueeze"):
        name = layer.outputs[0]
        sizes = list(layers.facts.shapes[name])
        sizes[layers.lines[name].axis] = one[1] - one[0]
        return Node("Reshape", (node.inputs[0], number(*(size or 0 for size in sizes))), node.outputs)
    if node.op == "Slice":
        return _slice(layers, node, layer, one, number)
    return _pad(layers, node, layer, one, number) if node.op == "Pad" else node


def _padding(layers: Layers, layer: Layer, one: Range) -> Range:
    """How much padding a range reads before and after the positions of its sources."""
    start, stop = layer.reach.span(*one)
    first, end = layers.reading(layer, one)
    return first - start, stop - end


def _axis(layers: Layers, layer: Layer) -> int:
    return layers.lines[layer.sources[0]].axis


def _windows(layers: Layers, node: Node, layer: Layer, one: Range) -> Node:
    where = geometry_of(layers.site(layer.node))
    before, after = list(where.pads_begin), [end + spill for end, spill in zip(where.pads_end, where.spill)]
    axis = _axis(layers, layer) - 2
    before[axis], after[axis] = _padding(layers, layer, one)
    kept = {key: value for key, value in node.attrs.items() if key not in ("auto_pad", "ceil_mode")}
    return replace(node, attrs={**kept, "pads": (*before, *after)})


def _slice(layers: Layers, node: Node, layer: Layer, one: Range, number: Number) -> Node:
    cuts, axis = cuts_of(layers.site(layer.node)), _axis(layers, layer)
    first, end = layers.reading(layer, one)
    cuts[axis] = 0, end - first, cuts[axis][2]
    starts, ends, steps = zip(*cuts[1:])
    ends = tuple(end if end >= 0 else _ENDLESS for end in ends)  # an end before the first number
    bounds = [number(*numbers) for numbers in (starts, ends, range(1, len(cuts)), steps)]
    return replace(node, inputs=(node.inputs[0], *bounds))


def _pad(layers: Layers, node: Node, layer: Layer, one: Range, number: Number) -> Node:
    widths = widths_of(layers.site(layer.node))
    widths[_axis(layers, layer)] = _padding(layers, layer, one)
    pads = number(*(before for before, _ in widths), *(after for _, after in widths))
    return replace(node, inputs=(node.inputs[0], pads, *(node.inputs[2:3] or ("",))))
