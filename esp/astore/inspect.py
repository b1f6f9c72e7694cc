"""What `esp inspect` tells of an astore: one JSON-able description, and the same as tables for a terminal."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from esp.astore.graph import Value
from esp.astore.model import Astore, Input, Output
from esp.astore.packing import jsonable
from esp.astore.preprocess import prepared_shape
from esp.astore.summary import layer_rows, totals

LABELS_SHOWN = 12
SIGNED = {
    "none": "not signed",
    "valid": "signed by {}: valid for this header (esp verify checks the weights, and whom you trust)",
    "invalid": "signed by {}: NOT VALID, the signature is that of another model or key",
}
Description = dict[str, Any]


def describe(astore: Astore, signed_by: bytes = b"", is_valid: bool = False) -> Description:
    """Name, digest, signature, inputs, outputs, training card, layers and totals as JSON's own types (a NaN or infinity becomes null).

    ``signed_by`` is the public key of the file's signature (empty: it has none); ``is_valid`` whether that is one over the digest.
    """
    rows = layer_rows(astore.graph)
    description = {
        "name": astore.name,
        "digest": astore.digest,
        "signed_by": signed_by,
        "signature": "none" if not signed_by else "valid" if is_valid else "invalid",
        "inputs": [_input(item, value) for item, value in zip(astore.inputs, astore.graph.inputs)],
        "outputs": [_output(output) for output in astore.outputs],
        "card": astore.card,
        "layers": [{"id": at, **asdict(row)} for at, row in enumerate(rows)],
        "totals": asdict(totals(astore.graph, rows)),
    }
    found: Description = jsonable(description, "description")
    return found


FIXED = ("id", "kernel", "stride", "activation", "output size", "parameters", "FLOPs")  # columns that are never broken


def type_text(dtype: str, shape: Sequence[int | None]) -> str:
    """A type in the shorthand of schemas.

    >>> type_text("float32", (3,)), type_text("blob", ())
    ('float32[3]', 'blob')
    """
    sizes = ",".join("N" if size is None else str(size) for size in shape)
    return f"{dtype}[{sizes}]" if sizes else dtype


def render(description: Mapping[str, Any]) -> RenderableType:
    """The description as tables; print it with a rich console.

    It may have ``backends`` and ``choices`` beside what ``describe`` gives: which backends take the model, and what ``auto`` has kept.
    """
    parts: list[RenderableType] = [
        Text(f"{_printable(description['name'])}  {description['digest'] or '(not written yet)'}", style="bold"),
        Text(SIGNED[description["signature"]].format(description["signed_by"])),
        _table("Inputs", ("name", "event gives", "steps", "graph takes", "missing"), map(_input_cells, description["inputs"])),
    ]
    statistics = [cells for item in description["inputs"] for cells in _statistics_cells(item)]
    if statistics:
        parts.append(_table("Training data of the inputs", ("input", "statistic", "values"), statistics))
    parts.append(_table("Outputs", ("name", "type", "kind", "labels"), map(_output_cells, description["outputs"])))
    if description["card"]:
        parts.append(_table("Training card", ("what", "value"), _card_cells(description["card"])))
    if "backends" in description:
        rows = [_backend_cells(name, told) for name, told in description["backends"].items()]
        parts.append(_table("Backends", ("backend", "takes it", "why not"), rows))
    if description.get("choices"):
        columns = ("backend", "max_batch", "threads", "onnxruntime's time by numba's, at a batch of")
        parts.append(_table("What auto has kept on this host", columns, map(_choice_cells, description["choices"])))
    return Group(*parts, *_layer_parts(description))


def _input(item: Input, value: Value) -> Description:
    return {
        "name": item.name,
        "type": type_text(item.dtype, item.shape),
        "steps": [{"op": step.op, **step.params} for step in item.steps],
        "graph_input": value.name,
        "graph_type": type_text(value.dtype, prepared_shape(item)),
        "missing": item.missing,
        "impute": item.impute,
        "statistics": item.statistics,
    }


def _output(output: Output) -> Description:
    return {"name": output.name, "type": type_text(output.dtype, output.shape), "kind": output.kind, "labels": output.labels}


def _table(title: str, columns: Sequence[str], rows: Any, right: Sequence[str] = ()) -> RenderableType:
    table = Table(title=Text(title), box=box.SIMPLE_HEAD, title_justify="left", title_style="bold", pad_edge=False)
    for name in columns:
        table.add_column(name, justify="right" if name in right else "left", overflow="fold", no_wrap=name in FIXED)
    for row in rows:
        table.add_row(*(Text(_printable(cell)) for cell in row))
    return Padding(table, (1, 0, 0, 0))


def _printable(text: str) -> str:
    """Without control characters: a file's words must not steer the terminal."""
    return "".join(letter if letter.isprintable() or letter == "\n" else "?" for letter in text)


def _input_cells(item: Mapping[str, Any]) -> tuple[str, ...]:
    steps = "\n".join(_step_text(step) for step in item["steps"]) or "none"
    missing = f"impute {_value_text(item['impute'])}" if item["missing"] == "impute" else item["missing"]
    return item["name"], item["type"], steps, item["graph_type"], missing


def _step_text(step: Mapping[str, Any]) -> str:
    params = (f"{key}={_value_text(value)}" for key, value in step.items() if key != "op")
    return " ".join((step["op"], *params))


def _statistics_cells(item: Mapping[str, Any]) -> list[tuple[str, ...]]:
    return [(item["name"], key, _value_text(value)) for key, value in item["statistics"].items()]


def _output_cells(output: Mapping[str, Any]) -> tuple[str, ...]:
    labels = output["labels"]
    more = f" and {len(labels) - LABELS_SHOWN} more" if len(labels) > LABELS_SHOWN else ""
    return output["name"], output["type"], output["kind"], ", ".join(labels[:LABELS_SHOWN]) + more


def _card_cells(card: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """One row a value; the keys of maps within maps are joined by dots."""
    rows: list[tuple[str, str]] = []
    for key, value in card.items():
        nested = isinstance(value, dict) and value
        rows += _card_cells(value, f"{prefix}{key}.") if nested else [(prefix + key, _value_text(value))]
    return rows


def _backend_cells(name: str, told: Mapping[str, Any]) -> tuple[str, ...]:
    return name, {True: "yes", False: "no", None: "not known"}[told["takes"]], told["reason"]


def _choice_cells(kept: Mapping[str, Any]) -> tuple[str, ...]:
    ratios = ", ".join(f"{size}: {ratio:.2f}" for size, ratio in kept["ratios"].items()) or "not measured: only this one takes it"
    return kept["backend"], str(kept["max_batch"]), str(kept["threads"]), ratios


def _layer_parts(description: Mapping[str, Any]) -> list[RenderableType]:
    columns = ("id", "layer", "type", "kernel", "stride", "activation", "output size", "parameters", "FLOPs")
    total = description["totals"]
    line = (
        f"{total['layers']} layers, {total['parameters']:,} parameters, {total['flops']:,} FLOPs a row, "
        f"{total['weight_bytes']:,} bytes of weights"
    )
    return [_table("Layers", columns, map(_layer_cells, description["layers"]), ("id", *columns[-2:])), Text(line)]


def _layer_cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    shape = ",".join("N" if size is None else str(size) for size in row["output_shape"])
    kernel, stride = ("x".join(map(str, row[key])) for key in ("kernel", "stride"))
    counts = f"{row['parameters']:,}", f"{row['flops']:,}"
    return str(row["id"]), row["name"], row["kind"], kernel, stride, row["activation"], shape, *counts


def _value_text(value: Any) -> str:
    if isinstance(value, list):
        shown = " ".join(_value_text(item) for item in value[:LABELS_SHOWN])
        return f"{shown} ... ({len(value)} values)" if len(value) > LABELS_SHOWN else shown
    return f"{value:.6g}" if isinstance(value, float) else "null" if value is None else str(value)
