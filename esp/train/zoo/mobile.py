"""Networks made for small devices: MobileNet, ShuffleNet, EfficientNet."""

import math

from esp.train.layers import BN, Activation, AveragePool, Concat, Conv2d, Dropout, GlobalAveragePool, MaxPool, Multiply
from esp.train.network import Tensor
from esp.train.zoo.draft import DAMPED, Draft, Outputs, chosen, divisible, wide

MOBILENET = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *((512, 1),) * 5, (1024, 2), (1024, 1))
MOBILENET_V2 = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
SHUFFLENET = {1: 144, 2: 200, 3: 240, 4: 272, 8: 384}  # filters of the first stage, by the groups
SHUFFLENET_V2 = {0.5: (48, 96, 192, 1024), 1.0: (116, 232, 464, 1024), 1.5: (176, 352, 704, 1024), 2.0: (244, 488, 976, 2048)}
STAGES = (4, 8, 4)
# Expansion, filters, repeats, stride, kernel size.
EFFICIENTNET = (
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)


def mobilenet(draft: Draft, *, size: int = 224, channels: int = 3, classes: int = 1000, width: float = 1.0) -> Outputs:
    """MobileNet (Howard et al. 2017)."""
    x = draft.conv_bn(draft.input("image", channels, size, size), wide(32, width), 3, 2, "relu6")
    for filters, stride in MOBILENET:
        x = draft.conv_bn(draft.depthwise_bn(x, 3, stride, "relu6"), wide(filters, width), 1, activation="relu6")
    return draft.classes(x, classes)


def mobilenet_v2(draft: Draft, *, size: int = 224, channels: int = 3, classes: int = 1000, width: float = 1.0) -> Outputs:
    """MobileNet version 2 (Sandler et al. 2018); ``width`` 0.35 to 1.4 in the paper."""
    x = draft.conv_bn(draft.input("image", channels, size, size), divisible(32 * width), 3, 2, "relu6")
    for expansion, filters, repeats, first in MOBILENET_V2:
        for at in range(repeats):
            x = _inverted(draft, x, expansion, divisible(filters * width), 1 if at else first)
    x = draft.conv_bn(x, divisible(1280 * max(width, 1.0)), 1, activation="relu6")
    return draft.classes(x, classes)


def _inverted(draft: Draft, x: Tensor, expansion: int, filters: int, stride: int) -> Tensor:
    """Wide in the middle, narrow at its ends, between which it is residual."""
    y = draft.conv_bn(x, x.dims[0] * expansion, 1, activation="relu6") if expansion > 1 else x
    y = draft.depthwise_bn(y, 3, stride, "relu6", padding=1)
    is_residual = stride == 1 and x.dims[0] == filters
    y = draft.conv_bn(y, filters, 1, activation="linear", start=DAMPED if is_residual else 1.0)
    return draft.residual(x, y) if is_residual else y


def shufflenet(
    draft: Draft, *, size: int = 224, channels: int = 3, classes: int = 1000, width: float = 1.0, groups: int = 3
) -> Outputs:
    """ShuffleNet (Zhang et al. 2018) with 1, 2, 3, 4 or 8 groups."""
    x = draft.conv_bn(draft.input("image", channels, size, size), 24, 3, 2, padding=1)
    x = draft(MaxPool(3, 2, 1), x)
    by = 4 * groups
    for stage, units in enumerate(STAGES):
        filters = max(by, wide(chosen(SHUFFLENET, groups, "groups") * 2**stage, width) // by * by)
        for unit in range(units):
            x = _shuffle_unit(draft, x, filters, groups, is_first=not unit, is_stem=not stage and not unit)
    return draft.classes(x, classes)


def _shuffle_unit(draft: Draft, x: Tensor, filters: int, groups: int, is_first: bool, is_stem: bool) -> Tensor:
    made = filters - x.dims[0] if is_first else filters
    y = draft.conv_bn(x, filters // 4, 1, groups=1 if is_stem else groups)
    y = draft.depthwise_bn(shuffle(draft, y, groups), 3, 2 if is_first else 1, "linear", padding=1)
    if not is_first:
        return draft.residual(x, draft.conv_bn(y, made, 1, activation="linear", groups=groups, start=DAMPED), "relu")
    y = draft.conv_bn(y, made, 1, activation="linear", groups=groups)
    return draft(Activation("relu"), draft(Concat(), draft(AveragePool(3, 2, 1), x), y))


def shuffle(draft: Draft, x: Tensor, groups: int) -> Tensor:
    """The channels dealt out anew, so that each group feeds every group after it."""
    channels, rows, columns = x.dims
    net = draft.net

    def deal() -> Tensor:
        split = net.add_node("Reshape", [x, net.add_constant([0, groups, channels // groups, rows, columns])])
        dealt = net.add_node("Transpose", [split], perm=(0, 2, 1, 3, 4))
        return net.add_node("Reshape", [dealt, net.add_constant([0, channels, rows, columns])])

    return draft.block("Shuffle", deal)


def shufflenet_v2(draft: Draft, *, size: int = 224, channels: int = 3, classes: int = 1000, width: float = 1.0) -> Outputs:
    """ShuffleNet version 2 (Ma et al. 2018); widths of the paper are 0.5, 1, 1.5 and 2."""
    widths = SHUFFLENET_V2.get(width) or (*(2 * wide(58 * 2**at, width) for at in range(3)), wide(1024, width))
    x = draft.conv_bn(draft.input("image", channels, size, size), 24, 3, 2, padding=1)
    x = draft(MaxPool(3, 2, 1), x)
    for filters, units in zip(widths, STAGES):
        for unit in range(units):
            x = _split_unit(draft, x, filters // 2) if unit else _double_unit(draft, x, filters // 2)
    return draft.classes(draft.conv_bn(x, widths[-1], 1), classes)


def _branch(draft: Draft, x: Tensor, filters: int, stride: int) -> Tensor:
    y = draft.depthwise_bn(draft.conv_bn(x, filters, 1), 3, stride, "linear", padding=1)
    return draft.conv_bn(y, filters, 1)


def _double_unit(draft: Draft, x: Tensor, filters: int) -> Tensor:
    beside = draft.conv_bn(draft.depthwise_bn(x, 3, 2, "linear", padding=1), filters, 1)
    return shuffle(draft, draft(Concat(), beside, _branch(draft, x, filters, 2)), 2)


def _split_unit(draft: Draft, x: Tensor, filters: int) -> Tensor:
    net = draft.net
    kept, worked = draft.block(
        "Split", lambda: net.add_nodes("Split", [x, net.add_constant([filters, filters])], [True, True], axis=1)
    )
    return shuffle(draft, draft(Concat(), kept, _branch(draft, worked, filters, 1)), 2)


def efficientnet(
    draft: Draft,
    *,
    size: int = 224,
    channels: int = 3,
    classes: int = 1000,
    width: float = 1.0,
    depth: float = 1.0,
    dropout: float = 0.2,
) -> Outputs:
    """EfficientNet (Tan and Le 2019): B0, and with ``width``, ``depth`` and ``size`` scaled B1 to B7."""
    x = draft.conv_bn(draft.input("image", channels, size, size), divisible(32 * width), 3, 2, "swish", padding=1, epsilon=1e-3)
    for expansion, filters, repeats, first, window in EFFICIENTNET:
        for at in range(math.ceil(repeats * depth)):
            x = _squeezed(draft, x, expansion, divisible(filters * width), 1 if at else first, window)
    x = draft.conv_bn(x, divisible(1280 * width), 1, activation="swish", epsilon=1e-3)
    return draft.classes(draft(Dropout(dropout), draft(GlobalAveragePool(), x)), classes, pooled=False)


def _squeezed(draft: Draft, x: Tensor, expansion: int, filters: int, stride: int, window: int) -> Tensor:
    """An inverted residual whose channels are weighed by what all of the picture says (Hu et al. 2018)."""
    y = draft.conv_bn(x, x.dims[0] * expansion, 1, activation="swish", epsilon=1e-3) if expansion > 1 else x
    y = draft.depthwise_bn(y, window, stride, "swish", padding=window // 2, epsilon=1e-3)
    weigh = draft(GlobalAveragePool(keep_axes=True), y)
    weigh = draft(Conv2d(max(1, x.dims[0] // 4), 1, activation="swish"), weigh)
    weigh = draft(Conv2d(y.dims[0], 1, activation="sigmoid"), weigh)
    y = draft(Conv2d(filters, 1, bias=False, start="relu"), draft(Multiply(), y, weigh))
    is_residual = stride == 1 and x.dims[0] == filters
    y = draft(BN(epsilon=1e-3, start=2 * DAMPED if is_residual else 2.0), y)  # the weighing about halves it
    return draft.residual(x, y) if is_residual else y
