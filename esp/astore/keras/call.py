"""One call of one layer while its graph is made: what it is given, its settings and its weights."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from esp.astore.build import GraphBuilder
from esp.astore.graph import Array
from esp.astore.keras import values
from esp.astore.keras.config import LayerSpec
from esp.astore.keras.settings import Settings
from esp.astore.keras.values import Held, Perm
from esp.errors import GraphError


@dataclass(frozen=True, slots=True)
class Origin:
    """Which Keras wrote the model."""

    generation: int
    backend: str = ""


@dataclass(slots=True)
class Call:
    """``args`` is what the layer is called on, ``inputs`` the tensors in it, in order; ``kwargs`` what else is given by name.

    ``arrays`` are the layer's weights in Keras's order, None where the file has none for it. ``inner(spec, inputs, arrays)``
    calls a layer that this one wraps.
    """

    spec: LayerSpec
    build: GraphBuilder
    args: Sequence[Any]
    inputs: Sequence[Held]
    kwargs: dict[str, Any]
    arrays: Sequence[Array] | None
    origin: Origin
    inner: "Callable[[LayerSpec, Sequence[Held], Sequence[Array] | None], list[Held]]"
    settings: Settings = field(init=False)

    def __post_init__(self) -> None:
        self.settings = Settings(self.spec.kind, self.spec.config, self.spec.where)

    @property
    def x(self) -> Held:
        """The one input. Raises GraphError where there are more."""
        if len(self.inputs) != 1:
            raise self.refused(f"it is called on {len(self.inputs)} tensors", "call it on one")
        return self.inputs[0]

    def refused(self, reason: str, mend: str) -> GraphError:
        """The error for a layer that cannot be taken over: its class, name and place."""
        return GraphError(f"{self.spec.kind} {self.spec.name!r} cannot be imported: {reason}", where=self.spec.where, mend=mend)

    def take(self, name: str) -> Any:
        """What the layer was given by name, None where nothing was; the caller answers for it."""
        return self.kwargs.pop(name, None)

    def weights(self, *names: str) -> list[Array]:
        """The layer's arrays, which are called ``names`` here (in Keras's order; "" = one that the layer does not have)."""
        wanted = [name for name in names if name]
        if self.arrays is None or len(self.arrays) != len(wanted):
            got = "none" if not self.arrays else ", ".join(str(list(array.shape)) for array in self.arrays)
            raise self.refused(f"its weights should be {', '.join(wanted)}, the file has {got}", "give the file of this model")
        found = iter(self.arrays)
        return [np.asarray(next(found), np.float32) if name else np.zeros(0, np.float32) for name in names]

    def rank(self, at_least: int, value: Held | None = None) -> int:
        """Axes of the input, the batch among them. Raises GraphError where they are fewer than ``at_least``."""
        rank = len((value or self.x).shape)
        if rank < at_least:
            raise self.refused(f"its input has {rank} axes, {at_least} are wanted", "mend the model")
        return rank

    def floating(self, value: Held | None = None) -> Held:
        """The input as float32, as Keras casts it."""
        value = self.x if value is None else value
        if value.dtype.startswith("float"):
            return value
        return values.each(self.build, value, lambda name: self.cast(name, "float32"))

    def cast(self, name: str, dtype: str) -> str:
        """The tensor in another dtype."""
        codes = {"float32": 1, "int32": 6, "int64": 7, "bool": 9}  # TensorProto.DataType
        return name if self.build.dtypes[name] == dtype else self.build.add("Cast", name, to=codes[dtype])

    def tensor(self, value: Held, perm: Perm | None = None) -> str:
        return values.tensor(self.build, value, perm)

    def held(self, name: str, perm: Perm | None = None) -> Held:
        return values.held(self.build, name, perm)

    def image_perm(self, rank: int) -> Perm:
        """Where the layer's data_format puts the channels, and so how to hold a tensor channels first."""
        return values.first(rank) if self.settings.is_channels_last() else values.plain(rank)

    def number(self, value: float) -> str:
        """A float32 number as a tensor without axes."""
        return self.build.weight("constant", np.array(value, np.float32))

    def ints(self, *numbers: int) -> str:
        """Whole numbers as a tensor of one axis."""
        return self.build.weight("constant", np.array(numbers, np.int64))

    def channels(self, name: str) -> int:
        """Channels of a tensor held channels first."""
        size = self.build.shapes[name][1]
        assert isinstance(size, int)
        return size

    def size(self, axis: int, value: Held | None = None) -> int:
        """The fixed size of an axis of the input. Raises GraphError where it is the batch's."""
        size = (value or self.x).shape[axis]
        if not isinstance(size, int):
            raise self.refused(f"axis {axis} of its input is the batch", "use another axis")
        return size
