"""Verbs that bring models in, give them out, and make them smaller."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import typer

from esp.cli.options import Json, Model, err, out, show
from esp.errors import FileError, GraphError, UsageError

Rows = dict[str, Any]
Flattened = Annotated[
    Literal["channels_last", "as_in_graph"] | None,
    typer.Option(help="HDF5 weights of a dense layer behind a flattened picture: the order of its rows, where it cannot be told."),
]
KERAS_SUFFIXES = (".h5", ".hdf5", ".keras")
BATCH = ("N", "batch")  # what the batch's place among sizes may be called


def import_(
    source: Annotated[
        Path, typer.Argument(metavar="FILE", help="An ONNX model (.onnx), or a Keras one (.keras, .h5, .weights.h5).")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="Where the astore goes.")],
    name: Annotated[str, typer.Option(help="Name of the model; that of the file, if left out.")] = "",
    spec: Annotated[
        Path | None,
        typer.Option(
            metavar="SPEC.toml", help="What events give ([inputs.NAME]: dtype, shape, steps, missing) and what outputs mean."
        ),
    ] = None,
    labels: Annotated[Path | None, typer.Option(metavar="FILE", help="Class labels of the output, one a line.")] = None,
    shape: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=N,3,224,224", help="Fix the sizes of an input, N at the batch's place."),
    ] = None,
    bind: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=NUMBERS", help="Make an ONNX input a constant: one number, or some with commas."),
    ] = None,
    outputs: Annotated[str, typer.Option(metavar="NAME,NAME", help="Cut an ONNX graph at these tensors.")] = "",
    config: Annotated[
        Path | None, typer.Option(metavar="CONFIG.json", help="The model's config, for a Keras file of weights alone.")
    ] = None,
    onto: Annotated[
        Path | None,
        typer.Option(metavar="MODEL.astore", help="Put the weights of a Keras file onto this model's graph, layer by layer."),
    ] = None,
    layout: Annotated[Literal["keras", "dlpy"], typer.Option(help="How an HDF5 file lays its weights out.")] = "keras",
    by_order: Annotated[
        bool, typer.Option("--by-order", help="With --onto: match layers by their order, where names differ.")
    ] = False,
    flattened: Flattened = None,
    as_json: Json = False,
) -> None:
    """Bring in a model from ONNX or Keras.

    What cannot be brought in exactly is refused, with the op or layer and its place.
    """
    from esp.astore.adopt import read_labels
    from esp.astore.binary import write
    from esp.settings import read_toml

    told: dict[str, Any] = {
        "spec": read_toml(spec) if spec else {},
        "labels": read_labels(labels) if labels else (),
        "shapes": _shapes(shape),
        "where": str(spec or "spec"),
    }
    suffix = source.suffix.lower()
    if suffix == ".onnx":
        keras_only = {
            "--config": config,
            "--onto": onto,
            "--layout": layout != "keras",
            "--by-order": by_order,
            "--flattened": flattened,
        }
        _refuse_given(source, keras_only)
        from esp.astore.adopt import import_onnx

        bring_in = partial(import_onnx, source, name, bind=_numbers(bind), outputs=_names(outputs), **told)
    elif suffix in KERAS_SUFFIXES:
        _refuse_given(source, {"--bind": bind, "--outputs": outputs})
        if onto is None:
            _refuse_given(source, {"--by-order": by_order, "--flattened": flattened}, "without --onto")
        from esp.astore.keras import import_keras

        apart: dict[str, Any] = {"config": config, "onto": onto, "layout": layout, "by_order": by_order, "rows": flattened}
        bring_in = partial(import_keras, source, name, **apart, **told)
    else:
        known = ".onnx, " + ", ".join(KERAS_SUFFIXES)
        raise UsageError(f"files '{source.suffix}' are not imported", where=str(source), mend=f"give one of {known}")
    with _placed(source, spec, labels, (config, onto, output)):
        written = write(bring_in(), output)
    inputs = {item.name: f"{item.dtype}{list(item.shape)}" for item in written.inputs}
    made = {item.name: f"{item.dtype}{list(item.shape)}" for item in written.outputs}
    result = {"astore": str(output), "digest": written.digest, "inputs": inputs, "outputs": made}
    show(result, as_json, lambda: out.print_json(data=result))


@contextmanager
def _placed(source: Path, spec: Path | None, labels: Path | None, others: Sequence[Path | None]) -> Iterator[None]:
    """Errors name the file that they are about: that of the labels, the spec, else the model."""
    try:
        yield
    except (GraphError, FileError) as error:
        place = error.where.removeprefix(f"{source}: ")
        if not any(file and f"{place}:".startswith(f"{file}:") for file in (source, spec, labels, *others)):
            is_label = place == "labels" or (place.startswith("outputs[") and "label" in error.what)
            is_spec = place.startswith(("inputs[", "outputs["))
            file = labels if labels and is_label else spec if spec and is_spec else source
            place = f"{file}: {place}" if place not in ("", "labels") else str(file)
        raise type(error)(error.what, where=place, mend=error.mend) from error


def _refuse_given(source: Path, options: Mapping[str, Any], when: str = "") -> None:
    for option, value in options.items():
        if value:
            what = f"{option} means nothing {when or f'for {source.suffix}'}"
            raise UsageError(what, where=str(source), mend="leave it out")


def _names(text: str) -> list[str]:
    """The names of --outputs."""
    names = [name.strip() for name in text.split(",")]
    if text and not all(names):
        raise UsageError(f"'{text}' are not names", where="--outputs", mend="write --outputs NAME,NAME")
    return names if text else []


def _pairs(texts: Sequence[str] | None, option: str) -> dict[str, str]:
    pairs = {}
    for text in texts or ():
        name, sign, value = text.partition("=")
        if not (name and sign and value):
            raise UsageError(f"'{text}' is not NAME=VALUE", where=option, mend=f"write {option} NAME=VALUE")
        pairs[name.strip()] = value
    return pairs


def _shapes(texts: Sequence[str] | None) -> dict[str, tuple[int, ...]]:
    found = {}
    for name, value in _pairs(texts, "--shape").items():
        try:
            first, *rest = value.split(",")
            found[name] = (1 if first.strip() in BATCH else int(first), *map(int, rest))
        except ValueError as error:
            raise UsageError(f"'{value}' are not sizes", where=f"--shape {name}", mend="write --shape NAME=N,3,224,224") from error
    return found


def _numbers(texts: Sequence[str] | None) -> dict[str, Any]:
    found = {}
    for name, value in _pairs(texts, "--bind").items():
        try:
            numbers = [float(part) if not part.strip().lstrip("+-").isdigit() else int(part) for part in value.split(",")]
        except ValueError as error:
            raise UsageError(
                f"'{value}' are not numbers", where=f"--bind {name}", mend="write --bind NAME=0.5 or NAME=1,2,3"
            ) from error
        found[name] = np.array(numbers if "," in value else numbers[0])
    return found


def export(
    model: Model,
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Where it goes: FILE.onnx, or FILE.h5 for the weights as Keras loads them.")
    ],
    opset: Annotated[
        int | None, typer.Option(help="ONNX opset, 21 to 26; 21, or the first that has every op, if left out.")
    ] = None,
    preprocessing: Annotated[
        bool, typer.Option(help="Put the preprocessing into the ONNX graph: it then takes what events give.")
    ] = True,
    flattened: Flattened = None,
    as_json: Json = False,
) -> None:
    """Give a model out as ONNX, or its weights as HDF5."""
    from esp.astore.binary import read

    astore = read(model)
    suffix = output.suffix.lower()
    if suffix == ".onnx":
        from esp.astore.onnx import export_onnx

        files = export_onnx(astore, output, opset=opset, preprocessing=preprocessing)
    elif suffix in (".h5", ".hdf5"):
        from esp.astore.hdf5 import write_keras_weights

        write_keras_weights(astore.graph, output, rows=flattened)
        files = (output,)
    else:
        raise UsageError(f"nothing is exported as '{output.suffix}'", where=str(output), mend="use .onnx or .h5")
    result = {
        "files": [str(file) for file in files],
        "size_bytes": sum(file.stat().st_size for file in files),
        "model": astore.digest,
    }
    show(result, as_json, lambda: out.print_json(data=result))


def convert(
    model: Model,
    output: Annotated[Path, typer.Option("-o", "--output", help="Where the converted astore goes.")],
    weights: Annotated[Literal["float32", "float16", "int8"], typer.Option(help="The form of the weights in the file.")],
    data: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Rows to compare the outputs on, as esp score reads them; else rows are drawn."),
    ] = None,
    label: Annotated[str, typer.Option(help="Column of the true label, to compare the accuracy.")] = "",
    rows: Annotated[int, typer.Option(min=1, help="Rows to compare on, at most.")] = 2000,
    as_json: Json = False,
) -> None:
    """Make a model's file smaller, and tell what it costs.

    Weights become float16, or int8 with a scale for each output channel; they are float32 again when the model is loaded.
    """
    from esp.astore.binary import read, write
    from esp.astore.convert import compare, drawn_rows
    from esp.astore.convert import convert as convert_weights

    if label and data is None:
        raise UsageError("there are no labels without rows", where=f"--label {label}", mend="give the rows by --data")
    before = read(model)
    conversion = convert_weights(before, weights)
    given, truth = _rows(before, data, label, rows) if data else (drawn_rows(before, rows), None)
    changes = compare(before, conversion.astore, given, truth)
    after = write(conversion.astore, output)
    result = {
        "astore": str(output), "digest": after.digest, "size_bytes_before": model.stat().st_size, "size_bytes": output.stat().st_size,
        "rows": "of the file" if data else "drawn from the statistics of the inputs",
        "outputs": [asdict(change) for change in changes], "tensors": [asdict(change) for change in conversion.tensors],
    }  # fmt: skip
    show(result, as_json, lambda: _tell(result))


def _rows(astore: Any, data: Path, label: str, most: int) -> tuple[Rows, dict[str, list[str]] | None]:
    """Rows of a file without those that have a value missing, and the true labels."""
    from esp.runtime.offline.score import first_rows

    columns, labels = first_rows(astore, data, label, most)
    names = [output.name for output in astore.outputs if output.labels]
    if label and not names:
        raise UsageError("the model has no labels to compare with", where=f"--label {label}", mend="leave it out")
    return dict(zip((item.name for item in astore.inputs), columns)), {names[0]: labels} if label else None


def _tell(result: Mapping[str, Any]) -> None:
    kept = [f"{tensor['name']}: {tensor['kept']}" for tensor in result["tensors"] if tensor["kept"]]
    err.print("\n".join(f"kept as float32: {line}" for line in kept), end="\n" * bool(kept))
    before, after = result["size_bytes_before"], result["size_bytes"]
    out.print(f"{result['astore']}  {result['digest'][:12]}  {before:,} -> {after:,} bytes")
    for change in result["outputs"]:
        line = f"output {change['name']}: largest difference {change['largest_difference']:.3g} over {change['rows']:,} rows {result['rows']}"
        if change["agreement"] is not None:
            line += f", same label in {100 * change['agreement']:.2f} %"
        if change["accuracy_before"] is not None:
            line += f", accuracy {change['accuracy_before']:.4f} -> {change['accuracy_after']:.4f}"
        out.print(line)
