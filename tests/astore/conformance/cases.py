"""Where the public conformance cases come from: those that the onnx package makes, and the stored ones of Debian's libonnx-testdata."""

import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

STORED = Path(os.environ.get("ESP_ONNX_TESTDATA", "/usr/include/onnx/backend/test/data"))
Arrays = list[Any]  # numpy arrays; another object where a case has a sequence or an optional


@dataclass(frozen=True)
class Case:
    """A model, and pairs of what is fed to it and what must come out."""

    name: str
    model: onnx.ModelProto
    sets: list[tuple[Arrays, Arrays]]
    rtol: float = 1e-3  # as the runner of the onnx package has them
    atol: float = 1e-7


def generated() -> Iterator[Case]:
    """The cases that the onnx package computes when asked for them."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        from onnx.backend.test.case.node import collect_testcases

        found = collect_testcases(None)
    for case in found:
        if case.model is not None and case.data_sets is not None:
            sets = [([*map(_plain, inputs)], [*map(_plain, outputs)]) for inputs, outputs in case.data_sets]
            yield Case(case.name, case.model, sets, case.rtol, case.atol)


def _plain(value: Any) -> Any:
    return numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else value


def stored() -> Iterator[Case]:
    """The cases that lie in files, each a folder with model.onnx and test_data_set_N."""
    for folder in sorted(path.parent for path in STORED.glob("*/*/model.onnx")):
        model = onnx.load(folder / "model.onnx")
        sets = [
            (_arrays(data, "input", model.graph.input), _arrays(data, "output", model.graph.output))
            for data in sorted(folder.glob("test_data_set_*"))
        ]
        yield Case(f"{folder.parent.name}/{folder.name}", model, sets)


def _arrays(folder: Path, what: str, values: Any) -> Arrays:
    return [
        _array(folder / f"{what}_{at}.pb", value.type) for at, value in enumerate(values) if (folder / f"{what}_{at}.pb").exists()
    ]


def _array(path: Path, kind: Any) -> Any:
    if not kind.HasField("tensor_type"):
        return path  # a sequence or an optional: no case of ours
    tensor = onnx.TensorProto()
    tensor.ParseFromString(path.read_bytes())
    return numpy_helper.to_array(tensor)
