"""Rules 5 and 8 of FORMAT.md: the header's fields, down to the attributes of nodes."""

import math
from typing import Any

from tests.astore.stranger.rules import (
    SIZES,
    array,
    finite,
    is_map,
    is_name,
    is_size,
    is_text,
    many,
    need,
    per_channel,
)

EVENT = ("bool", "uint8", "int32", "int64", "float32", "float64", "blob")
PARAMS = {"decode": {"channels"}, "resize": {"height", "width"}, "scale": {"offset", "scale"}, "normalise": {"mean", "std"}}
PARAMS |= {"letterbox": {"height", "width", "fill"}, "reverse_channels": set(), "channels_first": set(), "reshape": {"shape"}}
STATISTICS = ("count", "mean", "std", "min", "max", "missing")
MOST = 2**26  # numbers of an event


def check_variables(head: dict[str, Any]) -> None:
    """Everything of the header but nodes and tensors."""
    name, graph = head.get("name"), head.get("graph")
    need(is_name(name) and len(name) <= 200 and is_map(head.get("card", {})), "5: name or card")
    need(head.get("requires", []) == [], "8: requires what is not known here")
    need(is_map(graph) and type(graph.get("opset")) is int and graph["opset"] == 21, "5: graph or opset")
    for side in ("inputs", "outputs"):
        need(many(graph.get(side), is_map) and many(head.get(side), is_map), f"5: {side}")
        need(len(graph[side]) == len(head[side]) > 0, "5: one for each of the graph's")
        for ones in (graph[side], head[side]):
            need(all(is_name(one.get("name")) for one in ones) and len({one["name"] for one in ones}) == len(ones), "5: names")
        for one in graph[side]:
            shape = one.get("shape")
            need(
                is_text(one.get("dtype")) and one["dtype"] in SIZES and type(shape) is list and shape[:1] == [None],
                "5: dtype or batch",
            )
            need(many(shape[1:], is_size) and (side == "outputs" or all(shape[1:])), "5: shape")
    for one, outer in zip(graph["outputs"], head["outputs"], strict=True):
        check_output(outer, one)
    for one, outer in zip(graph["inputs"], head["inputs"], strict=True):
        check_input(outer, one)


def check_output(outer: dict[str, Any], one: dict[str, Any]) -> None:
    need((outer.get("dtype"), outer.get("shape")) == (one["dtype"], one["shape"][1:]), "5: an output that is not the graph's")
    kind, labels = outer.get("kind", "tensor"), outer.get("labels", [])
    need(kind in ("tensor", "probabilities") and many(labels, is_text), "5: kind or labels")
    classes = one["shape"][-1] if kind == "probabilities" and len(one["shape"]) > 1 else 0
    need(len(labels) == len(set(labels)) == classes and (kind == "tensor" or "float" in one["dtype"]), "5: a label for each class")


def check_input(outer: dict[str, Any], one: dict[str, Any]) -> None:
    dtype, shape, steps = outer.get("dtype"), outer.get("shape"), outer.get("steps", [])
    need(dtype in EVENT and many(shape, is_size) and all(shape) and math.prod(shape) <= MOST, "5: dtype or shape of an event")
    need(
        many(steps, is_map) and (dtype == "blob") == (steps[:1] != [] and steps[0].get("op") == "decode"), "steps: decode and blob"
    )
    need(
        dtype != "blob" or (shape == [] and len(steps) > 1 and steps[1].get("op") in ("resize", "letterbox")),
        "steps: what follows decode",
    )
    after = shape
    for index, step in enumerate(steps):
        after = stepped(step, after, index)
    need(
        after == one["shape"][1:] and (one["dtype"] == "float32" or (not steps and one["dtype"] == dtype)), "steps: what they make"
    )
    missing, channels = outer.get("missing", "refuse"), [steps[0]["params"]["channels"]] if dtype == "blob" else shape
    need(missing in ("refuse", "impute") or (missing == "nan" and "float" in one["dtype"]), "5: missing")
    need(per_channel(outer.get("impute", 0.0), channels), "5: impute")
    statistics = outer.get("statistics", {})
    need(is_map(statistics), "5: statistics")
    for key in set(STATISTICS) & statistics.keys():
        long = shape[-1] if len(shape) > 1 else 1
        need(dtype != "blob" and many(statistics[key], finite) and len(statistics[key]) == long, "5: statistics")


def stepped(step: dict[str, Any], shape: list[int], index: int) -> list[int]:
    """The shape after a step."""
    op, params = step.get("op"), step.get("params")
    need(is_text(op) and op in PARAMS and is_map(params) and params.keys() == PARAMS[op], "8: a step, or its parameters")
    if op == "decode":
        need(index == 0 and type(params["channels"]) is int and params["channels"] in (1, 3), "steps: decode")
        return [0, 0, params["channels"]]
    if op in ("resize", "letterbox"):
        sides = [params["height"], params["width"]]
        need(len(shape) == 3 and many(sides, lambda side: is_size(side, 2**14)) and all(sides), f"steps: {op}")
        need(per_channel(params.get("fill", 0), shape), "steps: fill")
        shape = [*sides, shape[2]]
    elif op == "reverse_channels":
        need(shape[-1:] == [3], "steps: reverse_channels")
    elif op == "channels_first":
        need(len(shape) > 1, "steps: channels_first")
        shape = [shape[-1], *shape[:-1]]
    elif op == "reshape":
        need(many(params["shape"], is_size) and math.prod(params["shape"]) == math.prod(shape), "steps: reshape")
        shape = params["shape"]
    else:
        need(all(per_channel(value, shape) for value in params.values()), "steps: a number, or one for each index of the last axis")
        std = params.get("std", 1)
        need(0 not in (std if type(std) is list else [std]), "steps: a standard deviation of 0")
    need(math.prod(shape) <= MOST, "steps: an event too large")
    return shape


def nodes_of(graph: dict[str, Any], known: set[str]) -> list[dict[str, Any]]:
    """The attributes of each node, unpacked; ``known`` are the names of inputs and weights."""
    need(many(graph.get("nodes"), is_map) and many(graph.get("layers", []), is_map), "5: nodes or layers")
    need("" not in known, "5: a tensor without a name")
    for node in graph["nodes"]:
        need(is_text(node.get("op")) and many(node.get("inputs"), is_text) and many(node.get("outputs"), is_text), "5: a node")
        made = [name for name in node["outputs"] if name]
        need(known.issuperset(filter(None, node["inputs"])), "5: an order in which they run")
        need(
            made and len(set(made)) == len(made) and known.isdisjoint(made) and is_map(node.get("attrs", {})), "5: outputs or attrs"
        )
        known |= set(made)
    need(known.issuperset(one["name"] for one in graph["outputs"]), "5: an output that is not made")
    layers = graph.get("layers", [])
    need(all(is_text(one.get("name")) and is_text(one.get("kind")) for one in layers), "5: a layer")
    need(all(many(one.get("nodes"), lambda at: is_size(at, len(graph["nodes"]) - 1)) for one in layers), "5: nodes of a layer")
    taken = [at for one in layers for at in one["nodes"]]
    need(len({one["name"] for one in layers}) == len(layers) and len(set(taken)) == len(taken), "5: layers that share")
    attrs = [value for node in graph["nodes"] for value in node.get("attrs", {}).values() if is_map(value)]
    need(sum(len(data) for value in attrs for data in value.values() if type(data) is bytes) <= 2**23, "5: bytes of attributes")
    return [{key: attribute(value) for key, value in node.get("attrs", {}).items()} for node in graph["nodes"]]


def attribute(value: Any) -> Any:
    if is_map(value) and value.keys() == {"dtype", "shape", "data"}:
        return array(value["data"], value["dtype"], value["shape"])
    if is_map(value):
        key = next(iter(value), "")
        need(len(value) == 1 and key in ("ints", "floats") and type(value[key]) is bytes and len(value[key]) % 8 == 0, "5: packed")
        return array(value[key], "int64" if key == "ints" else "float64", [len(value[key]) // 8]).tolist()
    kinds = {type(one) for one in value} if type(value) is list else {type(value)}
    need(len(kinds) <= 1 and kinds <= {int, float, str}, "5: an attribute")
    return value
