"""Smaller files: weights rounded to float16, or to int8 with a scale for each output channel, and what that does to the outputs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from esp.astore.graph import Array, Graph, Node, complete_attrs, run_reference
from esp.astore.model import Astore, Input, Output, Storage
from esp.astore.preprocess import prepare
from esp.astore.storage import to_float16, to_int8, widened
from esp.errors import FileError

Weights = Literal["float32", "float16", "int8"]
_CHANNELS = {
    "Conv": 0,
    "ConvTranspose": 1,
    "RNN": 1,
    "LSTM": 1,
    "GRU": 1,
}  # the axis of output channels (of gates, for recurrent ones)


@dataclass(frozen=True, slots=True)
class TensorChange:
    """One float32 weight, before and after: its form in the file, bytes (with its scales), and the largest change of a number."""

    name: str
    form: Weights
    size_before: int
    size_after: int
    largest_error: float
    kept: str = ""  # why it stays float32 though another form was asked for


@dataclass(frozen=True, slots=True)
class Conversion:
    """A model with its weights rounded, and what was done to each."""

    astore: Astore
    tensors: tuple[TensorChange, ...]


@dataclass(frozen=True, slots=True)
class OutputChange:
    """What a conversion does to one output over the same rows.

    ``agreement`` is the share of rows with the same most probable label (None for tensors); the accuracies are against
    true labels, where these are known.
    """

    name: str
    rows: int
    largest_difference: float
    agreement: float | None = None
    accuracy_before: float | None = None
    accuracy_after: float | None = None


def convert(astore: Astore, weights: Weights) -> Conversion:
    """The model with its weights held in another form.

    ``float16``: float32 weights of two axes and more. ``int8``: those that convolutions, Gemm, MatMul, recurrent ops and
    Gather multiply by or look up, symmetric, a scale for each output channel; biases and norms stay float32. ``float32``:
    all, with the numbers that they have now. A weight with a number that the form cannot hold stays float32, and ``kept`` says so.
    """
    forms = _forms(astore.graph, weights)
    arrays, storage, changes = dict(astore.graph.weights), {}, []
    for name, array in sorted(astore.graph.weights.items()):
        if array.dtype != np.float32:
            continue
        change, rounded = _rounded(name, array, forms.get(name))
        changes.append(change)
        arrays[name] = rounded
        if name in forms and not change.kept:
            storage[name] = forms[name]
    graph = replace(astore.graph, weights=arrays)
    return Conversion(replace(astore, graph=graph, storage=storage, digest=""), tuple(changes))


def compare(
    before: Astore, after: Astore, rows: Mapping[str, Array], truth: Mapping[str, Sequence[str]] | None = None
) -> tuple[OutputChange, ...]:
    """What changed in the outputs over rows of events: arrays ``[n, *shape]`` by input name, by the numpy reference.

    ``truth`` holds the true labels of outputs that are probabilities, by output name. Rows that the model refuses are left out.
    """
    inputs, taken = _prepared(before, rows)
    made = [run_reference(astore.graph, inputs) for astore in (before, after)]
    changes = []
    for output, old, new in zip(before.outputs, *made):
        labels = (truth or {}).get(output.name)
        changes.append(_change(output, old, new, None if labels is None else np.asarray(labels, dtype=str)[taken]))
    return tuple(changes)


def drawn_rows(astore: Astore, count: int, seed: int = 0) -> dict[str, Array]:
    """Rows drawn from what the astore knows of its training data, for want of data: normal about the mean, within the extremes.

    An input without statistics is drawn from a standard normal. FileError for image files and for whole numbers without statistics.
    """
    rng = np.random.default_rng(seed)
    return {item.name: _drawn(item, count, rng) for item in astore.inputs}


def _forms(graph: Graph, weights: Weights) -> dict[str, Storage]:
    if weights == "float32":
        return {}
    floats = {name: array for name, array in graph.weights.items() if array.dtype == np.float32 and array.ndim > 1}
    if weights == "float16":
        return {name: Storage("float16") for name in floats}
    axes: dict[str, int] = {}
    for node in graph.nodes:
        for at, name in enumerate(node.inputs):
            if name in floats and (axis := _channel_axis(node, at, floats[name].ndim)) is not None:
                axes.setdefault(name, axis)
    return {name: Storage("int8", axis) for name, axis in axes.items()}


def _channel_axis(node: Node, at: int, rank: int) -> int | None:
    """The axis of the output channels of a weight that is input ``at`` of a node; None where int8 is not for it."""
    attrs = complete_attrs(node)
    if node.op in _CHANNELS:
        return _CHANNELS[node.op] if at in (1, 2) else None
    if node.op == "Gemm" and at < 2:
        return at if not attrs["transB" if at else "transA"] else 1 - at
    if node.op == "MatMul":
        return rank - 1 if at else rank - 2
    return int(attrs["axis"]) % rank if node.op == "Gather" and at == 0 else None


def _rounded(name: str, array: Array, form: Storage | None) -> tuple[TensorChange, Array]:
    size = array.nbytes
    plain = TensorChange(name, "float32", size, size, 0.0)
    if form is None:
        return plain, array
    if form.dtype == "float16":
        half = to_float16(array)
        if half is None:
            return replace(plain, kept="it holds a number beyond 65504"), array
        rounded, after = widened(half, None, None), size // 2
    else:
        found = to_int8(array, form.axis)
        if found is None or not np.isfinite(rounded := widened(*found, form.axis)).all():
            return replace(plain, kept="it holds a number that is not finite, or at the end of float32"), array
        after = found[0].nbytes + found[1].nbytes
    return TensorChange(name, form.dtype, size, after, _largest(array, rounded)), rounded


def _largest(before: Array, after: Array) -> float:
    """The largest difference of two numbers; those that are not finite in the first one aside."""
    with np.errstate(invalid="ignore"):
        differences = np.abs(before.astype(np.float64) - after)
    return float(np.max(differences, where=np.isfinite(before), initial=0))


def _prepared(astore: Astore, rows: Mapping[str, Array]) -> tuple[list[Array], Array]:
    """What the graph takes, of the rows that no input refuses; and which those are."""
    for item in astore.inputs:
        if item.name not in rows:
            raise FileError(f"the rows have no input {item.name!r}", where="rows", mend="give every input of the model")
    done = [prepare(item, rows[item.name], dtype=value.dtype) for item, value in zip(astore.inputs, astore.graph.inputs)]
    taken = np.ones(len(done[0].array), np.bool_)
    for part in done:
        if part.refused is not None:
            taken &= ~part.refused
    if not taken.any():
        raise FileError("there are no rows that the model takes", where="rows", mend="give data that it can score")
    return [part.array[taken] for part in done], taken


def _change(output: Output, before: Array, after: Array, truth: Array | None) -> OutputChange:
    change = OutputChange(output.name, len(before), _largest(before, after))
    if output.kind != "probabilities":
        return change
    old, new = before.argmax(axis=-1), after.argmax(axis=-1)
    change = replace(change, agreement=float(np.mean(old == new)))
    if truth is None or old.ndim != 1:
        return change
    labels = np.asarray(output.labels)
    return replace(
        change, accuracy_before=float(np.mean(labels[old] == truth)), accuracy_after=float(np.mean(labels[new] == truth))
    )


def _drawn(item: Input, count: int, rng: np.random.Generator) -> Array:
    if item.dtype == "blob" or (not item.statistics and not item.dtype.startswith("float")):
        what = f"there is nothing to draw {item.dtype} rows of input {item.name!r} from"
        raise FileError(what, where="rows", mend="give a data file")
    known = {key: np.asarray(item.statistics[key], np.float64) for key in ("mean", "std", "min", "max") if key in item.statistics}
    values = rng.normal(size=(count, *item.shape)) * known.get("std", 1.0) + known.get("mean", 0.0)
    values = np.clip(values, known.get("min", -np.inf), known.get("max", np.inf))
    return (values if item.dtype.startswith("float") else np.rint(values)).astype(item.dtype)
