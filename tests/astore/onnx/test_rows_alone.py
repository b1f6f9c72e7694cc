"""Conformance cases read with an open batch: where that is taken, every row gives what it gave, whatever else is in the batch."""

from collections.abc import Iterator, Sequence

import numpy as np

from esp.astore.graph import run_reference
from esp.astore.onnx import read_onnx
from esp.errors import EspError
from tests.astore.conformance.cases import Case, generated

# Outputs that count through the whole batch by ONNX's own meaning: places in the tensor, not in the row.
COUNTING = ("test_maxpool_with_argmax", "test_maxunpool")
LEAST = 900  # cases that can be read so


def readings(case: Case) -> Iterator[tuple[object, list]]:
    """The graph and what feeds it: all inputs, or the first alone with the others bound."""
    (inputs, _), names = case.sets[0], [value.name for value in case.model.graph.input]
    arrays = dict(zip(names, inputs, strict=False))
    for free in (names, names[:1]):
        bind = {name: array for name, array in arrays.items() if name not in free}
        shapes = {name: arrays[name].shape for name in free if name in arrays}
        try:
            yield read_onnx(case.model, shapes=shapes, bind=bind), [arrays[name] for name in free if name in arrays]
        except EspError:
            continue


def is_close(case: Case, found: Sequence[np.ndarray], wanted: Sequence[np.ndarray]) -> bool:
    return all(
        got.dtype == (np.float32 if right.dtype == np.float16 else right.dtype)
        and got.shape == right.shape
        and np.allclose(
            got.astype(np.float64), right.astype(np.float64), max(case.rtol, 1e-4), max(case.atol, 1e-6), equal_nan=True
        )
        for got, right in zip(found, wanted, strict=False)
    )


def test_each_row_gives_the_same_alone_and_beside_another() -> None:
    taken, wrong = 0, []
    for case in generated():
        inputs, outputs = case.sets[0]
        if not all(isinstance(array, np.ndarray | np.generic) for array in (*inputs, *outputs)) or case.name.startswith(COUNTING):
            continue
        for graph, arrays in readings(case):
            taken += 1
            feeds = [array.astype(value.dtype) for array, value in zip(arrays, graph.inputs, strict=True)]
            twice = run_reference(graph, [np.concatenate([array, array]) for array in feeds])
            if not is_close(case, twice, [np.concatenate([array, array]) for array in outputs]):
                wrong.append(case.name)
    assert not wrong
    assert taken >= LEAST
