"""Recurrent layers: ONNX nodes of layout 0 (time first) between transposes; tensors outside stay channels x time."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from esp.astore.graph import Attr
from esp.errors import GraphError
from esp.train.layers.layer import LayerSettings, biases, initial, only_input
from esp.train.network import Network, Tensor


@dataclass(frozen=True, slots=True)
class RNN(LayerSettings):
    """A simple recurrent layer over channels x time: its last state, or with ``sequences`` every state as channels x time."""

    units: int
    bidirectional: bool = False
    sequences: bool = False

    gates: ClassVar[int] = 1

    def extra(self) -> dict[str, Attr]:
        """Attributes of the node beyond its size and direction."""
        return {}

    def build(self, net: Network, inputs: Sequence[Tensor]) -> Tensor:
        x = only_input(self, inputs)
        if len(x.dims) != 2:
            raise GraphError(f"{type(self).__name__} wants channels x time, got shape {x.dims}", mend="feed it a sequence")
        ways = 2 if self.bidirectional else 1
        time_first = net.add_node("Transpose", [x], perm=(2, 0, 1))
        y = net.add_node(
            type(self).__name__,
            [time_first, *self._weights(net, x.dims[0], ways)],
            output=0 if self.sequences else 1,
            outputs=1 if self.sequences else 2,
            hidden_size=self.units,
            direction="bidirectional" if self.bidirectional else "forward",
            **self.extra(),
        )
        if not self.sequences:  # [ways, batch, units]
            return net.add_node("Flatten", [net.add_node("Transpose", [y], perm=(1, 0, 2))], axis=1)
        channels_first = net.add_node("Transpose", [y], perm=(2, 1, 3, 0))  # from [time, ways, batch, units]
        return net.add_node("Reshape", [channels_first, net.add_weight("shape", np.array([0, ways * self.units, x.dims[1]]))])

    def _weights(self, net: Network, width: int, ways: int) -> list[Tensor]:
        rows = self.gates * self.units
        fans = (width, self.units), (self.units, self.units)
        return [
            net.add_weight("weight", initial(net, (ways, rows, width), *fans[0], "tanh")),
            net.add_weight("recurrent", initial(net, (ways, rows, self.units), *fans[1], "tanh")),
            net.add_weight("bias", biases(net, ways * 2 * rows).reshape(ways, 2 * rows)),
        ]


@dataclass(frozen=True, slots=True)
class GRU(RNN):
    """A gated recurrent layer; ``reset_after`` is Keras' (and ONNX's linear_before_reset)."""

    reset_after: bool = True

    gates: ClassVar[int] = 3

    def extra(self) -> dict[str, Attr]:
        return {"linear_before_reset": int(self.reset_after)}


@dataclass(frozen=True, slots=True)
class LSTM(RNN):
    """A long short-term memory layer."""

    gates: ClassVar[int] = 4
