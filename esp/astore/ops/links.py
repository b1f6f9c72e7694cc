"""What ai.onnx.ml does to scores at the end: the post_transform that its models share, and the choice of a label."""

import numpy as np

from esp.astore.ops.activations import sigmoid
from esp.astore.ops.row import Array, Attrs, AttrSpec
from esp.errors import GraphError

POST_TRANSFORMS = ("NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT")
POST_TRANSFORM = {"post_transform": AttrSpec("string", "NONE", choices=POST_TRANSFORMS)}
_WINITZKI = 0.147  # the constant of his approximation of the inverse error function, which the runtimes share
_NEAR_ZERO = 1e-7


def check_link(post_transform: str, columns: int) -> None:
    """Raises GraphError where one score a row is to be bent as if there were several: there the runtimes disagree."""
    if columns == 1 and post_transform not in ("NONE", "PROBIT"):
        what = f"post_transform {post_transform} of one score has no agreed meaning"
        raise GraphError(what, mend="use NONE, and a node of its own (Sigmoid, say) after it")


def check_labels(attrs: Attrs, name: str, strings: str = "classlabels_strings") -> int:
    """How many classes the labels ``name`` are of. Raises GraphError for labels that are strings, or fewer than two."""
    if attrs[strings]:
        raise GraphError(
            f"{strings} are no numbers", mend=f"number the classes in {name}, and name them in the labels of the model's output"
        )
    labels = attrs[name] or ()
    if len(labels) < 2 or not all(-(2**63) <= label < 2**63 for label in labels):
        raise GraphError(f"{name} holds {len(labels)} labels, or one past 64 bits", mend="give two or more of int64")
    return len(labels)


def transformed(scores: Array, post_transform: str) -> Array:
    """``scores`` [rows, classes] bent row by row."""
    if post_transform == "LOGISTIC":
        return sigmoid(scores)
    if post_transform == "PROBIT":
        return _probit(scores)
    if post_transform.startswith("SOFTMAX"):
        return _softmax(scores, post_transform == "SOFTMAX_ZERO")
    return scores


def _softmax(scores: Array, keeps_zeros: bool) -> Array:
    most = scores.max(axis=-1, keepdims=True)
    powers = np.exp(scores - most)
    if keeps_zeros:
        powers = np.where(np.abs(scores) > _NEAR_ZERO, powers, scores * np.exp(-most))
    total = powers.sum(axis=-1, keepdims=True)
    return np.where(total == 0, 0.5, powers / np.where(total == 0, 1, total)).astype(scores.dtype)


def _probit(scores: Array) -> Array:
    """The normal distribution's quantiles, to within 0.002 (Winitzki, A handy approximation for the error function, 2008)."""
    sides = 2 * scores - 1
    log = np.log((1 - sides) * (1 + sides))
    half = 2 / (np.pi * _WINITZKI) + log / 2
    root = np.sqrt(np.sqrt(half * half - log / _WINITZKI) - half)
    return np.asarray(np.sqrt(2) * np.where(sides < 0, -root, root)).astype(scores.dtype)
