"""Networks that give as many values as they take: U-Net over pictures and series, ENet, the convolutional autoencoder."""

from collections.abc import Sequence

from esp.train.layers import (
    BN,
    Activation,
    Concat,
    Conv2d,
    Conv2dTranspose,
    ConvNd,
    ConvTransposeNd,
    Dropout,
    MaxPool,
    OutputLayer,
    UpSampling,
)
from esp.train.network import Tensor
from esp.train.zoo.draft import DAMPED, Draft, Outputs, wide

BOTTLENECKS = ((1, 1), (2, 1), (1, 5), (4, 1), (1, 1), (8, 1), (1, 5), (16, 1))  # dilation, length of a split kernel


def unet(
    draft: Draft, *, size: int = 256, channels: int = 3, classes: int = 3, width: float = 1.0, depth: int = 4, bn: bool = True
) -> Outputs:
    """U-Net (Ronneberger et al. 2015) with 'same' padding: a softmax over the classes at each pixel."""
    return _unet(draft, draft.input("image", channels, size, size), classes, wide(64, width), depth, bn)


def unet_1d(
    draft: Draft, *, length: int = 512, channels: int = 6, classes: int = 4, width: float = 0.25, depth: int = 3, bn: bool = True
) -> Outputs:
    """A U-Net over time: a softmax over the classes at each step."""
    return _unet(draft, draft.input("series", channels, length), classes, wide(64, width), depth, bn)


def _unet(draft: Draft, x: Tensor, classes: int, filters: int, depth: int, bn: bool) -> Outputs:
    passed: list[Tensor] = []
    for level in range(depth):
        passed.append(_twice(draft, x, filters * 2**level, bn))
        x = draft(MaxPool(), passed[-1])
    x = _twice(draft, x, filters * 2**depth, bn)
    for level in reversed(range(depth)):
        x = draft(ConvTransposeNd(filters * 2**level, 3, start="relu"), x)
        x = _twice(draft, draft(Concat(), passed[level], x), filters * 2**level, bn)
    x = draft(ConvNd(classes, 3), x)
    return {"probabilities": draft(OutputLayer(), x)}


def _twice(draft: Draft, x: Tensor, filters: int, bn: bool) -> Tensor:
    for _ in range(2):
        x = draft(ConvNd(filters, activation="linear" if bn else "relu", bias=not bn, start="relu"), x)
        x = draft(BN("relu"), x) if bn else x
    return x


def autoencoder_conv(draft: Draft, *, size: int = 32, channels: int = 1, filters: Sequence[int] = (16, 8)) -> Outputs:
    """A convolutional autoencoder: pools on the way in, upsampling and transposed convolutions on the way out."""
    x = draft.input("image", channels, size, size)
    for count in filters:
        x = draft(MaxPool(), draft.conv(x, count))
    for at, count in enumerate(reversed(filters)):
        x = draft(Conv2dTranspose(count, 3, activation="relu"), x) if at else draft.conv(draft(UpSampling(), x), count)
    return {"reconstruction": draft(Conv2d(channels, 3, activation="sigmoid"), x)}


def enet(draft: Draft, *, size: int = 512, channels: int = 3, classes: int = 19, width: float = 1.0) -> Outputs:
    """ENet (Paszke et al. 2016): bottlenecks with PReLU, some dilated or split; a softmax over the classes at each pixel.

    Where the paper unpools by the places of maxima, the nearest value is repeated.
    """
    x = draft.input("image", channels, size, size)
    stem = draft(Conv2d(wide(13, width), 3, 2, padding=1, bias=False, start="relu"), x)
    x = draft(BN("prelu"), draft(Concat(), stem, draft(MaxPool(), x)))
    x = _down(draft, x, wide(64, width))
    for _ in range(4):
        x = _bottleneck(draft, x, 1, 1)
    x = _down(draft, x, wide(128, width))
    for dilation, split in BOTTLENECKS + BOTTLENECKS[1:]:
        x = _bottleneck(draft, x, dilation, split)
    for filters, repeats in ((wide(64, width), 2), (wide(16, width), 1)):
        x = _up(draft, x, filters)
        for _ in range(repeats):
            x = _bottleneck(draft, x, 1, 1)
    return {"probabilities": draft(OutputLayer(), draft(Conv2dTranspose(classes), x))}


def _bottleneck(draft: Draft, x: Tensor, dilation: int, split: int) -> Tensor:
    inner = max(1, x.dims[0] // 4)
    y = draft.conv_bn(x, inner, 1, activation="prelu")
    if split > 1:
        y = draft(Conv2d(inner, (split, 1), bias=False, start="relu"), y)
        y = draft.conv_bn(y, inner, (1, split), activation="prelu")
    else:
        y = draft.conv_bn(y, inner, activation="prelu", dilation=dilation)
    return _join(draft, x, draft.conv_bn(y, x.dims[0], 1, activation="linear", start=DAMPED))


def _down(draft: Draft, x: Tensor, filters: int) -> Tensor:
    """Half as large, with more channels: a bottleneck of stride 2 beside a pool that fills up with zeros."""
    net, inner, more = draft.net, max(1, x.dims[0] // 4), filters - x.dims[0]
    y = draft.conv_bn(x, inner, 2, 2, "prelu")
    y = draft.conv_bn(draft.conv_bn(y, inner, activation="prelu"), filters, 1, activation="linear", start=DAMPED)
    pooled = draft(MaxPool(), x)
    pads = [0, 0, 0, 0, 0, more, 0, 0]
    filled = draft.block("ZeroPad", lambda: net.add_node("Pad", [pooled, net.add_constant(pads)]))
    return _join(draft, filled, y)


def _up(draft: Draft, x: Tensor, filters: int) -> Tensor:
    """Twice as large, with fewer channels: a transposed convolution beside repeated values."""
    inner = max(1, x.dims[0] // 4)
    beside = draft(UpSampling(), draft.conv_bn(x, filters, 1, activation="linear"))
    y = draft.conv_bn(x, inner, 1, activation="prelu")
    y = draft(BN("prelu"), draft(Conv2dTranspose(inner, 3, bias=False, start="relu"), y))
    return _join(draft, beside, draft.conv_bn(y, filters, 1, activation="linear", start=DAMPED))


def _join(draft: Draft, x: Tensor, y: Tensor) -> Tensor:
    return draft(Activation("prelu"), draft.residual(x, draft(Dropout(0.1), y)))
