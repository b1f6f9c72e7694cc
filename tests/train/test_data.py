"""Data: splits that keep a group together, windows, statistics by hand, and loaders over small files."""

import gzip
import io
import os
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from esp.errors import FileError
from esp.train import sources
from esp.train.data import Dataset, folds, group_names, split_fraction, split_groups, statistics
from esp.train.sources import Csv, Digits, Idx, Npz, Shoulder, package_file, read_idx
from esp.train.unpickle import read_object_npy


def recordings() -> Dataset:
    """Three recordings of 5, 3 and 6 steps by subjects 2, 10 and 2; every value is 100 * recording + step."""
    rows = tuple(np.stack([100 * i + np.arange(n), -np.arange(n)], axis=1).astype(np.float32) for i, n in enumerate((5, 3, 6)))
    return Dataset("walks", rows, np.array([0, 1, 1]), ("slow", "fast"), ("2", "10", "2"))


def grouped(rows: int, groups: int) -> Dataset:
    return Dataset("g", np.arange(rows)[:, None], np.zeros(rows, int), ("a",), tuple(str(i % groups + 1) for i in range(rows)))


def test_windows_take_every_hop_th_start_of_each_recording() -> None:
    windows = recordings().windows(4, 2)
    assert windows.array[:, :, 0].tolist() == [[0, 1, 2, 3], [200, 201, 202, 203], [202, 203, 204, 205]]
    assert windows.labels == ("slow", "fast", "fast")
    assert windows.groups == ("2", "2", "2")


def test_windows_longer_than_every_recording_are_refused() -> None:
    with pytest.raises(FileError, match="no recording is 9 steps long"):
        recordings().windows(9, 1)


def test_recordings_must_be_cut_before_they_are_one_array() -> None:
    with pytest.raises(FileError, match=r"add \[data.windows\]"):
        _ = recordings().array


def test_split_by_chance_holds_out_the_share_and_loses_no_row() -> None:
    data = Dataset("d", np.arange(1797)[:, None], np.zeros(1797, int), ("a",))
    split = split_fraction(data, 0.3333, seed=4)
    assert len(split.held_out) == 599
    assert sorted([*split.train.array[:, 0], *split.held_out.array[:, 0]]) == list(range(1797))
    again = split_fraction(data, 0.3333, seed=4)
    np.testing.assert_array_equal(again.held_out.array, split.held_out.array)
    assert not np.array_equal(split_fraction(data, 0.3333, seed=5).held_out.array, split.held_out.array)


def test_split_by_chance_keeps_groups_together() -> None:
    split = split_fraction(grouped(60, 6), 0.3, seed=1)
    assert len(set(split.held_out.groups)) == 2
    assert not set(split.held_out.groups) & set(split.train.groups)


def test_split_holds_out_named_groups_and_refuses_an_unknown_one() -> None:
    split = split_groups(recordings(), ["10"])
    assert (len(split.train), len(split.held_out)) == (2, 1)
    with pytest.raises(FileError, match=r"no group 7.*use of 2, 10"):
        split_groups(recordings(), ["7"])


def test_folds_hold_out_each_group_once_in_order() -> None:
    data = grouped(40, 10)
    assert group_names(data) == [str(i) for i in range(1, 11)]
    held = [sorted(set(split.held_out.groups), key=int) for split in folds(data, 5)]
    assert held == [["1", "2"], ["3", "4"], ["5", "6"], ["7", "8"], ["9", "10"]]
    with pytest.raises(FileError, match="10 groups cannot make 11 folds"):
        folds(data, 11)


def test_statistics_by_hand_are_one_a_channel_and_leave_nan_out() -> None:
    rows = np.array([[[1.0, 5.0], [3.0, np.nan]], [[5.0, 5.0], [7.0, 8.0]]])
    found = statistics(rows)
    assert found == {
        "count": [4, 3],
        "mean": [4.0, 6.0],
        "std": [5**0.5, 2**0.5],
        "min": [1.0, 5.0],
        "max": [7.0, 8.0],
        "missing": [0, 1],
    }
    assert statistics(np.array([[1.0, 3.0], [5.0, 7.0]]))["mean"] == [4.0]  # one axis: of the whole


def test_csv_gives_features_classes_groups_and_missing_values(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,who,b,kind\n1,x,2,10\n3,y,,9\n")
    data = Csv(source="csv", path="t.csv", target="kind", group="who").load(tmp_path)
    np.testing.assert_array_equal(data.array, np.array([[1, 2], [3, np.nan]], np.float32))
    assert data.classes == ("9", "10")
    assert data.labels == ("10", "9")
    assert data.groups == ("x", "y")
    priced = Csv(source="csv", path="t.csv", target="kind", features=("a",), task="regress").load(tmp_path)
    assert priced.targets.tolist() == [10.0, 9.0]
    assert priced.classes == ()


def test_npz_gives_rows_and_targets(tmp_path: Path) -> None:
    np.savez(tmp_path / "t.npz", x=np.zeros((3, 2, 2), np.uint8), y=np.array(["b", "a", "b"]), g=np.array([1, 1, 2]))
    data = Npz(source="npz", path="t.npz", group="g").load(tmp_path)
    assert data.array.shape == (3, 2, 2)
    assert data.labels == ("b", "a", "b")
    assert data.groups == ("1", "1", "2")


def test_idx_gives_images_with_a_channel(tmp_path: Path) -> None:
    images = np.arange(2 * 3 * 4, dtype=np.uint8)
    (tmp_path / "i.gz").write_bytes(gzip.compress(b"\0\0\x08\x03" + struct.pack(">3I", 2, 3, 4) + images.tobytes()))
    (tmp_path / "l").write_bytes(b"\0\0\x08\x01" + struct.pack(">I", 2) + b"\x01\x00")
    data = Idx(source="idx", images="i.gz", labels="l").load(tmp_path)
    np.testing.assert_array_equal(data.array, images.reshape(2, 3, 4, 1))
    assert data.labels == ("1", "0")


@pytest.mark.parametrize(
    "raw", [b"", b"\0\0\x0d\x01\0\0\0\x01\0", b"\0\0\x08\x01\0\0\0\x05\x01", b"\x1f\x8bxx", b"\0\0\x08\x09\0\0"]
)
def test_idx_that_is_broken_is_refused(raw: bytes) -> None:
    with pytest.raises(FileError):
        read_idx(raw, "file")


@pytest.mark.parametrize(
    ("text", "message"),
    [("a,b\n1,2\n", "no column kind"), ("a,kind\nx,2\n", "cannot read"), ("", "cannot read"), ("a,kind\n", "cannot read")],
)
def test_csv_that_does_not_fit_is_refused_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(FileError, match=message) as caught:
        Csv(source="csv", path="t.csv", target="kind").load(tmp_path)
    assert "\n" not in str(caught.value)


def object_npy(payload: bytes) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "|O", "fortran_order": False, "shape": ()})
    return file.getvalue() + payload


def test_pickle_of_arrays_is_read(tmp_path: Path) -> None:
    value = {"X": [np.arange(3.0), np.ones((2, 2))], "names": ["a"]}
    np.save(tmp_path / "o.npy", np.array(value, dtype=object), allow_pickle=True)
    found = read_object_npy(tmp_path / "o.npy")
    assert found["names"] == ["a"]
    np.testing.assert_array_equal(found["X"][1], np.ones((2, 2)))


class _Harm:
    def __reduce__(self) -> Any:
        return os.mkdir, ("harm",)


def test_pickle_that_would_run_code_is_refused_and_runs_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "o.npy").write_bytes(object_npy(pickle.dumps(_Harm())))
    with pytest.raises(FileError, match="mkdir is not an array"):
        read_object_npy(tmp_path / "o.npy")
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize("raw", [b"", b"\x93NUMPY", b"hello", object_npy(b"\x80")])
def test_object_file_that_is_broken_is_refused(tmp_path: Path, raw: bytes) -> None:
    (tmp_path / "o.npy").write_bytes(raw)
    with pytest.raises(FileError, match="cannot read"):
        read_object_npy(tmp_path / "o.npy")


def test_package_that_is_not_there_is_one_line_with_the_mend() -> None:
    with pytest.raises(FileError, match=r"pip install esp-engine\[demo\]"):
        package_file("no_such_package_here", "data/x.npy", "nothing")


def test_digits_are_as_their_package_describes_them() -> None:
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    data = Digits(source="digits").load(Path())
    assert data.array.shape == (1797, 8, 8, 1)
    assert data.array.dtype == np.uint8
    assert data.array.max() == 16
    assert np.bincount(data.targets).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]  # as in the UCI description


def test_shoulder_recordings_are_as_their_package_describes_them() -> None:
    if sources.importlib.util.find_spec("seglearn") is None:
        pytest.skip("seglearn is not installed")
    data = Shoulder(source="shoulder").load(Path())
    assert len(data) == 140
    assert sum(map(len, data.rows)) == 244_102
    assert data.classes == ("PEN", "ABD", "FEL", "IR", "ER", "TRAP", "ROW")
    assert sorted(set(data.groups), key=int) == [str(i) for i in range(1, 11)]
    assert {row.shape[1] for row in data.rows} == {6}
