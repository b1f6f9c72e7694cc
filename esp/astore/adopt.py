"""A graph from elsewhere becomes an astore: what feeds it, what its outputs mean, where it comes from."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pydantic

from esp.astore.graph import Array, Graph, Value
from esp.astore.model import Astore, Input, Output, Step, check
from esp.astore.onnx import errors_of, read_model
from esp.errors import FileError
from esp.settings import checked, unknown_key

_STRICT = pydantic.ConfigDict(extra="forbid", frozen=True)


class StepSpec(pydantic.BaseModel):
    """A step of preprocessing: ``op`` and its parameters, as ``model.Step`` has them."""

    model_config = pydantic.ConfigDict(extra="allow", frozen=True)
    op: Literal["decode", "resize", "letterbox", "scale", "normalise", "reverse_channels", "channels_first", "reshape"]


class InputSpec(pydantic.BaseModel):
    """What an event gives for an input; ``dtype`` and ``shape`` are those of the graph where they are left out."""

    model_config = _STRICT
    dtype: str | None = None
    shape: tuple[int, ...] | None = None
    steps: tuple[StepSpec, ...] = ()
    missing: Literal["refuse", "nan", "impute"] = "refuse"
    impute: float | tuple[float, ...] = 0.0


class OutputSpec(pydantic.BaseModel):
    """What an output means; ``kind`` is probabilities where there are labels, a tensor where there are none."""

    model_config = _STRICT
    kind: Literal["tensor", "probabilities"] | None = None
    labels: tuple[str, ...] = ()


class Spec(pydantic.BaseModel):
    """What a graph does not say of itself: [inputs.NAME] and [outputs.NAME]."""

    model_config = _STRICT
    inputs: dict[str, InputSpec] = {}
    outputs: dict[str, OutputSpec] = {}


def adopt(
    graph: Graph,
    name: str,
    *,
    spec: Mapping[str, Any] | None = None,
    labels: Sequence[str] = (),
    card: Mapping[str, Any] | None = None,
    where: str = "spec",
) -> Astore:
    """An astore of a graph: each input as the graph takes it, each output a tensor, but for what ``spec`` says of them.

    ``spec`` is as a TOML file gives it: ``{"inputs": {"x": {"dtype", "shape", "steps", "missing", "impute"}}, "outputs":
    {"y": {"kind", "labels"}}}``. ``labels`` are of the one output that has as many numbers a row; it becomes probabilities.
    Raises FileError for a spec that names what is not there (``where`` is its file), GraphError where it does not fit.
    """
    told = checked(Spec, dict(spec or {}), where, FileError)
    _check_names("inputs", told.inputs, graph.inputs, where)
    _check_names("outputs", told.outputs, graph.outputs, where)
    outputs = [_output(value, told.outputs.get(value.name, OutputSpec())) for value in graph.outputs]
    astore = Astore(
        name,
        graph,
        tuple(_input(value, told.inputs.get(value.name, InputSpec())) for value in graph.inputs),
        tuple(_labelled(outputs, tuple(labels)) if labels else outputs),
        dict(card or {}),
    )
    check(astore)
    return astore


def import_onnx(
    path: Path,
    name: str = "",
    *,
    spec: Mapping[str, Any] | None = None,
    labels: Sequence[str] = (),
    shapes: Mapping[str, Sequence[int]] | None = None,
    bind: Mapping[str, Array] | None = None,
    outputs: Sequence[str] = (),
    where: str = "spec",
) -> Astore:
    """The astore of an ONNX file, named as the file where ``name`` is left out; its card says what it was made of.

    ``shapes``, ``bind`` and ``outputs`` are those of ``read_model``, the rest those of ``adopt``. Class labels that the file
    holds (scikit-learn's classifiers) are kept, where ``spec`` and ``labels`` do not say otherwise.
    """
    found = read_model(path, shapes=shapes, bind=bind, outputs=outputs)
    card = {"source": source_facts(path, "onnx", found.facts)}
    own = (
        {}
        if labels
        else {key: value for key, value in found.labels.items() if key in {value.name for value in found.graph.outputs}}
    )
    with errors_of(path):
        astore = adopt(found.graph, name or path.stem, spec=spec, labels=labels, card=card, where=where)
        astore = replace(astore, outputs=tuple(_with_labels(output, own.get(output.name, ())) for output in astore.outputs))
        if own:
            check(astore)
    return astore


def source_facts(path: Path, form: str, facts: Mapping[str, Any]) -> dict[str, Any]:
    """What a card says of the file that a model was imported from: name, form, SHA-256, and what the file tells of itself."""
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as err:
        raise FileError(f"the file cannot be read ({err.strerror or err})", where=str(path), mend="check the path") from err
    return {"file": path.name, "form": form, "sha256": digest, **facts}


def read_labels(path: Path) -> tuple[str, ...]:
    """Labels from a text file, one a line; empty lines at its end are none. Raises FileError for others, and where there is no label."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as err:
        reason = getattr(err, "strerror", None) or err
        raise FileError(
            f"the labels cannot be read ({reason})", where=str(path), mend="give a UTF-8 file, one label a line"
        ) from err
    labels = tuple(line.strip() for line in text.rstrip().split("\n"))
    if labels == ("",):
        raise FileError("there are no labels in it", where=str(path), mend="write one label a line")
    if "" in labels:
        raise FileError("the line is empty", where=f"{path}: line {labels.index('') + 1}", mend="write one label a line")
    return labels


def _check_names(kind: str, told: Mapping[str, Any], values: Sequence[Value], where: str) -> None:
    names = [value.name for value in values]
    for name in told:
        if name not in names:
            raise unknown_key(name, names, f"{where}: {kind}", FileError, kind[:-1])


def _input(value: Value, spec: InputSpec) -> Input:
    steps = tuple(Step(step.op, dict(step.model_extra or {})) for step in spec.steps)
    shape = spec.shape if spec.shape is not None else () if spec.dtype == "blob" else _row(value)
    return Input(value.name, spec.dtype or value.dtype, shape, steps, spec.missing, spec.impute)


def _output(value: Value, spec: OutputSpec) -> Output:
    kind = spec.kind or ("probabilities" if spec.labels else "tensor")
    return Output(value.name, value.dtype, _row(value), kind, spec.labels)


def _labelled(outputs: Sequence[Output], labels: tuple[str, ...]) -> list[Output]:
    """The outputs, ``labels`` at the one that they fit."""
    fits = [at for at, output in enumerate(outputs) if output.shape[-1:] == (len(labels),) and output.dtype.startswith("float")]
    if len(fits) != 1:
        what = f"{len(labels)} labels fit {len(fits)} of the outputs " + ", ".join(
            f"{one.name!r} {list(one.shape)}" for one in outputs
        )
        raise FileError(what, where="labels", mend="give one label a class, or say in the spec whose they are")
    return [_with_labels(output, labels) if at == fits[0] else output for at, output in enumerate(outputs)]


def _with_labels(output: Output, labels: tuple[str, ...]) -> Output:
    """The output as probabilities over the labels, unless it has some or is said to be something else."""
    return replace(output, kind="probabilities", labels=labels) if labels and not output.labels else output


def _row(value: Value) -> tuple[int, ...]:
    """The sizes of one row."""
    return tuple(size for size in value.shape[1:] if isinstance(size, int))
