"""Networks of attention: the transformer encoder over tokens, the vision transformer."""

from esp.train.layers import Conv2d, Dense, Dropout, Embedding, LayerNorm, MultiHeadAttention, TimeDense
from esp.train.layers.layer import around
from esp.train.network import Network, Tensor
from esp.train.zoo.draft import Draft, Outputs


def transformer(
    draft: Draft,
    *,
    vocabulary: int = 5000,
    length: int = 64,
    features: int = 64,
    heads: int = 4,
    blocks: int = 2,
    classes: int = 2,
) -> Outputs:
    """A transformer encoder (Vaswani et al. 2017, normalised before each part) that classifies texts by the mean of its steps."""
    x = draft(Embedding(vocabulary, features), draft.input("tokens", length, dtype="int64"))
    x = _encode(draft, _place(draft, x), heads, blocks)
    axis = [1]
    x = draft.block("Mean", lambda: draft.net.add_node("ReduceMean", [x, draft.net.add_constant(axis)], keepdims=0))
    return draft.classes(draft(Dense(features, "tanh"), x), classes, pooled=False)


def vit(
    draft: Draft,
    *,
    size: int = 224,
    channels: int = 3,
    classes: int = 1000,
    patch: int = 16,
    features: int = 192,
    heads: int = 3,
    blocks: int = 12,
) -> Outputs:
    """The vision transformer (Dosovitskiy et al. 2021), by default its tiny one."""
    x = draft.input("image", channels, size, size)
    x = draft(Conv2d(features, patch, patch, "valid"), x)
    x = draft.block("Patches", lambda: _patches(draft.net, x))
    x = _encode(draft, _place(draft, x), heads, blocks)
    x = draft.block("ClassToken", lambda: draft.net.add_node("Gather", [x, draft.net.add_constant(0)], axis=1))
    return draft.classes(x, classes, pooled=False)


def _patches(net: Network, x: Tensor) -> Tensor:
    """Maps [features, rows, columns] as a series [1 + rows * columns, features] that begins with a learnt vector."""
    features, rows, columns = x.dims
    series = net.add_node(
        "Transpose", [net.add_node("Reshape", [x, net.add_constant([0, features, rows * columns])])], perm=(0, 2, 1)
    )
    batch = net.add_node("Shape", [series], start=0, end=1)
    sizes = net.add_node("Concat", [batch, net.add_constant([1, features])], axis=0)
    token = net.add_weight("token", around(net, features, 0.0, 0.5).reshape(1, 1, features))
    return net.add_node("Concat", [net.add_node("Expand", [token, sizes]), series], axis=1)


def _place(draft: Draft, x: Tensor) -> Tensor:
    """``x`` plus a learnt vector for each place."""
    net, (steps, features) = draft.net, x.dims

    def add() -> Tensor:
        places = net.add_weight("places", around(net, steps * features, 0.0, 0.5).reshape(1, steps, features))
        return net.add_node("Add", [x, places])

    return draft.block("Positions", add)


def _encode(draft: Draft, x: Tensor, heads: int, blocks: int) -> Tensor:
    """Blocks of attention and of two dense layers, each normalised first and residual; normalised at the end."""
    for _ in range(blocks):
        x = draft.residual(x, draft(MultiHeadAttention(heads), draft(LayerNorm(), x)))
        y = draft(TimeDense(4 * x.dims[1], "gelu"), draft(LayerNorm(), x))
        x = draft.residual(x, draft(Dropout(0.1), draft(TimeDense(x.dims[1]), y)))
    return draft(LayerNorm(), x)
