"""Makes the samples of windows/ and what must come out of them, without the engine: onnxruntime scores, plain Python counts.

Run as ``python -m tests.windows.make_samples`` after a model has been trained anew.
"""

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from esp.astore.binary import read
from esp.astore.model import Astore
from esp.astore.onnx import to_onnx
from esp.train.recipe import held_out

WINDOWS = Path(__file__).parents[2] / "windows"
START_MS = 1_767_225_600_000  # 2026-01-01 00:00 UTC
Event = dict[str, Any]


def score(astore: Astore, prepared: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(to_onnx(astore.graph).SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {astore.graph.inputs[0].name: prepared.astype(np.float32)})[0]


def write_lines(path: Path, entries: list[Event]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(entry, separators=(",", ":")) + "\n" for entry in entries))


def digits_events() -> list[Event]:
    """120 held-out images from three cameras, 40 ms apart, times up to 200 ms out of order; one comes far too late."""
    data, rng = held_out(WINDOWS / "digits_camera" / "recipe.toml"), np.random.default_rng(11)
    events = []
    for i in range(120):
        ts = START_MS + 40 * i + int(rng.integers(-200, 1))
        ts = START_MS + 100 if i == 110 else ts
        events.append({"camera": f"camera-{i % 3}", "id": i, "ts": ts, "pixels": data.array[i].ravel().tolist()})
    return events


def make_digits() -> None:
    folder = WINDOWS / "digits_camera"
    astore, events = read(folder / "digits.astore"), digits_events()
    pixels = np.array([event["pixels"] for event in events], np.float32).reshape(-1, 1, 8, 8) / 16
    probabilities = score(astore, pixels)
    records: list[Event] = [{"key": event["camera"], "ts_ms": event["ts"], "value": event} for event in events]
    records.insert(50, {"key": "camera-0", "ts_ms": START_MS, "text": "not an image"})
    scores, late, counts = [], [], []
    open_windows: dict[tuple[int, str, str], list[float]] = defaultdict(list)
    watermark = -1
    for event, row in zip(events, probabilities, strict=True):
        label, probability = str(row.argmax()), float(row.max())
        scores.append({"camera": event["camera"], "id": event["id"], "ts": event["ts"], "label": label, "probability": probability})
        watermark = max(watermark, event["ts"] - 1000)
        for key in [key for key in open_windows if key[0] + 1000 <= watermark]:
            values = open_windows.pop(key)
            counts.append(
                {"camera": key[1], "label": key[2], "window_start": key[0], "window_end": key[0] + 1000, "images": len(values),
                 "mean_probability": sum(values) / len(values)}
            )  # fmt: skip
        start = event["ts"] // 1000 * 1000
        if start + 1000 <= watermark:
            late.append({"camera": event["camera"], "id": event["id"], "ts": event["ts"], "label": label})
        else:
            open_windows[start, event["camera"], label].append(probability)
    counts.sort(key=lambda row: row["window_end"])
    write_lines(folder / "sample" / "images.jsonl", records)
    for name, rows in (("scores", [row | {"model": astore.short_digest} for row in scores]), ("tallies", counts), ("late", late)):
        write_lines(folder / "expected" / f"{name}.jsonl", rows)
    write_lines(folder / "expected" / "dead.jsonl", [{"window": "images", "offset": 50, "text": "not an image"}])


def make_shoulder() -> None:
    folder = WINDOWS / "shoulder_imu"
    astore, data = read(folder / "shoulder.astore"), held_out(folder / "recipe.toml")
    length, hop = 128, 25
    devices = {"watch-9": data.groups.index("9"), "watch-10": data.groups.index("10")}
    records, tensors, expected = [], [], []
    recent: dict[str, list[list[float]]] = defaultdict(list)
    last: dict[str, int] = {}
    for i in range(190):
        for device, at in devices.items():
            reading = [float(f"{value:.4f}") for value in data.rows[at][i]]
            # after 150 readings watch-10 is off for two seconds: its sequence starts anew
            ts = START_MS + 20 * i + (2000 if device == "watch-10" and i >= 150 else 0)
            records.append(
                {"key": device, "ts_ms": ts, "value": {"device": device, "ts": ts, "acc": reading[:3], "gyro": reading[3:]}}
            )
            if ts - last.get(device, ts) > 500:
                recent[device].clear()
            last[device] = ts
            recent[device].append(reading)
            n = len(recent[device])
            if n >= length and (n - length) % hop == 0:
                tensors.append(recent[device][-length:])
                expected.append({"device": device, "ts": ts})
    step = next(step for step in astore.inputs[0].steps if step.op == "normalise")
    prepared = (np.array(tensors, np.float32) - np.array(step.params["mean"], np.float32)) / np.array(
        step.params["std"], np.float32
    )
    for row, entry in zip(score(astore, prepared.transpose(0, 2, 1).copy()), expected, strict=True):
        entry |= {"activity": astore.outputs[0].labels[row.argmax()], "probability": float(row.max())}
    write_lines(folder / "sample" / "samples.jsonl", records)
    write_lines(folder / "expected" / "activities.jsonl", expected)


if __name__ == "__main__":
    make_digits()
    make_shoulder()
