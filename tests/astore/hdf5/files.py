"""Files of Keras 1 and 2 written by their layout: layer_names and weight_names as attributes, one group a layer."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

Weights = Mapping[str, Sequence[tuple[str, np.ndarray]]]


def write_legacy(path: Path, layers: Weights, version: str | None = None, config: Any = None, parts: int = 0) -> Path:
    """A weights-only file, or a full one where ``config`` is given; Keras 1 says no version before 1.2 and wrote bytes.

    ``parts`` cuts the lists of names into attributes name0, name1, ... of so many names.
    """
    with h5py.File(path, "w") as file:
        group = file if config is None else file.create_group("model_weights")
        if config is not None:
            file.attrs["model_config"] = json.dumps(config).encode()
        if version:
            file.attrs["keras_version"] = version.encode()
        _names(group, "layer_names", [*layers], parts)
        for layer, weights in layers.items():
            inner = group.create_group(layer)
            _names(inner, "weight_names", [name for name, _ in weights], parts)
            for name, array in weights:
                inner[name] = array
    return path


def _names(group: h5py.Group, attribute: str, names: Sequence[str], parts: int) -> None:
    if not parts:
        group.attrs[attribute] = np.array([name.encode() for name in names])
    for at in range(0, len(names) if parts else 0, parts or 1):
        group.attrs[f"{attribute}{at // parts}"] = [name.encode() for name in names[at : at + parts]]


def random(*shape: int, seed: int = 3) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).normal(0, 0.5, shape).astype(np.float32)
