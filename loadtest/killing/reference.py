"""What must come of the input, by plain Python and numpy, event by event: knows what the query says, and nothing of how the engine does it."""

import json
import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from loadtest.killing.kit import DELAY_MS, HOP, LENGTH, RING_GAP_MS, SCORED, STATE_GAP_MS, UNITS, WINDOW_MS, Model

Headers = tuple[tuple[str, bytes], ...]
Lane = tuple[str, int, str]  # topic, partition, window (of a dead letter; order among windows means nothing there)
ModelAt = Callable[[str, int, int], Model]  # score window, partition, offset


@dataclass(frozen=True, slots=True)
class Record:
    """A record as Kafka holds it."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes
    headers: Headers
    ts_ms: int


@dataclass(frozen=True, slots=True)
class Wanted:
    """One output: what names it, key, headers and stamp, the fields that must be so, those that must be near, the share of each label."""

    name: tuple[Any, ...]
    key: bytes | None
    headers: Headers
    ts_ms: int
    exact: Mapping[str, Any]
    near: Mapping[str, float | None] = field(default_factory=dict)
    shares: Sequence[float] = ()
    value: bytes | None = None  # of a dead letter


def event_of(record: Record) -> tuple[dict[str, Any] | None, bool]:
    """The event of a record (None: cannot be read), and whether it has a time."""
    try:
        event = json.loads(record.value)
    except ValueError:
        return None, False
    return event, event.get("ts") is not None


class Reference:
    """The query on one partition; ``lanes`` fills up with what each topic must hold, in order."""

    def __init__(self, partition: int, model_at: ModelAt) -> None:
        self.partition, self.model_at = partition, model_at
        self.lanes: defaultdict[Lane, list[Wanted]] = defaultdict(list)
        self.watermark_ms = -math.inf
        self.rings: dict[str, list[list[float]]] = {}
        self.ring_last_ms: dict[str, int] = {}
        self.ring_count: dict[str, int] = {}
        self.states: dict[str, tuple[str, int, Any]] = {}  # device -> digest, time of the last event, state
        self.open: dict[tuple[int, str], list[dict[str, Any]]] = {}  # (start, device) -> events, in the order of their first

    def take(self, record: Record) -> None:
        event, has_time = event_of(record)
        if event is None or not has_time:
            self._dead(record, "events")
            return
        self.watermark_ms = max(self.watermark_ms, event["ts"] - DELAY_MS)
        self._plain(record, event)
        self._windowed(record, event)
        self._stepped(record, event)
        self._count(record, event)
        self._close()

    def _plain(self, record: Record, event: dict[str, Any]) -> None:
        if event["acc"] is None:
            self._dead(record, "plain")
            return
        model = self.model_at("plain", self.partition, record.offset)
        w = model.weights
        hidden = np.maximum(_f32(event["acc"]) @ w["w1"].astype(float) + w["b1"], 0)
        self._scored("plain", record, event, model, hidden @ w["w2"].astype(float) + w["b2"], stamped=True)

    def _windowed(self, record: Record, event: dict[str, Any]) -> None:
        device, ts = event["device"], event["ts"]
        if device in self.rings and ts - self.ring_last_ms[device] > RING_GAP_MS:
            self.rings[device], self.ring_count[device] = [], 0
        ring = self.rings.setdefault(device, [])
        ring.append([math.nan] * 4 if event["acc"] is None else event["acc"])
        del ring[:-LENGTH]
        self.ring_last_ms[device] = ts
        count = self.ring_count[device] = self.ring_count.get(device, 0) + 1
        if count < LENGTH or (count - LENGTH) % HOP:
            return
        window = _f32(ring).reshape(-1)
        if np.isnan(window).any():
            self._dead(record, "windowed")
            return
        model = self.model_at("windowed", self.partition, record.offset)
        self._scored("windowed", record, event, model, window @ model.weights["w"].astype(float) + model.weights["b"])

    def _stepped(self, record: Record, event: dict[str, Any]) -> None:
        if event["acc"] is None:
            self._dead(record, "stepped")
            return
        model, device, ts = self.model_at("stepped", self.partition, record.offset), event["device"], event["ts"]
        digest, last_ms, state = self.states.get(device, ("", 0, None))
        if digest != model.digest or ts - last_ms > STATE_GAP_MS:
            state = np.zeros(UNITS)
        state = _gru(model.weights, _f32(event["acc"]), state)
        self.states[device] = model.digest, ts, state
        self._scored("stepped", record, event, model, state @ model.weights["w"].astype(float) + model.weights["b"])

    def _scored(self, window: str, record: Record, event: dict[str, Any], model: Model, z: Any, stamped: bool = False) -> None:
        p = np.exp(z - z.max())
        shares = (p / p.sum()).tolist()
        exact = {"device": event["device"], "id": event["id"], "ts": event["ts"], "model": model.digest}
        headers = (*record.headers, ("esp-model", model.digest.encode())) if stamped else record.headers
        wanted = Wanted((event["id"],), record.key, headers, record.ts_ms, exact, shares=shares)
        self.lanes[SCORED[window], self.partition, ""].append(wanted)

    def _count(self, record: Record, event: dict[str, Any]) -> None:
        start = event["ts"] // WINDOW_MS * WINDOW_MS
        if start + WINDOW_MS <= self.watermark_ms:
            exact = {name: event[name] for name in ("device", "id", "ts")}
            late = Wanted((event["id"],), record.key, record.headers, record.ts_ms, exact)
            self.lanes["late", self.partition, ""].append(late)
        else:
            self.open.setdefault((start, event["device"]), []).append(event)

    def _close(self) -> None:
        due = [key for key in self.open if key[0] + WINDOW_MS <= self.watermark_ms]
        for start, device in sorted(due, key=lambda key: key[0]):  # of one start: the order in which they were opened
            events = self.open.pop((start, device))
            ids, loads = [event["id"] for event in events], [event["load"] for event in events if event["load"] is not None]
            end = start + WINDOW_MS
            exact = {"device": device, "window_start": start, "window_end": end, "n": len(events), "loads": len(loads)}
            exact |= {"first": min(ids), "last": max(ids), "total": sum(ids)}
            near = {
                "mean": float(np.mean(loads)) if loads else None,
                "std": float(np.std(loads, ddof=1)) if len(loads) > 1 else None,
            }
            wanted = Wanted((device, start), device.encode(), (), end - 1, exact, near)
            self.lanes["tallies", self.partition, ""].append(wanted)

    def _dead(self, record: Record, window: str) -> None:
        origin = {"esp-window": window, "esp-partition": str(record.partition), "esp-offset": str(record.offset)}
        wanted = Wanted((record.offset,), record.key, record.headers, record.ts_ms, origin, value=record.value)
        self.lanes["dead", self.partition, window].append(wanted)


def _f32(values: Any) -> Any:
    """As float32 holds them, to reckon on in float64."""
    return np.array(values, np.float32).astype(float)


def _gru(w: Mapping[str, Any], x: Any, h: Any) -> Any:
    """One step as ONNX writes it down (linear_before_reset = 0)."""
    wz, wr, wh = np.split(w["W"][0].astype(float), 3)
    rz, rr, rh = np.split(w["R"][0].astype(float), 3)
    bias = w["B"][0].astype(float)
    bz, br, bh = np.split(bias[: 3 * UNITS] + bias[3 * UNITS :], 3)
    z, r = _sigmoid(wz @ x + rz @ h + bz), _sigmoid(wr @ x + rr @ h + br)
    return (1 - z) * np.tanh(wh @ x + rh @ (r * h) + bh) + z * h


def _sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))
