"""Nodes that stand for other nodes: functions of the model, functions of ONNX itself, an If whose condition is known."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import onnx
from onnx import FunctionProto, TypeProto, helper, numpy_helper

from esp.astore.graph import Attr
from esp.astore.onnx.draft import Draft, attr_of, captured, draft_of, opsets_of, over, weights_of
from esp.astore.onnx.scope import Scope, renamed
from esp.astore.onnx.tensors import Folder, kind_of
from esp.astore.ops.dims import Unknown
from esp.astore.ops.row import Tensor
from esp.errors import GraphError

Functions = Mapping[tuple[str, str], Any]
_NO_DRAFT = ("Loop", "Scan", "SequenceMap")


def functions_of(model: Any) -> Functions:
    """The functions that a ModelProto brings along, by domain and name."""
    return {(proto.domain, proto.name): proto for proto in model.functions}


def expanded(draft: Draft, scope: Scope, functions: Functions) -> list[Draft] | None:
    """The nodes that do what this one does, by the function that it names; None where there is no function."""
    local = functions.get((draft.domain, draft.op))
    if local is not None:
        return _instance(draft, local, scope, {attr.name: attr_of(attr, draft.where) for attr in local.attribute_proto})
    if draft.op in _NO_DRAFT or not onnx.defs.has(draft.op, draft.version, draft.domain):
        return None
    schema = onnx.defs.get_schema(draft.op, draft.version, draft.domain)
    body = _body(schema, draft, scope)
    if body is None:
        return None
    defaults = {
        name: attr_of(attr.default_value, draft.where) for name, attr in schema.attributes.items() if attr.default_value.type
    }
    return _instance(draft, body, scope, defaults)


def branch(draft: Draft, scope: Scope, folder: Folder) -> list[Draft]:
    """The nodes of the branch that an If takes. Raises GraphError where its condition is not known before there are data."""
    condition = scope.numbers(draft.inputs[0]) if draft.inputs else None
    if condition is None or condition.size != 1:
        raise GraphError("its condition depends on the data", where=draft.where, mend="export the model without control flow")
    body = draft.bodies.get("then_branch" if condition.reshape(-1)[0] else "else_branch")
    if body is None or len(body.output) != len(draft.outputs):
        raise GraphError("a branch is missing or makes other outputs", where=draft.where, mend="export the model anew")
    ends: dict[str, str] = dict(zip((value.name for value in body.output), draft.outputs))
    inner = {name for node in body.node for name in node.output if name}
    weights = weights_of(body, folder, {tensor.name for tensor in body.initializer})
    names = {name: ends[name] if name in ends else scope.fresh(f"{draft.outputs[0]}/{name}") for name in sorted(inner)}
    for name, array in weights.items():
        names[name] = scope.constant(array, f"{draft.outputs[0]}/{name}")
    passed = [draft.sibling("Identity", [names.get(name, name)], [end]) for name, end in ends.items() if name not in inner]
    return [*_drafts(body.node, draft, draft.opsets, names, draft.given), *passed]


def reads(draft: Draft) -> list[str]:
    """The tensors that a node reads, those among them that only its bodies do."""
    return [*draft.inputs, *sorted(name for body in draft.bodies.values() for name in captured(body))]


def _body(schema: Any, draft: Draft, scope: Scope) -> Any:
    """The FunctionProto that says what the op of a schema does, if there is one."""
    if schema.has_function:
        data = schema.get_function_with_opset_version(_version(schema.function_opset_versions, draft.version))
    elif schema.has_context_dependent_function:
        version = _version(schema.context_dependent_function_opset_versions, draft.version)
        types = [_type(name, scope).SerializeToString() for name in draft.inputs]
        data = schema.get_context_dependent_function_with_opset_version(version, _node(draft).SerializeToString(), types)
    else:
        return None
    body = FunctionProto()
    body.ParseFromString(data)
    return body if body.node else None


def _version(versions: Sequence[int], wanted: int) -> int:
    return max((version for version in versions if version <= wanted), default=min(versions))


def _type(name: str, scope: Scope) -> Any:
    if not name:
        return TypeProto()
    sizes = [
        None if isinstance(size, Unknown) else size if isinstance(size, int) else str(size or "N") for size in scope.shape(name)
    ]
    return helper.make_tensor_type_proto(kind_of(scope.dtype(name)), sizes)


def _node(draft: Draft) -> Any:
    proto = helper.make_node(draft.op, draft.inputs, draft.outputs, domain=draft.domain)
    for name, value in draft.attrs.items():
        plain = numpy_helper.from_array(value.array) if isinstance(value, Tensor) else value
        proto.attribute.append(helper.make_attribute(name, plain))
    proto.attribute.extend(helper.make_attribute(name, body) for name, body in draft.bodies.items())
    return proto


def _instance(draft: Draft, body: Any, scope: Scope, defaults: Mapping[str, Attr]) -> list[Draft]:
    """The body of a function over the tensors of the node that calls it."""
    actual = (*draft.inputs, *[""] * (len(body.input) - len(draft.inputs)))
    names = {"": "", **dict(zip(body.input, actual))}
    ends = dict(zip(body.output, draft.outputs))
    for name in dict.fromkeys(name for node in body.node for name in node.output if name):
        names[name] = ends.get(name, "") or scope.fresh(f"{draft.outputs[0]}/{name}")
    attrs = {**defaults, **draft.attrs}
    made = _drafts(body.node, draft, {**draft.opsets, **opsets_of(body.opset_import)}, names, attrs)
    inner = {name for node in body.node for name in node.output}
    return made + [draft.sibling("Identity", [names[name]], [end]) for name, end in ends.items() if end and name not in inner]


def _drafts(
    protos: Iterable[Any], draft: Draft, opsets: Mapping[str, int], names: Mapping[str, str], attrs: Mapping[str, Attr]
) -> list[Draft]:
    made = []
    for proto in protos:
        inner = replace(draft_of(proto, opsets, draft.source), name=draft.name)
        referred = {name: attrs[of] for name, of in inner.references.items() if of in attrs}
        bodies = {name: over(body, names) for name, body in inner.bodies.items()}
        whole = replace(inner, attrs={**inner.attrs, **referred}, references={}, bodies=bodies, given=attrs)
        made.append(renamed(whole, names))
    return made
