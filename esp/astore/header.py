"""The header: an astore and its tensor table as one plain map, and back."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from esp.astore.fields import MEND, Fields, frozen, integer
from esp.astore.graph import Array, Attr, Graph, Layer, Node, Value
from esp.astore.graph import Tensor as TensorAttr
from esp.astore.layout import Tensor, tensor_size
from esp.astore.model import Astore, Input, Output, Step
from esp.astore.packing import unpack
from esp.astore.signing import KEY_SIZE, SIGNATURE_SIZE, Signature
from esp.errors import FileError

OPSET = 21
ALGORITHM = "ed25519"
PACKED_OVER = 64  # numbers of an attribute that stand in the header one by one, at most
MAX_PACKED = 8 << 20  # bytes of all packed attributes
_PACKED: Mapping[str, type] = {"ints": np.int64, "floats": np.float64}
KNOWN_REQUIREMENTS: frozenset[str] = frozenset()  # names that a later version may put under "requires"


def to_header(astore: Astore, tensors: Sequence[Tensor]) -> dict[str, Any]:
    """The header's map; ``packing.pack`` makes its bytes."""
    graph = astore.graph
    nodes = [_node_map(node) for node in graph.nodes]
    _refuse_packed(sum(_packed_size(value) for node in nodes for value in node["attrs"].values()), "graph.nodes")
    return {
        "name": astore.name,
        "graph": {
            "opset": OPSET,
            "nodes": nodes,
            "inputs": [asdict(value) for value in graph.inputs],
            "outputs": [asdict(value) for value in graph.outputs],
            "layers": [asdict(layer) for layer in graph.layers],
        },
        "inputs": [_input_map(item) for item in astore.inputs],
        "outputs": [asdict(output) for output in astore.outputs],
        "card": astore.card,
        "tensors": [_tensor_map(tensor) for tensor in tensors],
        "requires": [],
    }


def _node_map(node: Node) -> dict[str, Any]:
    attrs = {name: _attr_value(value, f"node {node.op} attribute {name!r}") for name, value in node.attrs.items()}
    return {"op": node.op, "inputs": node.inputs, "outputs": node.outputs, "attrs": attrs}


def _attr_value(value: Attr, where: str) -> Any:
    """An attribute as the header has it: tensors as maps, many numbers as packed bytes."""
    if isinstance(value, TensorAttr):
        _check_tensor_attr(value, where)
        return asdict(value)
    if isinstance(value, tuple) and len(value) > PACKED_OVER:
        for name, kind in (("ints", int), ("floats", float)):
            if all(type(item) is kind for item in value):
                return {name: np.array(value, _PACKED[name]).astype(_little(name)).tobytes()}
    return value


def _little(name: str) -> np.dtype[Any]:
    return np.dtype(_PACKED[name]).newbyteorder("<")


def _check_tensor_attr(tensor: TensorAttr, where: str) -> None:
    wanted = tensor_size(tensor.dtype, tensor.shape, where)
    if len(tensor.data) != wanted:
        raise FileError(f"{tensor.dtype}{list(tensor.shape)} takes {wanted} bytes, not {len(tensor.data)}", where=where, mend=MEND)
    if tensor.dtype == "bool" and tensor.data.strip(b"\0\1"):
        raise FileError("a bool is a byte of 0 or 1", where=where, mend=MEND)


def _tensor_map(tensor: Tensor) -> dict[str, Any]:
    return {key: value for key, value in asdict(tensor).items() if value not in ("", None) or key not in ("scale", "axis")}


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
            item.text("scale", ""),
            item.integer("axis") if "axis" in item.values else None,
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
    _check_packed(part)
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


def _check_packed(part: Fields) -> None:
    """Bounds what packed attributes unfold to."""
    size = sum(_packed_size(value) for item in part.maps("nodes") for value in item.free("attrs").values())
    _refuse_packed(size, f"{part.where}.nodes")


def _packed_size(value: Any) -> int:
    return sum(len(data) for data in value.values() if isinstance(data, bytes)) if isinstance(value, dict) else 0


def _refuse_packed(size: int, where: str) -> None:
    if size > MAX_PACKED:
        raise FileError(f"attributes hold more than {MAX_PACKED} packed bytes", where=where, mend="use weights")


def _attr(value: Any, where: str) -> Attr:
    if isinstance(value, dict):
        return _packed_attr(Fields(value, where))
    values = value if isinstance(value, list) else [value]
    if type(values[0] if values else 0) not in (int, float, str) or len({type(item) for item in values}) > 1:
        raise FileError("an attribute is a number, text, a list of one kind of these, or a tensor", where=where, mend=MEND)
    if isinstance(value, list):
        return tuple(value)
    return value  # type: ignore[no-any-return]


def _packed_attr(item: Fields) -> Attr:
    """An attribute that is a map: a tensor, or many numbers packed."""
    keys = {*item.values}
    if keys == {"dtype", "shape", "data"}:
        tensor = TensorAttr(item.text("dtype"), item.integers("shape"), item.data("data"))
        _check_tensor_attr(tensor, item.where)
        return tensor
    if len(keys) != 1 or not keys <= {*_PACKED}:
        raise FileError("the map is no tensor and no packed numbers", where=item.where, mend=MEND)
    name = keys.pop()
    data = item.data(name)
    if len(data) % 8:
        raise FileError(f"{len(data)} bytes are no numbers of 8 bytes", where=item.where, mend=MEND)
    return tuple(np.frombuffer(data, _little(name)).tolist())


def signature_to(signature: Signature) -> dict[str, Any]:
    """The map of the signature section."""
    return {"algorithm": ALGORITHM, "key": signature.key, "signature": signature.value}


def signature_in(section: bytes, where: str) -> Signature | None:
    """What the signature section says, not judged yet; None for an empty one, FileError for one that is none."""
    if not section:
        return None
    item = Fields(unpack(section, where), where)
    algorithm, key, value = item.text("algorithm"), item.data("key"), item.data("signature")
    if algorithm != ALGORITHM or len(key) != KEY_SIZE or len(value) != SIGNATURE_SIZE:
        what = f"wanted {ALGORITHM} with a key of {KEY_SIZE} and a signature of {SIGNATURE_SIZE} bytes"
        raise FileError(f"{what}, got {algorithm[:40]!r}, {len(key)} and {len(value)}", where=where, mend="sign the model anew")
    return Signature(key, value)


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
