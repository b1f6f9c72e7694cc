"""Events as FACTS.md has them byte by byte, and outputs read back."""

import json
import struct

import msgpack
import numpy as np
import pytest

from loadtest.events import CRAYFISH_START_MS
from loadtest.workload import Workload

NOW_NS = 1_700_000_000_123_456_789


def workload(name: str, rows: np.ndarray, width: int) -> Workload:
    return Workload(name, rows, np.zeros((len(rows), width), np.float32), np.zeros(0, np.int64))


def test_an_event_of_the_sensor_is_an_array_of_number_time_and_raw_floats() -> None:
    rows = np.arange(32, dtype=np.float32).reshape(2, 16)
    value = workload("sensor", rows, 4).packer()(0, 300, NOW_NS)
    assert value[:1] == b"\x93"  # an array of three
    assert value[1:4] == b"\xcd" + struct.pack(">H", 300)
    assert value[4:13] == b"\xcf" + struct.pack(">Q", NOW_NS)
    assert value[13:] == b"\xc4\x40" + struct.pack("<16f", *range(16))


def test_an_event_of_crayfish_is_its_object_with_floats_as_text() -> None:
    rows = np.array([[0.5, 0.25], [0.125, 1.0]], np.float32)
    event = json.loads(workload("crayfish", rows, 10).packer()(0, 5, NOW_NS))
    assert list(event) == ["creationTimestamp", "dataPointSz1", "dataPointSz2", "dataPoint", "prediction"]
    assert event == {
        "creationTimestamp": CRAYFISH_START_MS + 5, "dataPointSz1": 1, "dataPointSz2": 2, "dataPoint": "0.12500000,1.00000000,",
        "prediction": None,
    }  # fmt: skip


def test_an_event_of_digits_is_a_map_with_the_image_that_its_number_names() -> None:
    rows = np.arange(128, dtype=np.uint8).reshape(2, 64)
    digits = workload("digits", rows, 2)
    event = msgpack.unpackb(digits.packer()(7, 5, NOW_NS))
    assert event == {"camera": "camera-07", "id": 5, "ts": 1_700_000_000_123, "pixels": bytes(range(64, 128))}
    assert digits.key(7) == b"camera-07"


def test_a_keyless_workload_has_no_key() -> None:
    assert workload("sensor", np.zeros((1, 16), np.float32), 4).key(3) is None


@pytest.mark.parametrize(("name", "features", "width"), [("sensor", 16, 4), ("crayfish-raw", 784, 10), ("crayfish", 784, 10)])
def test_an_event_passed_on_unread_has_its_number_and_no_scores(name: str, features: int, width: int) -> None:
    here = workload(name, np.zeros((3, features), np.float32), width)
    pack = here.packer()
    number, scores = here.read([pack(0, 4, NOW_NS), pack(0, 70_000, NOW_NS)])
    assert number.tolist() == [4, 70_000]
    assert scores.shape == (2, width)
    assert np.isnan(scores).all()


def test_scores_are_read_from_raw_floats() -> None:
    here = workload("sensor", np.zeros((1, 16), np.float32), 4)
    number, scores = here.read([msgpack.packb([9, NOW_NS, struct.pack("<4f", 0.5, 1, 2, 4)])])
    assert (number.tolist(), scores.tolist()) == ([9], [[0.5, 1, 2, 4]])


def test_scores_are_read_from_the_text_of_crayfish() -> None:
    here = workload("crayfish", np.zeros((1, 2), np.float32), 2)
    event = {"creationTimestamp": CRAYFISH_START_MS + 8, "dataPointSz1": 1, "dataPointSz2": 2, "dataPoint": "1,2,"}
    values = [json.dumps({**event, "prediction": text}).encode() for text in ("0.5,0.25", "0.5,0.25,", "0.5")]
    number, scores = here.read(values)
    assert number.tolist() == [8, 8, 8]
    assert scores[:2].tolist() == [[0.5, 0.25]] * 2
    assert np.isnan(scores[2]).all()


def test_an_output_of_crayfish_that_drops_the_floats_of_its_input_is_unknown() -> None:
    here = workload("crayfish", np.zeros((1, 2), np.float32), 2)
    event = {"creationTimestamp": CRAYFISH_START_MS, "dataPointSz1": 1, "dataPointSz2": 2, "dataPoint": "", "prediction": "0,1"}
    assert here.read([json.dumps(event).encode()])[0].tolist() == [-1]


def test_label_and_probability_are_read_from_digits() -> None:
    here = workload("digits", np.zeros((1, 64), np.uint8), 2)
    values = [msgpack.packb({"id": 3, "label": label, "probability": 0.5}) for label in ("7", "x")] + [msgpack.packb({"id": 4})]
    number, scores = here.read(values)
    assert number.tolist() == [3, 3, 4]
    assert scores[0].tolist() == [7.0, 0.5]
    assert np.isnan(scores[1:, 0]).all()


def test_nothing_read_is_no_numbers_and_no_scores() -> None:
    number, scores = workload("sensor", np.zeros((1, 16), np.float32), 4).read([])
    assert (number.shape, scores.shape) == ((0,), (0, 4))
