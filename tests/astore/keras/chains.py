"""What a case is: a function of keras that makes a model."""

from collections.abc import Callable
from typing import Any

Model = Any
Case = Callable[[Any, Any], Model]  # (keras, keras.layers)


def chain(shape: tuple[int, ...], make: Callable[[Any, Any], list[Any]], dtype: str = "float32") -> Case:
    """A Sequential of the layers that ``make`` gives, on an input of ``shape``."""
    return lambda keras, layers: keras.Sequential([keras.Input(shape, name="x", dtype=dtype), *make(keras, layers)])
