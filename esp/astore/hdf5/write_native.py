"""The layout of Keras 3's own ``.weights.h5``: each layer's variables by number, under its class and count."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np

from esp.astore.graph import Layer
from esp.astore.hdf5.nesting import snake_case
from esp.astore.hdf5.place import Named
from esp.errors import FileError

_PARTS = {"query": "query_dense", "key": "key_dense", "value": "value_dense", "attention_output": "output_dense"}
_WAYS = ("forward", "backward")
CLASSES = frozenset(  # with weights of their own, or those of a layer within
    {
        *(f"Conv{axes}D{after}" for axes in (1, 2, 3) for after in ("", "Transpose")),
        *("DepthwiseConv1D", "DepthwiseConv2D", "SeparableConv1D", "SeparableConv2D", "Dense", "EinsumDense", "Embedding"),
        *("BatchNormalization", "LayerNormalization", "GroupNormalization", "RMSNormalization", "Normalization", "PReLU"),
        *("Attention", "AdditiveAttention", "MultiHeadAttention", "Bidirectional", "TimeDistributed", "GRU", "LSTM", "SimpleRNN"),
    }
)


def write_native(file: h5py.File, layers: Mapping[Layer, Sequence[Named]], path: Path) -> None:
    """Writes what each layer has, its names "layer/kernel". Raises FileError where the class of a layer is not known."""
    root = file.create_group("layers")
    file.create_group("vars")
    counts: Counter[str] = Counter()
    for layer, found in layers.items():
        word = snake_case(layer.kind)
        if found:
            _refuse_unknown(layer, path)
            group = root.create_group(f"{word}_{counts[word]}" if counts[word] else word)
            group.create_group("vars").attrs["name"] = layer.name
            within = "layer/" if layer.kind == "TimeDistributed" else ""
            is_cell = any(name.endswith("recurrent_kernel") for name, _ in found)
            for name, array in found:
                inner = group.require_group(f"{within}{_object(name.partition('/')[2], is_cell)}vars")
                inner.create_dataset(str(len(inner)), data=np.ascontiguousarray(array).reshape(array.shape))
        counts[word] += 1


def _refuse_unknown(layer: Layer, path: Path) -> None:
    mend = f"name the file {path.name.removesuffix('.weights.h5')}.h5, which Keras loads by the order of the layers"
    where = f"{path}: layer {layer.name!r}"
    if "/" in layer.name:
        raise FileError("it is in a model within the model, whose class is not known here", where=where, mend=mend)
    if layer.kind not in CLASSES:
        raise FileError(f"its kind {layer.kind!r} is no class of Keras", where=where, mend=mend)


def _object(name: str, is_cell: bool) -> str:
    """The object within the layer that has a weight, as Keras calls its attributes; "" for the layer itself."""
    part, _, word = name.rpartition("/")
    if part in _PARTS:
        return f"{_PARTS[part]}/"
    way, _, rest = word.partition("_")
    if is_cell and rest and way in _WAYS:
        return f"{way}_layer/cell/"
    return "cell/" if is_cell else ""
