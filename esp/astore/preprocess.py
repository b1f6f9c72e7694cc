"""Preprocessing: an input's column of events becomes what the graph takes; training and scoring both run this code."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from esp.astore.image import decode, letterbox, resize
from esp.astore.model import Input
from esp.astore.steps import prepared_shape as prepared_shape
from esp.errors import EventError

Array = npt.NDArray[Any]
Bools = npt.NDArray[np.bool_]


class Blobs(Protocol):
    """A column of byte strings (``runtime.events.VarColumn`` is one)."""

    def __len__(self) -> int: ...

    def value(self, row: int) -> bytes: ...


class Prepared(NamedTuple):
    """``array[n, *prepared_shape]`` for the graph; ``refused`` (None = no row) with a reason for each True in it, in row order.

    Rows that are refused hold zeros as the event's value and must not be scored.
    """

    array: Array
    refused: Bools | None
    reasons: tuple[str, ...]


def prepare(input: Input, column: Array | Blobs, valid: Bools | None = None, dtype: str = "float32") -> Prepared:
    """Runs an input's missing-value policy and then its steps over a column ``[n, *input.shape]`` of ``input.dtype``.

    ``valid`` marks rows that are not null (None = all). ``dtype`` is the graph input's: float32, or with no steps the
    event's own. Every row is computed alone: the same row gives the same bits in whatever block it comes.
    """
    work = np.dtype(dtype)
    null = None if valid is None or valid.all() else ~valid
    if isinstance(column, np.ndarray):
        values, reasons = _fill(input, _cast(column, work), null)
        rest = input.steps
    else:
        values, reasons = _decode_all(input, column, null, work)
        rest = input.steps[2:]  # decode and what gives one size are done
    for step in rest:
        values = _APPLY[step.op](values, step.params)
    return gathered(np.ascontiguousarray(values), reasons)


def gathered(array: Array, reasons: Mapping[int, str]) -> Prepared:
    """An array of rows with the reason for each row refused."""
    if not reasons:
        return Prepared(array, None, ())
    refused = np.zeros(len(array), np.bool_)
    refused[list(reasons)] = True
    return Prepared(array, refused, tuple(reasons[row] for row in sorted(reasons)))


def _cast(column: Array, dtype: np.dtype[Any]) -> Array:
    with np.errstate(over="ignore"):  # a float64 beyond float32 becomes infinite
        return column.astype(dtype, copy=False)


def _fill(input: Input, values: Array, null: Bools | None) -> tuple[Array, dict[int, str]]:
    """The column with missing values dealt with, and the reason for each row refused."""
    has_nan = values.dtype.kind == "f" and values.size > 0 and bool(np.isnan(values.min()))
    if null is None and (not has_nan or input.missing == "nan"):
        return values, {}
    values = values.copy()
    rows = np.zeros(len(values), np.bool_) if null is None else null
    if input.missing == "nan":
        values[rows] = np.nan
        return values, {}
    missing = np.isnan(values) if has_nan else np.zeros(values.shape, np.bool_)
    if input.missing == "impute":
        missing[rows] = True
        np.copyto(values, np.asarray(input.impute, values.dtype), where=missing)
        return values, {}
    reasons = _reasons(input, missing, rows)
    values[list(reasons)] = 0
    return values, reasons


def _reasons(input: Input, missing: Bools, null: Bools) -> dict[int, str]:
    reasons = {int(row): _null_reason(input) for row in np.flatnonzero(null)}
    flat = missing.reshape(len(missing), -1)
    for row in np.flatnonzero(flat.any(axis=1) & ~null):
        place = np.unravel_index(int(flat[row].argmax()), missing.shape[1:]) if missing.ndim > 1 else ()
        at = f" at [{','.join(str(int(index)) for index in place)}]" if place else ""
        reasons[int(row)] = f"input '{input.name}' is NaN{at}"
    return reasons


def _null_reason(input: Input) -> str:
    return f"input '{input.name}' is null"


def _decode_all(input: Input, column: Blobs, null: Bools | None, dtype: np.dtype[Any]) -> tuple[Array, dict[int, str]]:
    """Images of one size from files; a broken file refuses its row alone."""
    channels, step = input.steps[0].params["channels"], input.steps[1]
    images = np.zeros((len(column), step.params["height"], step.params["width"], channels), dtype)
    reasons: dict[int, str] = {}
    for row, pixels in images_of(input, column, null, reasons):
        if pixels is None:
            images[row] = np.nan if input.missing == "nan" else np.asarray(input.impute, dtype)
        else:
            images[row] = _APPLY[step.op](pixels, step.params)
    return images, reasons


def images_of(
    input: Input, column: Blobs, null: Bools | None, reasons: dict[int, str]
) -> Iterator[tuple[int, npt.NDArray[np.uint8] | None]]:
    """Each row with its decoded image, None for a null that is replaced; those refused go to ``reasons`` instead."""
    for row in range(len(column)):
        if null is not None and null[row]:
            if input.missing == "refuse":
                reasons[row] = _null_reason(input)
            else:
                yield row, None
            continue
        try:
            pixels = decode(column.value(row), input.steps[0].params["channels"])
        except EventError as err:
            reasons[row] = f"input '{input.name}': {err}"
        else:
            yield row, pixels


def _scale(values: Array, params: Mapping[str, Any]) -> Array:
    scaled: Array = values * _spread(params["scale"], values)
    scaled += _spread(params["offset"], values)
    return scaled


def _normalise(values: Array, params: Mapping[str, Any]) -> Array:
    normal: Array = values - _spread(params["mean"], values)
    normal /= _spread(params["std"], values)
    return normal


def _spread(param: Any, values: Array) -> Array:
    """A parameter in the dtype of the values; one a channel is spread over an event, for numpy is slow along a short last axis."""
    array = np.asarray(param, values.dtype)
    return array if array.ndim == 0 else np.ascontiguousarray(np.broadcast_to(array, values.shape[1:]))


_APPLY: dict[str, Callable[[Array, Mapping[str, Any]], Array]] = {
    "resize": lambda values, params: resize(values, params["height"], params["width"]),
    "letterbox": lambda values, params: letterbox(values, params["height"], params["width"], params["fill"]),
    "scale": _scale,
    "normalise": _normalise,
    "reverse_channels": lambda values, params: values[..., ::-1],
    "channels_first": lambda values, params: np.moveaxis(values, -1, 1),
    "reshape": lambda values, params: values.reshape(len(values), *params["shape"]),
}
