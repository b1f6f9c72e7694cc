"""An ONNX model as it lies in its file, in our words: nodes with attributes read, tensors as arrays, nothing judged yet."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from onnx import AttributeProto, TensorProto
from onnx.defs import onnx_opset_version

from esp.astore.onnx.tensors import Folder, array_of, dtype_of
from esp.astore.ops.row import Array, Attr, Tensor
from esp.errors import FileError, GraphError

OLDEST, NEWEST = 6, onnx_opset_version()  # operator sets that are read
DEFAULT = ("", "ai.onnx")  # two names of the default operator set
_READ: Mapping[int, Callable[[Any], Attr]] = {
    AttributeProto.INT: lambda proto: int(proto.i),
    AttributeProto.FLOAT: lambda proto: float(proto.f),
    AttributeProto.STRING: lambda proto: proto.s.decode("utf-8"),
    AttributeProto.INTS: lambda proto: tuple(map(int, proto.ints)),
    AttributeProto.FLOATS: lambda proto: tuple(map(float, proto.floats)),
    AttributeProto.STRINGS: lambda proto: tuple(item.decode("utf-8") for item in proto.strings),
}


@dataclass(frozen=True, slots=True)
class Draft:
    """A node on its way into a graph.

    ``version`` is the operator set that its meaning is of, ``opsets`` those that it stood among in its file. ``attrs`` hold
    what a graph may hold, ``bodies`` the graphs among its attributes (of an If), ``references`` the names of attributes of
    the function that it stands in, and ``given`` what those are. ``source`` counts the nodes of the file: what one of them becomes is one layer.
    """

    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attrs: Mapping[str, Attr] = field(default_factory=dict)
    domain: str = ""
    version: int = OLDEST
    name: str = ""
    source: int = 0
    bodies: Mapping[str, Any] = field(default_factory=dict)
    references: Mapping[str, str] = field(default_factory=dict)
    given: Mapping[str, Attr] = field(default_factory=dict)
    opsets: Mapping[str, int] = field(default_factory=dict)

    @property
    def where(self) -> str:
        """The node's place, as messages write it."""
        name = f" {self.name!r}" if self.name else ""
        made = ", ".join(map(repr, self.outputs))
        return f"node {self.source}{name} ({self.domain + '.' if self.domain else ''}{self.op} -> {made})"

    def sibling(self, op: str, inputs: Sequence[str], outputs: Sequence[str], attrs: Mapping[str, Attr] | None = None) -> "Draft":
        """A node of the default operator set that does part of this one's work, opset 21 meaning."""
        return Draft(op, tuple(inputs), tuple(outputs), attrs or {}, "", 21, self.name, self.source)


def opsets_of(protos: Sequence[Any]) -> dict[str, int]:
    """Versions by domain, of a model's or function's opset imports."""
    return {"" if proto.domain in DEFAULT else proto.domain: int(proto.version) for proto in protos}


def draft_of(proto: Any, opsets: Mapping[str, int], source: int) -> Draft:
    """A NodeProto read. Raises GraphError for attributes that no graph holds, FileError for broken ones."""
    domain = "" if proto.domain in DEFAULT else proto.domain
    plain = Draft(
        proto.op_type, tuple(proto.input), tuple(proto.output), {}, domain, opsets.get(domain, 0), proto.name, source, opsets=opsets
    )
    if not any(plain.outputs):
        raise GraphError("it makes nothing", where=plain.where, mend="name an output, or take the node out")
    attrs: dict[str, Attr] = {}
    bodies: dict[str, Any] = {}
    references: dict[str, str] = {}
    for attr in proto.attribute:
        where = f"{plain.where}, attribute {attr.name!r}"
        if attr.ref_attr_name:
            references[attr.name] = attr.ref_attr_name
        elif attr.type == AttributeProto.GRAPH:
            bodies[attr.name] = attr.g
        else:
            attrs[attr.name] = attr_of(attr, where)
    return replace(plain, attrs=attrs, bodies=bodies, references=references)


def attr_of(proto: Any, where: str) -> Attr:
    """The value of an AttributeProto."""
    if proto.type == AttributeProto.TENSOR:
        return Tensor.of(array_of(proto.t, where))
    if proto.type not in _READ:
        kind = AttributeProto.AttributeType.Name(proto.type).lower()
        raise GraphError(f"an attribute of {kind} is not supported", where=where, mend="export the model without it")
    try:
        return _READ[proto.type](proto)
    except UnicodeDecodeError as err:
        raise FileError("its text is no UTF-8", where=where, mend="save the model anew") from err


def captured(proto: Any) -> set[str]:
    """The names that a body (a GraphProto) takes from outside of it."""
    inside = {value.name for value in (*proto.input, *proto.initializer)} | {name for node in proto.node for name in node.output}
    used = {name for node in proto.node for name in node.input} | {value.name for value in proto.output}
    for node in proto.node:
        for attr in node.attribute:
            if attr.type == AttributeProto.GRAPH:
                used |= captured(attr.g)
    return {name for name in used - inside if name}


def over(proto: Any, names: Mapping[str, str]) -> Any:
    """A body (a GraphProto) that takes other tensors from outside of it: names that are not in ``names`` stay."""
    made = type(proto)()
    made.CopyFrom(proto)
    outside = {name: names[name] for name in captured(proto) if name in names}
    for node in made.node:
        node.input[:] = [outside.get(name, name) for name in node.input]
        for attr in node.attribute:
            if attr.type == AttributeProto.GRAPH:
                attr.g.CopyFrom(over(attr.g, outside))
    for value in made.output:
        value.name = outside.get(value.name, value.name)
    return made


@dataclass(frozen=True, slots=True)
class Declared:
    """An input or output as the file declares it; ``shape`` None = not said, "" and names = sizes left open."""

    name: str
    dtype: str
    shape: tuple[int | str, ...] | None


def declared_of(proto: Any) -> Declared:
    """A ValueInfoProto read. Raises GraphError for what is no tensor, and for a dtype that no graph holds."""
    where = f"input {proto.name!r}"
    kind = proto.type.WhichOneof("value")
    if kind != "tensor_type":
        what = f"it is a {(kind or 'thing of no type').replace('_type', '')}, not a tensor"
        raise GraphError(what, where=where, mend="export the model with tensors only")
    tensor = proto.type.tensor_type
    shape = None
    if tensor.HasField("shape"):
        shape = tuple(int(dim.dim_value) if dim.HasField("dim_value") else str(dim.dim_param) for dim in tensor.shape.dim)
    return Declared(proto.name, dtype_of(tensor.elem_type, where), shape)


def weights_of(proto: Any, folder: Folder, used: Collection[str]) -> dict[str, Array]:
    """The initializers of a GraphProto by name, those that are used and are no text."""
    if len(proto.sparse_initializer):
        name = proto.sparse_initializer[0].values.name
        raise GraphError("sparse tensors are not supported", where=f"weight {name!r}", mend="export the weights dense")
    weights: dict[str, Array] = {}
    for tensor in proto.initializer:
        where = f"weight {tensor.name!r}"
        if not tensor.name or tensor.name in weights:
            raise GraphError("the name is empty or taken twice", where=where, mend="give each tensor a name of its own")
        if tensor.name in used and tensor.data_type != TensorProto.STRING:
            weights[tensor.name] = array_of(tensor, where, folder)
    return weights


def texts_of(proto: Any) -> set[str]:
    """The names of the initializers that are text."""
    return {tensor.name for tensor in proto.initializer if tensor.data_type == TensorProto.STRING}
