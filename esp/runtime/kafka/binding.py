"""aiokafka's own functions with some of the names that they use bound to ours: what we change is per class, and it must still be there."""

import inspect
from collections.abc import Callable, Iterable
from types import FunctionType
from typing import Any


class BindingError(Exception):
    """This version of aiokafka is not built as we know it."""


def rebound(function: Any, **names: Any) -> Any:
    """A copy of a function for which some of its module's names mean something else. Raises BindingError where it does not use them."""
    if strange := sorted(names.keys() - set(function.__code__.co_names)):
        raise BindingError(f"{function.__qualname__} does not use {strange[0]}")
    copy = FunctionType(
        function.__code__, {**function.__globals__, **names}, function.__name__, function.__defaults__, function.__closure__
    )
    copy.__kwdefaults__, copy.__qualname__ = function.__kwdefaults__, function.__qualname__
    return copy


def require(function: Callable[..., Any], parameters: str) -> None:
    """Raises BindingError unless a function takes what we think."""
    found = " ".join(inspect.signature(function).parameters)
    if found != parameters:
        raise BindingError(f"{function.__qualname__} takes ({found}), not ({parameters})")


def require_use(function: Any, names: Iterable[str]) -> None:
    """Raises BindingError unless a function uses attributes of these names."""
    if missing := sorted(set(names) - set(function.__code__.co_names)):
        raise BindingError(f"{function.__qualname__} does not use {missing[0]}")
