"""Scoring files: every kind of file gives the same scores; what is wrong is told with its row, and what cannot be read is refused."""

import csv
import errno
import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from esp.astore.graph import Graph, Node, Value
from esp.astore.model import Astore, Input, Output, Step
from esp.errors import EspError, FileError
from esp.runtime.offline.score import score_file
from esp.runtime.scorer import Scorer

LABELS = ("cat", "dog", "emu")
ROWS = np.array([[0.0, 2.0, 1.0], [3.0, -1.0, 0.5], [0.0, 0.25, 7.0]], np.float32)
TRUE = ["dog", "cat", "emu"]  # where each row is largest
SOFTMAX = [[float(np.exp(x) / np.exp(row).sum()) for x in row] for row in ROWS.astype(np.float64)]


def classifier(dtype: str = "float32", missing: Any = "refuse") -> Astore:
    """p = softmax(x) over three classes."""
    graph = Graph((Node("Softmax", ("x",), ("p",)),), (Value("x", "float32", (None, 3)),), (Value("p", "float32", (None, 3)),), {})
    source = Input("x", dtype, (3,), missing=missing)
    return Astore("animals", graph, (source,), (Output("p", "float32", (3,), "probabilities", LABELS),))


def vector() -> Astore:
    """y = relu(x) over three numbers."""
    graph = Graph((Node("Relu", ("x",), ("y",)),), (Value("x", "float32", (None, 3)),), (Value("y", "float32", (None, 3)),), {})
    return Astore("vector", graph, (Input("x", "float32", (3,)),), (Output("y", "float32", (3,)),))


def summing() -> Astore:
    """y = a + b."""
    values = tuple(Value(name, "float32", (None,)) for name in "ab")
    graph = Graph((Node("Add", ("a", "b"), ("y",)),), values, (Value("y", "float32", (None,)),), {})
    return Astore("sum", graph, (Input("a", "float32", ()), Input("b", "float32", ())), (Output("y", "float32", ()),))


def redness() -> Astore:
    """The mean of an image's channels, of any size, brought to 2 x 2."""
    nodes = (Node("GlobalAveragePool", ("x",), ("m",)), Node("Flatten", ("m",), ("rgb",)))
    graph = Graph(nodes, (Value("x", "float32", (None, 3, 2, 2)),), (Value("rgb", "float32", (None, 3)),), {})
    steps = (Step("decode", {"channels": 3}), Step("resize", {"height": 2, "width": 2}), Step("channels_first"))
    output = Output("rgb", "float32", (3,), "probabilities", ("red", "green", "blue"))
    return Astore("colours", graph, (Input("x", "blob", (), steps),), (output,))


def scored(astore: Astore, path: Path, label: str = "", suffix: str = ".jsonl") -> tuple[Any, Any]:
    output = path.parent / f"scores{suffix}"
    tally = score_file(Scorer.bind(astore, "numpy"), path, output, label)
    return tally, output


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def rows_in(path: Path, kind: str) -> Path:
    records = [{"x": row.tolist(), "kind": label, "more": 1} for row, label in zip(ROWS, TRUE)]
    if kind == "jsonl":
        return write(path / "rows.jsonl", "".join(json.dumps(record) + "\n" for record in records))
    if kind == "json":
        return write(path / "rows.json", json.dumps(records, indent=1))
    if kind == "named.csv":
        cells = "".join(f"{label},{row[2]},{row[0]},{row[1]}\n" for row, label in zip(ROWS, TRUE))
        return write(path / "rows.csv", "kind,x[2],x[0],x[1]\n" + cells)
    if kind == "other names.csv":
        return write(
            path / "rows.csv", "u,v,w,kind\n" + "".join(f"{row[0]},{row[1]},{row[2]},{label}\n" for row, label in zip(ROWS, TRUE))
        )
    np.savez(path / "rows.npz", x=ROWS.astype(np.float64), kind=np.array(TRUE))
    return path / "rows.npz"


@pytest.mark.parametrize("kind", ["jsonl", "json", "named.csv", "other names.csv", "npz"])
def test_every_kind_of_file_gives_label_probability_and_accuracy(tmp_path: Path, kind: str) -> None:
    tally, output = scored(classifier(), rows_in(tmp_path, kind), label="kind")
    assert (tally.rows, tally.bad, tally.accuracy) == (3, 0, 1.0)
    found = lines(output)
    assert [(line["row"], line["label"]) for line in found] == [(0, "dog"), (1, "cat"), (2, "emu")]
    np.testing.assert_allclose([line["probability"] for line in found], [max(row) for row in SOFTMAX], rtol=1e-5)


def test_accuracy_counts_what_is_wrong_and_passes_over_rows_without_a_label(tmp_path: Path) -> None:
    rows = [{"x": ROWS[0].tolist(), "kind": "dog"}, {"x": ROWS[1].tolist(), "kind": "dog"}, {"x": ROWS[2].tolist()}]
    path = write(tmp_path / "rows.jsonl", "\n".join(map(json.dumps, rows)))
    tally, _ = scored(classifier(), path, label="kind")
    assert (tally.rows, tally.labelled, tally.accuracy) == (3, 2, 0.5)


def test_csv_without_names_feeds_the_inputs_in_order(tmp_path: Path) -> None:
    tally, output = scored(summing(), write(tmp_path / "rows.csv", "1,2\n3.5,4\n\n"))
    assert tally.rows == 2
    assert [line["y"] for line in lines(output)] == [3.0, 7.5]


def test_npy_scores_go_to_arrays(tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", ROWS)
    _, output = scored(classifier(), tmp_path / "rows.npy", suffix=".npy")
    np.testing.assert_allclose(np.load(output), SOFTMAX, rtol=1e-5)
    _, output = scored(classifier(), tmp_path / "rows.npy", suffix=".npz")
    with np.load(output) as arrays:
        assert arrays["row"].tolist() == [0, 1, 2]
        np.testing.assert_allclose(arrays["p"], SOFTMAX, rtol=1e-5)


def test_csv_of_scores_has_a_column_a_number(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", '{"a": 1, "b": 2}\n{"a": "no"}\n')
    tally, output = scored(summing(), path, suffix=".csv")
    table = list(csv.reader(io.StringIO(output.read_text())))
    assert table[0] == ["row", "y", "error"]
    assert table[1] == ["0", "3.0", ""]
    assert table[2][:2] == ["1", ""]
    assert tally.bad == 1


def test_images_of_a_folder_are_scored_by_name_with_the_folder_as_label(tmp_path: Path) -> None:
    for name, colour in {"red/b.png": (250, 9, 9), "blue/a.png": (0, 0, 99), "red/c.jpg": (200, 100, 0)}.items():
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (5, 4), colour).save(tmp_path / "in" / name)
    (tmp_path / "in" / "red" / "d.png").write_bytes(b"no image")
    tally = score_file(Scorer.bind(redness(), "numpy"), tmp_path / "in", tmp_path / "out.jsonl", "folder")
    found = lines(tmp_path / "out.jsonl")
    assert [line.get("file") for line in found[:3]] == ["blue/a.png", "red/b.png", "red/c.jpg"]
    assert [line["label"] for line in found[:3]] == ["blue", "red", "red"]
    assert found[0]["probability"] == 99
    assert "error" in found[3]
    assert (tally.rows, tally.bad, tally.accuracy) == (3, 1, 1.0)


def test_rows_that_cannot_be_scored_are_written_with_their_reason(tmp_path: Path) -> None:
    text = '{"x": [1, 2, 3]}\n{"x": [1, 2]}\n{"x": [1, null, 2]}\nno json\n{"x": null}\n{"x": [0, 0, 9]}\n'
    tally, output = scored(classifier(), write(tmp_path / "rows.jsonl", text))
    found = lines(output)
    assert [line["row"] for line in found] == list(range(6))
    assert [row for row, line in enumerate(found) if "error" in line] == [1, 2, 3, 4]
    assert (tally.rows, tally.bad) == (2, 4)
    assert len(tally.reasons) == 3
    assert tally.reasons[0].startswith("row 1: ")


def test_numbers_outside_a_byte_are_refused_where_the_model_takes_bytes(tmp_path: Path) -> None:
    tally, output = scored(classifier("uint8"), write(tmp_path / "rows.csv", "1,2,3\n1,256,3\n-1,0,0\n9,0,255\n"))
    assert [line.get("label", line.get("error")) for line in lines(output)] == [
        "emu", "a number is not in 0 to 255", "a number is not in 0 to 255", "emu",
    ]  # fmt: skip
    assert tally.bad == 2


def test_empty_cells_are_missing_values(tmp_path: Path) -> None:
    tally, output = scored(classifier(missing="nan"), write(tmp_path / "rows.csv", "x[0],x[1],x[2]\n1,,2\n0,1,0\n"))
    assert [line["label"] for line in lines(output)] == [None, "dog"]
    assert tally.bad == 0


REFUSED = [
    ("rows.txt", "1,2,3", "", "files '.txt' are not read"),
    ("rows.csv", "a,b\n1,2\n", "", "2 columns do not feed x (3 numbers)"),
    ("rows.csv", "x[0],x[1],x[2]\n1,2,3\n", "kind", "there is no column 'kind'"),
    ("rows.csv", "1,2,3\n", "kind", "there is no line of names to find 'kind' in"),
    ("rows.csv", "", "", "rows.csv: the file is empty"),
    ("rows.csv", "\n1,2,3\n", "", "rows.csv: the first line is blank"),
    ("rows.json", "[1, 2", "", "this is no JSON"),
    ("rows.npy", "junk", "", "numpy cannot read it"),
    ("rows.npz", "junk", "", "numpy cannot read it"),
    ("rows.png", "junk", "", "the model takes float32[3], not image files"),
]


@pytest.mark.parametrize(("name", "text", "label", "words"), REFUSED)
def test_file_that_does_not_fit_is_refused_in_one_line(tmp_path: Path, name: str, text: str, label: str, words: str) -> None:
    with pytest.raises(EspError) as caught:
        scored(classifier(), write(tmp_path / name, text), label)
    assert words in str(caught.value)
    assert caught.value.exit_status == 2
    assert caught.value.mend
    assert "\n" not in str(caught.value)


def test_arrays_of_other_shapes_types_or_counts_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.npy"
    for array, words in [
        (ROWS[:, :2], "wanted float32[rows, 3], got float32[3, 2]"),
        (ROWS.astype(str), "does not fit float32"),
        (ROWS.astype(complex), "complex128 does not fit float32"),
    ]:
        np.save(path, array)
        with pytest.raises(EspError, match="x: ") as caught:
            scored(classifier(), path)
        assert words in str(caught.value)
    np.savez(tmp_path / "two.npz", a=np.zeros(2), b=np.zeros(3))
    with pytest.raises(EspError, match="differ in their number of rows"):
        scored(summing(), tmp_path / "two.npz")
    np.savez(tmp_path / "one.npz", a=np.zeros(2))
    with pytest.raises(EspError, match="there is no array 'b'; it has a"):
        scored(summing(), tmp_path / "one.npz")
    with pytest.raises(EspError, match=r"an \.npy file holds one input, the model has a, b"):
        scored(summing(), path)


def test_label_for_a_model_without_labels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EspError, match="the model has no labels to compare with"):
        scored(summing(), write(tmp_path / "rows.csv", "1,2\n"), label="kind")


def test_scores_that_cannot_be_written_are_refused_before_work_begins(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.csv", "1,2\n")
    with pytest.raises(EspError, match=r"no scores are written as '\.xls'"):
        scored(summing(), path, suffix=".xls")
    with pytest.raises(EspError, match="the folder is not there"):
        score_file(Scorer.bind(summing(), "numpy"), path, tmp_path / "no" / "scores.csv")


def test_file_of_many_rows_goes_through_in_pieces_in_order(tmp_path: Path) -> None:
    count = 30_000
    path = write(tmp_path / "rows.csv", "b,a\n" + "".join(f"{row},0.5\n" for row in range(count)))
    told: list[tuple[int, int]] = []
    score_file(
        Scorer.bind(summing(), "numpy", 1000), path, tmp_path / "out.jsonl", progress=lambda done, size: told.append((done, size))
    )
    found = lines(tmp_path / "out.jsonl")
    assert [line["y"] for line in found] == [row + 0.5 for row in range(count)]
    assert told[-1] == (path.stat().st_size, path.stat().st_size)


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".npy", ".npz"])
def test_scores_may_go_to_the_file_that_they_are_made_of(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"scores{suffix}"
    if suffix == ".jsonl":
        write(path, "".join(json.dumps({"x": row.tolist()}) + "\n" for row in ROWS))
    elif suffix == ".csv":
        write(path, "".join(f"{a},{b},{c}\n" for a, b, c in ROWS))
    elif suffix == ".npy":
        np.save(path, ROWS)
    else:
        np.savez(path, x=ROWS)
    tally = score_file(Scorer.bind(classifier(), "numpy"), path, path)
    assert (tally.rows, tally.bad) == (3, 0)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    if suffix == ".csv":
        assert [line.split(",")[1] for line in path.read_text().splitlines()] == ["label", *TRUE]


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".npy", ".npz"])
def test_a_full_disk_is_one_line_and_leaves_what_was_there(tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    path = write(tmp_path / "rows.csv", "1,2,3\n")
    output = write(tmp_path / f"scores{suffix}", "of yesterday")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(FileError, match=f"scores{suffix}: the scores cannot be written .No space left on device"):
        scored(classifier(), path, suffix=suffix)
    assert output.read_text() == "of yesterday"
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("rows", ["", "no,1,2\n3,no,4\n"])
@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".npy", ".npz"])
@pytest.mark.parametrize("dtype", ["float32", "uint8"])
def test_a_file_without_a_row_that_can_be_read_gives_no_scores(tmp_path: Path, rows: str, suffix: str, dtype: str) -> None:
    tally, output = scored(classifier(dtype), write(tmp_path / "rows.csv", "x[0],x[1],x[2]\n" + rows), suffix=suffix)
    assert (tally.rows, tally.bad) == (0, rows.count("\n"))
    if suffix == ".csv":
        assert [line.split(",")[0] for line in output.read_text().splitlines()] == ["row", "0", "1"][: tally.bad + 1]
    if suffix == ".npy":
        assert np.load(output).shape == (0, 3)


def test_a_stretch_of_bad_rows_amid_a_file_keeps_the_columns(tmp_path: Path) -> None:
    bad = 300_000  # more bytes than are read at once
    text = "1,2,3\n" + "a,b,c\n" * bad + "3,2,1\n"
    tally, output = scored(vector(), write(tmp_path / "rows.csv", text), suffix=".csv")
    assert (tally.rows, tally.bad) == (2, bad)
    table = list(csv.reader(io.StringIO(output.read_text())))
    assert table[0] == ["row", "y[0]", "y[1]", "y[2]", "error"]
    assert (table[1][1:4], table[-1][1:4]) == (["1.0", "2.0", "3.0"], ["3.0", "2.0", "1.0"])
    assert {len(line) for line in table} == {5}


def test_a_folder_whose_first_images_are_bad_keeps_the_column_of_names(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for at in range(64):  # a batch
        (tmp_path / "in" / f"a{at:02}.png").symlink_to("nowhere")
    Image.new("RGB", (5, 4), (250, 9, 9)).save(tmp_path / "in" / "b.png")
    score_file(Scorer.bind(redness(), "numpy"), tmp_path / "in", tmp_path / "out.csv")
    table = list(csv.reader(io.StringIO((tmp_path / "out.csv").read_text())))
    assert table[0] == ["row", "file", "label", "probability", "error"]
    assert table[-1][:3] == ["64", "b.png", "red"]


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_semicolons_and_tabs_separate_columns_too(tmp_path: Path, delimiter: str) -> None:
    text = "b,a;b;a\n9;1;2\n".replace(";", delimiter)
    _, output = scored(summing(), write(tmp_path / "rows.csv", text))
    assert [line["y"] for line in lines(output)] == [3.0]


def test_a_bad_cell_is_told_by_the_name_of_its_column_or_else_by_its_place(tmp_path: Path) -> None:
    _, output = scored(summing(), write(tmp_path / "rows.csv", "id,b,a,a\n1,no,2,3\n1,2,no,3\n"))
    assert ["field 'b'" in lines(output)[0]["error"], "field 'column 3'" in lines(output)[1]["error"]] == [True, True]
    _, output = scored(summing(), write(tmp_path / "rows.csv", "1,2\n3,no\n"))
    assert "field 'column 2'" in lines(output)[1]["error"]


def test_a_line_of_more_columns_than_fit_a_piece_is_read_whole(tmp_path: Path) -> None:
    names = ",".join([f"{'more' * 4000}{at}" for at in range(10)])
    _, output = scored(summing(), write(tmp_path / "rows.csv", f"{names},a,b\n{'0,' * 10}1,2\n"))
    assert [line["y"] for line in lines(output)] == [3.0]


def test_suffixes_are_taken_in_capitals(tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", ROWS)
    _, output = scored(classifier(), (tmp_path / "rows.npy").rename(tmp_path / "ROWS.NPY"), suffix=".NPY")
    np.testing.assert_allclose(np.load(output), SOFTMAX, rtol=1e-5)


def test_scores_are_not_written_over_what_is_no_regular_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "scores.csv")
    with pytest.raises(FileError, match=r"scores\.csv: .*no regular file"):
        scored(summing(), write(tmp_path / "rows.csv", "1,2\n"), suffix=".csv")
    assert (tmp_path / "scores.csv").is_fifo()
