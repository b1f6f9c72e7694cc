"""The astore file: golden bytes, a reader written from FORMAT.md alone, mapping, determinism and verification."""

import hashlib
import re
import struct
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest

import esp.astore
from esp.astore.binary import from_bytes, read, to_bytes, verify, write
from esp.astore.graph import Graph, Layer, Node, Tensor, Value
from esp.astore.model import Astore, Input, Output, Step
from esp.errors import FileError, GraphError
from tests.astore.golden import make as golden

GOLDEN = Path(__file__).parent / "golden" / "tiny.astore"
GOLDEN_DIGEST = "77d250955b236a0912b0f576fad024e1f3c97dcaa3fcbf678e990ed87e1dc416"
DTYPES = ["bool", "uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64", "float16", "float32", "float64"]
FORMAT = Path(esp.astore.__file__).parent / "FORMAT.md"


def tiny() -> Astore:
    """y = x * w + b with the event's value doubled first: the example of FORMAT.md."""
    graph = Graph(
        (Node("Mul", ("x", "w"), ("m",)), Node("Add", ("m", "b"), ("y",))),
        (Value("x", "float32", (None, 2)),),
        (Value("y", "float32", (None, 2)),),
        {"w": np.array([0.5, -2], "f4"), "b": np.array([1], "f4")},
    )
    steps = (Step("scale", {"scale": 2.0, "offset": 0.0}),)
    return Astore("tiny", graph, (Input("x", "float32", (2,), steps),), (Output("y", "float32", (2,)),), {"rows": 3})


def dense() -> Astore:
    """Every kind of attribute and dtype that a header holds."""
    rng = np.random.default_rng(7)
    graph = Graph(
        (
            Node("Reshape", ("x", "to"), ("r",)),
            Node("Transpose", ("r",), ("t",), {"perm": (0, 2, 1)}),
            Node("Flatten", ("t",), ("f",), {"axis": 1}),
            Node("Gemm", ("f", "w", "b"), ("z",), {"alpha": 0.5, "transB": 1}),
            Node("Softmax", ("z",), ("p",), {"axis": -1}),
        ),
        (Value("x", "float32", (None, 6)),),
        (Value("p", "float32", (None, 3)),),
        {
            "w": rng.normal(size=(3, 6)).astype("f4"),
            "b": np.zeros(3, "f4"),
            "to": np.array([-1, 2, 3], "i8"),
        },
        (Layer("shape", "Reshape", (0, 1, 2)), Layer("out", "Dense", (3, 4))),
    )
    statistics = {"count": [10], "mean": [0.5], "std": [1.5], "min": [-1.0], "max": [2.0], "missing": [0]}
    item = Input("x", "float32", (6,), (Step("normalise", {"mean": (1.0,) * 6, "std": 2.0}),), "impute", (0.25,) * 6, statistics)
    output = Output("p", "float32", (3,), "probabilities", ("näher", "fern", "weg"))
    return Astore("Ähre 2", graph, (item,), (output,), {"metrics": {"accuracy": 0.97}, "none": None, "seed": 3})


def by_the_format(data: bytes) -> tuple[dict[str, Any], dict[str, np.ndarray], str]:
    """A reader that knows FORMAT.md and nothing of esp."""
    magic, version, crc, size, head_size, signature_size = struct.unpack_from("<8sIIQII", data)
    assert (magic, version, size) == (b"\x89ASTORE\n", 1, len(data))
    end = 64 + head_size + signature_size
    assert crc == zlib.crc32(data[:12] + bytes(4) + data[16:end])
    head = data[64 : 64 + head_size]
    assert hashlib.sha256(head).digest() == data[32:64]
    header = msgpack.unpackb(head)
    start = (end + 63) // 64 * 64
    dtypes = {name: np.dtype(name).newbyteorder("<") for name in DTYPES}
    tensors, covered, at = {}, [(0, end)], 0
    for entry in header["tensors"]:
        assert entry["offset"] == (at + 63) // 64 * 64
        at = entry["offset"] + entry["size"]
        part = data[start + entry["offset"] : start + at]
        assert hashlib.sha256(part).digest() == entry["sha256"]
        tensors[entry["name"]] = np.frombuffer(part, dtypes[entry["dtype"]]).reshape(entry["shape"])
        covered.append((start + entry["offset"], start + at))
    for (_, before), (after, _) in zip(covered, [*covered[1:], (len(data), len(data))]):
        assert not any(data[before:after])
    return header, tensors, data[32:64].hex()


def test_golden_file_is_written_byte_for_byte() -> None:
    assert to_bytes(tiny()) == GOLDEN.read_bytes()


def test_golden_file_is_the_example_in_the_format() -> None:
    lines = re.findall(r"^[0-9a-f]{8}  ([0-9a-f ]+?)  \|", FORMAT.read_text(), re.MULTILINE)
    assert bytes.fromhex(" ".join(lines)) == GOLDEN.read_bytes()


def test_golden_file_reads_as_the_model_it_is() -> None:
    astore = read(GOLDEN, verify=True)
    assert astore.digest == GOLDEN_DIGEST
    assert {name: array.tolist() for name, array in astore.graph.weights.items()} == {"w": [0.5, -2.0], "b": [1.0]}
    assert replace(astore, digest="", graph=replace(astore.graph, weights={})) == replace(
        tiny(), graph=replace(tiny().graph, weights={})
    )


def test_golden_photo_made_by_hand_is_read_and_written_as_the_same_bytes() -> None:
    """tests/astore/golden/make.py packs the bytes without esp."""
    data = GOLDEN.with_name("photo.astore").read_bytes()
    assert data == golden.photo()
    astore = from_bytes(data)
    letterbox = Step("letterbox", {"fill": 114, "height": 4, "width": 6})
    assert astore.inputs[0].steps[1:3] == (letterbox, Step("reverse_channels"))
    assert to_bytes(astore) == data


@pytest.mark.parametrize("make", [tiny, dense])
def test_a_reader_written_from_the_format_agrees(make: Any, tmp_path: Path) -> None:
    written = write(make(), tmp_path / "m.astore")
    header, tensors, digest = by_the_format((tmp_path / "m.astore").read_bytes())
    assert digest == written.digest
    assert header["name"] == written.name
    assert [node["op"] for node in header["graph"]["nodes"]] == [node.op for node in written.graph.nodes]
    assert header["outputs"][0]["labels"] == list(written.outputs[0].labels)
    assert tensors.keys() == written.graph.weights.keys()
    for name, array in written.graph.weights.items():
        np.testing.assert_array_equal(tensors[name], array, strict=True)


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    written = write(dense(), tmp_path / "m.astore")
    found = read(tmp_path / "m.astore")
    for name, array in written.graph.weights.items():
        np.testing.assert_array_equal(found.graph.weights[name], array, strict=True)
    assert replace(found, graph=replace(found.graph, weights={})) == replace(written, graph=replace(written.graph, weights={}))


def test_order_of_dicts_and_layout_of_arrays_do_not_show() -> None:
    astore = dense()
    weights = {name: np.asfortranarray(array) for name, array in reversed(astore.graph.weights.items())}
    weights["w"] = weights["w"].astype(">f4")
    other = replace(astore, graph=replace(astore.graph, weights=weights), card=dict(reversed(astore.card.items())))
    assert to_bytes(other) == to_bytes(astore)


def test_a_model_that_was_read_is_written_as_the_same_bytes(tmp_path: Path) -> None:
    path = tmp_path / "m.astore"
    first = write(dense(), path)
    before = path.read_bytes()
    second = write(read(path), path)  # over the file that it is mapped from
    assert (second.digest, path.read_bytes()) == (first.digest, before)


def test_any_change_of_the_model_changes_its_digest(tmp_path: Path) -> None:
    astore = tiny()
    weights = dict(astore.graph.weights) | {"b": np.array([1.5], "f4")}
    others = [
        replace(astore, name="other"),
        replace(astore, card={}),
        replace(astore, graph=replace(astore.graph, weights=weights)),
    ]
    digests = {write(other, tmp_path / "m.astore").digest for other in others}
    assert len(digests | {GOLDEN_DIGEST}) == 4


def test_weights_are_read_only_views_of_the_mapped_file() -> None:
    import mmap

    for array in read(GOLDEN).graph.weights.values():
        base: Any = array
        while isinstance(base, np.ndarray):
            base = base.base
        held = base.obj if isinstance(base, memoryview) else base
        assert isinstance(held, mmap.mmap)
        assert array.ctypes.data % 64 == 0
        assert not array.flags.writeable
        assert not array.flags.owndata
        with pytest.raises(ValueError):
            array[0] = 0


def test_weights_of_an_upload_are_aligned_and_read_only() -> None:
    for array in from_bytes(GOLDEN.read_bytes()).graph.weights.values():
        assert array.ctypes.data % 64 == 0
        assert not array.flags.writeable


def test_a_replaced_file_does_not_disturb_the_model_read_from_it(tmp_path: Path) -> None:
    path = tmp_path / "m.astore"
    write(tiny(), path)
    astore = read(path)
    weights = {"w": np.array([9, 9], "f4"), "b": np.array([9], "f4")}
    write(replace(tiny(), graph=replace(tiny().graph, weights=weights)), path)
    assert astore.graph.weights["w"].tolist() == [0.5, -2.0]


def test_writing_leaves_no_part_file_behind_when_it_fails(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(FileError, match="taken: cannot be written"):
        write(tiny(), tmp_path / "taken")
    with pytest.raises(FileError, match="nowhere"):
        write(tiny(), tmp_path / "nowhere" / "m.astore")
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_a_model_that_breaks_the_rules_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(GraphError, match="outputs"):
        write(replace(tiny(), outputs=()), tmp_path / "m.astore")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("card", [{"x": object()}, {1: 2}, {"x": 1 << 64}, {"x": "\ud800"}])
def test_a_card_that_msgpack_cannot_hold_is_refused(card: Any) -> None:
    with pytest.raises(FileError, match="header"):
        to_bytes(replace(tiny(), card=card))


def test_numbers_of_numpy_in_a_card_are_written_as_plain_ones() -> None:
    card = {"a": np.float32(0.5), "b": np.int64(3), "c": np.array([1, 2]), "d": (1, 2)}
    assert from_bytes(to_bytes(replace(tiny(), card=card))).card == {"a": 0.5, "b": 3, "c": [1, 2], "d": [1, 2]}


def test_verify_lists_what_it_has_checked() -> None:
    found = verify(GOLDEN)
    assert (found.digest, found.size_bytes, found.signature) == (GOLDEN_DIGEST, 776, "none")
    assert found.checked[-2:] == ("tensor b: SHA-256 of 4 bytes", "tensor w: SHA-256 of 8 bytes")


def test_verify_names_the_tensor_and_its_bytes(tmp_path: Path) -> None:
    data = bytearray(GOLDEN.read_bytes())
    data[0x304] ^= 0x40  # within w
    path = tmp_path / "m.astore"
    path.write_bytes(data)
    with pytest.raises(FileError, match=r"m\.astore: tensor 'w', bytes 768 to 776: the bytes do not match their SHA-256"):
        verify(path)
    with pytest.raises(FileError, match="'w'"):
        read(path, verify=True)
    assert read(path).digest == GOLDEN_DIGEST  # reading alone does not look at weights


def with_constants(*attrs: dict[str, Any]) -> Astore:
    """The tiny model with constants beside it that nobody uses."""
    nodes = tuple(Node("Constant", (), (f"c{at}",), given) for at, given in enumerate(attrs))
    return replace(tiny(), graph=replace(tiny().graph, nodes=(*nodes, *tiny().graph.nodes)))


def test_an_attribute_that_is_a_tensor_is_a_map_and_comes_back(tmp_path: Path) -> None:
    arrays = [
        np.array([[1.5, -2]], "f4"),
        np.array(7, "i8"),
        np.zeros((0, 3), "i4"),
        np.array([True, False]),
        np.array([0.5], "f2"),
    ]
    astore = with_constants(*({"value": Tensor.of(array)} for array in arrays))
    header, _, _ = by_the_format(to_bytes(astore))
    assert header["graph"]["nodes"][0]["attrs"] == {
        "value": {"dtype": "float32", "shape": [1, 2], "data": np.array([1.5, -2], "<f4").tobytes()}
    }
    write(astore, tmp_path / "m.astore")
    for node, array in zip(read(tmp_path / "m.astore").graph.nodes, arrays):
        value = node.attrs["value"]
        assert isinstance(value, Tensor)
        np.testing.assert_array_equal(value.array, array, strict=True)


def test_long_lists_of_numbers_are_packed_and_short_ones_are_not() -> None:
    ints, floats = tuple(range(-3, 62)), tuple(at / 8 for at in range(65))
    astore = with_constants({"value_ints": ints}, {"value_floats": floats}, {"value_ints": ints[:64]})
    header, _, _ = by_the_format(to_bytes(astore))
    attrs = [node["attrs"] for node in header["graph"]["nodes"]]
    assert attrs[0] == {"value_ints": {"ints": struct.pack("<65q", *ints)}}
    assert attrs[1] == {"value_floats": {"floats": struct.pack("<65d", *floats)}}
    assert attrs[2] == {"value_ints": list(ints[:64])}
    found = from_bytes(to_bytes(astore)).graph.nodes
    assert [found[at].attrs for at in range(3)] == [{"value_ints": ints}, {"value_floats": floats}, {"value_ints": ints[:64]}]


def test_an_attribute_tensor_whose_bytes_do_not_fit_is_not_written() -> None:
    with pytest.raises(GraphError, match=r"8 bytes, .*4"):
        to_bytes(with_constants({"value": Tensor("float32", (2,), bytes(4))}))


def test_what_no_reader_would_take_is_not_written() -> None:
    with pytest.raises(FileError, match=r"header: there are more than 262144 values.*; hold large tables as weights"):
        to_bytes(replace(tiny(), card={"losses": [0] * 300_000}))
    deep: Any = 1
    for _ in range(20):
        deep = [deep]
    with pytest.raises(FileError, match="nested deeper than 16"):
        to_bytes(replace(tiny(), card={"a": deep}))
    with pytest.raises(FileError, match="attributes hold more than 8388608 packed bytes; use weights"):
        to_bytes(with_constants({"value": Tensor.of(np.zeros(2_200_000, "f4"))}))
