"""Records as the consumer gives them, made by hand; and small data to play."""

from dataclasses import dataclass
from typing import Any

import msgpack
import numpy as np
import orjson

from esp.train.data import Dataset


@dataclass(frozen=True)
class Record:
    """What the readers use of a record of confluent-kafka."""

    content: bytes
    place: int = 0
    marks: tuple[tuple[str, bytes], ...] = ()

    def value(self) -> bytes:
        return self.content

    def partition(self) -> int:
        return self.place

    def headers(self) -> list[tuple[str, bytes]]:
        return list(self.marks)


def score(number: int, camera: str, label: str, ts_ms: int, model: str = "aaa", partition: int = 0) -> Record:
    fields = {"camera": camera, "id": number, "ts": ts_ms, "label": label, "probability": 0.9, "model": model}
    return Record(msgpack.packb(fields), partition)


def count(camera: str, label: str, start: str, images: int) -> Record:
    return Record(orjson.dumps({"camera": camera, "label": label, "window_start": start, "images": images}))


def activity(device: str, ts: Any, name: str, model: str = "ccc") -> Record:
    fields = {"device": device, "ts": ts, "activity": name, "probability": 0.5}
    return Record(orjson.dumps(fields), marks=(("esp-model", model.encode()),))


def images(labels: str) -> Dataset:
    """An image for each digit of a text; every pixel of image i is i."""
    pixels = np.arange(len(labels), dtype=np.uint8)[:, None, None, None] * np.ones((1, 8, 8, 1), np.uint8)
    return Dataset("digits", pixels, np.array([int(label) for label in labels]), tuple("0123456789"))


def recordings(*parts: tuple[str, str, int]) -> Dataset:
    """Recordings of (subject, activity, length); channel c of sample i is 10 * i + c."""
    rows = tuple((10 * np.arange(length)[:, None] + np.arange(6)).astype(np.float32) for _, _, length in parts)
    names = tuple(sorted({name for _, name, _ in parts}))
    targets = np.array([names.index(name) for _, name, _ in parts])
    return Dataset("shoulder", rows, targets, names, tuple(subject for subject, _, _ in parts))
