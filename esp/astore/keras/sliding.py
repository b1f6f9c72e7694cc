"""What slides over an input: kernel, strides, dilation and Keras's paddings as explicit pads."""

from collections.abc import Sequence
from dataclasses import dataclass

from esp.astore.keras.call import Call
from esp.astore.keras.values import Held, Perm


@dataclass(frozen=True, slots=True)
class Window:
    """One size a spatial axis."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    padding: str

    def pads(self, sizes: Sequence[int]) -> tuple[int, ...]:
        """Explicit pads, all begins and then all ends, for an input of these sizes; of an odd number the end gets more."""
        extents = [(size - 1) * dilation + 1 for size, dilation in zip(self.kernel, self.dilations)]
        if self.padding == "causal":
            return extents[0] - 1, 0
        if self.padding == "valid":
            return (0,) * (2 * len(sizes))
        axes = zip(sizes, self.strides, extents)
        needed = [max((-(-size // stride) - 1) * stride + extent - size, 0) for size, stride, extent in axes]
        return *(pad // 2 for pad in needed), *(pad - pad // 2 for pad in needed)


def window(call: Call, axes: int, kernel: tuple[int, ...], paddings: Sequence[str] = ("valid", "same")) -> Window:
    """The window of a convolution as its settings say."""
    strides = call.settings.sizes("strides", axes, 1)
    dilations = call.settings.sizes("dilation_rate", axes, 1)
    return Window(kernel, strides, dilations, call.settings.choice("padding", paddings, "valid"))


def image(call: Call, axes: int, value: Held | None = None) -> tuple[str, Perm, list[int]]:
    """The input held channels first, how it is held so, and the sizes of its spatial axes."""
    x = call.floating(value)
    if len(x.shape) != axes + 2:
        raise call.refused(f"its input has {len(x.shape)} axes, {axes + 2} are wanted", "mend the model")
    perm = call.image_perm(axes + 2)
    name = call.tensor(x, perm)
    return name, perm, [size for size in call.build.shapes[name][2:] if isinstance(size, int)]


def spatial_axes(call: Call, axes: int) -> range:
    """The spatial axes of a Keras tensor as the layer's data_format places them."""
    if len(call.x.shape) != axes + 2:
        raise call.refused(f"its input has {len(call.x.shape)} axes, {axes + 2} are wanted", "mend the model")
    start = 1 if call.settings.is_channels_last() else 2
    return range(start, start + axes)
