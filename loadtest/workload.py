"""The digits workload: real held-out images where scikit-learn is there, each sent as one msgpack map by one of the cameras."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgpack
import numpy as np
import numpy.typing as npt

from esp.errors import FileError

IMAGES = 600  # made by chance, where there are no real ones


@dataclass(frozen=True, slots=True)
class Images:
    """``pixels`` uint8[n, 64] of 0..16, and what each shows: -1 = nobody knows."""

    pixels: npt.NDArray[np.uint8]
    label: npt.NDArray[np.int64]

    @property
    def are_real(self) -> bool:
        return bool((self.label >= 0).all())


def digit_images(folder: Path) -> Images:
    """The images that the recipe in ``folder`` holds out; random ones where the package with the data is not installed."""
    from esp.train.data import split_fraction
    from esp.train.recipe_file import read_recipe

    recipe = read_recipe(folder / "recipe.toml")
    try:
        held = split_fraction(recipe.data.load(folder), recipe.data.hold_out, recipe.seed).held_out
    except FileError:
        return Images(np.random.default_rng(1).integers(0, 17, (IMAGES, 64), np.uint8), np.full(IMAGES, -1))
    return Images(np.ascontiguousarray(held.array, np.uint8).reshape(-1, 64), np.asarray(held.targets, np.int64))


def packer(images: Images) -> Callable[[bytes, int, int], bytes]:
    """A function that makes the bytes of an event: of a camera, with a number, at a time in ms."""
    pack, pixels = msgpack.Packer().pack, [row.tobytes() for row in images.pixels]
    count = len(pixels)

    def event(camera: bytes, number: int, ts_ms: int) -> bytes:
        fields = {"camera": camera.decode(), "id": number, "ts": ts_ms, "pixels": pixels[number % count]}
        return bytes(pack(fields))

    return event
