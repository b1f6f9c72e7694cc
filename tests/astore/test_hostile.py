"""Astore files that are damaged or forged: each gives one clear line, and costs no more memory than its size justifies."""

import copy
import hashlib
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from esp.astore.binary import from_bytes, read, verify
from esp.errors import FileError
from tests.astore.hostile.forge import TINY, changed, forge, header_of, more, node, numbers, sections
from tests.astore.hostile.make import FOLDER, NARROW, SIGNED, files

HEAD_END, START = 0x290, 0x2C0
HEADER = header_of(TINY)
WEIGHTS = TINY[START:]
HOSTILE = files()
MB = 1 << 20
HALF = np.float32(0.5).tobytes()


def refused(data: bytes, folder: Path, is_deep: bool = False) -> str:
    """The one line that both ways to read give."""
    path = folder / "m.astore"
    path.write_bytes(data)
    with pytest.raises(FileError) as mapped:
        read(path, verify=is_deep)
    with pytest.raises(FileError) as uploaded:
        from_bytes(data, "m.astore", verify=is_deep)
    line = str(mapped.value)
    assert line.replace(str(path), "m.astore") == str(uploaded.value)
    assert "\n" not in line
    assert len(line) < 3000
    assert mapped.value.where.startswith(str(path))
    assert mapped.value.mend
    return line


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused_in_one_line(name: str, tmp_path: Path) -> None:
    data, said, is_deep = HOSTILE[name]
    line = refused(data, tmp_path, is_deep)
    assert said in line
    if is_deep:
        assert read(tmp_path / "m.astore").name in ("tiny", "narrow")  # a plain look does not read the tensors
    with pytest.raises(FileError):
        verify(tmp_path / "m.astore")


def test_the_hostile_files_in_the_folder_are_those_that_the_script_makes() -> None:
    """``python -m tests.astore.hostile.make`` writes them."""
    assert {path.stem: path.read_bytes() for path in FOLDER.glob("*.astore")} == {
        name: found.data for name, found in HOSTILE.items()
    }


@pytest.mark.parametrize("data", [TINY, NARROW, SIGNED])
def test_a_forged_file_with_nothing_changed_is_the_same(data: bytes) -> None:
    head, signature, weights = sections(data)
    assert forge(head, weights, signature) == data
    assert from_bytes(changed(lambda header: None, data)).name in ("tiny", "narrow")


@pytest.mark.parametrize("good", [TINY, NARROW, SIGNED])
def test_every_flipped_byte_is_found_by_verify(good: bytes, tmp_path: Path) -> None:
    path = tmp_path / "m.astore"
    for at in range(len(good)):
        data = bytearray(good)
        data[at] ^= 1 << at % 8
        path.write_bytes(data)
        with pytest.raises(FileError) as error:
            verify(path)
        assert "\n" not in str(error.value)


def test_every_flipped_byte_but_those_of_tensors_is_found_by_read() -> None:
    tensors = {*range(0x2C0, 0x2C4), *range(0x300, 0x308)}
    for at in range(len(TINY)):
        data = bytearray(TINY)
        data[at] ^= 0x10
        if at in tensors:
            assert from_bytes(data, verify=False).name == "tiny"
        else:
            with pytest.raises(FileError):
                from_bytes(data, verify=False)


@pytest.mark.parametrize("good", [TINY, NARROW, SIGNED])
def test_a_file_cut_anywhere_is_refused(good: bytes) -> None:
    for size in range(len(good)):
        with pytest.raises(FileError, match="cut short" if size >= 8 else "not an astore"):
            from_bytes(good[:size])


def test_a_header_over_the_limit_is_refused(tmp_path: Path) -> None:
    assert "a header of 16777217 bytes is over the limit" in refused(forge(bytes((16 << 20) + 1), WEIGHTS), tmp_path)


def test_what_a_file_holds_never_fills_the_message() -> None:
    for change in (
        more(node("M" * MB, ["x"], ["q"])),
        more(node("Relu", ["x"], ["q"], alpha=["a" * MB])),
        more(node("Transpose", ["x"], ["q"], perm=[7] * 100_000)),
        more(node("Split", ["x"], [f"q{at}" for at in range(50_000)], axis=1, num_outputs=2)),
        lambda header: header["graph"].update(layers=[{"name": "a", "kind": "b", "nodes": [9] * 100_000}]),
    ):
        with pytest.raises(FileError) as error:
            from_bytes(changed(change))
        assert len(str(error.value)) < 4000


def test_too_many_values_are_refused_however_few_bytes_they_take(tmp_path: Path) -> None:
    head = b"\x81\xa1a\xdd\x00\x0f\xff\xff" + b"\x80" * 0xFFFFF  # a million empty maps: 64 bytes each, if built
    assert "more than 262144 values" in refused(forge(head, WEIGHTS), tmp_path)


def test_too_many_packed_numbers_are_refused(tmp_path: Path) -> None:
    data = changed(more(node("Constant", [], ["c"], value_ints={"ints": bytes(8 * MB + 8)})))
    assert "more than 8388608 packed bytes" in refused(data, tmp_path)


# ---- memory ---------------------------------------------------------------------------------------------------------------


def crowd(nodes: int) -> bytes:
    """As many nodes as a header holds, each over as many numbers as are computed ahead of the data."""
    first = [numbers("c0", 4096), node("ConstantOfShape", ["c0"], ["t0"])]
    return changed(more(*first, *(node("Neg", [f"t{at}"], [f"t{at + 1}"]) for at in range(nodes)), node("Melt", [], ["z"])))


def wide_text(size: int) -> bytes:
    """Text that Python holds in four bytes a character for the sake of one."""
    return changed(lambda header: header.update(card={"a": "a" * size + "\U0001f600"}, outputs=[]))


LARGE = {
    "one flipped byte in 64 MB of weights": lambda: flipped_weights(64 * MB, "float32"),
    "one flipped byte in 64 MB of bool": lambda: flipped_weights(64 * MB, "bool"),
    "one flipped byte in 16 MB of int8 with a scale": lambda: flipped_weights(16 * MB, "int8"),
    "a graph that does not fit 16 MB of int8 with a scale": lambda: flipped_weights(16 * MB, "int8", "z"),
    "a header of 15 MB of text": lambda: wide_text(15 * MB),
    "a header of 250,000 lists": lambda: forge(b"\x81\xa1a\xdd" + (250_000).to_bytes(4, "big") + b"\x90" * 250_000, WEIGHTS),
    "a header of 120,000 maps": lambda: forge(b"\x81\xa1a\xdd" + (60_000).to_bytes(4, "big") + b"\x81\xa1a\xc0" * 60_000, WEIGHTS),
    "a header whose lists claim all of it": lambda: forge(b"\x81\xa1a" + b"\xdd\x00\x0f\xff\xff" * 15 + bytes(MB), WEIGHTS),
    "a header of 12,000 nodes": lambda: crowd(12_000),
}


def flipped_weights(size: int, dtype: str, output: str = "y") -> bytes:
    body = WEIGHTS + bytes(56) + bytes(size)
    digest = hashlib.sha256(bytes(size)).digest() if output != "y" else bytes(32)
    entry = {
        "name": "x2",
        "dtype": dtype,
        "shape": [size // np.dtype(dtype).itemsize],
        "offset": 128,
        "size": size,
        "sha256": digest,
    }
    if dtype == "int8":
        entry["scale"] = "b2"

    def change(header: Any) -> None:
        header["tensors"].append(entry)
        header["graph"]["outputs"][0]["name"] = output
        if dtype == "int8":
            header["tensors"][1:1] = [
                {"name": "b2", "dtype": "float32", "shape": [], "offset": 64, "size": 4, "sha256": hashlib.sha256(HALF).digest()}
            ]
            header["tensors"][2]["offset"], entry["offset"] = 128, 192

    if dtype == "int8":
        body = WEIGHTS[:64] + HALF + bytes(60) + WEIGHTS[64:] + bytes(56) + bytes(size)
    header = copy.deepcopy(HEADER)
    change(header)
    return forge(header, body)


@pytest.mark.parametrize("name", [*LARGE, "all small ones"])
def test_memory_while_refusing_stays_under_twice_the_size(name: str) -> None:
    """As Python's allocators have it; what is given does not count, the copy that ``from_bytes`` makes does."""
    for data in [found.data for found in HOSTILE.values()] if name not in LARGE else [LARGE[name]()]:
        tracemalloc.start()
        try:
            with pytest.raises(FileError):
                from_bytes(data)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < 2 * len(data) + CONSTANT, f"{peak} bytes for a file of {len(data)}"


CONSTANT = 96 * MB  # six of the largest headers: Python holds text and values in several times their bytes
REFUSE = """
import re, sys
from pathlib import Path
from esp.astore.binary import verify
from esp.errors import FileError

def resident(what):
    return int(re.search(what + r":\\s+([0-9]+) kB", Path("/proc/self/status").read_text())[1]) * 1024

good, *bad = map(Path, sys.argv[1:])
verify(good)
for path in bad:
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark begins anew
    before, size = resident("VmRSS"), path.stat().st_size
    try:
        verify(path)
        sys.exit(f"{path} was taken")
    except FileError:
        grown = resident("VmHWM") - before
    print(size, grown)
    if grown > 2 * size + CONSTANT:
        sys.exit(f"{path} of {size} bytes: {grown} bytes more")
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the system tells no high-water mark of a process")
def test_the_process_grows_by_less_than_twice_the_size_while_refusing(tmp_path: Path) -> None:
    """As the system has it, mapped pages and all: every hostile file, then each of the large ones in a process of its own."""
    (good := tmp_path / "good.astore").write_bytes(TINY)
    code = REFUSE.replace("CONSTANT", str(CONSTANT))
    groups = [sorted(FOLDER.glob("*.astore"))]
    for at, make in enumerate(LARGE.values()):
        (path := tmp_path / f"{at}.astore").write_bytes(make())
        groups.append([path])
    for group in groups:
        done = subprocess.run([sys.executable, "-c", code, good, *group], capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        grown = [int(line.split()[1]) for line in done.stdout.splitlines()]
        assert len(grown) == len(group)
        assert group[0].stat().st_size < MB or max(grown) > 0  # what it measures moves


# ---- what is taken --------------------------------------------------------------------------------------------------------


def test_unknown_keys_are_passed_over_where_the_format_says_so() -> None:
    def add(header: Any) -> None:
        parts = (
            header,
            header["graph"],
            header["graph"]["nodes"][0],
            header["inputs"][0],
            header["outputs"][0],
            header["tensors"][0],
        )
        for part in (*parts, header["graph"]["inputs"][0], header["inputs"][0]["steps"][0]):
            part["of a later day"] = {"x": [1]}

    assert from_bytes(changed(add)).graph.weights["b"].tolist() == [1.0]


def test_keys_that_may_be_left_out_may_be_left_out() -> None:
    def strip(header: Any) -> None:
        for key in ("card", "requires"):
            del header[key]
        del header["graph"]["layers"], header["graph"]["nodes"][0]["attrs"]
        for key in ("steps", "missing", "impute", "statistics"):
            del header["inputs"][0][key]
        for key in ("kind", "labels"):
            del header["outputs"][0][key]

    assert from_bytes(changed(strip)).inputs[0].missing == "refuse"


def test_a_bool_that_is_neither_true_nor_false_is_found() -> None:
    def as_bools(header: Any) -> None:
        digest = hashlib.sha256(b"\x02" * 8).digest()
        header["tensors"].append({"name": "z", "dtype": "bool", "shape": [8], "offset": 128, "size": 8, "sha256": digest})

    header = copy.deepcopy(HEADER)
    as_bools(header)
    with pytest.raises(FileError, match=r"tensor 'z'.*a bool is a byte of 0 or 1"):
        from_bytes(forge(header, WEIGHTS + bytes(56) + b"\x02" * 8))


def test_a_folder_and_a_missing_file_are_said_plainly(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="not a file"):
        read(tmp_path)
    with pytest.raises(FileError, match=r"none\.astore: cannot be read: No such file"):
        read(tmp_path / "none.astore")


@settings(max_examples=200, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_any_value_put_anywhere_in_a_header_is_taken_or_refused_in_one_line(data: st.DataObject) -> None:
    header = copy.deepcopy(HEADER)
    spots: list[tuple[Any, Any]] = []

    def walk(part: Any) -> None:
        for key in part if isinstance(part, dict) else range(len(part)):
            spots.append((part, key))
            if isinstance(part[key], dict | list):
                walk(part[key])

    walk(header)
    part, key = data.draw(st.sampled_from(spots))
    odd = (
        st.none()
        | st.booleans()
        | st.integers(-(1 << 63), (1 << 64) - 1)
        | st.floats()
        | st.text(max_size=5)
        | st.binary(max_size=5)
    )
    part[key] = data.draw(odd | st.lists(odd, max_size=3) | st.dictionaries(st.text(max_size=3), odd, max_size=2))
    line = ""
    try:
        from_bytes(forge(header, WEIGHTS))
    except FileError as err:
        line = str(err)
    assert "\n" not in line
