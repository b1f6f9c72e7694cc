"""Networks of parallel convolutions: Inception version 1, 2 and 3, and Xception."""

from collections.abc import Sequence
from dataclasses import dataclass

from esp.train.layers import (
    BN,
    Activation,
    AveragePool,
    Concat,
    Dropout,
    GlobalAveragePool,
    LayerSettings,
    MaxPool,
    SeparableConv2d,
)
from esp.train.layers.spatial import Padding
from esp.train.network import Tensor
from esp.train.zoo.classic import respond
from esp.train.zoo.draft import DAMPED, Draft, Outputs, wide

# Filters of 1x1; 3x3 after its reduction; 5x5 after its reduction; 1x1 after the pool. None = a pool of stride 2.
GOOGLENET: Sequence[tuple[int, ...] | None] = (
    (64, 96, 128, 16, 32, 32),
    (128, 128, 192, 32, 96, 64),
    None,
    (192, 96, 208, 16, 48, 64),
    (160, 112, 224, 24, 64, 64),
    (128, 128, 256, 24, 64, 64),
    (112, 144, 288, 32, 64, 64),
    (256, 160, 320, 32, 128, 128),
    None,
    (256, 160, 320, 32, 128, 128),
    (384, 192, 384, 48, 128, 128),
)
# Filters of 1x1 (0 = the block halves the picture), 3x3 and double 3x3 after their reductions, and after the pool.
BN_INCEPTION: Sequence[tuple[int, ...]] = (
    (64, 64, 64, 64, 96, 32),
    (64, 64, 96, 64, 96, 64),
    (0, 128, 160, 64, 96, 0),
    (224, 64, 96, 96, 128, 128),
    (192, 96, 128, 96, 128, 128),
    (160, 128, 160, 128, 160, 96),
    (96, 128, 192, 160, 192, 96),
    (0, 128, 192, 192, 256, 0),
    (352, 192, 320, 160, 224, 128),
    (352, 192, 320, 192, 224, 128),
)


def inception_v1(draft: Draft, *, size: int = 224, channels: int = 3, classes: int = 1000, width: float = 1.0) -> Outputs:
    """GoogLeNet (Szegedy et al. 2015) without its side classifiers."""
    x = draft.input("image", channels, size, size)
    x = draft(MaxPool(3, 2, "same"), draft.conv(x, wide(64, width), 7, 2, padding=3))
    x = respond(draft, x, 1.0)
    x = draft.conv(draft.conv(x, wide(64, width), 1), wide(192, width))
    x = draft(MaxPool(3, 2, "same"), respond(draft, x, 1.0))
    for block in GOOGLENET:
        x = draft(MaxPool(3, 2, "same"), x) if block is None else _block_v1(draft, x, [wide(filters, width) for filters in block])
    return draft.classes(draft(Dropout(0.4), draft(GlobalAveragePool(), x)), classes, pooled=False)


def _block_v1(draft: Draft, x: Tensor, block: Sequence[int]) -> Tensor:
    one, reduced3, three, reduced5, five, pooled = block
    return draft(
        Concat(),
        draft.conv(x, one, 1),
        draft.conv(draft.conv(x, reduced3, 1), three, 3),
        draft.conv(draft.conv(x, reduced5, 1), five, 5),
        draft.conv(draft(MaxPool(3, 1, "same"), x), pooled, 1),
    )


def inception_v2(draft: Draft, *, size: int = 224, channels: int = 3, classes: int = 1000, width: float = 1.0) -> Outputs:
    """GoogLeNet with batch normalisation, 5 x 5 made of two 3 x 3 (Ioffe and Szegedy 2015)."""
    x = draft.input("image", channels, size, size)
    x = draft(MaxPool(3, 2, "same"), draft.conv_bn(x, wide(64, width), 7, 2, padding=3))
    x = draft.conv_bn(draft.conv_bn(x, wide(64, width), 1), wide(192, width))
    x = draft(MaxPool(3, 2, "same"), x)
    for at, block in enumerate(BN_INCEPTION):
        x = _block_v2(draft, x, [wide(filters, width) if filters else 0 for filters in block], at == len(BN_INCEPTION) - 1)
    return draft.classes(x, classes)


def _block_v2(draft: Draft, x: Tensor, block: Sequence[int], is_last: bool) -> Tensor:
    one, reduced3, three, reduced33, double, pooled = block
    stride = 1 if one else 2
    parts = [draft.conv_bn(x, one, 1)] if one else []
    parts.append(draft.conv_bn(draft.conv_bn(x, reduced3, 1), three, 3, stride))
    y = draft.conv_bn(draft.conv_bn(x, reduced33, 1), double)
    parts.append(draft.conv_bn(y, double, 3, stride))
    pool: LayerSettings = MaxPool(3, stride, "same") if is_last or not one else AveragePool(3, stride, "same")
    parts.append(draft.conv_bn(draft(pool, x), pooled, 1) if pooled else draft(pool, x))
    return draft(Concat(), *parts)


def inception_v3(draft: Draft, *, size: int = 299, channels: int = 3, classes: int = 1000, width: float = 1.0) -> Outputs:
    """Inception version 3 (Szegedy et al. 2016) without its side classifier."""
    three = _Three(draft, width)
    x = draft.input("image", channels, size, size)
    x = three.conv(three.conv(three.conv(x, 32, 3, 2, "valid"), 32, 3, 1, "valid"), 64)
    x = draft(MaxPool(3, 2), x)
    x = three.conv(three.conv(x, 80, 1), 192, 3, 1, "valid")
    x = draft(MaxPool(3, 2), x)
    for pooled in (32, 64, 64):
        x = three.block_a(x, pooled)
    x = three.block_b(x)
    for inner in (128, 160, 160, 192):
        x = three.block_c(x, inner)
    x = three.block_d(x)
    for _ in range(2):
        x = three.block_e(x)
    return draft.classes(draft(Dropout(0.5), draft(GlobalAveragePool(), x)), classes, pooled=False)


@dataclass(frozen=True, slots=True)
class _Three:
    """The blocks of Inception version 3, by the letters of its figures."""

    draft: Draft
    width: float

    def conv(self, x: Tensor, filters: int, size: int | tuple[int, int] = 3, stride: int = 1, padding: Padding = "same") -> Tensor:
        return self.draft.conv_bn(x, wide(filters, self.width), size, stride, padding=padding, epsilon=1e-3)

    def pooled(self, x: Tensor, filters: int) -> Tensor:
        return self.conv(self.draft(AveragePool(3, 1, "same"), x), filters, 1)

    def block_a(self, x: Tensor, pooled: int) -> Tensor:
        five = self.conv(self.conv(x, 48, 1), 64, 5)
        double = self.conv(self.conv(self.conv(x, 64, 1), 96), 96)
        return self.draft(Concat(), self.conv(x, 64, 1), five, double, self.pooled(x, pooled))

    def block_b(self, x: Tensor) -> Tensor:
        double = self.conv(self.conv(self.conv(x, 64, 1), 96), 96, 3, 2, "valid")
        return self.draft(Concat(), self.conv(x, 384, 3, 2, "valid"), double, self.draft(MaxPool(3, 2), x))

    def block_c(self, x: Tensor, inner: int) -> Tensor:
        seven = self.conv(self.conv(self.conv(x, inner, 1), inner, (1, 7)), 192, (7, 1))
        double = self.conv(self.conv(self.conv(x, inner, 1), inner, (7, 1)), inner, (1, 7))
        double = self.conv(self.conv(double, inner, (7, 1)), 192, (1, 7))
        return self.draft(Concat(), self.conv(x, 192, 1), seven, double, self.pooled(x, 192))

    def block_d(self, x: Tensor) -> Tensor:
        three = self.conv(self.conv(x, 192, 1), 320, 3, 2, "valid")
        seven = self.conv(self.conv(self.conv(x, 192, 1), 192, (1, 7)), 192, (7, 1))
        return self.draft(Concat(), three, self.conv(seven, 192, 3, 2, "valid"), self.draft(MaxPool(3, 2), x))

    def block_e(self, x: Tensor) -> Tensor:
        three, double = self.conv(x, 384, 1), self.conv(self.conv(x, 448, 1), 384)
        split = [self.conv(part, 384, size) for part in (three, double) for size in ((1, 3), (3, 1))]
        return self.draft(Concat(), self.conv(x, 320, 1), *split, self.pooled(x, 192))


def xception(
    draft: Draft, *, size: int = 299, channels: int = 3, classes: int = 1000, width: float = 1.0, middle: int = 8
) -> Outputs:
    """Xception (Chollet 2017): separable convolutions with residual connections, ``middle`` blocks between its ends."""
    x = draft.input("image", channels, size, size)
    x = draft.conv_bn(x, wide(32, width), 3, 2, padding="valid", epsilon=1e-3)
    x = draft.conv_bn(x, wide(64, width), padding="valid", epsilon=1e-3)
    for at, filters in enumerate((128, 256, 728)):
        x = _shrinking(draft, x, (wide(filters, width), wide(filters, width)), rectified=at > 0)
    for _ in range(middle):
        y = x
        for last in (False, False, True):
            y = _separable(draft, draft(Activation("relu"), y), wide(728, width), DAMPED if last else 1.0)
        x = draft.residual(y, x)
    x = _shrinking(draft, x, (wide(728, width), wide(1024, width)), rectified=True)
    for filters in (1536, 2048):
        x = draft(Activation("relu"), _separable(draft, x, wide(filters, width)))
    return draft.classes(x, classes)


def _separable(draft: Draft, x: Tensor, filters: int, start: float = 1.0) -> Tensor:
    return draft(BN(epsilon=1e-3, start=start), draft(SeparableConv2d(filters, bias=False, start="relu"), x))


def _shrinking(draft: Draft, x: Tensor, filters: tuple[int, int], rectified: bool) -> Tensor:
    """Two separable convolutions and a pool, beside a 1 x 1 convolution of stride 2."""
    beside = draft.conv_bn(x, filters[1], 1, 2, "linear", epsilon=1e-3)
    y = _separable(draft, draft(Activation("relu"), x) if rectified else x, filters[0])
    y = _separable(draft, draft(Activation("relu"), y), filters[1], DAMPED)
    return draft.residual(draft(MaxPool(3, 2, "same"), y), beside)
