"""The header: an astore and its tensor table as one plain map, and back."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from esp.astore.fields import MEND, Fields, frozen, integer
from esp.astore.graph import Array, Attr, Graph, Layer, Node, Value
from esp.astore.layout import Tensor
from esp.astore.model import Astore, Input, Output, Step
from esp.errors import FileError

OPSET = 21
KNOWN_REQUIREMENTS: frozenset[str] = frozenset()  # names that a later version may put under "requires"


def to_header(astore: Astore, tensors: Sequence[Tensor]) -> dict[str, Any]:
    """The header's map; ``packing.pack`` makes its bytes."""
    graph = astore.graph
    return {
        "name": astore.name,
        "graph": {
            "opset": OPSET,
            "nodes": [_node_map(node) for node in graph.nodes],
            "inputs": [asdict(value) for value in graph.inputs],
            "outputs": [asdict(value) for value in graph.outputs],
            "layers": [asdict(layer) for layer in graph.layers],
        },
        "inputs": [_input_map(item) for item in astore.inputs],
        "outputs": [asdict(output) for output in astore.outputs],
        "card": astore.card,
        "tensors": [asdict(tensor) for tensor in tensors],
        "requires": [],
    }


def _node_map(node: Node) -> dict[str, Any]:
    return {"op": node.op, "inputs": node.inputs, "outputs": node.outputs, "attrs": node.attrs}


def _input_map(item: Input) -> dict[str, Any]:
    return {
        "name": item.name, "dtype": item.dtype, "shape": item.shape, "missing": item.missing, "impute": item.impute,
        "steps": [{"op": step.op, "params": step.params} for step in item.steps], "statistics": item.statistics,
    }  # fmt: skip


def check_requirements(header: Fields) -> None:
    """Refuses a file that needs something this reader does not know."""
    for name in header.texts("requires", []):
        if name not in KNOWN_REQUIREMENTS:
            raise FileError(
                f"the astore requires {name[:80]!r}, unknown here", where=f"{header.where}.requires", mend="upgrade esp-engine"
            )


def tensors_of(header: Fields) -> list[Tensor]:
    """The tensor table as it stands; ``layout.check_tensors`` judges it."""
    return [
        Tensor(
            item.text("name"),
            item.text("dtype"),
            item.integers("shape"),
            item.integer("offset"),
            item.integer("size"),
            item.data("sha256"),
        )
        for item in header.maps("tensors")
    ]


def from_header(header: Fields, weights: Mapping[str, Array], digest: str) -> Astore:
    """The astore that a header describes; FileError names the key path of what does not fit."""
    return Astore(
        name=header.text("name"),
        graph=_graph(header.inner("graph"), weights),
        inputs=tuple(_input(item) for item in header.maps("inputs")),
        outputs=tuple(_output(item) for item in header.maps("outputs")),
        card=header.free("card"),
        digest=digest,
    )


def _graph(part: Fields, weights: Mapping[str, Array]) -> Graph:
    opset = part.integer("opset")
    if opset != OPSET:
        raise FileError(
            f"opset {opset} is not {OPSET}", where=f"{part.where}.opset", mend="upgrade esp-engine or write the model anew"
        )
    return Graph(
        nodes=tuple(_node(item) for item in part.maps("nodes")),
        inputs=tuple(_value(item) for item in part.maps("inputs")),
        outputs=tuple(_value(item) for item in part.maps("outputs")),
        weights=weights,
        layers=tuple(Layer(item.text("name"), item.text("kind"), item.integers("nodes")) for item in part.maps("layers", [])),
    )


def _node(item: Fields) -> Node:
    attrs = {name: _attr(value, f"{item.where}.attrs[{name[:40]!r}]") for name, value in item.free("attrs").items()}
    return Node(item.text("op"), item.texts("inputs"), item.texts("outputs"), attrs)


def _attr(value: Any, where: str) -> Attr:
    values = value if isinstance(value, list) else [value]
    if type(values[0] if values else 0) not in (int, float, str) or len({type(item) for item in values}) > 1:
        raise FileError("an attribute is a number, text, or a list of one kind of these", where=where, mend=MEND)
    if isinstance(value, list):
        return tuple(value)
    return value  # type: ignore[no-any-return]


def _value(item: Fields) -> Value:
    shape = item.get("shape")
    if not isinstance(shape, list):
        raise FileError("wanted a list", where=f"{item.where}.shape", mend=MEND)
    dims = tuple(None if dim is None else integer(dim, f"{item.where}.shape") for dim in shape)
    return Value(item.text("name"), item.text("dtype"), dims)


def _input(item: Fields) -> Input:
    return Input(
        name=item.text("name"),
        dtype=item.text("dtype"),
        shape=item.integers("shape"),
        steps=tuple(_step(step) for step in item.maps("steps", [])),
        missing=item.text("missing", "refuse"),  # type: ignore[arg-type]  # model.check judges the word
        impute=frozen(item.get("impute", 0.0)),
        statistics=item.free("statistics"),
    )


def _step(item: Fields) -> Step:
    params = {key: frozen(value) for key, value in item.free("params").items()}
    return Step(item.text("op"), params)  # type: ignore[arg-type]  # model.check judges the word


def _output(item: Fields) -> Output:
    kind = item.text("kind", "tensor")
    return Output(item.text("name"), item.text("dtype"), item.integers("shape"), kind, item.texts("labels", []))  # type: ignore[arg-type]
