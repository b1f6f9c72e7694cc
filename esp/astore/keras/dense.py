"""Layers that are products with a matrix or look one up: Dense, EinsumDense, Embedding."""

from math import prod

import numpy as np

from esp.astore.graph import Array
from esp.astore.hdf5.words import CHANNELS_FIRST, DENSE_KERNEL
from esp.astore.keras import values
from esp.astore.keras.activations import activate
from esp.astore.keras.call import Call
from esp.astore.keras.values import Held


def dense(call: Call) -> Held:
    """A product over the last axis, in the layout in which the input is held."""
    units, is_biased = call.settings.whole("units"), call.settings.flag("use_bias", True)
    call.settings.ignore("input_dim")
    kernel, bias = call.weights("kernel", "bias" if is_biased else "")
    x = call.floating()
    if kernel.shape != (x.shape[-1], units):
        what = f"its kernel is {list(kernel.shape)}, for {x.shape[-1]} features and {units} units"
        raise call.refused(what, "give the file of this model")
    return activate(call, _product(call, x, kernel, bias if is_biased else None), call.settings.get("activation"))


def _product(call: Call, x: Held, kernel: Array, bias: Array | None) -> Held:
    rank = call.rank(2, x)
    if rank == 2:
        name, rows = _flat_tensor(call, x, kernel)
        word = "kernel" if rows is kernel else f"kernel{CHANNELS_FIRST}"
        return call.held(call.build.add("Gemm", name, *_named(call, rows, bias, word)))
    perm, name = values.favourite(call.build, x)
    if perm == values.first(rank):  # over the channels of a tensor held channels first it is a convolution of kernel 1
        ones = kernel.T.reshape(*kernel.T.shape, *(1 for _ in perm[2:]))
        return call.held(call.build.add("Conv", name, *_named(call, ones, bias, DENSE_KERNEL)), perm)
    if perm[-1] != rank - 1:
        perm, name = values.plain(rank), call.tensor(x)
    name = call.build.add("MatMul", name, call.build.weight("kernel", kernel))
    if bias is not None:
        name = call.build.add("Add", name, call.build.weight("bias", bias))
    return call.held(name, perm)


def _named(call: Call, kernel: Array, bias: Array | None, word: str) -> list[str]:
    named = [call.build.weight(word, kernel)]
    return named if bias is None else [*named, call.build.weight("bias", bias)]


def _flat_tensor(call: Call, x: Held, kernel: Array) -> tuple[str, Array]:
    """The tensor of vectors and the kernel for it: one that was flattened in another order gets the kernel's rows in that order."""
    source = x.flat_of
    if x.names or source is None or source.flat_of is not None or not source.names:
        return call.tensor(x), kernel
    perm, name = values.favourite(call.build, source)
    if perm == values.plain(len(perm)) or perm != values.first(len(perm)):
        return call.tensor(x), kernel
    name = values.reshape(call.build, name, x.shape)
    sizes = [size for size in source.shape[1:] if isinstance(size, int)]
    rows = np.arange(prod(sizes)).reshape(sizes).transpose([axis - 1 for axis in perm[1:]])
    return name, kernel[rows.reshape(-1)]


def einsum_dense(call: Call) -> Held:
    """A product that an equation describes."""
    equation = str(call.settings.get("equation", "")).replace(" ", "")
    axes = call.settings.get("bias_axes")
    call.settings.ignore("output_shape")
    kernel, bias = call.weights("kernel", "bias" if axes else "")
    name = call.build.add("Einsum", call.tensor(call.floating()), call.build.weight("kernel", kernel), equation=equation)
    if axes:
        name = call.build.add("Add", name, call.build.weight("bias", bias))
    return activate(call, call.held(name), call.settings.get("activation"))


def embedding(call: Call) -> Held:
    """Rows of a table by whole numbers."""
    call.settings.ignore("input_dim", "output_dim", "dropout", "mask_zero")
    (table,) = call.weights("embeddings")
    perm, name = values.favourite(call.build, call.x)
    found = call.build.add("Gather", call.build.weight("embeddings", table), call.cast(name, "int64"), axis=0)
    value = call.held(found, (*perm, len(perm)))
    value.is_masked = call.settings.flag("mask_zero")
    return value
