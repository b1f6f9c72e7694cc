"""Random changes of training rows: shifted pictures, turned sensors, other gains, noise."""

from dataclasses import dataclass

import numpy as np

from esp.train.data import Array
from esp.train.settings import AugmentSettings


@dataclass(frozen=True, slots=True)
class Augment:
    """Changes a batch ``[n, *shape]`` (channels last) as set; ``std`` is the spread of each channel."""

    settings: AugmentSettings
    std: Array

    def __call__(self, rows: Array, rng: np.random.Generator) -> Array:
        if self.settings.shift:
            rows = shift(rows, self.settings.shift, rng)
        if self.settings.rotate:
            rows = rotate(rows, self.settings.rotate, rng)
        if self.settings.scale:
            factor = 1 + self.settings.scale * rng.uniform(-1, 1, (len(rows), *(1,) * (rows.ndim - 1)))
            rows = rows * factor.astype(np.float32)
        if self.settings.noise:
            rows = rows + rng.standard_normal(rows.shape, np.float32) * (self.std * self.settings.noise).astype(np.float32)
        return rows


def shift(rows: Array, most: int, rng: np.random.Generator) -> Array:
    """Moves each picture ``[height, width, channels]`` by up to ``most`` pixels either way; zeros come in."""
    height, width = rows.shape[1:3]
    wide = np.pad(rows, ((0, 0), (most, most), (most, most), (0, 0)))
    down, right = rng.integers(0, 2 * most + 1, (2, len(rows), 1, 1))
    at = np.arange(len(rows))[:, None, None]
    return np.asarray(wide[at, down + np.arange(height)[None, :, None], right + np.arange(width)[None, None, :]])


def rotations(count: int, most_degrees: float, rng: np.random.Generator) -> Array:
    """Rotation matrices about random axes by angles within +- ``most_degrees`` (Rodrigues' formula)."""
    axes = rng.standard_normal((count, 3))
    x, y, z = (axes / np.linalg.norm(axes, axis=1, keepdims=True)).T
    angle = np.radians(rng.uniform(-most_degrees, most_degrees, count))[:, None, None]
    zero = np.zeros(count)
    cross = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], axis=1).reshape(-1, 3, 3)
    return np.asarray(np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * (cross @ cross))


def rotate(rows: Array, most_degrees: float, rng: np.random.Generator) -> Array:
    """Turns the sensor: the same rotation for each triad of channels of a row (acceleration, rate of turn)."""
    turns = rotations(len(rows), most_degrees, rng).astype(np.float32)
    triads = rows.reshape(len(rows), -1, 3)
    return np.asarray((triads @ turns).reshape(rows.shape))
