"""The public ONNX conformance cases, run through our importer and the numpy references."""
