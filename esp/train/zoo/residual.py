"""Networks of residual and dense connections: ResNet, DenseNet, SqueezeNet."""

from esp.train.layers import BN, AveragePool, Concat, Conv2d, Dropout, GlobalAveragePool, MaxPool, OutputLayer
from esp.train.network import Tensor
from esp.train.zoo.draft import DAMPED, Draft, Outputs, chosen, wide

RESNET_BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
SQUEEZENET = {"1.0": (96, 7, (2, 6)), "1.1": (64, 3, (1, 3))}  # first filters, their size, modules before a pool
DENSENET_BLOCKS = {121: (6, 12, 24, 16), 169: (6, 12, 32, 32), 201: (6, 12, 48, 32)}


def resnet(
    draft: Draft,
    *,
    depth: int = 50,
    size: int = 224,
    channels: int = 3,
    classes: int = 1000,
    width: float = 1.0,
    inner: int = 1,
    conv_bias: bool = False,
) -> Outputs:
    """ResNet version 1 of 18, 34, 50, 101 or 152 layers (He et al. 2016).

    ``inner`` of 2 makes the bottlenecks twice as wide inside (Zagoruyko and Komodakis 2016). ``conv_bias`` gives the 1 x 1 convolutions of the bottlenecks a bias and the first of them the stride, as Gluon has them.
    """
    x = draft.input("image", channels, size, size)
    x = draft.conv_bn(x, wide(64, width), 7, 2, padding=3)
    x = draft(MaxPool(3, 2, 1), x)
    for stage, blocks in enumerate(chosen(RESNET_BLOCKS, depth, "depth")):
        for block in range(blocks):
            stride = 2 if stage and not block else 1
            filters = wide(64 * 2**stage, width)
            x = _bottleneck(draft, x, filters, inner, stride, conv_bias) if depth >= 50 else _basic(draft, x, filters, stride)
    return draft.classes(x, classes)


def _basic(draft: Draft, x: Tensor, filters: int, stride: int) -> Tensor:
    y = draft.conv_bn(x, filters, 3, stride, padding=1)
    y = draft.conv_bn(y, filters, activation="linear", start=DAMPED)
    return draft.residual(_shortcut(draft, x, filters, stride), y, "relu")


def _bottleneck(draft: Draft, x: Tensor, filters: int, inner: int, stride: int, conv_bias: bool) -> Tensor:
    first, second = (stride, 1) if conv_bias else (1, stride)
    y = draft.conv_bn(x, inner * filters, 1, first, bias=conv_bias)
    y = draft.conv_bn(y, inner * filters, 3, second, padding=1)
    y = draft.conv_bn(y, 4 * filters, 1, activation="linear", start=DAMPED, bias=conv_bias)
    return draft.residual(_shortcut(draft, x, 4 * filters, stride), y, "relu")


def _shortcut(draft: Draft, x: Tensor, filters: int, stride: int) -> Tensor:
    """``x``, projected where its shape is not that of the branch."""
    if stride == 1 and x.dims[0] == filters:
        return x
    return draft.conv_bn(x, filters, 1, stride, "linear")


def densenet(
    draft: Draft,
    *,
    depth: int = 121,
    size: int = 224,
    channels: int = 3,
    classes: int = 1000,
    growth: int = 32,
) -> Outputs:
    """DenseNet of 121, 169 or 201 layers with bottlenecks, half of the channels kept between blocks (Huang et al. 2017)."""
    x = draft.input("image", channels, size, size)
    x = draft.conv_bn(x, 2 * growth, 7, 2, padding=3)
    x = draft(MaxPool(3, 2, 1), x)
    for at, layers in enumerate(chosen(DENSENET_BLOCKS, depth, "depth")):
        if at:
            x = draft(Conv2d(x.dims[0] // 2, 1, bias=False, start="relu"), draft(BN("relu"), x))
            x = draft(AveragePool(), x)
        for _ in range(layers):
            y = draft(Conv2d(4 * growth, 1, bias=False, start="relu"), draft(BN("relu"), x))
            y = draft(Conv2d(growth, bias=False, start="relu"), draft(BN("relu"), y))
            x = draft(Concat(), x, y)
    return draft.classes(draft(BN("relu"), x), classes)


def squeezenet(
    draft: Draft, *, version: str = "1.1", size: int = 224, channels: int = 3, classes: int = 1000, width: float = 1.0
) -> Outputs:
    """SqueezeNet 1.0 or 1.1 (Iandola et al. 2016)."""
    x = draft.input("image", channels, size, size)
    filters, window, pools = chosen(SQUEEZENET, version, "version")
    x = draft(MaxPool(3, 2, "same"), draft.conv(x, wide(filters, width), window, 2, padding="valid"))
    for at, squeezed in enumerate((16, 16, 32, 32, 48, 48, 64, 64)):
        x = _fire(draft, x, wide(squeezed, width))
        x = draft(MaxPool(3, 2, "same"), x) if at in pools else x
    x = draft.conv(draft(Dropout(0.5), x), classes, 1)
    return {"probabilities": draft(OutputLayer(), draft(GlobalAveragePool(), x))}


def _fire(draft: Draft, x: Tensor, squeezed: int) -> Tensor:
    x = draft.conv(x, squeezed, 1)
    return draft(Concat(), draft.conv(x, 4 * squeezed, 1), draft.conv(x, 4 * squeezed, 3))
