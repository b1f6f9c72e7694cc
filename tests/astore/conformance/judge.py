"""What becomes of a conformance case: passed, failed, or not covered and why."""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

from esp.astore.graph import run_reference
from esp.astore.onnx import read_onnx
from esp.astore.ops import OPS
from esp.errors import EspError
from tests.astore.conformance.cases import Arrays, Case

DTYPES = {"float32", "float64", "int8", "int32", "int64", "uint8", "bool"}  # that a case must keep to, to count as covered
RENAMED = {"Upsample": "Resize", "Scatter": "ScatterElements"}  # older names of ops of the table

# Cases within the table and the types that are not run, each with its reason.
TRAINING = "training is no scoring: it needs the statistics of the batch or random numbers"
LEFT_OUT = {
    "training": TRAINING,
    "tf_half_pixel_for_nn": "Resize's tf_half_pixel_for_nn left ONNX with opset 13",
}


@dataclass(frozen=True)
class Verdict:
    """``status`` is passed, failed or uncovered; ``reason`` says why not."""

    name: str
    status: str
    reason: str = ""


def judge(case: Case) -> Verdict:
    """Runs a case by the importer and the references."""
    problem = _run(case)
    if not problem:
        return Verdict(case.name, "passed")
    reason = uncovered(case)
    return Verdict(case.name, "uncovered", reason) if reason else Verdict(case.name, "failed", problem)


def uncovered(case: Case) -> str:
    """Why a case is none of ours; nothing where it is."""
    for words, reason in LEFT_OUT.items():
        if words in case.name:
            return reason
    for node in _nodes(case.model.graph):
        row = OPS.get(RENAMED.get(node.op_type, node.op_type))
        if row is None or row.domain != node.domain.removesuffix("ai.onnx"):
            return f"op {node.domain + '.' if node.domain else ''}{node.op_type}"
    return next((f"type {kind}" for kind in _kinds(case) if kind not in DTYPES), "")


def _nodes(graph: Any) -> Iterator[Any]:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from _nodes(attribute.g)


def _kinds(case: Case) -> Iterator[str]:
    for value in (*case.model.graph.input, *case.model.graph.output):
        if not value.type.HasField("tensor_type"):
            yield value.type.WhichOneof("value").removesuffix("_type")
            continue
        yield _name(value.type.tensor_type.elem_type)
    for tensor in case.model.graph.initializer:
        yield _name(tensor.data_type)
    for node in _nodes(case.model.graph):
        for attribute in node.attribute:
            if attribute.name == "to":
                yield _name(attribute.i)
            if attribute.type == onnx.AttributeProto.TENSOR:
                yield _name(attribute.t.data_type)


def _name(kind: int) -> str:
    name = onnx.TensorProto.DataType.Name(kind).lower()
    return {"float": "float32", "double": "float64"}.get(name, name)


def _run(case: Case) -> str:
    """What went wrong; nothing where every set of data gives what must come out."""
    for given, wanted in case.sets:
        if not all(isinstance(array, np.ndarray | np.generic) for array in (*given, *wanted)):
            return "what goes in or out is no tensor"
        try:
            made = _made(case.model, given)
        except EspError as err:
            return str(err)
        problem = _difference(made, wanted, case)
        if problem:
            return problem
    return "" if case.sets else "there are no data"


def _made(model: Any, given: Arrays) -> Arrays:
    """The outputs. What decides about shapes must be a constant for us: inputs are bound where reading wants that."""
    held = {tensor.name for tensor in model.graph.initializer}
    names = [value.name for value in model.graph.input if value.name not in held]
    feeds = dict(zip(names, map(np.asarray, given)))
    error: EspError | None = None
    for bound in ([], names[1:], names):
        try:
            graph = read_onnx(model, batch=False, bind={name: feeds[name] for name in bound if name in feeds})
        except EspError as err:
            error = error or err
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return run_reference(graph, [feeds[value.name] for value in graph.inputs])
    assert error is not None
    raise error


def _difference(made: Arrays, wanted: Arrays, case: Case) -> str:
    if len(made) != len(wanted):
        return f"{len(made)} outputs, wanted {len(wanted)}"
    for at, (got, want) in enumerate(zip(made, map(np.asarray, wanted))):
        if (got.dtype, got.shape) != (want.dtype, want.shape):
            return f"output {at} is {got.dtype}{list(got.shape)}, wanted {want.dtype}{list(want.shape)}"
        if want.dtype.kind in "fc":
            if not np.allclose(got, want, rtol=case.rtol, atol=case.atol, equal_nan=True):
                return f"output {at} differs by {np.nanmax(np.abs(got.astype(np.float64) - want.astype(np.float64))):.3g}"
        elif not np.array_equal(got, want):
            return f"output {at} differs"
    return ""
