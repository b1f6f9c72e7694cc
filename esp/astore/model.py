"""What an astore holds: a graph, what goes into it and comes out of it in the user's terms, and how it was made."""

import math
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from esp.astore.graph import Graph, Shape, Value
from esp.astore.ops.rules import per_row
from esp.astore.steps import MAX_ELEMENTS, channel_values, prepared_shape
from esp.astore.validation import validate
from esp.errors import GraphError

DIGEST_DIGITS = 12  # of the SHA-256, where space matters
MAX_NAME = 200
MISSING = ("refuse", "nan", "impute")
STATISTICS = ("count", "mean", "std", "min", "max", "missing")


@dataclass(frozen=True, slots=True)
class Step:
    """One step of preprocessing. ``op`` with its parameters:

    ``decode`` (image file bytes -> uint8[h, w, channels]; channels 1 or 3), ``resize`` (height, width; bilinear, half-pixel
    centres), ``letterbox`` (height, width, fill: as ``resize`` with the aspect ratio kept, ``fill`` around it), ``scale`` (scale,
    offset: x * scale + offset), ``normalise`` (mean, std), ``reverse_channels`` (RGB -> BGR and back), ``channels_first``
    ([..., c] -> [c, ...]), ``reshape`` (shape). Numbers are one, or one a channel of the last axis.
    """

    op: Literal["decode", "resize", "letterbox", "scale", "normalise", "reverse_channels", "channels_first", "reshape"]
    params: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Input:
    """One input variable as an event gives it: ``dtype`` and ``shape`` of its field (``blob`` with () for an image file).

    ``missing`` says what a null, or a NaN within, becomes: ``refuse`` (the event goes to the dead-letter output), ``nan``
    (passed on as NaN), ``impute`` (replaced by ``impute``: one number or one a channel of the last axis).
    ``statistics`` are of the training data, as the event gives it: count, mean, std, min, max and missing, lists of one a
    channel of the last axis (of the whole, where there are fewer than two axes); a blob has none.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    steps: tuple[Step, ...] = ()
    missing: Literal["refuse", "nan", "impute"] = "refuse"
    impute: float | tuple[float, ...] = 0.0
    statistics: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Output:
    """One output variable: a ``tensor``, or ``probabilities`` over ``labels`` from which label and probability are taken."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    kind: Literal["tensor", "probabilities"] = "tensor"
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Storage:
    """What a file holds a float32 weight as: ``float16``, or ``int8`` with a scale for each index of ``axis`` (None = one scale)."""

    dtype: Literal["float16", "int8"]
    axis: int | None = None


@dataclass(frozen=True, slots=True)
class Astore:
    """A model ready to be scored. ``inputs[i]``, preprocessed, feeds ``graph.inputs[i]``; ``outputs[i]`` is ``graph.outputs[i]``.

    ``card`` says how it was trained (data digest, settings, metrics). ``digest`` is the SHA-256 (64 hex digits) of the
    file's header without its signature; empty until written or read. ``storage`` names the weights that a file holds in
    fewer bytes: such a weight is written so where that loses nothing of it, else as it is (``convert`` rounds weights).
    """

    name: str
    graph: Graph
    inputs: tuple[Input, ...]
    outputs: tuple[Output, ...]
    card: Mapping[str, Any] = field(default_factory=dict)
    digest: str = ""
    storage: Mapping[str, Storage] = field(default_factory=dict)

    @property
    def short_digest(self) -> str:
        return self.digest[:DIGEST_DIGITS]


def check(astore: Astore, untold: Collection[str] = ()) -> None:
    """Raises GraphError unless the graph is well formed and inputs, steps and outputs fit it; every file has passed it.

    ``untold`` are weights of which only shape and dtype are looked at, as ``validate`` has it.
    """
    graph = astore.graph
    if not astore.name or len(astore.name) > MAX_NAME or not astore.name.isprintable():
        raise GraphError(
            f"{astore.name[:40]!r} is no name for a model", where="name", mend=f"use 1 to {MAX_NAME} printable characters"
        )
    for kind, ours, theirs in (("inputs", astore.inputs, graph.inputs), ("outputs", astore.outputs, graph.outputs)):
        if len(ours) != len(theirs):
            raise GraphError(
                f"{len(ours)} {kind} for the graph's {len(theirs)}", where=kind, mend="describe each, in the graph's order"
            )
        _check_names(kind, [item.name for item in ours])
    _check_sizes(graph, validate(graph, untold=untold))
    for at, (item, value) in enumerate(zip(astore.inputs, graph.inputs)):
        _check_input(item, value, f"inputs[{at}] {item.name!r}")
    for at, (output, value) in enumerate(zip(astore.outputs, graph.outputs)):
        _check_output(output, value, f"outputs[{at}] {output.name!r}")


def _check_sizes(graph: Graph, shapes: Mapping[str, Shape]) -> None:
    """Bounds what a row of any tensor takes, so that no attribute can ask for a machine's whole memory."""
    for name, shape in shapes.items():
        if name not in graph.weights and math.prod(per_row(size) for size in shape) > MAX_ELEMENTS:
            what = f"tensor {name[:80]!r} of shape {list(shape)} is too large"
            raise GraphError(what, where="graph", mend=f"keep a row within {MAX_ELEMENTS} elements")


def _check_names(kind: str, names: list[str]) -> None:
    seen: set[str] = set()
    for at, name in enumerate(names):
        if not name or not name.isprintable() or name in seen:
            raise GraphError(
                f"the name {name[:40]!r} is empty, unprintable or there twice", where=f"{kind}[{at}]", mend="give each its own name"
            )
        seen.add(name)


def _check_input(item: Input, value: Value, where: str) -> None:
    shape = prepared_shape(item, where)
    if shape != value.shape[1:]:
        raise GraphError(
            f"prepared it is {list(shape)}, but the graph takes {list(value.shape[1:])}", where=where, mend="mend shape or steps"
        )
    if value.dtype != "float32" and (item.steps or value.dtype != item.dtype):
        mend = "make the graph take float32, or leave out the steps and use its dtype"
        raise GraphError(
            f"{item.dtype} with {len(item.steps)} steps cannot feed a graph input of {value.dtype}", where=where, mend=mend
        )
    if item.missing not in MISSING or (item.missing == "nan" and not value.dtype.startswith("float")):
        raise GraphError(
            f"missing = {item.missing!r} cannot be for {value.dtype}", where=where, mend=f"use one of {', '.join(MISSING)}"
        )
    seen = item.shape if item.dtype != "blob" else (item.steps[0].params["channels"],)
    channel_values(item.impute, seen, f"{where}.impute")
    check_statistics(item, where)


def check_statistics(item: Input, where: str) -> None:
    """Raises GraphError unless every known statistic is a list of finite numbers, one a channel."""
    channels = item.shape[-1] if len(item.shape) > 1 else 1
    for key in STATISTICS:
        if key not in item.statistics:
            continue
        values, path = item.statistics[key], f"{where}.statistics.{key}"
        if item.dtype == "blob":
            raise GraphError("an image file has no channels to have statistics of", where=path, mend="leave the statistics out")
        if not isinstance(values, list | tuple):
            raise GraphError("wanted a list of numbers", where=path, mend="give a list of one number a channel")
        channel_values(values, (channels,), path)


def _check_output(output: Output, value: Value, where: str) -> None:
    if (output.dtype, output.shape) != (value.dtype, value.shape[1:]):
        said, made = f"{output.dtype}{list(output.shape)}", f"{value.dtype}{list(value.shape[1:])}"
        raise GraphError(f"said to be {said}, but the graph makes {made}", where=where, mend="say what the graph makes")
    if output.kind == "tensor" and not output.labels:
        return
    if output.kind != "probabilities" or not output.dtype.startswith("float"):
        raise GraphError(
            f"kind {output.kind!r} of {output.dtype} cannot carry labels", where=where, mend="use probabilities, or no labels"
        )
    classes = output.shape[-1] if output.shape else 0
    if len(output.labels) != classes:
        raise GraphError(f"{len(output.labels)} labels for {classes} classes", where=where, mend="give one label a class")
    twice = next((label for label, count in Counter(output.labels).items() if count > 1), None)
    if twice is not None:
        raise GraphError(f"label {twice[:80]!r} is there twice", where=where, mend="give every class its own label")
