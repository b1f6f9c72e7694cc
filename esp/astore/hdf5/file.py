"""What a Keras file holds, whatever its generation: the model's config as it was written and the weights of each layer."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from esp.astore.graph import Array

Flavour = Literal["keras", "dlpy"]


@dataclass(frozen=True, slots=True)
class LayerWeights:
    """The weights of one layer in the order in which Keras keeps them, with the names that the file gives them."""

    names: tuple[str, ...]
    arrays: tuple[Array, ...]


@dataclass(frozen=True, slots=True)
class KerasFile:
    """A Keras file that has been read.

    ``generation`` is 1, 2 or 3. ``config`` is the model's config as Keras wrote it ({"class_name": ..., "config": ...}), None in
    a file of weights only. ``layers`` holds the weights under the file's own keys: names of layers, or where ``is_by_path`` the
    paths of Keras 3's objects ("layers/dense_1", "layers/functional/layers/dense"), and ``names`` then says by path what the
    layer was called, where the file knows. ``nesting.by_layer`` gives the weights by the names of a config. ``flavour`` "dlpy"
    means that DLPy wrote it: convolutions as in ONNX, dense kernels [out, in], variances with their epsilon.
    """

    path: Path
    generation: int
    config: Mapping[str, Any] | None
    keras_version: str
    backend: str
    layers: Mapping[str, LayerWeights]
    names: Mapping[str, str] = field(default_factory=dict)
    is_by_path: bool = False
    flavour: Flavour = "keras"
