"""Workloads whose outputs are fewer than their events: which event brings out which output, and what that holds, by naive loops."""

from collections import defaultdict
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import onnxruntime
import orjson
import pytest

from loadtest.networks import WORKLOADS
from loadtest.peers.scoring import scorer
from loadtest.plan import Load
from loadtest.series import CYCLE, DEVICES, HOP, LENGTH, SIZE_MS, START_MS, label_number
from loadtest.workload import Workload

PARTITIONS = 3


def sent(workload: Workload, n: int) -> list[tuple[int, Any]]:
    """The partition of each event, and the event."""
    load, pack = Load(n, None, partitions=PARTITIONS), workload.packer()
    return [(load.partition(at), msgpack.unpackb(pack(load.camera(at), at, 0))) for at in range(n)]


def test_a_window_of_readings_is_brought_out_by_the_event_that_completes_it(tmp_path: Path) -> None:
    workload, _ = WORKLOADS["imu"](tmp_path / "imu")
    n, seen, causes = 64 * (LENGTH + 3 * HOP) + 10, defaultdict(int), []
    for at, (_, event) in enumerate(sent(workload, n)):
        device = event["device"]
        assert event["ts"] == START_MS + 20 * seen[device]
        seen[device] += 1
        if seen[device] >= LENGTH and (seen[device] - LENGTH) % HOP == 0:
            causes.append(at)
    found = workload.causes(Load(n, None, partitions=PARTITIONS), is_scored=True)
    assert found[found >= 0].tolist() == causes
    assert len(causes) == 4 * 64


def test_a_peer_scores_the_windows_that_numpy_expects(tmp_path: Path) -> None:
    workload, kit = WORKLOADS["imu"](tmp_path / "imu")
    pack, n = workload.packer(), 64 * (LENGTH + HOP * (CYCLE // HOP + 1))
    values = [pack(at % 64, at, 0) for at in range(n)]
    outputs = [value for value in scorer("imu", str(kit.onnx))(values) if value is not None]
    number, scores = workload.read(outputs)
    assert number.tolist() == list(range(64 * (CYCLE // HOP + 2)))
    np.testing.assert_allclose(scores, workload.expected[number % len(workload.expected)], atol=1e-5)
    assert np.ptp(workload.expected[:, 1]) > 0.1
    assert len(workload.expected) == 64 * CYCLE // HOP
    passed, unscored = workload.read(values[1000:1100])
    assert passed.tolist() == list(range(1000, 1100))
    assert np.isnan(unscored).all()


def test_the_expected_windows_are_the_readings_of_one_device(tmp_path: Path) -> None:
    workload, kit = WORKLOADS["imu"](tmp_path / "imu")
    events = [event for _, event in sent(workload, 64 * (LENGTH + HOP))]
    readings = [np.frombuffer(event["acc"] + event["gyro"], "<f4") for event in events if event["device"] == "device-05"]
    session = onnxruntime.InferenceSession(kit.onnx, providers=["CPUExecutionProvider"])
    name, labels = (
        session.get_inputs()[0].name,
        orjson.loads(session.get_modelmeta().custom_metadata_map["esp.outputs"])[0]["labels"],
    )
    for turn in (0, 1):
        (scores,) = session.run(None, {name: np.stack(readings[HOP * turn : HOP * turn + LENGTH])[None]})
        wanted = label_number(labels[scores[0].argmax()]), scores[0].max()
        assert workload.expected[64 * turn + 5] == pytest.approx(wanted, abs=1e-5)


def test_tallies_are_those_of_a_naive_fold_and_come_with_the_event_that_passes_their_end(tmp_path: Path) -> None:
    workload, _ = WORKLOADS["aggregate"](tmp_path / "aggregate")
    n = 70_000
    watermark, windows, made = [0] * PARTITIONS, [defaultdict(list) for _ in range(PARTITIONS)], {}
    for at, (partition, (device, number, ts, value)) in enumerate(sent(workload, n)):
        assert number == at
        watermark[partition] = max(watermark[partition], ts - 64)
        start = ts // SIZE_MS * SIZE_MS
        assert start + SIZE_MS > watermark[partition]  # none is late
        windows[partition][start, device].append((number, value))
        for key in [key for key in windows[partition] if key[0] + SIZE_MS <= watermark[partition]]:
            made[key] = at, windows[partition].pop(key)
    causes = workload.causes(Load(n, None, partitions=PARTITIONS), is_scored=True)
    assert (causes >= 0).sum() == len(made)
    for (start, device), (at, events) in made.items():
        ids, values = zip(*events)
        value = msgpack.packb([device, start, len(ids), np.mean(values), min(values), max(values), max(ids)])
        (number,), (scores,) = workload.read([value])
        assert causes[number] == at
        np.testing.assert_allclose(scores, workload.expected[number % len(workload.expected)], rtol=1e-5)
    assert len(np.unique(workload.expected, axis=0)) == len(workload.expected) == 125 * DEVICES


def test_a_tally_of_no_window_and_a_reading_off_the_hop_are_unknown(tmp_path: Path) -> None:
    tallies, _ = WORKLOADS["aggregate"](tmp_path / "aggregate")
    assert tallies.read([msgpack.packb(["device-01", START_MS + 5, 1, 1.0, 1.0, 1.0, 1])])[0].tolist() == [-1]
    motion, _ = WORKLOADS["imu"](tmp_path / "imu")
    value = {"device": "device-01", "ts": START_MS + 20 * LENGTH, "activity": "x", "probability": 0.5}
    assert motion.read([orjson.dumps(value)])[0].tolist() == [-1]


def test_an_event_of_each_fits_its_workload() -> None:
    rows = np.arange(64 * CYCLE * 6, dtype=np.float32).reshape(-1, 6)
    motion = Workload("imu", rows, np.zeros((1, 2), np.float32), np.zeros(0, np.int64))
    event = msgpack.unpackb(motion.packer()(7, 71, 0))
    assert event == {"device": "device-07", "ts": START_MS + 20, "acc": rows[71, :3].tobytes(), "gyro": rows[71, 3:].tobytes()}
    assert motion.key(7) == b"device-07"
