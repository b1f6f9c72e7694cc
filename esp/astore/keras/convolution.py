"""Convolutions: plain, depthwise, separable and transposed, over one to three axes."""

from esp.astore.graph import Array
from esp.astore.hdf5 import keras1, layouts
from esp.astore.keras.activations import activate
from esp.astore.keras.call import Call
from esp.astore.keras.sliding import Window, image, window
from esp.astore.keras.values import Held

_HARMLESS = ("input_dim", "rank")


def conv(call: Call, axes: int) -> Held:
    """Convolution, grouped and dilated too; ``axes`` are its spatial ones."""
    settings = call.settings
    filters, group = settings.whole("filters"), settings.whole("groups", 1)
    paddings = ("valid", "same", "causal") if axes == 1 else ("valid", "same")
    slide = window(call, axes, settings.sizes("kernel_size", axes), paddings)
    settings.ignore(*_HARMLESS)
    kernel, bias = _kernel_and_bias(call, axes)
    name, perm, sizes = image(call, axes)
    wanted = (*slide.kernel, call.channels(name) // group, filters)
    if kernel.shape != wanted:
        raise call.refused(f"its kernel is {list(kernel.shape)}, wanted {list(wanted)}", "give the file of this model")
    name = _slid(call, name, layouts.conv(kernel), bias, slide, slide.pads(sizes), group)
    return activate(call, call.held(name, perm), settings.get("activation"))


def depthwise(call: Call, axes: int) -> Held:
    """A convolution of every channel by itself."""
    slide = window(call, axes, call.settings.sizes("kernel_size", axes))
    call.settings.ignore("depth_multiplier", "filters", "groups", *_HARMLESS)
    _refuse_theano(call)
    kernel, bias = _biased(call, "depthwise_kernel")
    name, perm, sizes = image(call, axes)
    name = _slid(call, name, layouts.depthwise(kernel), bias, slide, slide.pads(sizes), call.channels(name), "depthwise_kernel")
    return activate(call, call.held(name, perm), call.settings.get("activation"))


def separable(call: Call, axes: int) -> Held:
    """A depthwise convolution and one of kernel 1 behind it."""
    slide = window(call, axes, call.settings.sizes("kernel_size", axes))
    call.settings.ignore("depth_multiplier", "filters", "groups", *_HARMLESS)
    _refuse_theano(call)
    depth, point, bias = _separable_weights(call)
    name, perm, sizes = image(call, axes)
    name = _slid(call, name, layouts.depthwise(depth), None, slide, slide.pads(sizes), call.channels(name), "depthwise_kernel")
    one = (1,) * axes
    name = _slid(call, name, layouts.conv(point), bias, Window(one, one, one, "valid"), (0, 0) * axes, 1, "pointwise_kernel")
    return activate(call, call.held(name, perm), call.settings.get("activation"))


def transposed(call: Call, axes: int) -> Held:
    """Transposed convolution; "same" makes sizes * strides."""
    settings = call.settings
    slide = window(call, axes, settings.sizes("kernel_size", axes))
    extra = settings.sizes("output_padding", axes, least=0) if settings.get("output_padding") is not None else None
    settings.ignore("filters", "output_shape", "groups", *_HARMLESS)
    if settings.get("groups", 1) != 1:
        raise settings.refused("groups", "a transposed convolution in groups has no rule", "use 1")
    kernel, bias = _transposed_weights(call)
    name, perm, _ = image(call, axes)
    ends = [_transposed_ends(slide, axis, None if extra is None else extra[axis]) for axis in range(axes)]
    name = call.build.add(
        "ConvTranspose",
        name,
        *_named(call, layouts.conv_transpose(kernel), bias, "kernel"),
        dilations=slide.dilations,
        kernel_shape=slide.kernel,
        output_padding=tuple(end[2] for end in ends),
        pads=(*(end[0] for end in ends), *(end[1] for end in ends)),
        strides=slide.strides,
    )
    return activate(call, call.held(name, perm), settings.get("activation"))


def _transposed_ends(slide: Window, axis: int, extra: int | None) -> tuple[int, int, int]:
    """What one axis loses at its begin and end and what is added behind it (pads and output padding of ConvTranspose).

    Without ``extra`` (output_padding) "same" gives sizes * strides, "valid" all that a kernel reaches, a stride at least.
    """
    stride, extent = slide.strides[axis], (slide.kernel[axis] - 1) * slide.dilations[axis] + 1
    if slide.padding == "valid":
        return 0, 0, max(stride - extent, 0) if extra is None else extra
    room = stride + extent - 2 if extra is None else extent + extent % 2 - 2 + extra
    begin = extent - 1 - min(-(-room // 2), extent - 1)
    end = 2 * (extent - 1) - begin - room
    return begin, max(end, 0), max(-end, 0)


def _slid(
    call: Call,
    name: str,
    kernel: Array,
    bias: Array | None,
    slide: Window,
    pads: tuple[int, ...],
    group: int,
    what: str = "kernel",
) -> str:
    return call.build.add(
        "Conv",
        name,
        *_named(call, kernel, bias, what),
        dilations=slide.dilations,
        group=group,
        kernel_shape=slide.kernel,
        pads=pads,
        strides=slide.strides,
    )


def _named(call: Call, kernel: Array, bias: Array | None, what: str) -> list[str]:
    named = [call.build.weight(what, kernel)]
    return named if bias is None else [*named, call.build.weight("bias", bias)]


def _biased(call: Call, kernel: str) -> tuple[Array, Array | None]:
    if not call.settings.flag("use_bias", True):
        return call.weights(kernel)[0], None
    found, bias = call.weights(kernel, "bias")
    return found, bias


def _kernel_and_bias(call: Call, axes: int) -> tuple[Array, Array | None]:
    """Kernel [axes..., in, out] and bias, whatever Keras wrote them."""
    kernel, bias = _biased(call, "kernel")
    if call.origin.generation == 1:
        if axes == 1:
            kernel = keras1.keras1_conv1d(kernel, call.settings.sizes("kernel_size", 1)[0], call.settings.whole("filters"))
        else:
            kernel = keras1.keras1_conv(kernel, not call.settings.is_channels_last())
    return (keras1.flipped(kernel) if call.origin.backend == "theano" else kernel), bias


def _transposed_weights(call: Call) -> tuple[Array, Array | None]:
    kernel, bias = _biased(call, "kernel")
    if call.origin.generation == 1:
        kernel = keras1.keras1_conv_transpose(kernel, not call.settings.is_channels_last())
    return (keras1.flipped(kernel) if call.origin.backend == "theano" else kernel), bias


def _separable_weights(call: Call) -> tuple[Array, Array, Array | None]:
    is_biased = call.settings.flag("use_bias", True)
    depth, point, bias = call.weights("depthwise_kernel", "pointwise_kernel", "bias" if is_biased else "")
    if call.origin.generation == 1 and not call.settings.is_channels_last():
        depth, point = keras1.keras1_conv(depth, True), keras1.keras1_conv(point, True)
    return depth, point, bias if is_biased else None


def _refuse_theano(call: Call) -> None:
    if call.origin.backend == "theano":
        raise call.refused("Theano's depthwise kernels have no rule", "save it with another backend of Keras")
