"""The verbs on models: bring in, show, score, sign, convert and give out, as a user would call them; and what each refuses."""

import errno
import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from esp.astore.binary import read
from esp.errors import BackendError
from esp.runtime import backends
from esp.runtime.backends import choice
from esp.runtime.backends.choice import Case, Choice
from esp.runtime.scorer import Scorer
from tests.command import Answer, Esp, esp_in

DIGITS = Path(__file__).parents[1] / "windows" / "digits_camera" / "digits.astore"
W = np.array([[1, 0, 2], [0, -1, 1]], np.float32)


@pytest.fixture
def esp_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Esp:
    """The command, called in this process in a folder of its own."""
    return esp_in(tmp_path, monkeypatch, capfd)


def write_onnx(path: Path, op: str = "Softmax", batch: int | str = 1) -> None:
    """y = op(x @ W), as another tool would write it, the batch fixed at 1."""
    nodes = [helper.make_node("MatMul", ["x", "w"], ["z"], "product"), helper.make_node(op, ["z"], ["y"], "last")]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 2])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, 3])
    graph = helper.make_graph(nodes, "g", [x], [y], [numpy_helper.from_array(W, "w")])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)


def test_model_comes_in_from_onnx_is_scored_and_goes_out_again(esp_command: Esp, tmp_path: Path) -> None:
    write_onnx(tmp_path / "net.onnx")
    (tmp_path / "labels.txt").write_text("ant\nbee\ncat\n")
    told = json.loads(esp_command("import", "net.onnx", "-o", "net.astore", "--labels", "labels.txt", "--json").out)
    assert (told["inputs"], told["outputs"]) == ({"x": "float32[2]"}, {"y": "float32[3]"})
    (tmp_path / "rows.csv").write_text("x[0],x[1],what\n1,0,cat\n0,1,cat\n0,-1,bee\n")
    answer = esp_command("score", "net.astore", "rows.csv", "--label", "what", "-o", "scores.jsonl", "--json")
    assert json.loads(answer.out)["accuracy"] == 1
    exp = np.exp(np.array([[1, 0], [0, 1], [0, -1]]) @ W)
    wanted = exp / exp.sum(axis=1, keepdims=True)
    scores = [json.loads(line) for line in (tmp_path / "scores.jsonl").read_text().splitlines()]
    np.testing.assert_allclose([row["probability"] for row in scores], wanted.max(axis=1), rtol=1e-5)
    assert esp_command("export", "net.astore", "-o", "back.onnx").status == 0
    (got,) = onnxruntime.InferenceSession(tmp_path / "back.onnx").run(None, {"x": np.array([[1, 0], [0, 1]], np.float32)})
    np.testing.assert_allclose(got, wanted[:2], rtol=1e-5)


def test_scores_on_stdout_are_json_lines_and_the_tally_is_on_stderr(esp_command: Esp, tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", np.zeros((3, 8, 8, 1), np.uint8))
    answer = esp_command("score", DIGITS, "rows.npy")
    assert [json.loads(line)["row"] for line in answer.out.splitlines()] == [0, 1, 2]
    assert "3 rows scored on numba, 0 not" in answer.err


def test_rows_that_are_not_scored_end_with_one(esp_command: Esp, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"pixels": 3}\n')
    answer = esp_command("score", DIGITS, "rows.jsonl")
    assert answer.status == 1
    assert "error" in json.loads(answer.out)
    assert "esp: row 0: " in answer.err


def test_inspect_tells_layers_and_signature_and_draws(esp_command: Esp, tmp_path: Path) -> None:
    told = json.loads(esp_command("inspect", DIGITS, "--svg", "digits.svg", "--json").out)
    assert [(row["id"], row["name"]) for row in told["layers"]][:2] == [(0, "pixels"), (1, "conv2d_1")]
    assert (told["layers"][1]["kernel"], told["layers"][1]["stride"], told["layers"][1]["activation"]) == ([3, 3], [1, 1], "Relu")
    assert (told["signed_by"], told["signature"]) == ("", "none")
    assert ElementTree.parse(tmp_path / "digits.svg").getroot().tag.endswith("svg")


def test_inspect_tells_which_backends_take_the_model_and_why_not(esp_command: Esp, tmp_path: Path) -> None:
    assert {told["takes"] for told in json.loads(esp_command("inspect", DIGITS, "--json").out)["backends"].values()} == {True}
    write_onnx(tmp_path / "net.onnx", op="Hardmax")
    esp_command("import", "net.onnx", "-o", "net.astore")
    told = json.loads(esp_command("inspect", "net.astore", "--json").out)
    why = "node of 'y': the numba backend cannot take Hardmax: it has no rule"
    assert told["backends"] == {
        "numba": {"takes": False, "reason": why},
        "onnxruntime": {"takes": True, "reason": ""},
        "numpy": {"takes": True, "reason": ""},
    }
    assert told["choices"] == []
    text = esp_command("inspect", "net.astore").out
    assert why in " ".join(text.split())
    assert "What auto has kept" not in text


def test_inspect_tells_what_auto_has_kept_on_this_host(esp_command: Esp) -> None:
    digest = read(DIGITS).digest
    choice.CHOOSER.keep(Case(digest, 256, 2), Choice("onnxruntime", {1: 0.5, 8: 0.875}))
    choice.CHOOSER.keep(Case(digest, 64), Choice("numba"))
    assert json.loads(esp_command("inspect", DIGITS, "--json").out)["choices"] == [
        {"backend": "onnxruntime", "max_batch": 256, "threads": 2, "ratios": {"1": 0.5, "8": 0.875}},
        {"backend": "numba", "max_batch": 64, "threads": 1, "ratios": {}},
    ]
    text = " ".join(esp_command("inspect", DIGITS).out.split())
    assert "onnxruntime 256 2 1: 0.50, 8: 0.88" in text
    assert "numba 64 1 not measured: only this one takes it" in text


def test_inspect_works_where_onnxruntime_is_not_installed(esp_command: Esp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.delitem(sys.modules, "esp.runtime.backends.onnxruntime", raising=False)
    monkeypatch.delattr(backends, "onnxruntime", raising=False)
    told = json.loads(esp_command("inspect", DIGITS, "--json").out)["backends"]
    assert told["numba"]["takes"] is True
    assert told["onnxruntime"]["takes"] is None
    assert told["onnxruntime"]["reason"].startswith("it is not to be had here: ")
    with pytest.raises(BackendError, match=r"the backend onnxruntime is not to be had: .*; install it, or use another"):
        backends.bind("onnxruntime", read(DIGITS).graph, 8)


def test_inspect_compiles_nothing_on_a_machine_without_kernels(tmp_path: Path) -> None:
    env = os.environ | {"ESP_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-m", "esp", "inspect", str(DIGITS), "--json"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=380)
    assert (done.returncode, done.stderr) == (0, "")
    told = json.loads(done.stdout)["backends"]["numba"]
    assert told == {"takes": None, "reason": "its kernels are not compiled on this machine yet (esp warmup does so)"}
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_model_is_signed_verified_and_refused_without_trust(esp_command: Esp, tmp_path: Path) -> None:
    (tmp_path / "model.astore").write_bytes(DIGITS.read_bytes())
    public = esp_command("keygen", "team.pem").out.strip()
    other = esp_command("keygen", "other.pem").out.strip()
    (tmp_path / "trusted").write_text(f"{public} team\n")
    (tmp_path / "stranger").write_text(f"{other}\n")
    assert (tmp_path / "team.pem").stat().st_mode & 0o077 == 0
    esp_command("verify", "model.astore", "--trusted-keys", "trusted").one_line(2, "model.astore", "not signed", "esp sign")
    digest = read(tmp_path / "model.astore").digest
    assert public in esp_command("sign", "model.astore", "--key", "team.pem").out
    assert read(tmp_path / "model.astore").digest == digest
    assert esp_command("verify", "model.astore", "--trusted-keys", "trusted").status == 0
    esp_command("verify", "model.astore", "--trusted-keys", "stranger").one_line(2, "not trusted here")
    told = json.loads(esp_command("inspect", "model.astore", "--json").out)
    assert (told["signed_by"], told["signature"]) == (public, "valid")
    assert f"signed by {public}: valid for this header (esp verify" in esp_command("inspect", "model.astore").out
    esp_command("keygen", "team.pem").one_line(2, "team.pem", "a key is never written over")


def test_convert_tells_sizes_differences_and_accuracy(esp_command: Esp, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "rows.npz", pixels=rng.integers(0, 17, (50, 8, 8, 1)).astype(np.uint8), y=rng.integers(0, 10, 50))
    told = json.loads(
        esp_command(
            "convert", DIGITS, "-o", "small.astore", "--weights", "int8", "--data", "rows.npz", "--label", "y", "--json"
        ).out
    )
    assert told["size_bytes"] == (tmp_path / "small.astore").stat().st_size < told["size_bytes_before"] == DIGITS.stat().st_size
    (change,) = told["outputs"]
    assert change["rows"] == 50
    assert 0 < change["largest_difference"] < 0.1
    assert change["accuracy_before"] is not None
    answer = esp_command("convert", DIGITS, "-o", "half.astore", "--weights", "float16")
    assert "largest difference" in answer.out
    assert "drawn from the statistics" in answer.out
    assert esp_command("verify", "half.astore").status == 0


def test_what_cannot_be_imported_is_one_line_with_op_and_place(esp_command: Esp, tmp_path: Path) -> None:
    write_onnx(tmp_path / "odd.onnx", "NonZero")
    esp_command("import", "odd.onnx", "-o", "odd.astore").one_line(2, "odd.onnx", "NonZero", "last")
    write_onnx(tmp_path / "net.onnx")
    (tmp_path / "labels.txt").write_text("ant\nbee\n")
    (tmp_path / "spec.toml").write_text("[inputs.x]\nmising = 'nan'\n")
    esp_command("import", "net.onnx", "-o", "a", "--labels", "labels.txt").one_line(2, "2 labels", "'y' [3]")
    esp_command("import", "net.onnx", "-o", "a", "--spec", "spec.toml").one_line(2, "spec.toml", "mising", "missing")
    esp_command("import", "net.onnx", "-o", "a", "--outputs", "q").one_line(2, "net.onnx", "'q'")
    esp_command("import", "net.onnx", "-o", "no/a.astore").one_line(2, "no/a.astore")
    esp_command("import", "net.pt", "-o", "a").one_line(2, "net.pt", "files '.pt' are not imported", ".onnx")
    esp_command("import", "no.onnx", "-o", "a").one_line(2, "no.onnx")
    esp_command("import", "no.keras", "-o", "a").one_line(2, "no.keras")
    esp_command("import", "net.onnx", "-o", "a", "--shape", "x=two").one_line(2, "--shape x", "'two' are not sizes")
    esp_command("import", "net.onnx", "-o", "a", "--bind", "x").one_line(2, "--bind", "NAME=VALUE")
    esp_command("import", "net.onnx", "-o", "a", "--config", "c.json").one_line(2, "--config means nothing for .onnx")
    (tmp_path / "text.onnx").write_text("no model")
    esp_command("import", "text.onnx", "-o", "a").one_line(2, "text.onnx")
    assert not list(tmp_path.glob("a*"))


def test_what_cannot_be_given_out_or_scored_is_one_line(esp_command: Esp, tmp_path: Path) -> None:
    esp_command("export", DIGITS, "-o", "net.pt").one_line(2, "nothing is exported as '.pt'", ".onnx")
    esp_command("export", DIGITS, "-o", "net.onnx", "--opset", "5").one_line(2, "opset 5")
    esp_command("export", DIGITS, "-o", "no/net.onnx").one_line(2, "no/net.onnx")
    esp_command("score", DIGITS, "rows.xls").one_line(2, "files '.xls' are not read")
    esp_command("score", DIGITS, "rows.csv").one_line(2, "rows.csv", "there is no such file")
    (tmp_path / "rows.csv").write_text("1,2\n")
    esp_command("score", DIGITS, "rows.csv").one_line(2, "2 columns do not feed pixels (64 numbers)")
    esp_command("score", DIGITS, "rows.csv", "--backend", "gpu").one_line(2, "there is no backend 'gpu'")
    esp_command("score", DIGITS, "rows.csv", "--json").one_line(2, "--json")
    esp_command("inspect", DIGITS, "--svg", "no/net.svg").one_line(2, "no/net.svg")
    esp_command("sign", DIGITS, "--key", "rows.csv").one_line(2, "rows.csv", "no private key")
    esp_command("convert", DIGITS, "-o", "no/a.astore", "--weights", "int8").one_line(2, "no/a.astore")


# ---- what is told of the file that is wrong ---------------------------------------------------------------------------


def test_what_does_not_fit_at_import_is_told_with_the_file_that_says_it(esp_command: Esp, tmp_path: Path) -> None:
    write_onnx(tmp_path / "net.onnx")
    (tmp_path / "spec.toml").write_text("[inputs.x]\nshape = [3]\n")
    (tmp_path / "two.txt").write_text("ant\nbee\n")
    (tmp_path / "twice.txt").write_text("ant\nbee\nant\n")
    (tmp_path / "gap.txt").write_text("ant\n\nbee\ncat\n")
    (tmp_path / "long.onnx").write_bytes((tmp_path / "net.onnx").read_bytes())
    call = ("import", "net.onnx", "-o", "a", "--labels")
    esp_command(*call[:-1], "--spec", "spec.toml").one_line(2, "esp: spec.toml: inputs[0] 'x': prepared it is [3]")
    esp_command(*call, "two.txt").one_line(2, "esp: two.txt: 2 labels fit 0")
    esp_command(*call, "twice.txt").one_line(2, "esp: twice.txt: outputs[0] 'y': label 'ant' is there twice")
    esp_command(*call, "gap.txt").one_line(2, "esp: gap.txt: line 2: the line is empty")
    esp_command("import", "long.onnx", "-o", "a", "--name", "a\tb").one_line(2, "esp: long.onnx: name: ")
    assert not list(tmp_path.glob("a*"))


def test_a_tensor_that_is_too_large_is_told_with_the_model(esp_command: Esp, tmp_path: Path) -> None:
    nodes = [helper.make_node("Expand", ["x", "to"], ["y"])]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1 << 40])
    graph = helper.make_graph(nodes, "g", [x], [y], [numpy_helper.from_array(np.array([1, 1 << 40]), "to")])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), tmp_path / "huge.onnx")
    esp_command("import", "huge.onnx", "-o", "a").one_line(2, "esp: huge.onnx: ")


def test_the_batch_is_called_by_its_name_among_sizes(esp_command: Esp, tmp_path: Path) -> None:
    nodes = [helper.make_node("Relu", ["x"], ["y"])]
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 3, "H"]) for name in "xy")
    graph = helper.make_graph(nodes, "g", [x], [y])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), tmp_path / "net.onnx")
    esp_command("import", "net.onnx", "-o", "a").one_line(2, "--shape x=N,3,SIZE")
    for sizes in ("N,3,8", "batch,3,8", "1,3,8"):
        told = json.loads(esp_command("import", "net.onnx", "-o", "a", "--shape", f"x={sizes}", "--json").out)
        assert told["inputs"] == {"x": "float32[3, 8]"}
    esp_command("import", "net.onnx", "-o", "b", "--shape", "x=1,3,N").one_line(2, "--shape x", "'1,3,N' are not sizes")


def test_options_that_would_do_nothing_are_refused(esp_command: Esp, tmp_path: Path) -> None:
    write_onnx(tmp_path / "net.onnx")
    esp_command("import", "net.onnx", "-o", "a", "--outputs", ",").one_line(2, "--outputs", "',' are not names")
    esp_command("import", "net.keras", "-o", "a", "--by-order").one_line(2, "--by-order means nothing without --onto")
    esp_command("convert", DIGITS, "-o", "a", "--weights", "int8", "--label", "y").one_line(2, "--label y", "--data")


def test_suffixes_are_taken_in_capitals(esp_command: Esp, tmp_path: Path) -> None:
    write_onnx(tmp_path / "NET.ONNX")
    assert esp_command("import", "NET.ONNX", "-o", "net.astore").status == 0
    assert esp_command("export", "net.astore", "-o", "BACK.ONNX").status == 0
    assert [value.name for value in onnx.load(tmp_path / "BACK.ONNX", "protobuf").graph.output] == ["y"]
    assert esp_command("export", "net.astore", "-o", "BACK.H5").status == 0
    esp_command("import", "NET.PT", "-o", "a").one_line(2, "files '.PT' are not imported")


# ---- where the output goes --------------------------------------------------------------------------------------------


def test_a_place_that_cannot_be_written_is_one_line(esp_command: Esp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pipe.h5")
    esp_command("inspect", DIGITS, "--svg", ".").one_line(2, ".: the file cannot be written (a folder is there)")
    esp_command("export", DIGITS, "-o", "pipe.h5").one_line(2, "pipe.h5: ", "no regular file")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    esp_command("export", DIGITS, "-o", "net.h5").one_line(2, "net.h5: ", "No space left on device")
    esp_command("export", DIGITS, "-o", "net.onnx").one_line(2, "net.onnx: ", "No space left on device")
    assert [file.name for file in tmp_path.iterdir()] == ["pipe.h5"]


@pytest.mark.parametrize("args", [["score", DIGITS, "rows.npy"], ["inspect", DIGITS], ["inspect", DIGITS, "--json"], ["--version"]])
def test_a_full_stdout_is_one_line_and_a_closed_one_is_silent(tmp_path: Path, args: list[str]) -> None:
    np.save(tmp_path / "rows.npy", np.zeros((3000, 8, 8, 1), np.uint8))
    call = [sys.executable, "-m", "esp", *map(str, args)]
    with open("/dev/full", "wb") as device:
        done = subprocess.run(call, cwd=tmp_path, stdout=device, stderr=subprocess.PIPE, text=True, timeout=240, check=False)
    told = done.stderr.splitlines()[-1]  # before it: that kernels are compiled, on a new machine
    assert (done.returncode, told) == (1, "esp: stdout: No space left on device; make room there")
    begin, end = os.pipe()
    os.close(begin)
    with open(end, "wb") as pipe:
        done = subprocess.run(call, cwd=tmp_path, stdout=pipe, stderr=subprocess.PIPE, text=True, timeout=240, check=False)
    assert (done.returncode, done.stderr) == (141, "")


def test_lines_of_tables_end_where_their_words_do(esp_command: Esp) -> None:
    lines = esp_command("inspect", DIGITS).out.splitlines()
    assert any("conv2d_1" in line for line in lines)
    assert [line for line in lines if line != line.rstrip()] == []


def test_the_reasons_of_more_rows_are_counted(esp_command: Esp, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"pixels": 3}\n' * 5)
    answer = esp_command("score", DIGITS, "rows.jsonl", "-o", "rows.jsonl")
    assert [line[:10] for line in answer.err.splitlines()[:3]] == ["esp: row 0", "esp: row 1", "esp: row 2"]
    assert answer.err.splitlines()[3] == "esp: and 2 more rows not scored"
    assert len((tmp_path / "rows.jsonl").read_text().splitlines()) == 5


def test_an_interrupted_score_leaves_the_old_scores_and_no_part_of_the_new(
    esp_command: Esp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*args: object) -> None:
        raise KeyboardInterrupt

    np.save(tmp_path / "rows.npy", np.zeros((3, 8, 8, 1), np.uint8))
    (tmp_path / "scores.jsonl").write_text("of yesterday")
    monkeypatch.setattr(Scorer, "score", interrupted)
    assert esp_command("score", DIGITS, "rows.npy", "-o", "scores.jsonl") == Answer(130, "", "")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["rows.npy", "scores.jsonl"]
    assert (tmp_path / "scores.jsonl").read_text() == "of yesterday"


def test_a_stdout_that_is_closed_takes_no_scores_and_hinders_nothing_else(tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", np.zeros((3, 8, 8, 1), np.uint8))
    for args, status, words in ((f"score {DIGITS} rows.npy", 2, "esp: score: stdout is closed"), (f"inspect {DIGITS}", 0, "")):
        call = ["sh", "-c", f"exec {sys.executable} -m esp {args} >&-"]
        done = subprocess.run(call, cwd=tmp_path, stderr=subprocess.PIPE, text=True, timeout=240, check=False)
        assert (done.returncode, done.stderr[: len(words)], done.stderr.count("\n")) == (status, words, len(words) and 1)
