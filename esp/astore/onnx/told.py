"""What an ONNX model says of the astore that it was: written among its metadata, read back from there."""

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from esp.astore.graph import Graph, Node, Tensor
from esp.astore.model import Astore, Input
from esp.astore.packing import jsonable

PRODUCER = "esp"
PREFIX = "esp."  # of the keys
_INSIDE = {True: "inside", False: "outside"}


def metadata(astore: Astore, preprocessing: bool, names: Mapping[str, str]) -> dict[str, str]:
    """The metadata of a model: text by key, what is structured as JSON; ``names`` are those of the outputs' tensors."""
    outputs = [{**asdict(output), "tensor": names[output.name]} for output in astore.outputs]
    told = {
        "name": astore.name,
        "digest": astore.digest,
        "preprocessing": _INSIDE[preprocessing],
        "inputs": _json([asdict(item) for item in astore.inputs]),
        "outputs": _json(outputs),
        "card": _json(astore.card),
    }
    return {PREFIX + key: text for key, text in told.items() if text}


def input_doc(item: Input, preprocessing: bool) -> str:
    """One line on what an input takes."""
    if not preprocessing:
        steps = ", ".join(step.op for step in item.steps)
        return f"prepared events: {steps or 'no steps'}" + (f"; missing values: {item.missing}" if item.missing != "nan" else "")
    what = f"{item.dtype}{list(item.shape)}"
    if item.dtype == "blob":
        channels = "red, green and blue" if item.steps[0].params["channels"] == 3 else "grey"
        what = f"decoded images of one size, {channels}, the channel last"
    return f"{what}; {_MISSING[item.missing if item.dtype.startswith('float') else 'refuse']}"


def labels_by(model: Any) -> dict[str, tuple[str, ...]]:
    """Class labels by output tensor, of a model that ``metadata`` was written into; none of what does not look like it."""
    texts = [entry.value for entry in model.metadata_props if entry.key == f"{PREFIX}outputs"]
    try:
        outputs = json.loads(texts[0]) if texts else []
    except (ValueError, RecursionError):
        return {}
    found = {}
    for output in outputs if isinstance(outputs, list) else ():
        tensor, labels = (output.get("tensor"), output.get("labels")) if isinstance(output, dict) else (None, None)
        if isinstance(tensor, str) and isinstance(labels, list) and labels and all(isinstance(label, str) for label in labels):
            found[tensor] = tuple(labels)
    return found


def with_constants(graph: Graph, model: Any) -> Graph:
    """The graph with the Constant nodes of a model that this package wrote, where reading made weights of them.

    Others hold weights in such nodes too; here they say what training does not learn.
    """
    held = {name for node in model.graph.node if node.op_type == "Constant" for name in node.output}
    names = [name for name in graph.weights if name in held] if model.producer_name == PRODUCER else []
    nodes = [Node("Constant", (), (name,), {"value": Tensor.of(graph.weights[name])}) for name in names]
    weights = {name: array for name, array in graph.weights.items() if name not in names}
    layers = tuple(replace(layer, nodes=tuple(at + len(names) for at in layer.nodes)) for layer in graph.layers)
    return replace(graph, nodes=(*nodes, *graph.nodes), weights=weights, layers=layers)


_MISSING = {
    "refuse": "a missing value (null, NaN) has no score: leave its row out",
    "nan": "a missing value is NaN",
    "impute": "a missing value, NaN, is replaced",
}


def _json(value: Any) -> str:
    return json.dumps(jsonable(value, "metadata"), sort_keys=True, ensure_ascii=False, separators=(",", ":"))
