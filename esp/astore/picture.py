"""A graph as a picture (SVG): one box a layer, what follows a layer number by number written into its box."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from itertools import pairwise

from esp.astore.graph import Graph, Layer
from esp.astore.layered import Drawing, draw
from esp.astore.ops.activations import ACTIVATIONS
from esp.astore.ops.rules import show
from esp.astore.summary import LayerRow, layer_rows

BOX_WIDTH, LINE, PAD, MARGIN = 252.0, 15.0, 7.0, 16.0
LETTERS = 40  # of a line in a box
JOINED = {"BatchNormalization", "Dropout", "Identity", "BN", "BatchNorm", *ACTIVATIONS}  # drawn in the box before them
SHADES: Mapping[str, tuple[str, ...]] = {  # a colour, and words that the kind of a layer in it holds
    "input": ("Input", "Output"),
    "dense": ("Dense", "Gemm", "MatMul", "FC", "Einsum"),
    "conv": ("Conv",),
    "pool": ("Pool", "Resize", "Up"),
    "join": ("Add", "Concat", "Mul", "Sum", "Res", "Sub", "Merge"),
    "recurrent": ("RNN", "GRU", "LSTM", "Attention"),
}
STYLE = """
text { font: 11px ui-sans-serif, system-ui, sans-serif; fill: #1a1d21 }
.name { font-weight: 600 }
.more { fill: #545b64 }
rect { fill: #eef0f3; stroke: #9aa3ad }
path { fill: none; stroke: #7c8590; stroke-width: 1.3 }
.input rect { fill: #fff; stroke-dasharray: 4 3 }
.dense rect { fill: #dfe9fb; stroke: #6f93d2 }
.conv rect { fill: #dcf1e4; stroke: #5fa87c }
.pool rect { fill: #fbeed5; stroke: #c79a4b }
.join rect { fill: #f3e2f4; stroke: #a873ac }
.recurrent rect { fill: #fae0dd; stroke: #c7736a }
"""


@dataclass(slots=True)
class _Box:
    """A layer with those joined to it: its words, and which tensors come in and go out."""

    kind: str
    lines: list[str]
    takes: list[str] = field(default_factory=list)
    gives: set[str] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)

    @property
    def size(self) -> tuple[float, float]:
        return BOX_WIDTH, LINE * len(self.lines) + 2 * PAD


def svg(graph: Graph, title: str) -> str:
    """The picture as the text of an SVG file: inputs above, outputs below. Raises GraphError for a graph that is not valid."""
    boxes = _joined(graph, [*_layer_boxes(graph)])
    makers = {name: at for at, box in enumerate(boxes) for name in box.gives}
    edges = [(makers[name], at) for at, box in enumerate(boxes) for name in dict.fromkeys(box.takes) if name in makers]
    edges = [edge for edge in dict.fromkeys(edges) if edge[0] < edge[1]]
    drawing = draw([box.size for box in boxes], edges)
    width, height = (size + 2 * MARGIN for size in drawing.size)
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" viewBox="0 0 {width:.0f} {height:.0f}" role="img">'
    body = [*_paths(drawing, boxes, edges), *(text for place, box in zip(drawing.places, boxes) for text in _rectangle(box, place))]
    parts = [
        head, f"<title>{escape(title)}</title>", f"<style>{STYLE}</style>",
        '<rect width="100%" height="100%" style="fill:#fff;stroke:none"/>',
        f'<g transform="translate({MARGIN:.0f} {MARGIN:.0f})">', *body, "</g>", "</svg>", "",
    ]  # fmt: skip
    return "\n".join(parts)


def _layer_boxes(graph: Graph) -> Iterator[_Box]:
    """Boxes in the order in which the layers run: inputs, layers, outputs."""
    for value in graph.inputs:
        yield _Box("Input", [value.name, f"{value.dtype}{show(value.shape)}"], gives={value.name})
    nodes = {layer.name: layer.nodes for layer in _all_layers(graph)}
    rows = layer_rows(graph)
    for row in rows:
        inside = [graph.nodes[at] for at in nodes[row.name]]
        if not inside:
            continue  # the layer of an input
        gives = {name for node in inside for name in node.outputs if name}
        takes = [name for node in inside for name in node.inputs if name and name not in gives and name not in graph.weights]
        yield _Box(row.kind, [row.name, *_words(row)], takes, gives, [_note(row)])
    for value in graph.outputs:
        yield _Box("Output", [value.name, f"{value.dtype}{show(value.shape)}"], takes=[value.name])


def _all_layers(graph: Graph) -> Iterator[Layer]:
    inside = {at for layer in graph.layers for at in layer.nodes}
    yield from graph.layers
    yield from (Layer(node.outputs[0], node.op, (at,)) for at, node in enumerate(graph.nodes) if at not in inside)


def _words(row: LayerRow) -> list[str]:
    window = "x".join(map(str, row.kernel))
    stride = "" if set(row.stride) <= {1} else f"/{'x'.join(map(str, row.stride))}"
    then = f" + {row.activation}" if row.activation and row.activation != row.kind else ""
    first = f"{row.kind} {window}{stride}".strip() + then
    parameters = f", {row.parameters:,} parameters" if row.parameters else ""
    return [first, f"{show(row.output_shape)}{parameters}"]


def _note(row: LayerRow) -> str:
    return f"{row.name}: {row.kind}, {show(row.output_shape)}, {row.parameters:,} parameters, {row.flops:,} FLOPs a row"


def _joined(graph: Graph, boxes: list[_Box]) -> list[_Box]:
    """The boxes, those of number-by-number layers taken into the one box that feeds them where nobody else asks for its output."""
    makers = {name: box for box in boxes for name in box.gives}
    uses: dict[str, int] = {}
    for name in (name for box in boxes for name in box.takes):
        uses[name] = uses.get(name, 0) + 1
    kept = []
    for box in boxes:
        maker = makers.get(box.takes[0]) if len(box.takes) == 1 and box.kind in JOINED else None
        if maker is None or maker.kind == "Input" or uses[box.takes[0]] > 1:
            kept.append(box)
            continue
        parameters = box.lines[-1].partition("], ")[2]
        joined = box.lines[1].replace(box.kind, f"+ {box.kind}", 1) if box.kind in box.lines[1] else f"+ {box.kind}"
        maker.lines.insert(-1, joined + (f", {parameters}" if parameters else ""))
        maker.gives |= box.gives
        maker.notes += box.notes
        makers.update(dict.fromkeys(box.gives, maker))
    return kept


def _paths(drawing: Drawing, boxes: Sequence[_Box], edges: Sequence[tuple[int, int]]) -> Iterator[str]:
    for (start, end), route in zip(edges, drawing.routes):
        (x0, y0), (x1, y1) = drawing.places[start], drawing.places[end]
        points = [(x0, y0 + boxes[start].size[1] / 2), *route, (x1, y1 - boxes[end].size[1] / 2)]
        path = f"M{points[0][0]:.1f} {points[0][1]:.1f}"
        for (x0, y0), (x1, y1) in pairwise(points):
            middle = (y0 + y1) / 2
            path += f" C{x0:.1f} {middle:.1f} {x1:.1f} {middle:.1f} {x1:.1f} {y1:.1f}"
        yield f'<path d="{path}"/>'


def _rectangle(box: _Box, place: tuple[float, float]) -> Iterator[str]:
    (width, height), shade = box.size, _shade(box.kind)
    left, top = place[0] - width / 2, place[1] - height / 2
    yield f'<g class="{shade}">' if shade else "<g>"
    yield f"<title>{escape(chr(10).join(box.notes or box.lines))}</title>"
    yield f'<rect x="{left:.1f}" y="{top:.1f}" width="{width:.0f}" height="{height:.0f}" rx="5"/>'
    for at, line in enumerate(box.lines):
        look = "name" if at == 0 else "more"
        y = top + PAD + LINE * at + 11
        yield f'<text class="{look}" x="{left + 9:.1f}" y="{y:.1f}">{escape(_cut(line))}</text>'
    yield "</g>"


def _shade(kind: str) -> str:
    return next((shade for shade, words in SHADES.items() if any(word in kind for word in words)), "")


def _cut(line: str) -> str:
    shown = "".join(letter if letter.isprintable() else "?" for letter in line)
    return shown if len(shown) <= LETTERS else f"{shown[: LETTERS // 2 - 1]}…{shown[-LETTERS // 2 :]}"
