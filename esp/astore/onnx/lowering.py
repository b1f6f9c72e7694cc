"""Nodes of a file become nodes of the op table, one after the other: upgraded, expanded, refused."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from onnx import defs

from esp.astore.onnx.batch import at_fixed_batch, canonical_target, with_open_batch
from esp.astore.onnx.draft import Draft
from esp.astore.onnx.functions import Functions, branch, expanded, reads
from esp.astore.onnx.learners import without_text
from esp.astore.onnx.scope import Scope
from esp.astore.onnx.tensors import Folder, kind_of
from esp.astore.onnx.upgrade import upgraded
from esp.astore.ops import OPS
from esp.astore.ops.row import MANY, Array, Attr, Tensor
from esp.errors import GraphError

MAX_DEPTH = 64  # of functions within functions
MAX_NODES = 50_000  # that a file may become
_CONTROL = ("If", "Loop", "Scan", "SequenceMap")
_KINDS = ("to", "dtype", "output_dtype", "output_datatype")  # attributes that name a type
_CONSTANTS = {"value_float": "float32", "value_floats": "float32", "value_int": "int64", "value_ints": "int64"}


@dataclass(frozen=True, slots=True)
class Lowering:
    """What the nodes of a file may lean on: its functions and the folder of its external data."""

    functions: Functions
    folder: Folder

    def run(self, draft: Draft, scope: Scope) -> None:
        """Enters what a node becomes into the scope. Raises GraphError, naming the node, for one that no graph can hold."""
        waiting = [(draft, 0)]
        done = 0
        while waiting:
            one, depth = waiting.pop()
            done += 1
            if depth > MAX_DEPTH or done > MAX_NODES or len(scope.nodes) > MAX_NODES:
                raise GraphError(
                    "its functions have no end, or too many nodes", where=draft.where, mend="export it without functions"
                )
            try:
                made = self._step(one, scope)
            except GraphError as err:
                raise placed(err, draft, one) from err
            scope.used.update(name for new in made for name in reads(new))
            waiting += [(new, depth + 1) for new in reversed(made)]

    def _step(self, draft: Draft, scope: Scope) -> Sequence[Draft]:
        """What a node stands for; nothing where it is entered."""
        if (draft.domain, draft.op) not in self.functions:
            _check_arity(draft)
            worded = without_text(draft, scope)
            if worded is not None:
                return worded
            for name in filter(None, draft.inputs):
                scope.shape(name)  # it must be there
            if draft.domain == "" and self._is_plain(draft, scope):
                return ()
            if draft.domain == "" and draft.op == "If":
                return branch(draft, scope, self.folder)
            draft = replace(draft, attrs={name: _widened(name, value, scope) for name, value in draft.attrs.items()})
            newer = upgraded(draft, scope)
            if newer is not None:
                return newer
            if draft.op in OPS and OPS[draft.op].domain == draft.domain:
                _enter(draft, scope)
                return ()
        made = expanded(draft, scope, self.functions)
        if made is None:
            raise _unknown(draft)
        return made

    def _is_plain(self, draft: Draft, scope: Scope) -> bool:
        """Enters a constant, and another name of a weight, which need no node."""
        if draft.op == "Constant" and len(draft.outputs) == 1:
            scope.enter_weight(draft.outputs[0], constant_of(draft))
            return True
        if draft.op == "Identity" and len(draft.inputs) == 1 and scope.resolve(draft.inputs[0]) in scope.weights:
            scope.alias(draft.outputs[0], draft.inputs[0])
            return True
        return False


def _widened(name: str, value: Attr, scope: Scope) -> Attr:
    """An attribute that names a type, or is a tensor, in the type that the graph has for it."""
    if isinstance(value, Tensor):
        return Tensor.of(value.array.astype(scope.widened(value.array.dtype.name), copy=False))
    return kind_of(scope.widened("float16")) if name in _KINDS and value == kind_of("float16") else value


def _enter(draft: Draft, scope: Scope) -> None:
    if not scope.is_batched:
        scope.emit(draft)
        return
    for one in with_open_batch(draft, scope):
        try:
            node = scope.emit(one)
        except GraphError as err:
            raise at_fixed_batch(err, one, scope) from err
        if node.op == "Reshape" and node.outputs[0] not in scope.weights:
            better = canonical_target(one, scope)
            scope.swap(node if better is one else replace(node, inputs=better.inputs, attrs={}))


def _check_arity(draft: Draft) -> None:
    """Raises GraphError where the node's op is not in its operator set, or has other numbers of inputs or outputs there."""
    if not defs.has(draft.op, draft.version, draft.domain):
        raise _unknown(draft)
    schema = defs.get_schema(draft.op, draft.version, draft.domain)
    bounds = (schema.min_input, schema.max_input), (schema.min_output, schema.max_output)
    for what, names, (least, most) in zip(("inputs", "outputs"), (draft.inputs, draft.outputs), bounds):
        if not least <= len(names) <= most:
            wanted = str(least) if least == most else f"{least} or more" if most >= MANY else f"{least} to {most}"
            raise GraphError(f"wants {wanted} {what}, got {len(names)}", mend=f"give as many as {draft.op} {draft.version} has")


def constant_of(draft: Draft) -> Array:
    """The number or numbers of a Constant. Raises GraphError for text and sparse ones."""
    value = draft.attrs.get("value")
    if isinstance(value, Tensor):
        return value.array
    for name, dtype in _CONSTANTS.items():
        if name in draft.attrs:
            return np.array(draft.attrs[name], dtype)
    raise GraphError("a constant of text, sparse or without a value is not supported", mend="export the model without it")


def placed(err: GraphError, draft: Draft, inner: Draft) -> GraphError:
    """The error with the place in the file; where a node of a function is wrong, that is named too."""
    if err.where:
        return err
    within = f" inside it, {inner.op}: " if inner.op != draft.op else ""
    return GraphError(f"{within}{err.what}", where=draft.where, mend=err.mend)


def _unknown(draft: Draft) -> GraphError:
    if draft.domain not in ("", "ai.onnx.ml"):
        what = f"domain {draft.domain!r} is not known"
    elif draft.op in _CONTROL:
        what = "control flow is not supported"
    elif not defs.has(draft.op, draft.version, draft.domain):
        what = f"opset {draft.version} of {draft.domain or 'ai.onnx'} has no such op"
    else:
        what = "the op is not supported"
    return GraphError(what, mend="export the model without it, or cut the graph before it (outputs)")
