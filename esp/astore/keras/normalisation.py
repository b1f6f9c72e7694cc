"""Layers that bring numbers to mean 0 and deviation 1, by statistics of training or of the row itself."""

import numpy as np

from esp.astore.graph import Array
from esp.astore.hdf5 import layouts
from esp.astore.keras import values
from esp.astore.keras.call import Call
from esp.astore.keras.elementwise import affine
from esp.astore.keras.merging import normalised
from esp.astore.keras.values import Held, Perm
from esp.astore.ops.dims import of_rows

_TRAINING = ("fused", "gamma_init", "beta_init", "momentum", "renorm_momentum", "synchronized", "mode")


def batch_normalization(call: Call) -> Held:
    """By the moving statistics, over any one axis."""
    settings, x = call.settings, call.floating()
    rank, epsilon = call.rank(2, x), settings.number("epsilon", 1e-3)
    if settings.get("mode", 0) not in (0, None):
        raise settings.refused("mode", "only mode 0 scores by the statistics of training", "train it with mode 0")
    settings.ignore(*_TRAINING)
    axis = _one_axis(call, rank)
    has_scale, has_center = settings.flag("scale", True), settings.flag("center", True)
    names = ("gamma" if has_scale else "", "beta" if has_center else "", "moving_mean", "moving_variance")
    arrays = [array for array, name in zip(call.weights(*names), names) if name]
    gamma, beta, mean, variance = layouts.batch_norm(arrays, has_scale, has_center)
    perm, _ = values.favourite(call.build, x)
    words = ("gamma" if has_scale else "ones", "beta" if has_center else "zeros", "moving_mean", "moving_variance")
    weights = [call.build.weight(word, array) for word, array in zip(words, (gamma, beta, mean, variance))]
    if rank == 3 and perm[-1] == axis and perm[0] == 0:  # sequences stay as they are held, their steps as rows
        name, channels = call.tensor(x, perm), call.size(axis, x)
        rows = values.reshape(call.build, name, (of_rows(call.size(perm[1], x)), channels))
        normal = call.build.add("BatchNormalization", rows, *weights, epsilon=epsilon)
        return call.held(values.reshape(call.build, normal, call.build.shapes[name]), perm)
    if perm.index(axis) != 1:
        perm = (0, axis, *(other for other in range(1, rank) if other != axis))
    return call.held(call.build.add("BatchNormalization", call.tensor(x, perm), *weights, epsilon=epsilon), perm)


def layer_normalization(call: Call) -> Held:
    """By the row's own mean and variance over some axes."""
    settings, x = call.settings, call.floating()
    axes = _axes(call, len(x.shape))
    epsilon = settings.number("epsilon", 1e-3)
    if settings.flag("rms_scaling"):
        raise settings.refused("rms_scaling", "it is no layer normalisation", "use RMSNormalization")
    gamma, beta = _scale_and_center(call)
    perm = _at_the_end(call, x, axes)
    shape = [call.size(axis, x) for axis in axes]
    scale = np.ones(shape, np.float32) if gamma is None else gamma.reshape(shape)
    names = [call.build.weight("ones" if gamma is None else "gamma", scale)]
    if beta is not None:
        names.append(call.build.weight("beta", beta.reshape(shape)))
    place = len(perm) - len(axes)
    return call.held(call.build.add("LayerNormalization", call.tensor(x, perm), *names, axis=place, epsilon=epsilon), perm)


def _at_the_end(call: Call, x: Held, axes: tuple[int, ...]) -> Perm:
    """A layout with the axes last, in order; the one that is held where it is so."""
    perm, _ = values.favourite(call.build, x)
    if perm[-len(axes) :] == axes:
        return perm
    return (*(axis for axis in range(len(x.shape)) if axis not in axes), *axes)


def group_normalization(call: Call) -> Held:
    """By mean and variance of groups of channels; groups = -1 means one a channel."""
    settings, x = call.settings, call.floating()
    rank = call.rank(3, x)
    axis, groups = _one_axis(call, rank), int(settings.number("groups", 32))
    epsilon = settings.number("epsilon", 1e-3)
    gamma, beta = _scale_and_center(call)
    perm: Perm = (0, axis, *(other for other in range(1, rank) if other != axis))
    name, channels = call.tensor(x, perm), call.size(axis, x)
    groups = channels if groups == -1 else groups
    if groups < 1 or channels % groups:
        raise settings.refused("groups", f"{channels} channels cannot be parted so", "mend the model")
    shape = call.build.shapes[name]
    size = int(np.prod([call.size(at, x) for at in range(1, rank)])) // groups
    grouped = values.reshape(call.build, name, (shape[0], groups, size))
    one = call.build.weight("ones", np.ones(groups, np.float32)), call.build.weight("zeros", np.zeros(groups, np.float32))
    normal = call.build.add("InstanceNormalization", grouped, *one, epsilon=epsilon)
    value = call.held(values.reshape(call.build, normal, shape), perm)
    return _rescaled(call, value, gamma, beta, (axis,))


def _rescaled(call: Call, value: Held, gamma: Array | None, beta: Array | None, axes: tuple[int, ...]) -> Held:
    scale = np.array(1.0) if gamma is None else gamma
    words = ("factor" if gamma is None else "gamma", "offset" if beta is None else "beta")
    return affine(call, value, scale, np.array(0.0) if beta is None else beta, axes, words)


def unit_normalization(call: Call) -> Held:
    """Vectors along some axes, of length 1."""
    x = call.floating()
    return normalised(call, x, _axes(call, len(x.shape)))


def rms_normalization(call: Call) -> Held:
    """x over the root of its mean square along an axis, times a scale."""
    x, epsilon = call.floating(), call.settings.number("epsilon", 1e-6)
    axes = _axes(call, len(x.shape))
    (gamma,) = call.weights("scale")
    perm, name = values.favourite(call.build, x)
    places = call.ints(*sorted(perm.index(axis) for axis in axes))
    mean = call.build.add("ReduceMean", call.build.add("Mul", name, name), places, keepdims=1)
    root = call.build.add("Sqrt", call.build.add("Add", mean, call.number(epsilon)))
    return affine(call, call.held(call.build.add("Div", name, root), perm), gamma, np.array(0.0), axes, ("scale", "offset"))


def _scale_and_center(call: Call) -> tuple[Array | None, Array | None]:
    """Gamma and beta, None where the layer has none."""
    has_scale, has_center = call.settings.flag("scale", True), call.settings.flag("center", True)
    if not has_scale and not has_center:
        return None, None
    gamma, beta = call.weights("gamma" if has_scale else "", "beta" if has_center else "")
    return gamma if has_scale else None, beta if has_center else None


def _axes(call: Call, rank: int) -> tuple[int, ...]:
    value = call.settings.get("axis", -1)
    listed = [value] if isinstance(value, int) else value
    is_well = isinstance(listed, list | tuple) and all(isinstance(axis, int) and -rank <= axis < rank and axis for axis in listed)
    if not is_well or not listed:
        raise call.settings.refused("axis", f"wanted axes of 1 to {rank - 1}", "mend the model")
    return tuple(sorted({axis % rank for axis in listed}))


def _one_axis(call: Call, rank: int) -> int:
    axes = _axes(call, rank)
    if len(axes) != 1:
        raise call.settings.refused("axis", "wanted one axis", "use one")
    return axes[0]
