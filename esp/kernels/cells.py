"""What a cell of a recurrent network does between its products, unit by unit: the usual gates in one pass, and the parts of others.

Addresses of one row each: its gates with the products in them, and its states, which are replaced.
"""

# mypy: allow-untyped-defs, allow-untyped-calls

from collections.abc import Callable
from typing import Any

from esp.kernels.functions import logistic, tanh
from esp.kernels.vectors import I64, Place, Vec, fma, routine, span


def _parts(b: Any, base: Any, size: Any, count: int) -> list[Any]:
    """The addresses of ``count`` runs of ``size`` numbers."""
    return [b.add(base, b.mul(size, I64(4 * at))) for at in range(count)]


def _each(function: Callable[..., Vec], count: int) -> Any:
    """y[size] = function of ``count`` arrays, of which y may be one: a routine (size, ..., y)."""

    def emit(b: Any, size: Any, *addresses: Any) -> None:
        *sources, y = addresses
        span(b, size, lambda place, state: place.store(function(*map(place.load, sources)), y))

    return routine("i" * (count + 2), emit)


def _lstm(b: Any, size: Any, gates: Any, h: Any, c: Any) -> None:
    """The usual LSTM; gates in ONNX's order i, o, f, c."""
    enter, leave, keep, new = _parts(b, gates, size, 4)

    def step(place: Place, state: list[Vec]) -> None:
        cell = fma(logistic(place.load(keep)), place.load(c), logistic(place.load(enter)) * tanh(place.load(new)))
        place.store(cell, c)
        place.store(logistic(place.load(leave)) * tanh(cell), h)

    span(b, size, step)


def _gru_reset(b: Any, size: Any, gates: Any, h: Any, reset: Any) -> None:
    """reset = r * h of the usual GRU; gates in ONNX's order z, r."""
    _, place_r = _parts(b, gates, size, 2)
    span(b, size, lambda place, state: place.store(logistic(place.load(place_r)) * place.load(h), reset))


def _gru(b: Any, size: Any, gates: Any, inputs: Any, product: Any, h: Any) -> None:
    """The usual GRU after its products; ``inputs`` the new state's part of them, and ``product`` the part of r * h."""

    def step(place: Place, state: list[Vec]) -> None:
        new = tanh(place.load(inputs) + place.load(product))
        place.store(_blended(logistic(place.load(gates)), new, place.load(h)), h)

    span(b, size, step)


def _gru_linear(b: Any, size: Any, gates: Any, inputs: Any, product: Any, h: Any) -> None:
    """The usual GRU whose reset comes after the product."""
    z, r = _parts(b, gates, size, 2)

    def step(place: Place, state: list[Vec]) -> None:
        new = tanh(fma(logistic(place.load(r)), place.load(product), place.load(inputs)))
        place.store(_blended(logistic(place.load(z)), new, place.load(h)), h)

    span(b, size, step)


def _blended(keep: Vec, new: Vec, old: Vec) -> Vec:
    return fma(keep, old, (1 - keep) * new)


lstm, gru_reset, gru, gru_linear = (
    routine("iiii", _lstm),
    routine("iiii", _gru_reset),
    routine("iiiii", _gru),
    routine("iiiii", _gru_linear),
)
tanh_of = _each(tanh, 1)
product_of = _each(lambda a, b: a * b, 2)
sum_of = _each(lambda a, b: a + b, 2)
sum_of_product = _each(fma, 3)
rest_of = _each(lambda x: 1 - x, 1)
blended = _each(_blended, 3)
