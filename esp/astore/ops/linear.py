"""Linear models of ai.onnx.ml: LinearRegressor and LinearClassifier."""

from collections.abc import Sequence

import numpy as np

from esp.astore.ops.links import POST_TRANSFORM, check_labels, check_link, transformed
from esp.astore.ops.row import Array, Attrs, AttrSpec, Dtypes, Op, Shape, given, given_shape
from esp.astore.ops.rules import size_of
from esp.astore.ops.trees import INPUTS, features_of, floating
from esp.errors import GraphError


def _check_sizes(attrs: Attrs, features: int, rows: int) -> None:
    """Raises GraphError unless there are ``rows`` of coefficients, and an intercept for each or none."""
    if rows < 1 or len(attrs["coefficients"] or ()) != rows * features or len(attrs["intercepts"] or ()) not in (0, rows):
        what = f"{len(attrs['coefficients'] or ())} coefficients and {len(attrs['intercepts'] or ())} intercepts do not fit"
        raise GraphError(what, mend=f"give {features} coefficients for each score, and as many intercepts as scores or none")


def _scores(attrs: Attrs, x: Array) -> Array:
    wide = floating(x)
    dtype = wide.dtype
    out = wide @ np.array(attrs["coefficients"], dtype).reshape(-1, x.shape[1]).T
    return np.asarray(out + np.array(attrs["intercepts"], dtype)) if attrs["intercepts"] else np.asarray(out)


def _regress_shapes(attrs: Attrs, shapes: Sequence[Shape | None], constants: Sequence[Array | None]) -> list[Shape]:
    x = given_shape(shapes[0])
    _check_sizes(attrs, features_of(x), attrs["targets"])
    check_link(attrs["post_transform"], attrs["targets"])
    return [(x[0], attrs["targets"])]


def _regress(attrs: Attrs, inputs: Sequence[Array | None], outputs: int) -> list[Array]:
    return [transformed(_scores(attrs, given(inputs[0])), attrs["post_transform"]).astype(np.float32)]


def _classify_shapes(attrs: Attrs, shapes: Sequence[Shape | None], constants: Sequence[Array | None]) -> list[Shape]:
    x, classes = given_shape(shapes[0]), check_labels(attrs, "classlabels_ints")
    features = features_of(x)
    is_one_side = classes == 2 and len(attrs["coefficients"]) == features
    _check_sizes(attrs, features, 1 if is_one_side else classes)
    if is_one_side and attrs["post_transform"] != "LOGISTIC":
        what = f"one score of two classes, with post_transform {attrs['post_transform']}, has no agreed meaning"
        raise GraphError(what, mend="use LOGISTIC, or give coefficients of both classes")
    return [(x[0],), (x[0], classes)]


def _classify(attrs: Attrs, inputs: Sequence[Array | None], outputs: int) -> list[Array]:
    scores = _scores(attrs, given(inputs[0]))
    if scores.shape[1] == 1:
        which, scores = (scores[:, 0] > 0).astype(np.int64), np.concatenate([-scores, scores], axis=1)
    else:
        which = scores.argmax(axis=1)
    labels = np.take(np.array(attrs["classlabels_ints"], np.int64), which)
    made: list[Array] = [labels, transformed(scores, attrs["post_transform"]).astype(np.float32)]
    return made[:outputs]


def _flops(attrs: Attrs, ins: Sequence[Shape | None], outs: Sequence[Shape]) -> int:
    return 2 * len(attrs["coefficients"]) + size_of(outs[-1])


_ATTRS = {**POST_TRANSFORM, "intercepts": AttrSpec("floats")}
_REGRESSOR_ATTRS = {**_ATTRS, "coefficients": AttrSpec("floats"), "targets": AttrSpec("int", 1)}
_CLASSIFIER_ATTRS = {
    **_ATTRS,
    "coefficients": AttrSpec("floats", is_required=True),
    "classlabels_ints": AttrSpec("ints"),
    "classlabels_strings": AttrSpec("strings"),
    "multi_class": AttrSpec("int", 0),
}

LINEAR = {
    "LinearRegressor": Op(
        "LinearRegressor", (1, 1), _regress_shapes, _regress, _flops, _REGRESSOR_ATTRS,
        dtypes=Dtypes(INPUTS, outputs={0: "float32"}), trainable=(), domain="ai.onnx.ml",
    ),
    "LinearClassifier": Op(
        "LinearClassifier", (1, 1), _classify_shapes, _classify, _flops, _CLASSIFIER_ATTRS, (1, 2),
        Dtypes(INPUTS, outputs={0: "int64", 1: "float32"}), trainable=(), domain="ai.onnx.ml",
    ),
}  # fmt: skip
