"""Events byte by byte: how those of each format are written, and how numbers and scores are read back from what came out."""

from collections.abc import Callable, Sequence
from typing import Any

import msgpack
import numpy as np
import numpy.typing as npt
import orjson

from loadtest.plan import I64

F32 = npt.NDArray[np.float32]
Rows = npt.NDArray[Any]
Pack = Callable[[int, int, int], bytes]  # camera, number, time in ns
Readings = tuple[I64, F32]  # number of the event (-1 = not to be read), its scores (NaN = none)
UNKNOWN = -1
CRAYFISH_START_MS = 1_700_000_000_000  # event n of Crayfish carries this + n: its format has no other number


def pack_arrays(rows: Rows) -> Pack:
    """``[id, ts_ns, bin of little-endian float32]`` in msgpack."""
    pack, cells = msgpack.Packer().pack, [row.astype("<f4").tobytes() for row in rows]
    count = len(cells)

    def event(camera: int, number: int, ts_ns: int) -> bytes:
        return bytes(pack([number, ts_ns, cells[number % count]]))

    return event


def pack_crayfish(rows: Rows) -> Pack:
    """Crayfish's JSON: the floats as text in one string, a comma behind each."""
    tails = [_crayfish_tail(row) for row in rows]
    count = len(tails)

    def event(camera: int, number: int, ts_ns: int) -> bytes:
        return b'{"creationTimestamp": %d%b' % (CRAYFISH_START_MS + number, tails[number % count])

    return event


def _crayfish_tail(row: Rows) -> bytes:
    text = "".join(f"{value:.8f}," for value in row.tolist())
    return f', "dataPointSz1": 1, "dataPointSz2": {len(row)}, "dataPoint": "{text}", "prediction": null}}'.encode()


def pack_digits(rows: Rows) -> Pack:
    """A msgpack map with a camera's name and 64 pixels."""
    pack, pixels = msgpack.Packer().pack, [row.tobytes() for row in rows]
    count = len(pixels)

    def event(camera: int, number: int, ts_ns: int) -> bytes:
        fields = {"camera": camera_name(camera), "id": number, "ts": ts_ns // 1_000_000, "pixels": pixels[number % count]}
        return bytes(pack(fields))

    return event


def camera_name(camera: int) -> str:
    return f"camera-{camera:02}"


def read_arrays(values: Sequence[bytes], width: int) -> Readings:
    events = [msgpack.unpackb(value) for value in values]
    number = np.array([event[0] for event in events], np.int64)
    cells = [event[2] for event in events]
    scores = np.full((len(events), width), np.nan, np.float32)
    scored = [at for at, cell in enumerate(cells) if len(cell) == 4 * width]
    scores[scored] = np.frombuffer(b"".join(cells[at] for at in scored), "<f4").reshape(-1, width)
    return number, scores


def read_crayfish(values: Sequence[bytes], width: int) -> Readings:
    """An output that does not repeat the floats of its input is none."""
    number = np.full(len(values), UNKNOWN, np.int64)
    scores = np.full((len(values), width), np.nan, np.float32)
    for at, value in enumerate(values):
        event = orjson.loads(value)
        if event["dataPoint"].strip(",").count(",") + 1 == event["dataPointSz2"]:
            number[at] = event["creationTimestamp"] - CRAYFISH_START_MS
        prediction = (event.get("prediction") or "").strip(", ").split(",")
        if len(prediction) == width:
            scores[at] = [float(part) for part in prediction]
    return number, scores


def read_digits(values: Sequence[bytes], width: int) -> Readings:
    """The scores are label and probability."""
    events = [msgpack.unpackb(value) for value in values]
    number = np.array([event["id"] for event in events], np.int64)
    scores = [(_label(event.get("label")), event.get("probability", np.nan)) for event in events]
    return number, np.array(scores, np.float32).reshape(-1, width)


def _label(value: object) -> float:
    return float(value) if isinstance(value, int) or (isinstance(value, str) and value.isdigit()) else np.nan
