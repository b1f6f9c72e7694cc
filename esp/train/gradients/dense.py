"""Gradients of the matrix products: Gemm and MatMul."""

from collections.abc import Sequence

import numpy as np

from esp.train.gradients.row import Array, Call, Gradient, Grads, only, unbroadcast


def _scaled(value: Array, factor: float) -> Array:
    return value if factor == 1.0 else value * value.dtype.type(factor)


def gemm(call: Call) -> list[Array]:
    a = call.input(0).T if call.attrs["transA"] else call.input(0)
    b = call.input(1).T if call.attrs["transB"] else call.input(1)
    y, c = _scaled(a @ b, call.attrs["alpha"]), call.optional(2)
    return [y if c is None else y + _scaled(c, call.attrs["beta"])]


def gemm_back(call: Call, grads: Sequence[Array | None]) -> Grads:
    grad = only(grads)
    scaled = _scaled(grad, call.attrs["alpha"])
    a = call.input(0).T if call.attrs["transA"] else call.input(0)
    b = call.input(1).T if call.attrs["transB"] else call.input(1)
    found: Grads = [None, None, None]
    if call.wants(0):
        found[0] = b @ scaled.T if call.attrs["transA"] else scaled @ b.T
    if call.wants(1):
        found[1] = scaled.T @ a if call.attrs["transB"] else a.T @ scaled
    c = call.optional(2)
    if c is not None and call.wants(2):
        found[2] = unbroadcast(_scaled(grad, call.attrs["beta"]), c.shape)
    return found


def matmul(call: Call) -> list[Array]:
    return [np.matmul(call.input(0), call.input(1))]


def matmul_back(call: Call, grads: Sequence[Array | None]) -> Grads:
    """A vector operand is a matrix of one row (left) or one column (right), as numpy has it."""
    a, b, grad = call.input(0), call.input(1), only(grads)
    left = a[None, :] if a.ndim == 1 else a
    right = b[:, None] if b.ndim == 1 else b
    if b.ndim == 1:
        grad = grad[..., None]
    if a.ndim == 1:
        grad = np.expand_dims(grad, -2)
    found: Grads = [None, None]
    if call.wants(0):
        found[0] = unbroadcast(grad @ np.swapaxes(right, -1, -2), left.shape).reshape(a.shape)
    if call.wants(1):
        found[1] = unbroadcast(np.swapaxes(left, -1, -2) @ grad, right.shape).reshape(b.shape)
    return found


DENSE = {"Gemm": Gradient(gemm, gemm_back), "MatMul": Gradient(matmul, matmul_back)}
