"""Workloads of devices in time, whose outputs are fewer than their events: windows of readings (imu), tallies by device (aggregate)."""

import zlib
from collections.abc import Sequence
from typing import Any

import msgpack
import numpy as np
import orjson

from loadtest.events import F32, UNKNOWN, Pack, Readings, Rows
from loadtest.plan import I64

DEVICES = 64  # event n is of device n % 64, its n // 64th
START_MS = 1_726_000_000 * 1024  # where event time begins, and the first window of aggregate
CYCLE, STEP_MS = 200, 20  # imu: a device's readings repeat themselves after so many, at 50 Hz
LENGTH, HOP = 128, 25
SIZE_MS, BLOCK_MS = 1024, 64  # aggregate: a window, and how far its events are out of order
VALUES = 1000


def each_event(events: int, partitions: int) -> I64:
    """Every event brings out one output, of its own number."""
    return np.arange(events)


# ---- imu: event n is reading n // 64 of its device; output m is window m // 64 of device m % 64


def pack_motion(rows: Rows) -> Pack:
    """A msgpack map: device, time, three accelerations and three rates of turn; ``rows`` float32[64 * CYCLE, 6]."""
    pack, cells, count = msgpack.Packer().pack, [row.astype("<f4").tobytes() for row in rows], len(rows)

    def event(camera: int, number: int, ts_ns: int) -> bytes:
        cell, ts = cells[number % count], START_MS + STEP_MS * (number // DEVICES)
        return bytes(pack({"device": device_name(camera), "ts": ts, "acc": cell[:12], "gyro": cell[12:]}))

    return event


def device_name(device: int) -> str:
    return f"device-{device:02}"


def causes_of_motion(events: int, partitions: int) -> I64:
    """The event that completes each window; -1 for one that comes too late."""
    windows = np.arange(max(0, (events // DEVICES + 1 - LENGTH) // HOP + 1))
    return _within((DEVICES * (LENGTH - 1 + HOP * windows))[:, None] + np.arange(DEVICES), events)


def windows_of_motion(rows: Rows) -> F32:
    """The distinct windows, float32[m, LENGTH, 6]: output m holds number m % len, for the readings come around."""
    turns = np.arange(np.lcm(CYCLE, HOP) // HOP)
    reading = (HOP * turns)[:, None] + np.arange(LENGTH)
    number = reading[:, None, :] * DEVICES + np.arange(DEVICES)[None, :, None]
    return np.asarray(rows[number % len(rows)], np.float32).reshape(-1, LENGTH, rows.shape[1])


def read_motion(values: Sequence[bytes], width: int) -> Readings:
    """The scores are the activity, by the number of its name, and the probability; what was passed on unread has none."""
    events = [orjson.loads(value) if value[:1] == b"{" else msgpack.unpackb(value) for value in values]
    device = np.array([_device(event["device"]) for event in events], np.int64)
    reading = (np.array([event["ts"] for event in events], np.int64) - START_MS) // STEP_MS
    is_out = np.array(["activity" in event for event in events], np.bool_)
    scores = [(label_number(event.get("activity")), event.get("probability", np.nan)) for event in events]
    window, beside = np.divmod(reading - (LENGTH - 1), HOP)
    number = np.where(is_out, np.where(beside == 0, window, UNKNOWN), reading) * DEVICES + device
    return np.where(number < 0, UNKNOWN, number), np.array(scores, np.float32).reshape(-1, width)


def label_number(label: Any) -> float:
    """A name as a number that float32 holds."""
    return float(zlib.crc32(label.encode()) >> 12) if isinstance(label, str) else np.nan


# ---- aggregate: blocks of 64 events, one a device, out of order by less than 64 ms; output m is window m // 64 of device m % 64


def pack_values(rows: Rows) -> Pack:
    """``[device, id, ts_ms, value]`` in msgpack."""
    pack, values = msgpack.Packer().pack, rows[:, 0].tolist()

    def event(camera: int, number: int, ts_ns: int) -> bytes:
        block, place = divmod(number, DEVICES)
        ts = START_MS + BLOCK_MS * block + 37 * place % BLOCK_MS
        return bytes(pack([device_name(camera), number, ts, values[number % len(values)]]))

    return event


def causes_of_tallies(events: int, partitions: int) -> I64:
    """The event whose time moves its partition's watermark past the end of each window: the first of the block after the next."""
    blocks = SIZE_MS // BLOCK_MS
    windows = np.arange(events // (DEVICES * blocks) + 1)
    first = DEVICES * (blocks * (windows + 1) + 1)
    return _within(first[:, None] + np.arange(DEVICES) % partitions, events)


def tallies_of(rows: Rows) -> F32:
    """Count, mean, least, greatest, and the last id since the window's first event, float32[m, 5]: output m holds number m % len."""
    events = DEVICES * SIZE_MS // BLOCK_MS
    turns = np.lcm(events, len(rows)) // events
    number = np.arange(turns * events).reshape(turns, -1, DEVICES)  # window, event, device
    values = rows[:, 0].astype(np.float64)[number % len(rows)]
    last = number[:, -1] - number[:, :1, 0]
    tallies = [np.full(last.shape, values.shape[1]), values.mean(1), values.min(1), values.max(1), last]
    return np.stack(tallies, 2).reshape(-1, len(tallies)).astype(np.float32)


def read_tallies(values: Sequence[bytes], width: int) -> Readings:
    """``[device, window_start, n, mean, least, greatest, last]``, or an event passed on unread."""
    events = [msgpack.unpackb(value) for value in values]
    number, scores = np.empty(len(events), np.int64), np.full((len(events), width), np.nan, np.float32)
    for at, event in enumerate(events):
        if len(event) == 4:
            number[at] = event[1]
            continue
        window, beside = divmod(event[1] - START_MS, SIZE_MS)
        number[at] = UNKNOWN if beside or window < 0 else window * DEVICES + _device(event[0])
        scores[at] = [*event[2:6], event[6] - window * (DEVICES * SIZE_MS // BLOCK_MS)]
    return number, scores


def _device(name: str) -> int:
    return int(name.rpartition("-")[2])


def _within(causes: I64, events: int) -> I64:
    """Causes by output; -1 where the event is not sent."""
    return np.where(causes < events, causes, -1).reshape(-1)
