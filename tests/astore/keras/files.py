"""Keras files as they are once read, written down by hand."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from esp.astore.graph import Array
from esp.astore.hdf5 import KerasFile, LayerWeights


def layer(kind: str, name: str, **config: Any) -> dict[str, Any]:
    return {"class_name": kind, "config": {"name": name, "trainable": True, **config}}


def sequential(*layers: Mapping[str, Any]) -> dict[str, Any]:
    return {"class_name": "Sequential", "config": {"name": "model", "layers": list(layers)}}


def functional(
    layers: Sequence[Mapping[str, Any]], inputs: Sequence[Any], outputs: Sequence[Any], name: str = "model"
) -> dict[str, Any]:
    config = {"name": name, "layers": list(layers), "input_layers": list(inputs), "output_layers": list(outputs)}
    return {"class_name": "Model", "name": name, "config": config}


def node(described: Mapping[str, Any], *inbound: Any) -> dict[str, Any]:
    """A layer of a functional model, each call as Keras 1 and 2 write it."""
    return {**described, "name": described["config"]["name"], "inbound_nodes": list(inbound)}


def keras_file(
    config: Mapping[str, Any] | None, generation: int = 2, backend: str = "tensorflow", **weights: list[Array]
) -> KerasFile:
    layers = {
        name: LayerWeights(tuple(f"{name}_{at}" for at in range(len(arrays))), tuple(arrays)) for name, arrays in weights.items()
    }
    return KerasFile(Path("model.h5"), generation, config, f"{generation}.0.0", backend, layers)


def numbers(*shape: int, seed: int = 3) -> Array:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)
