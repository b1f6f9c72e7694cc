"""Networks of series: convolutions over time, recurrent classifiers, text, and the 3-D network of spectral cubes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

from esp.train.layers import (
    BN,
    GRU,
    Activation,
    Conv1d,
    Conv3d,
    Dense,
    Dropout,
    Embedding,
    GlobalAveragePool,
    MaxPool,
    OutputLayer,
    Permute,
)
from esp.train.layers.layer import biases, initial
from esp.train.network import Network, Tensor
from esp.train.zoo.draft import Draft, Outputs

Cell = Literal["RNN", "GRU", "LSTM"]
GATES: Mapping[str, int] = {"RNN": 1, "GRU": 3, "LSTM": 4}


def conv_1d(
    draft: Draft,
    *,
    channels: int = 6,
    length: int = 100,
    classes: int = 7,
    filters: Sequence[int] = (32, 64),
    hidden: int = 64,
    pooled: bool = False,
    padding: Literal["same", "valid"] = "same",
) -> Outputs:
    """Convolutions over a window of sensor readings; ``pooled``: their mean over time is classified, not their every step.

    Windows that slide share the more the fewer of their sums see an edge: without padding and ``pooled`` all but the newest.
    """
    x = draft.input("series", channels, length)
    for count in filters:
        x = draft(BN("relu"), draft(Conv1d(count, 5, padding=padding, bias=False, start="relu"), x))
        x = draft(MaxPool(), x)
    x = x if not pooled else draft(GlobalAveragePool(), x)
    return draft.classes(draft(Dropout(0.5), draft(Dense(hidden, "relu"), x)), classes, pooled=False)


def tcn(
    draft: Draft, *, channels: int = 6, length: int = 128, classes: int = 7, filters: int = 32, blocks: int = 4, kernel: int = 3
) -> Outputs:
    """A temporal convolutional network (Bai et al. 2018): causal convolutions, dilated twice as far in each block."""
    x = draft.input("series", channels, length)
    for block in range(blocks):
        y = x
        for _ in range(2):
            past = ((kernel - 1) * 2**block, 0)
            y = draft(Conv1d(filters, kernel, padding=past, dilation=2**block, activation="relu"), y)
            y = draft(Dropout(0.2), y)
        x = x if x.dims[0] == filters else draft(Conv1d(filters, 1), x)
        x = draft(Activation("relu"), draft.residual(x, y))
    return draft.classes(x, classes)


def recurrent(
    draft: Draft,
    *,
    cell: Cell = "LSTM",
    length: int = 50,
    channels: int = 6,
    classes: int = 4,
    units: int = 32,
    depth: int = 1,
    bidirectional: bool = True,
    lengths: bool = False,
    states: bool = False,
) -> Outputs:
    """A recurrent classifier of series [length, channels] by the last state of its last layer.

    ``lengths`` adds an input of how many steps of each row count; ``states`` adds inputs of the first states (of each layer:
    ways x units) and outputs of the last ones, so that a series can go on in the next row.
    """
    x = draft.input("series", length, channels)
    made = _Recurrent(draft.net, cell, units, 2 if bidirectional else 1)
    steps = draft.input("lengths", dtype="int32") if lengths else None
    firsts = [[draft.input(f"{name}_{at}", made.ways, units) for name in made.kept] if states else [] for at in range(depth)]
    x = draft.block("Permute", lambda: draft.net.add_node("Transpose", [x], perm=(1, 0, 2)))
    outputs: dict[str, Tensor] = {}
    for at, given in enumerate(firsts):
        x, lasts = draft.block(cell, partial(made.layer, x, steps, given))
        outputs.update({f"{name}_{at}_last": last for name, last in zip(made.kept, lasts) if states})
    return {"probabilities": draft(OutputLayer(classes), lasts[0]), **outputs}


@dataclass(frozen=True, slots=True)
class _Recurrent:
    """Recurrent layers over tensors [time, batch, features]."""

    net: Network
    cell: Cell
    units: int
    ways: int

    @property
    def kept(self) -> tuple[str, ...]:
        return ("hidden", "cell") if self.cell == "LSTM" else ("hidden",)

    def layer(self, x: Tensor, steps: Tensor | None, firsts: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Every state [time, batch, ways * units] and the last ones [batch, ways, units]; ``firsts`` are shaped like those."""
        net, count = self.net, len(self.kept)
        given = [net.add_node("Transpose", [first], perm=(1, 0, 2)) for first in firsts]
        extra = {"linear_before_reset": 1} if self.cell == "GRU" else {}
        tensors = [x, *self._weights(x), steps, *given]
        direction = "bidirectional" if self.ways == 2 else "forward"
        every, *lasts = net.add_nodes(
            self.cell, tensors, [True] * (1 + count), hidden_size=self.units, direction=direction, **extra
        )
        joined = net.add_node("Transpose", [every], perm=(0, 2, 1, 3))
        joined = net.add_node("Reshape", [joined, net.add_constant([0, 0, self.ways * self.units])])
        return joined, [net.add_node("Transpose", [last], perm=(1, 0, 2)) for last in lasts]

    def _weights(self, x: Tensor) -> list[Tensor]:
        net, rows, width = self.net, GATES[self.cell] * self.units, x.dims[-1]
        return [
            net.add_weight("weight", initial(net, (self.ways, rows, width), width, self.units, "tanh")),
            net.add_weight("recurrent", initial(net, (self.ways, rows, self.units), self.units, self.units, "tanh")),
            net.add_weight("bias", biases(net, self.ways * 2 * rows).reshape(self.ways, 2 * rows)),
        ]


def text(
    draft: Draft,
    *,
    vocabulary: int = 5000,
    length: int = 64,
    units: int = 32,
    classes: int = 2,
    gru: bool = False,
) -> Outputs:
    """A classifier of texts of ``length`` tokens: their embeddings' mean, or a GRU over them."""
    x = draft(Embedding(vocabulary, units), draft.input("tokens", length, dtype="int64"))
    if gru:
        x = draft(GRU(units), draft(Permute((2, 1)), x))
    else:
        axis = [1]
        x = draft.block("Mean", lambda: draft.net.add_node("ReduceMean", [x, draft.net.add_constant(axis)], keepdims=0))
    return draft.classes(draft(Dense(units, "relu"), x), classes, pooled=False)


def spectral_3d(
    draft: Draft,
    *,
    size: int = 9,
    bands: int = 220,
    classes: int = 16,
    filters: Sequence[int] = (8, 8, 8),
    kernel: int = 5,
    hidden: int = 96,
) -> Outputs:
    """A 3-D convolutional network of a pixel's neighbourhood in a hyperspectral picture (the Indian Pines scene).

    Each convolution is followed by a pool of three bands: 220 of them become 9 by the third.
    """
    x = draft.input("cube", 1, size, size, bands)
    for count in filters:
        x = draft(MaxPool((1, 1, 3), padding="same"), draft(Conv3d(count, kernel, activation="relu"), x))
    return draft.classes(draft(Dense(hidden, "relu"), x), classes, pooled=False)
