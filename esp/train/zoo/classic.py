"""The first convolutional networks: LeNet, AlexNet, ZFNet, VGG."""

from collections.abc import Sequence

from esp.train.layers import AveragePool, Dense, Dropout, MaxPool
from esp.train.layers.activations import ActivationName
from esp.train.network import Tensor
from esp.train.zoo.draft import Draft, Outputs, chosen, wide

VGG_BLOCKS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}


def lenet(draft: Draft, *, size: int = 32, channels: int = 1, classes: int = 10) -> Outputs:
    """LeNet-5 (LeCun et al. 1998), every map of the third layer fed by all of the second."""
    x = draft.input("image", channels, size, size)
    x = draft.conv(x, 6, 5, activation="tanh", padding="valid")
    x = draft(AveragePool(), x)
    x = draft.conv(x, 16, 5, activation="tanh", padding="valid")
    x = draft(AveragePool(), x)
    return _dense(draft, x, (120, 84), classes, "tanh")


def mnist_cnn(
    draft: Draft, *, size: int = 28, channels: int = 1, classes: int = 10, filters: Sequence[int] = (20, 50), hidden: int = 500
) -> Outputs:
    """Two convolutions of 5 x 5, each with a pool, and a dense layer."""
    x = draft.input("image", channels, size, size)
    for count in filters:
        x = draft(MaxPool(), draft.conv(x, count, 5))
    return draft.classes(draft(Dense(hidden, "relu"), x), classes, pooled=False)


def alexnet(
    draft: Draft, *, size: int = 227, channels: int = 3, classes: int = 1000, width: float = 1.0, hidden: int = 4096
) -> Outputs:
    """AlexNet (Krizhevsky et al. 2012): local response normalisation, convolutions in two groups."""
    x = draft.input("image", channels, size, size)
    x = draft.conv(x, 2 * wide(48, width), 11, 4, padding="valid")
    x = draft(MaxPool(3, 2), respond(draft, x))
    x = draft.conv(x, 2 * wide(128, width), 5, groups=2)
    x = draft(MaxPool(3, 2), respond(draft, x))
    x = draft.conv(x, 2 * wide(192, width))
    x = draft.conv(x, 2 * wide(192, width), groups=2)
    x = draft.conv(x, 2 * wide(128, width), groups=2)
    return _dense(draft, draft(MaxPool(3, 2), x), (hidden, hidden), classes, "relu", dropout=0.5)


def alexnet_2014(
    draft: Draft, *, size: int = 224, channels: int = 3, classes: int = 1000, width: float = 1.0, hidden: int = 4096
) -> Outputs:
    """AlexNet on one device (Krizhevsky 2014): no groups, no response normalisation."""
    x = draft.input("image", channels, size, size)
    x = draft(MaxPool(3, 2), draft.conv(x, wide(64, width), 11, 4, padding=2))
    x = draft(MaxPool(3, 2), draft.conv(x, wide(192, width), 5))
    for filters in (384, 256, 256):
        x = draft.conv(x, wide(filters, width))
    return _dense(draft, draft(MaxPool(3, 2), x), (hidden, hidden), classes, "relu", dropout=0.5)


def zfnet(
    draft: Draft,
    *,
    size: int = 224,
    channels: int = 3,
    classes: int = 1000,
    width: float = 1.0,
    hidden: tuple[int, ...] = (4096, 1024),
) -> Outputs:
    """ZFNet (Zeiler and Fergus 2014) with 512 filters in each of its last three convolutions."""
    x = draft.input("image", channels, size, size)
    x = draft(MaxPool(3, 2), respond(draft, draft.conv(x, wide(96, width), 7, 2, padding="valid")))
    x = draft(MaxPool(3, 2), respond(draft, draft.conv(x, wide(256, width), 5, 2, padding="valid")))
    for _ in range(3):
        x = draft.conv(x, wide(512, width))
    return _dense(draft, draft(MaxPool(), x), hidden, classes, "relu", dropout=0.5)


def vgg(
    draft: Draft,
    *,
    depth: int = 16,
    bn: bool = False,
    size: int = 224,
    channels: int = 3,
    classes: int = 1000,
    width: float = 1.0,
    hidden: int = 4096,
) -> Outputs:
    """VGG of 11, 13, 16 or 19 layers (Simonyan and Zisserman 2015)."""
    x = draft.input("image", channels, size, size)
    x = vgg_features(draft, x, chosen(VGG_BLOCKS, depth, "depth"), width, bn)
    return _dense(draft, draft(MaxPool(), x), (hidden, hidden), classes, "relu", dropout=0.5)


def vgg_features(draft: Draft, x: Tensor, blocks: Sequence[int], width: float = 1.0, bn: bool = False) -> Tensor:
    """The convolutions of a VGG with pools between its blocks, the last pool left to the caller."""
    for at, (count, filters) in enumerate(zip(blocks, (64, 128, 256, 512, 512))):
        x = draft(MaxPool(), x) if at else x
        for _ in range(count):
            x = draft.conv_bn(x, wide(filters, width), bias=True) if bn else draft.conv(x, wide(filters, width))
    return x


def respond(draft: Draft, x: Tensor, bias: float = 2.0) -> Tensor:
    """Local response normalisation over five channels."""
    return draft.block("LRN", lambda: draft.net.add_node("LRN", [x], size=5, alpha=1e-4, beta=0.75, bias=bias))


def _dense(
    draft: Draft, x: Tensor, widths: Sequence[int], classes: int, activation: ActivationName, dropout: float = 0.0
) -> Outputs:
    for units in widths:
        x = draft(Dense(units, activation), x)
        x = draft(Dropout(dropout), x) if dropout else x
    return draft.classes(x, classes, pooled=False)
