"""Astore files that are damaged or forged: each gives one clear line, and no allocation larger than the file justifies."""

import copy
import hashlib
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from esp.astore.binary import from_bytes, read, verify
from esp.errors import FileError

DATA = (Path(__file__).parent / "golden" / "tiny.astore").read_bytes()
HEAD_END, START = 0x290, 0x2C0
HEADER = msgpack.unpackb(DATA[64:HEAD_END])
WEIGHTS = DATA[START:]


def forge(header: Any, weights: bytes = WEIGHTS, signature: bytes = b"", version: int = 1) -> bytes:
    """A file with sound sums around whatever header (a map, or bytes) is given."""
    head = header if isinstance(header, bytes) else msgpack.packb(header)
    start = -(-(64 + len(head) + len(signature)) // 64) * 64
    sizes = struct.pack("<QII", start + len(weights), len(head), len(signature)) + hashlib.sha256(head).digest()
    first = b"\x89ASTORE\n" + struct.pack("<I", version)
    crc = zlib.crc32(first + bytes(4) + sizes + head + signature)
    body = first + struct.pack("<I", crc) + sizes + head + signature
    return body + bytes(start - len(body)) + weights


def changed(change: Callable[[dict[str, Any]], Any]) -> bytes:
    header = copy.deepcopy(HEADER)
    change(header)
    return forge(header)


def put(*path: Any) -> Callable[[dict[str, Any]], Any]:
    """Sets the value at a path: the last argument."""

    def change(header: Any) -> None:
        for key in path[:-2]:
            header = header[key]
        header[path[-2]] = path[-1]

    return change


def refused(data: bytes, tmp_path: Path) -> str:
    """The one line that both ways to read give."""
    path = tmp_path / "m.astore"
    path.write_bytes(data)
    with pytest.raises(FileError) as mapped:
        read(path)
    with pytest.raises(FileError) as uploaded:
        from_bytes(data, "m.astore", verify=False)
    line = str(mapped.value)
    assert line.replace(str(path), "m.astore") == str(uploaded.value)
    assert "\n" not in line
    assert mapped.value.where.startswith(str(path))
    assert mapped.value.mend
    return line


def test_a_forged_file_with_nothing_changed_is_taken() -> None:
    assert from_bytes(forge(HEADER)).name == "tiny"


def test_every_flipped_byte_is_found_by_verify(tmp_path: Path) -> None:
    path = tmp_path / "m.astore"
    for at in range(len(DATA)):
        data = bytearray(DATA)
        data[at] ^= 1 << at % 8
        path.write_bytes(data)
        with pytest.raises(FileError) as error:
            verify(path)
        assert "\n" not in str(error.value)


def test_every_flipped_byte_but_those_of_tensors_is_found_by_read() -> None:
    tensors = {*range(0x2C0, 0x2C4), *range(0x300, 0x308)}
    for at in range(len(DATA)):
        data = bytearray(DATA)
        data[at] ^= 0x10
        if at in tensors:
            assert from_bytes(data, verify=False).name == "tiny"
        else:
            with pytest.raises(FileError):
                from_bytes(data, verify=False)


@pytest.mark.parametrize(
    "size", [0, 1, 7, 8, 12, 16, 32, 63, 64, 65, HEAD_END - 1, HEAD_END, START - 1, START, START + 4, 0x300, 0x307]
)
def test_a_file_cut_short_is_refused(size: int, tmp_path: Path) -> None:
    line = refused(DATA[:size], tmp_path)
    assert ("cut short" if size >= 8 else "not an astore") in line


def test_bytes_after_the_end_are_refused(tmp_path: Path) -> None:
    assert "byte 776: 1 bytes follow the end" in refused(DATA + b"\0", tmp_path)


def test_a_newer_version_says_upgrade(tmp_path: Path) -> None:
    line = refused(forge(HEADER, version=2), tmp_path)
    assert "version 2 is newer than 1" in line
    assert line.endswith("upgrade esp-engine")


def test_version_nought_is_refused(tmp_path: Path) -> None:
    assert "version 0" in refused(forge(HEADER, version=0), tmp_path)


def test_another_kind_of_file_is_refused(tmp_path: Path) -> None:
    assert "not an astore" in refused(b"\x89HDF\r\n\x1a\n" + bytes(2000), tmp_path)


@pytest.mark.parametrize(("at", "kind"), [(24, "header"), (28, "signature")])
def test_sections_larger_than_the_file_are_refused_before_they_are_read(at: int, kind: str, tmp_path: Path) -> None:
    data = bytearray(DATA)
    data[at : at + 4] = b"\xff\xff\xff\x7f"
    assert "do not fit a file of 776" in refused(bytes(data), tmp_path)


def test_a_header_over_the_limit_is_refused(tmp_path: Path) -> None:
    assert "over the limit" in refused(forge(bytes((16 << 20) + 1)), tmp_path)


def test_a_signature_over_the_limit_is_refused(tmp_path: Path) -> None:
    assert "signature of 4097 bytes" in refused(forge(HEADER, signature=bytes(4097)), tmp_path)


def test_a_signed_file_is_taken_and_keeps_its_digest(tmp_path: Path) -> None:
    signature = msgpack.packb({"algorithm": "ed25519", "key": bytes(32), "signature": bytes(64)})
    path = tmp_path / "m.astore"
    path.write_bytes(forge(DATA[64:HEAD_END], signature=signature))
    found = verify(path)
    assert found.digest == hashlib.sha256(DATA[64:HEAD_END]).hexdigest()
    assert found.signature == "present, not checked"


def test_padding_that_is_not_zero_is_named(tmp_path: Path) -> None:
    for at in (HEAD_END, START + 4, 0x2FF):
        data = bytearray(DATA)
        data[at] = 1
        assert f"byte {at}: padding must be zero" in refused(bytes(data), tmp_path)


@pytest.mark.parametrize(
    ("head", "said"),
    [
        (b"", "ends within a value"),
        (b"\x93\x01", "larger than the bytes that remain"),
        (b"\x01", "wanted a map, got int"),
        (b"\x81\xa1a", "larger than the bytes that remain"),
        (b"\x80\x00", "bytes follow the header's map"),
        (b"\xdf\xff\xff\xff\xff", "larger than the bytes that remain"),
        (b"\x81\xa1a\xdd\xff\xff\xff\xff", "larger than the bytes that remain"),
        (b"\x81\xa1a\xdb\xff\xff\xff\xff", "larger than the bytes that remain"),
        (b"\x81\xa1a\xc6\xff\xff\xff\xff", "larger than the bytes that remain"),
        (b"\x81\xa1a\xdb\x00", "larger than the bytes that remain"),
        (b"\x81\xa1a\xcb\x00", "larger than the bytes that remain"),
        (b"\x81\xa1a\xc1", "type 0xc1"),
        (b"\x81\xa1a\xd4\x00\x00", "type 0xd4"),
        (b"\x81\x01\x02", "a key is not text"),
        (b"\x81\xc0\x02", "a key is not text"),
        (b"\x82\xa1a\x01\xa1a\x01", "a key is there twice"),
        (b"\x81\x80\x02", "a key is not text"),
        (b"\x81\xa1a\xa1\xff", "not valid"),
        (b"\x81\xa1a" + b"\x91" * 40 + b"\x01", "nested deeper"),
    ],
)
def test_a_header_that_is_no_sound_msgpack_is_refused(head: bytes, said: str, tmp_path: Path) -> None:
    assert said in refused(forge(head), tmp_path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda header: header.pop("name"), "header.name: the key is missing"),
        (lambda header: header["graph"]["nodes"][1].pop("op"), "header.graph.nodes[1].op: the key is missing"),
        (put("name", 3), "header.name: wanted text, got int"),
        (put("name", ""), "is no name"),
        (put("name", "a\x1b[31m"), "is no name"),
        (put("card", []), "header.card: wanted a map, got list"),
        (put("graph", None), "header.graph: wanted a map"),
        (put("graph", "opset", 22), "opset 22 is not 21"),
        (put("graph", "opset", True), "opset: wanted a 64-bit integer, got bool"),
        (put("graph", "nodes", {}), "nodes: wanted a list, got dict"),
        (put("graph", "nodes", 0, 1), "nodes[0]: wanted a map, got int"),
        (put("graph", "nodes", 0, "op", "Melt"), "Melt"),
        (put("graph", "nodes", 0, "inputs", 1, 7), "nodes[0].inputs[1]: wanted text"),
        (put("graph", "nodes", 0, "attrs", {"alpha": None}), "attrs['alpha']"),
        (put("graph", "nodes", 0, "attrs", {"alpha": [1, 2.0]}), "attrs['alpha']"),
        (put("graph", "nodes", 0, "attrs", {"alpha": 1}), "alpha"),
        (put("graph", "inputs", 0, "shape", [None, 1 << 63]), "wanted a 64-bit integer"),
        (put("graph", "inputs", 0, "shape", "x"), "wanted a list"),
        (put("graph", "layers", [{"name": "a", "kind": "Dense", "nodes": [9]}]), "layer 'a'"),
        (put("inputs", []), "0 inputs for the graph's 1"),
        (put("inputs", 0, "dtype", "string"), "dtype 'string' is none of an input"),
        (put("inputs", 0, "shape", [1 << 40, 1 << 40]), "cannot be prepared"),
        (put("inputs", 0, "missing", "ignore"), "missing = 'ignore'"),
        (put("inputs", 0, "impute", "0"), "impute: wanted a finite number"),
        (put("inputs", 0, "impute", [[1, 2], 3]), "impute: wanted a finite number"),
        (put("inputs", 0, "statistics", {"mean": [0.5] * 7}), "statistics.mean: 7 numbers for a last axis of 1"),
        (put("inputs", 0, "statistics", {"mean": "abc"}), "statistics.mean: wanted a list of numbers"),
        (put("inputs", 0, "statistics", {"std": [float("inf")]}), "statistics.std: wanted a finite number"),
        (put("inputs", 0, "steps", 0, "op", "rotate"), "steps[0]: step 'rotate' is unknown"),
        (put("inputs", 0, "steps", 0, "params", "scale", float("nan")), "scale: wanted a finite number"),
        (put("inputs", 0, "steps", 0, "params", "gamma", 1), "step 'scale' knows no 'gamma'"),
        (put("outputs", 0, "kind", "boxes"), "kind 'boxes'"),
        (put("outputs", 0, "labels", ["a", 1]), "labels[1]: wanted text"),
        (put("outputs", 0, "dtype", "int8"), "said to be int8[2], but the graph makes float32[2]"),
        (put("tensors", 0, "sha256", "text"), "sha256: wanted bytes"),
        (put("tensors", 0, "offset", 64), "offset 64 should be 0"),
        (put("tensors", 1, "offset", 0), "offset 0 should be 64"),
        (put("tensors", 1, "offset", 65), "offset 65 should be 64"),
        (put("tensors", 1, "offset", -64), "offset -64 should be 64"),
        (put("tensors", 1, "size", 4), "takes 8 bytes, not 4"),
        (put("tensors", 0, "name", "w"), "names must rise"),
        (put("tensors", 1, "name", "a"), "names must rise"),
        (put("tensors", 0, "dtype", "float16"), "float16 tensors are not supported"),
        (put("tensors", 0, "dtype", "int8"), "int8 tensors are not supported"),
        (put("tensors", 0, "dtype", "object"), "dtype 'object' is unknown"),
        (put("tensors", 0, "shape", [-1]), "cannot be"),
        (put("tensors", 0, "shape", [1 << 40]), "cannot be"),
        (put("tensors", 0, "shape", [0, (1 << 31) - 1, (1 << 31) - 1]), "too large for any file"),
        (put("tensors", 0, "shape", [1] * 17), "17 axes"),
        (lambda header: header["tensors"].pop(), "the tensors end at byte 4"),
        (lambda header: header["tensors"][1].update(shape=[200], size=800), "end past the data's 72"),
        (put("requires", ["holograms"]), "requires 'holograms'"),
        (put("requires", "holograms"), "requires: wanted a list"),
    ],
)
def test_a_header_that_lies_is_refused(change: Any, said: str, tmp_path: Path) -> None:
    assert said in refused(changed(change), tmp_path)


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


@pytest.mark.parametrize(
    "head",
    [
        b"\x81\xa1a" + b"\xdd\x00\x0f\xff\xff" * 15 + bytes(1 << 20),  # each list claims all that remains
        b"\x81\xa1a\xdd\x00\x0f\xff\xff" + b"\x80" * 0xFFFFF,  # a million empty maps: 64 bytes each, if built
        b"\xdf\xff\xff\xff\xff" + bytes(1 << 20),
    ],
)
def test_a_header_that_claims_much_is_never_believed(head: bytes) -> None:
    data = forge(head)
    tracemalloc.start()
    try:
        with pytest.raises(FileError):
            from_bytes(data)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8 * len(data)


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
        from_bytes(forge(header))
    except FileError as err:
        line = str(err)
    assert "\n" not in line
