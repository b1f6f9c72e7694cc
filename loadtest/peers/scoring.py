"""What every peer in Python does between its client's calls: records of a batch are decoded, scored by onnxruntime at once, encoded."""

import argparse
import json
from collections.abc import Callable, Sequence
from typing import Any

import msgpack
import numpy as np
import onnxruntime
import orjson

Score = Callable[[Sequence[bytes]], Sequence[bytes | None]]  # None: no output comes of the event
LENGTH, HOP, CELL = 128, 25, 24  # of a window of readings; bytes of a reading
Network = Callable[[Any], Any]


def arguments(description: str | None) -> argparse.Namespace:
    """The command line that each peer takes."""
    parser = argparse.ArgumentParser(description=description)
    for name in ("brokers", "source", "target", "group", "workload", "model", "state"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--linger-ms", type=float, required=True)
    return parser.parse_args()


def scorer(workload: str, model: str) -> Score:
    """A function that makes the outputs of a batch of records."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def network(rows: Any) -> Any:
        return session.run(None, {name: rows})[0]

    if workload == "imu":
        return _motion(network, session.get_modelmeta().custom_metadata_map)
    if workload == "digits":
        return _digits(network, session.get_modelmeta().custom_metadata_map)
    return _crayfish(network) if workload == "crayfish" else _arrays(network)


def _arrays(network: Network) -> Score:
    pack, unpack = msgpack.Packer().pack, msgpack.unpackb

    def score(values: Sequence[bytes]) -> Sequence[bytes | None]:
        events = [unpack(value) for value in values]
        rows = np.frombuffer(b"".join([event[2] for event in events]), np.float32).reshape(len(events), -1)
        scores = network(rows)
        data, width = scores.tobytes(), scores.shape[1] * 4
        return [pack([event[0], event[1], data[at : at + width]]) for event, at in zip(events, range(0, len(data), width))]

    return score


def _crayfish(network: Network) -> Score:
    def score(values: Sequence[bytes]) -> Sequence[bytes | None]:
        events = [orjson.loads(value) for value in values]
        rows = np.array([_floats(event["dataPoint"]) for event in events], np.float32)
        for event, scores in zip(events, network(rows).tolist()):
            event["prediction"] = ",".join(map(str, scores))
        return [orjson.dumps(event) for event in events]

    return score


def _floats(text: str) -> Any:
    """Floats with a comma behind each: as a JSON array they are read in less than half of the time that numpy takes for text."""
    text = text.rstrip(",")
    try:
        return orjson.loads(f"[{text}]")
    except orjson.JSONDecodeError:  # written as JSON has no numbers: 1. or nan
        return np.fromstring(text, np.float32, sep=",")


def _digits(network: Network, metadata: dict[str, str]) -> Score:
    pack, unpack = msgpack.Packer().pack, msgpack.unpackb
    model, labels = _told(metadata)

    def score(values: Sequence[bytes]) -> Sequence[bytes | None]:
        events = [unpack(value) for value in values]
        rows = np.frombuffer(b"".join([event["pixels"] for event in events]), np.uint8).reshape(-1, 8, 8, 1)
        probabilities = network(rows)
        for event, at, top in zip(events, probabilities.argmax(1).tolist(), probabilities.max(1).tolist()):
            del event["pixels"]
            event["label"], event["probability"], event["model"] = labels[at], top, model
        return [pack(event) for event in events]

    return score


def _motion(network: Network, metadata: dict[str, str]) -> Score:
    """The last 128 readings of each device, every 25; kept in memory alone, so a restart loses them."""
    _, labels = _told(metadata)
    rings: dict[str, Any] = {}
    counts: dict[str, int] = {}

    def score(values: Sequence[bytes]) -> Sequence[bytes | None]:
        events, windows, at = [msgpack.unpackb(value) for value in values], [], []
        for number, event in enumerate(events):
            ring = rings.setdefault(event["device"], bytearray())
            ring += event["acc"] + event["gyro"]
            count = counts[event["device"]] = counts.get(event["device"], 0) + 1
            del ring[: -LENGTH * CELL]
            if count >= LENGTH and (count - LENGTH) % HOP == 0:
                windows.append(bytes(ring))
                at.append(number)
        outputs: list[bytes | None] = [None] * len(events)
        if windows:
            probabilities = network(np.frombuffer(b"".join(windows), np.float32).reshape(len(windows), LENGTH, -1))
            for number, best, top in zip(at, probabilities.argmax(1).tolist(), probabilities.max(1).tolist()):
                named = {"device": events[number]["device"], "ts": events[number]["ts"]}
                outputs[number] = orjson.dumps({**named, "activity": labels[best], "probability": top})
        return outputs

    return score


def _told(metadata: dict[str, str]) -> tuple[str, list[str]]:
    """Digest and labels, as the ONNX file tells them."""
    return metadata["esp.digest"][:12], json.loads(metadata["esp.outputs"])[0]["labels"]
