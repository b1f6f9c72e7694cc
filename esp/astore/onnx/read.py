"""An ONNX model becomes a graph: read, upgraded, its batch made symbolic, its constants computed."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from onnx import defs

from esp.astore.graph import Graph, Layer, Node, Value, live_nodes, sorted_nodes
from esp.astore.onnx.draft import NEWEST, OLDEST, Draft, draft_of, opsets_of, texts_of, weights_of
from esp.astore.onnx.functions import functions_of, reads
from esp.astore.onnx.inputs import Asked, entered
from esp.astore.onnx.lowering import Lowering
from esp.astore.onnx.scope import Scope
from esp.astore.onnx.tensors import Folder, load_proto
from esp.astore.onnx.texts import check_texts
from esp.astore.onnx.told import labels_by, with_constants
from esp.astore.ops.row import Array, Shape
from esp.astore.ops.rules import batch_axis, show
from esp.astore.validation import validate
from esp.errors import FileError, GraphError

NEWEST_ML = 5


@dataclass(frozen=True, slots=True)
class Imported:
    """A graph and what else its file told: class labels by output name, and what made it (producer, opset, ...)."""

    graph: Graph
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)


def read_onnx(
    source: Path | Any,
    *,
    batch: bool = True,
    shapes: Mapping[str, Sequence[int]] | None = None,
    bind: Mapping[str, Array] | None = None,
    outputs: Sequence[str] = (),
) -> Graph:
    """The graph of an ONNX model: a path, or an ``onnx.ModelProto``. As ``read_model``, which tells more."""
    return read_model(source, batch=batch, shapes=shapes, bind=bind, outputs=outputs).graph


def read_model(
    source: Path | Any,
    *,
    batch: bool = True,
    shapes: Mapping[str, Sequence[int]] | None = None,
    bind: Mapping[str, Array] | None = None,
    outputs: Sequence[str] = (),
) -> Imported:
    """The graph of an ONNX model of opset 6 or newer, and what its file tells beside.

    ``batch``: the first axis of every input becomes the batch, whatever its size in the file, and must lead every output; else
    all sizes stay as they are and nothing is computed ahead (a conformance case). ``shapes`` fixes sizes that the file leaves
    open, by input, the batch's place among them. ``bind`` makes weights of inputs. ``outputs`` names the tensors to make
    instead of the file's outputs: what they do not need is left away.

    Raises FileError for a file that is no whole ONNX model, GraphError (with the node, its name and its place) for an op, a
    dtype, a size or control flow that a graph cannot hold.
    """
    asked = Asked(batch, shapes or {}, bind or {}, outputs)
    if not isinstance(source, Path):
        return _read(source, Folder(), asked)
    model = load_proto(source)
    with errors_of(source):
        return _read(model, Folder(source.parent), asked)


@contextmanager
def errors_of(path: Path) -> Iterator[None]:
    """Puts the file before the place of what is wrong within."""
    try:
        yield
    except (GraphError, FileError) as err:
        raise type(err)(err.what, where=f"{path}: {err.where}" if err.where else str(path), mend=err.mend) from err


def _read(model: Any, folder: Folder, asked: Asked) -> Imported:
    check_texts(model)
    opsets = opsets_of(model.opset_import)
    proto = model.graph
    drafts = _in_order([draft_of(node, opsets, at) for at, node in enumerate(proto.node)])
    wanted = list(asked.outputs) or [value.name for value in proto.output]
    drafts = [drafts[at] for at in live_nodes([(reads(draft), draft.outputs) for draft in drafts], wanted)]
    _check_opsets(opsets, drafts)
    used = {name for draft in drafts for name in reads(draft)} | set(wanted)
    scope = Scope(asked.batch, used, texts=texts_of(proto))
    weights = weights_of(proto, folder, used)
    for name, array in weights.items():
        scope.enter_weight(name, array)
    held = {tensor.name for tensor in proto.initializer}
    inputs = entered([value for value in proto.input if value.name not in held], asked, scope)
    lowering = Lowering(functions_of(model), folder)
    for draft in drafts:
        lowering.run(draft, scope)
    graph = with_constants(_graph(scope, inputs, _outputs(scope, wanted, asked.batch), drafts), model)
    validate(graph, asked.batch)
    halves = {"float16": "computed in float32"} if scope.has_halves else {}
    return Imported(graph, {**labels_by(model), **scope.labels}, {**_facts(model, opsets), **halves})


def _in_order(drafts: Sequence[Draft]) -> list[Draft]:
    return [drafts[at] for at in sorted_nodes([Node(draft.op, tuple(reads(draft)), draft.outputs) for draft in drafts])]


def _check_opsets(opsets: Mapping[str, int], drafts: Sequence[Draft]) -> None:
    """Raises GraphError for an operator set that is too new to be known, or too old: an op of it changed before the oldest."""
    known = {"": (OLDEST, NEWEST), "ai.onnx.ml": (1, NEWEST_ML)}
    for draft in drafts:
        if draft.domain not in known:
            continue
        name, (oldest, newest) = draft.domain or "ai.onnx", known[draft.domain]
        if draft.domain not in opsets:
            raise GraphError(f"the model does not say its opset of {name}", where=draft.where, mend="export it anew")
        if not 1 <= draft.version <= newest or (draft.version < oldest and not _is_same(draft, oldest)):
            what = f"opset {draft.version} of {name} is not known"
            raise GraphError(what, where=draft.where, mend=f"export it with one of {oldest} to {newest}")


def _is_same(draft: Draft, oldest: int) -> bool:
    """Whether the op is in the oldest set that is known as it was in the node's own."""
    if not defs.has(draft.op, draft.version, draft.domain):
        return False
    own, known = defs.get_schema(draft.op, draft.version, draft.domain), defs.get_schema(draft.op, oldest, draft.domain)
    return bool(own.since_version == known.since_version)


def _outputs(scope: Scope, wanted: Sequence[str], is_batched: bool) -> tuple[Value, ...]:
    """The graph's outputs as the graph makes them, whatever the file declares; those of text are left away."""
    values = []
    for name in wanted:
        if name in scope.texts:
            continue
        own = scope.resolve(name)
        if own not in scope.facts.shapes:
            raise GraphError("no node makes it", where=f"output {name!r}", mend="name a tensor of the model")
        shape = scope.facts.shapes[own]
        if is_batched and shape[:1] != (None,):
            raise _batch_elsewhere(name, shape)
        values.append(Value(own, scope.facts.dtypes[own], shape))
    return tuple(values)


def _batch_elsewhere(name: str, shape: Shape) -> GraphError:
    at = batch_axis(shape)
    mend = "cut the graph at tensors that have it (outputs)"
    if at is not None and shape[at] is None:
        mend = f"a Transpose with perm {[at, *(axis for axis in range(len(shape)) if axis != at)]} at its end would bring it there"
    return GraphError(f"shape {show(shape)} does not begin with the batch", where=f"output {name!r}", mend=mend)


def _graph(scope: Scope, inputs: tuple[Value, ...], outputs: tuple[Value, ...], drafts: Sequence[Draft]) -> Graph:
    """What the outputs need of the scope, a layer for each node of the file that something is left of."""
    ends = {value.name for value in outputs}
    kept = live_nodes([(node.inputs, node.outputs) for node in scope.nodes], ends)
    nodes = tuple(scope.nodes[at] for at in kept)
    needed = {name for node in nodes for name in node.inputs} | ends
    weights = {name: array for name, array in scope.weights.items() if name in needed}
    layers = _layers([scope.sources[at] for at in kept], {draft.source: draft for draft in drafts})
    return Graph(nodes, inputs, outputs, weights, layers)


def _layers(sources: Sequence[int], drafts: Mapping[int, Draft]) -> tuple[Layer, ...]:
    members: dict[int, list[int]] = {}
    for at, source in enumerate(sources):
        members.setdefault(source, []).append(at)
    seen: Counter[str] = Counter()
    layers, taken = [], {_name(drafts[source]) for source in members}
    for source, nodes in members.items():
        name = base = _name(drafts[source])
        seen[base] += 1
        while seen[base] > 1 and name in taken:
            name = f"{base}_{seen[base]}"
            seen[base] += name in taken
        taken.add(name)
        layers.append(Layer(name, drafts[source].op, tuple(nodes)))
    return tuple(layers)


def _name(draft: Draft) -> str:
    return draft.name or next(name for name in draft.outputs if name)


def _facts(model: Any, opsets: Mapping[str, int]) -> dict[str, Any]:
    facts = {"producer": model.producer_name, "producer_version": model.producer_version, "ir_version": int(model.ir_version)}
    said = {f"opset {domain or 'ai.onnx'}": version for domain, version in sorted(opsets.items())}
    return {key: value for key, value in {**facts, **said}.items() if value not in ("", 0)}
