"""What classifiers of ai.onnx.ml say in text: class labels become the labels of an output, the graph counts classes."""

from collections.abc import Sequence
from dataclasses import replace

from esp.astore.graph import Attr
from esp.astore.onnx.draft import Draft
from esp.astore.onnx.scope import Scope
from esp.astore.onnx.upgrade import without
from esp.astore.ops.rules import batch_axis
from esp.errors import GraphError

ML = "ai.onnx.ml"
_PASSING = ("Identity", "Cast", "Reshape", "ArrayFeatureExtractor")  # what exporters do to labels
_CLASSES = {"LinearClassifier": "classlabels_ints", "SVMClassifier": "classlabels_ints"}  # by what name they count
_TEXTS = "classlabels_strings"


def without_text(draft: Draft, scope: Scope) -> Sequence[Draft] | None:
    """The node without its text; None where it has none.

    A classifier whose labels are text gives no label, for its probabilities carry the labels; ZipMap, which makes a map of
    labels and numbers for every row, gives the numbers.
    """
    if draft.op in _PASSING and draft.inputs and draft.inputs[0] in scope.texts:
        scope.texts.update(draft.outputs)
        return ()
    if draft.domain != ML:
        return None
    if draft.op == "ZipMap":
        return _zip_map(draft, scope)
    if draft.op == "ArrayFeatureExtractor":
        return _pick(draft, scope)
    if _TEXTS in draft.attrs:
        return _classifier(draft, scope)
    return None


def _pick(draft: Draft, scope: Scope) -> Sequence[Draft] | None:
    """A number for each row out of a list of them, which the row of the op table (it picks columns) does not do."""
    shapes = [scope.shape(name) for name in draft.inputs]
    if [len(shape) for shape in shapes] != [1, 2] or batch_axis(shapes[1]) is None:
        return None
    picked = scope.fresh(f"{draft.outputs[0]}/picked")
    return [
        draft.sibling("Gather", draft.inputs, [picked]),
        draft.sibling("Transpose", [picked], draft.outputs),
    ]


def _zip_map(draft: Draft, scope: Scope) -> Sequence[Draft]:
    labels = _labels(draft.attrs.get(_TEXTS) or draft.attrs.get("classlabels_int64s") or ())
    classes = scope.shape(draft.inputs[0])[-1:]
    if classes != (len(labels),):
        raise GraphError(f"{len(labels)} labels for {list(classes)} numbers", where=draft.where, mend="export the model anew")
    scope.labels[draft.outputs[0]] = labels
    return [draft.sibling("Identity", draft.inputs, draft.outputs)]


def _classifier(draft: Draft, scope: Scope) -> Sequence[Draft]:
    labels = _labels(draft.attrs[_TEXTS])
    counted = _CLASSES.get(draft.op, "classlabels_int64s")
    scope.texts.add(draft.outputs[0])
    if len(draft.outputs) > 1:
        scope.labels[draft.outputs[1]] = labels
    attrs = {**without(draft, _TEXTS, counted), counted: tuple(range(len(labels)))}
    return [replace(draft, attrs=attrs, outputs=(scope.fresh(f"{draft.outputs[0]}/index"), *draft.outputs[1:]))]


def _labels(value: Attr) -> tuple[str, ...]:
    return tuple(map(str, value)) if isinstance(value, tuple) else ()
