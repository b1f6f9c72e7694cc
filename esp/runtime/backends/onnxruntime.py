"""The onnxruntime backend: the graph as an ONNX model in one session; the only place that imports onnxruntime."""

import re
from collections.abc import Sequence
from typing import Any

import onnxruntime

from esp.astore.graph import Array, Graph
from esp.astore.onnx import to_onnx
from esp.astore.passes import has_costly_constants
from esp.errors import BackendError


class OnnxruntimeBound:
    """A session over the graph, which onnxruntime optimises but for what is ``disabled``."""

    def __init__(self, graph: Graph, threads: int = 1, disabled: Sequence[str] = ()) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.add_session_config_entry("session.force_spinning_stop", "1")  # its threads sleep between batches
        options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.log_severity_level = 4  # what goes wrong is raised
        model = to_onnx(graph).SerializeToString()
        self.session: Any = onnxruntime.InferenceSession(
            model, options, providers=["CPUExecutionProvider"], disabled_optimizers=[*disabled]
        )
        self.inputs = [value.name for value in graph.inputs]
        self.outputs = [value.name for value in graph.outputs]

    def run(self, inputs: Sequence[Array]) -> tuple[Array, ...]:
        try:
            return tuple(self.session.run(self.outputs, dict(zip(self.inputs, inputs))))
        except Exception as err:  # onnxruntime's own exceptions share no base but this
            raise BackendError(f"onnxruntime failed: {_reason(err)}", mend="use the backend numpy, which tells more") from err


def bind(graph: Graph, max_batch: int, threads: int = 1) -> OnnxruntimeBound:
    """Opens a session; GraphError when the graph is not valid, BackendError when onnxruntime cannot take it."""
    disabled = ["ConstantFolding"] if has_costly_constants(graph) else []  # onnxruntime's own knows no bound
    try:
        return OnnxruntimeBound(graph, threads, disabled)
    except Exception as err:
        what = f"onnxruntime cannot take the graph: {_reason(err)}"
        raise BackendError(what, mend="use the backend numba, numpy or auto") from err


def _reason(err: Exception) -> str:
    """The first line of an error, which names the node, without onnxruntime's code before it."""
    return re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", str(err).partition("\n")[0])
