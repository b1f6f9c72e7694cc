"""What makes a graph well formed: shapes and dtypes of all its tensors, or one line that says what is wrong and where."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from esp.astore.graph import Graph, Node, complete_attrs, op_of, sorted_nodes
from esp.astore.ops import OPS
from esp.astore.ops.dims import Rows, rows_in
from esp.astore.ops.row import DTYPES, Array, Attrs, Op, Shape
from esp.astore.ops.rules import is_batch, show, size_of
from esp.errors import GraphError

KNOWN_NUMBERS = 4096  # a tensor of more numbers is not computed ahead of the data
KNOWN_FLOPS = 2**24  # nor what takes more work
KNOWN_IN_ALL = 2**18  # numbers read and made ahead of the data in one graph; a file of many nodes is not to cost more than its size
SPACIOUS = (  # ops that may take more room or time than their inputs and outputs tell; never computed ahead of the data
    "AveragePool", "CenterCropPad", "Conv", "ConvInteger", "ConvTranspose", "Einsum", "GRU", "LRN", "LSTM", "LpPool", "MaxPool",
    "MaxRoiPool", "MaxUnpool", "NonMaxSuppression", "RNN", "Resize", "RoiAlign",
)  # fmt: skip
TELLING_SHAPES = ("Shape", "Size")  # ops that make numbers of a tensor's shape alone


@dataclass(slots=True)
class Facts:
    """What is known of the tensors of a graph before there are data.

    ``numbers`` holds those whose numbers are known: the weights, and what nodes make of them and of the shapes of other tensors,
    an array of objects (int or Rows) where the batch is among the numbers.
    """

    shapes: dict[str, Shape] = field(default_factory=dict)
    dtypes: dict[str, str] = field(default_factory=dict)
    numbers: dict[str, Array] = field(default_factory=dict)
    computed: int = 0  # numbers that were read and made to know those


def validate(graph: Graph, batched: bool = True, untold: Collection[str] = ()) -> dict[str, Shape]:
    """The shape of every tensor of a graph that is well formed. Raises GraphError, naming node and tensors, for one that is not.

    ``batched``: the batch leads every input and output, as a model's graph must have it; else any axis may have any size.
    ``untold``: weights whose numbers are not looked at, only their shapes and dtypes.
    """
    return examine(graph, batched, untold).shapes


def examine(graph: Graph, batched: bool = True, untold: Collection[str] = ()) -> Facts:
    """Shapes, dtypes and known numbers of every tensor; raises as ``validate`` does."""
    facts = Facts()
    _enter_inputs(graph, facts, batched)
    _enter_weights(graph, facts, untold)
    producers = {name: at for at, node in reversed([*enumerate(graph.nodes)]) for name in node.outputs if name}
    for index, node in enumerate(graph.nodes):
        try:
            _check_ends(node, index, facts.shapes, producers, graph)
            infer(node, facts)
        except GraphError as err:
            if err.where:
                raise
            raise GraphError(err.what, where=_name_of(index, node), mend=err.mend) from err
    _check_outputs(graph, facts, batched)
    _check_layers(graph)
    return facts


def node_flops(graph: Graph) -> list[int]:
    """Floating-point operations for one row, node by node; a multiply-add counts two."""
    shapes = validate(graph)
    return [
        OPS[node.op].flops(
            complete_attrs(node),
            [shapes.get(name) for name in node.inputs],
            [shapes[name] if name else () for name in node.outputs],
        )
        for node in graph.nodes
    ]


def flops(graph: Graph) -> int:
    """Floating-point operations for one row; a multiply-add counts two."""
    return sum(node_flops(graph))


def _name_of(index: int, node: Node) -> str:
    return f"node {index} ({node.op} -> {', '.join(map(repr, node.outputs))})"


def _enter_inputs(graph: Graph, facts: Facts, batched: bool) -> None:
    for value in graph.inputs:
        where = f"input {value.name!r}"
        if not value.name or value.name in facts.shapes:
            raise GraphError("the name is empty or taken twice", where=where, mend="give each tensor a name of its own")
        if value.dtype not in DTYPES:
            raise GraphError(f"unknown dtype {value.dtype!r}", where=where, mend=f"use one of: {', '.join(DTYPES)}")
        if batched and (value.shape[:1] != (None,) or any(not isinstance(size, int) or size < 1 for size in value.shape[1:])):
            what = f"shape {show(value.shape)} is not [N, sizes above 0]"
            raise GraphError(what, where=where, mend="put the batch (None) first and fix the rest")
        facts.shapes[value.name], facts.dtypes[value.name] = value.shape, value.dtype


def _enter_weights(graph: Graph, facts: Facts, untold: Collection[str]) -> None:
    for name, array in graph.weights.items():
        where = f"weight {name!r}"
        if not name or name in facts.shapes:
            raise GraphError("the name is empty or taken twice", where=where, mend="give each tensor a name of its own")
        if array.dtype.name not in DTYPES:
            raise GraphError(f"unknown dtype {array.dtype.name!r}", where=where, mend=f"use one of: {', '.join(DTYPES)}")
        facts.shapes[name], facts.dtypes[name] = array.shape, array.dtype.name
        if name not in untold:
            facts.numbers[name] = array


def _check_ends(node: Node, index: int, shapes: Mapping[str, Shape], producers: Mapping[str, int], graph: Graph) -> None:
    """Raises GraphError where the number of inputs or outputs, or one of their names, is wrong."""
    op = op_of(node)
    for what, names, (least, most) in (("inputs", node.inputs, op.inputs), ("outputs", node.outputs, op.outputs)):
        if not least <= len(names) <= most:
            wanted = str(least) if least == most else f"{least} to {most}"
            raise GraphError(f"wants {wanted} {what}, got {len(names)}", mend=f"give as many as {op.name} has")
    if "" in node.inputs[: op.inputs[0]] or not any(node.outputs):
        raise GraphError("an input or output that must be there is left out", mend="name it")
    for name in filter(None, node.inputs):
        if name not in shapes:
            _refuse_undefined(name, producers, graph)
    made: set[str] = set()
    for name in filter(None, node.outputs):
        if name in shapes or name in made:
            raise GraphError(f"output {name!r} is made already", mend="give each tensor a name of its own")
        made.add(name)


def _refuse_undefined(name: str, producers: Mapping[str, int], graph: Graph) -> None:
    if name not in producers:
        raise GraphError(f"input {name!r} is no tensor of the graph", mend="name an input, a weight or an earlier node's output")
    try:
        sorted_nodes(graph.nodes)
    except GraphError as err:
        raise GraphError(f"input {name!r} is not made yet: {err.what}", mend=err.mend) from err
    what = f"input {name!r} is made later, by node {producers[name]}"
    raise GraphError(what, mend="put the nodes in the order in which they run (sorted_nodes)")


@np.errstate(all="ignore")
def infer(node: Node, facts: Facts) -> None:
    """Enters shape, dtype and known numbers of each output of a node whose ends are sound."""
    op, attrs = op_of(node), complete_attrs(node)
    ins = [facts.shapes[name] if name else None for name in node.inputs]
    numbers = [facts.numbers.get(name) for name in node.inputs]
    outs = op.shapes(attrs, ins, numbers)
    if len(outs) < len(node.outputs):
        raise GraphError(f"makes {len(outs)} outputs, not {len(node.outputs)}", mend="name as many")
    dtypes = op.dtypes.infer(attrs, [facts.dtypes[name] if name else None for name in node.inputs], len(node.outputs))
    if op.name not in TELLING_SHAPES:
        _check_batch(node, ins, numbers, outs)
    made = _known(op, attrs, node, ins, numbers, outs) if facts.computed <= KNOWN_IN_ALL else None
    if made is not None:
        facts.computed += sum(array.size for array in (*numbers, *made) if array is not None)
    for at, (name, shape, dtype) in enumerate(zip(node.outputs, outs, dtypes)):
        if name:
            facts.shapes[name], facts.dtypes[name] = shape, dtype
            numbers_made = _settled(made[at], dtype) if made is not None else None
            if numbers_made is not None:
                facts.numbers[name] = numbers_made


def _check_batch(node: Node, ins: Sequence[Shape | None], numbers: Sequence[Array | None], outs: Sequence[Shape]) -> None:
    """Raises GraphError unless each output has the batch on one axis where an input has it, on one at most where numbers do."""
    is_batched = any(shape is not None and any(map(is_batch, shape)) for shape in ins)
    may_be = is_batched or any(array is not None and array.dtype == object for array in numbers)
    for name, shape in zip(node.outputs, outs):
        if not is_batched <= sum(map(is_batch, shape)) <= may_be:
            what = f"output {name!r} of shape {show(shape)} does not have the batch axis once"
            raise GraphError(what, mend="keep the batch an axis of its own")


def _known(
    op: Op, attrs: Attrs, node: Node, ins: Sequence[Shape | None], numbers: Sequence[Array | None], outs: Sequence[Shape]
) -> Sequence[Array | None] | None:
    """The numbers that a node makes, where all of its own are known and they are few enough; else None."""
    if op.name in TELLING_SHAPES:
        return [_told(op.name, attrs, ins[0] or ())]
    if op.name in SPACIOUS or any(
        name and (array is None or array.size > KNOWN_NUMBERS) for array, name in zip(numbers, node.inputs)
    ):
        return None
    if any(not all(isinstance(size, int) for size in shape) or size_of(shape) > KNOWN_NUMBERS for shape in outs):
        return None
    if op.flops(attrs, ins, outs) > KNOWN_FLOPS:
        return None
    try:
        return computed(op, attrs, numbers, len(node.outputs))
    except GraphError:
        if any(array is not None and array.dtype == object for array in numbers):
            return None  # it cannot work on numbers with the batch among them
        raise


def computed(op: Op, attrs: Attrs, arrays: Sequence[Array | None], count: int) -> Sequence[Array]:
    """What an op makes of known numbers; GraphError for those that it cannot take."""
    try:
        with np.errstate(all="ignore"):
            return op.reference(attrs, arrays, count)
    except (TypeError, ValueError, AttributeError, IndexError, ArithmeticError) as err:
        raise GraphError(f"its numbers cannot be computed: {err}", mend="mend the weights that it takes") from err


def _told(op: str, attrs: Attrs, shape: Shape) -> Array | None:
    """What Shape and Size make of a shape, the batch among it as Rows; None where a size depends on the data."""
    looked_at = shape if op == "Size" else shape[attrs["start"] : attrs["end"]]
    sizes = [size if isinstance(size, int) else Rows(rows_in(size)) for size in looked_at if isinstance(size, int) or rows_in(size)]
    if len(sizes) < len(looked_at):
        return None
    if op == "Size":
        return np.array(0 if 0 in sizes else math.prod(sizes, start=1), object)
    told = np.empty(len(sizes), object)
    told[:] = sizes
    return told


def _settled(array: Array | None, dtype: str) -> Array | None:
    """Known numbers in the tensor's dtype; an array of objects where the batch is among whole ones."""
    if array is None or array.dtype != object:
        return array
    if not any(isinstance(number, Rows) for number in array.reshape(-1)):
        try:
            return array.astype(dtype)
        except OverflowError as err:
            raise GraphError(f"a size is past what {dtype} holds", mend="keep sizes within it") from err
    return array if np.issubdtype(np.dtype(dtype), np.integer) else None


def _check_outputs(graph: Graph, facts: Facts, batched: bool) -> None:
    if (batched and not graph.inputs) or not graph.outputs:
        raise GraphError("the graph has no inputs or no outputs", mend="name one of each at least")
    seen: set[str] = set()
    for value in graph.outputs:
        where = f"output {value.name!r}"
        if value.name not in facts.shapes:
            raise GraphError("no node makes it", where=where, mend="name a tensor of the graph")
        if value.name in seen:
            raise GraphError("it is named twice", where=where, mend="name each output once")
        seen.add(value.name)
        found = facts.shapes[value.name], facts.dtypes[value.name]
        if (show(found[0]), found[1]) != (show(value.shape), value.dtype):  # two sizes that only the data tell look the same
            what = f"declared {value.dtype}{show(value.shape)}, the graph makes {found[1]}{show(found[0])}"
            raise GraphError(what, where=where, mend="declare what it makes")
        if batched and found[0][:1] != (None,):
            raise GraphError(
                f"shape {show(found[0])} does not begin with the batch", where=where, mend="bring the batch to the front"
            )


def _check_layers(graph: Graph) -> None:
    names: set[str] = set()
    taken: set[int] = set()
    for layer in graph.layers:
        where = f"layer {layer.name!r}"
        if layer.name in names:
            raise GraphError("the name is taken twice", where=where, mend="give each layer a name of its own")
        if not all(0 <= at < len(graph.nodes) and at not in taken for at in layer.nodes):
            what = f"nodes {list(layer.nodes)} are not nodes of the graph, or of another layer too"
            raise GraphError(what, where=where, mend="name nodes of this layer alone")
        names.add(layer.name)
        taken.update(layer.nodes)
