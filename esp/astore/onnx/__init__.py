"""ONNX models as graphs, and graphs as ONNX models: the only place that knows the onnx package."""

from esp.astore.onnx.deliver import export_onnx, onnx_bytes
from esp.astore.onnx.export import OPSET, to_onnx
from esp.astore.onnx.read import Imported, errors_of, read_model, read_onnx

__all__ = ["OPSET", "Imported", "errors_of", "export_onnx", "onnx_bytes", "read_model", "read_onnx", "to_onnx"]
