"""The hostile files: each a good file with one thing wrong, and what is said of it. ``python -m tests.astore.hostile.make`` writes them."""

import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgpack

from tests.astore.hostile.forge import (
    GOLDEN,
    TINY,
    aligned,
    changed,
    forge,
    header_of,
    more,
    node,
    numbers,
    put,
    sections,
    without,
)

NARROW = (GOLDEN / "narrow.astore").read_bytes()
PHOTO = (GOLDEN / "photo.astore").read_bytes()
SIGNED = (GOLDEN / "signed.astore").read_bytes()
FOLDER = Path(__file__).parent
HUGE = (1 << 31) - 1
MOST = (1 << 63) - 1


class Hostile(NamedTuple):
    """A file, what is said of it, and whether only a look at the tensors' own bytes finds it."""

    data: bytes
    said: str
    is_deep: bool = False


def flipped(data: bytes, at: int, by: int = 1) -> bytes:
    changed_data = bytearray(data)
    changed_data[at] ^= by
    return bytes(changed_data)


def files() -> dict[str, Hostile]:
    """Every hostile file by the name of its file."""
    parts = (framing, truncations, signatures, msgpacks, fields, letterboxes, tensors, scales, attributes, graphs, bombs)
    return {re.sub("[^a-z0-9]+", "-", name.lower()): found for part in parts for name, found in part()}


Named = Iterator[tuple[str, Hostile]]


def framing() -> Named:
    head, _, weights = sections(TINY)
    yield "magic of another kind", Hostile(b"\x89HDF\r\n\x1a\n" + TINY[8:], "not an astore")
    yield "empty", Hostile(b"", "not an astore")
    yield "version 0", Hostile(forge(head, weights, version=0), "version 0 does not exist")
    yield "version 2", Hostile(forge(head, weights, version=2), "version 2 is newer than 1")
    yield "trailing byte", Hostile(TINY + b"\0", "byte 776: 1 bytes follow the end")
    yield "trailing file", Hostile(TINY + TINY, "776 bytes follow the end")
    yield (
        "size beyond the file",
        Hostile(TINY[:16] + struct.pack("<Q", 1 << 62) + TINY[24:], "cut short: 776 bytes of 4611686018427387904"),
    )
    yield "header of 4 GiB", Hostile(TINY[:24] + b"\xff" * 4 + TINY[28:], "a header of 4294967295 and")
    yield "signature of 4 GiB", Hostile(TINY[:28] + b"\xff" * 4 + TINY[32:], "a signature of 4294967295 bytes")
    yield "signature of 4097 bytes", Hostile(forge(head, weights, bytes(4097)), "signature of 4097 bytes is over the limit of 4096")
    yield "crc", Hostile(flipped(TINY, 12), "do not match their checksum")
    yield "digest", Hostile(flipped(TINY, 40), "do not match their checksum")
    yield "flipped byte of the header", Hostile(flipped(TINY, 0x80), "do not match their checksum")
    yield "flipped byte of the signature", Hostile(flipped(SIGNED, 0x2A0), "do not match their checksum")
    yield "padding after the header", Hostile(flipped(TINY, 0x290), "byte 656: padding must be zero")
    yield "padding between tensors", Hostile(flipped(TINY, 0x2FF), "byte 767: padding must be zero")
    yield "flipped bit of a tensor", Hostile(flipped(TINY, 0x304), "tensor 'w', bytes 768 to 776: the bytes do not match", True)
    yield "flipped bit of an int8 tensor", Hostile(flipped(NARROW, len(NARROW) - 70), "do not match their SHA-256", True)
    yield "flipped bit of the scales", Hostile(flipped(NARROW, len(NARROW) - 2), "tensor 'w/scale', bytes", True)


def truncations() -> Named:
    for kind, data in (("tiny", TINY), ("signed", SIGNED)):
        head, signature, _ = sections(data)
        borders = {
            "magic": 8, "prefix": 64, "header": 64 + len(head), "signature": 64 + len(head) + len(signature),
            "start of the data": aligned(64 + len(head) + len(signature)),
        }  # fmt: skip
        for entry in header_of(data)["tensors"]:
            borders[f"start of {entry['name']}"] = borders["start of the data"] + entry["offset"]
            borders[f"end of {entry['name']}"] = borders["start of the data"] + entry["offset"] + entry["size"]
        for border, at in borders.items():
            for cut in (at - 1, at):
                if cut < len(data):
                    said = "not an astore" if cut < 8 else "cut short"
                    yield f"{kind} cut {'at' if cut == at else 'before'} the {border}", Hostile(data[:cut], said)


def signatures() -> Named:
    good = msgpack.unpackb(sections(SIGNED)[1])
    head, _, weights = sections(TINY)
    for name, section, said in (
        ("is no msgpack", b"\xc1", "signature: byte 0: msgpack type 0xc1"),
        ("is a list", msgpack.packb([1, 2]), "wanted a map, got list"),
        ("is empty", msgpack.packb({}), "signature.algorithm: the key is missing"),
        ("has bytes after it", sections(SIGNED)[1] + b"\0", "bytes follow the map"),
        ("ends early", sections(SIGNED)[1][:-1], "larger than the bytes that remain"),
        ("of another algorithm", msgpack.packb(good | {"algorithm": "rsa"}), "wanted ed25519"),
        ("with a short key", msgpack.packb(good | {"key": bytes(31)}), "got 'ed25519', 31 and 64"),
        ("with a long value", msgpack.packb(good | {"signature": bytes(65)}), "got 'ed25519', 32 and 65"),
        ("with a key of text", msgpack.packb(good | {"key": "a" * 32}), "key: wanted bytes, got str"),
        ("without a value", msgpack.packb({"algorithm": "ed25519", "key": bytes(32)}), "signature.signature: the key is missing"),
        ("with a key twice", b"\x82\xa1a\x01\xa1a\x01", "a key is there twice"),
        ("that claims 4 GiB", b"\xdf\xff\xff\xff\xff", "larger than the bytes that remain"),
    ):
        yield f"signature {name}", Hostile(forge(head, weights, section), said)


def msgpacks() -> Named:
    _, _, weights = sections(TINY)
    for name, head, said in (
        ("no bytes", b"", "end within a value"),
        ("short list", b"\x93\x01", "larger than the bytes that remain"),
        ("a number", b"\x01", "wanted a map, got int"),
        ("short map", b"\x81\xa1a", "larger than the bytes that remain"),
        ("bytes after the map", b"\x80\x00", "bytes follow the map"),
        ("map of 4 Gi", b"\xdf\xff\xff\xff\xff", "larger than the bytes that remain"),
        ("list of 4 Gi", b"\x81\xa1a\xdd\xff\xff\xff\xff", "larger than the bytes that remain"),
        ("text of 4 GiB", b"\x81\xa1a\xdb\xff\xff\xff\xff", "larger than the bytes that remain"),
        ("bytes of 4 GiB", b"\x81\xa1a\xc6\xff\xff\xff\xff", "larger than the bytes that remain"),
        ("short length", b"\x81\xa1a\xdb\x00", "larger than the bytes that remain"),
        ("short float", b"\x81\xa1a\xcb\x00", "larger than the bytes that remain"),
        ("the type that is none", b"\x81\xa1a\xc1", "type 0xc1"),
        ("extension", b"\x81\xa1a\xd4\x00\x00", "type 0xd4"),
        ("time", b"\x81\xa1a\xd6\xff\x00\x00\x00\x00", "type 0xd6"),
        ("key that is a number", b"\x81\x01\x02", "a key is not text"),
        ("key that is null", b"\x81\xc0\x02", "a key is not text"),
        ("key that is a map", b"\x81\x80\x02", "a key is not text"),
        ("key that is a list", b"\x81\x90\x02", "a key is not text"),
        ("key twice", b"\x82\xa1a\x01\xa1a\x01", "a key is there twice"),
        ("text that is not UTF-8", b"\x81\xa1a\xa1\xff", "not valid"),
        ("key that is not UTF-8", b"\x81\xa2\xc3\x28\x01", "not valid"),
        ("half a surrogate pair", b"\x81\xa1a\xa3\xed\xa0\x80", "not valid"),
        ("40 lists in each other", b"\x81\xa1a" + b"\x91" * 40 + b"\x01", "nested deeper"),
        (
            "lists that each claim all that remains",
            b"\x81\xa1a" + b"\xdc\x03\xff" * 15 + bytes(1024),
            "larger than the bytes that remain",
        ),
    ):
        yield f"msgpack {name}", Hostile(forge(head, weights), said)


def fields() -> Named:
    for name, change, said in (
        ("no name", without("name"), "header.name: the key is missing"),
        ("name is a number", put("name", 3), "header.name: wanted text, got int"),
        ("name is empty", put("name", ""), "is no name"),
        ("name of control characters", put("name", "a\x1b[31m"), "is no name"),
        ("name of 201 characters", put("name", "a" * 201), "is no name"),
        ("card is a list", put("card", []), "header.card: wanted a map, got list"),
        ("no graph", put("graph", None), "header.graph: wanted a map"),
        ("opset 22", put("graph", "opset", 22), "opset 22 is not 21"),
        ("opset is true", put("graph", "opset", True), "opset: wanted a 64-bit integer, got bool"),
        ("nodes are a map", put("graph", "nodes", {}), "nodes: wanted a list, got dict"),
        ("node is a number", put("graph", "nodes", 0, 1), "nodes[0]: wanted a map, got int"),
        ("node without op", without("graph", "nodes", 1, "op"), "header.graph.nodes[1].op: the key is missing"),
        ("input of a node is a number", put("graph", "nodes", 0, "inputs", 1, 7), "nodes[0].inputs[1]: wanted text"),
        ("size beyond 64 bits", put("graph", "inputs", 0, "shape", [None, 1 << 63]), "wanted a 64-bit integer"),
        ("shape is text", put("graph", "inputs", 0, "shape", "x"), "wanted a list"),
        ("no inputs", put("inputs", []), "0 inputs for the graph's 1"),
        ("input of text", put("inputs", 0, "dtype", "string"), "dtype 'string' is none of an input"),
        ("input too large", put("inputs", 0, "shape", [1 << 40, 1 << 40]), "cannot be prepared"),
        ("missing values ignored", put("inputs", 0, "missing", "ignore"), "missing = 'ignore'"),
        ("impute is text", put("inputs", 0, "impute", "0"), "impute: wanted a finite number"),
        ("impute is ragged", put("inputs", 0, "impute", [[1, 2], 3]), "impute: wanted a finite number"),
        (
            "statistics of 7 for 1",
            put("inputs", 0, "statistics", {"mean": [0.5] * 7}),
            "statistics.mean: 7 numbers for a last axis of 1",
        ),
        ("statistics are text", put("inputs", 0, "statistics", {"mean": "abc"}), "statistics.mean: wanted a list of numbers"),
        ("statistics infinite", put("inputs", 0, "statistics", {"std": [float("inf")]}), "statistics.std: wanted a finite number"),
        ("step unknown", put("inputs", 0, "steps", 0, "op", "rotate"), "steps[0]: step 'rotate' is unknown"),
        ("step with NaN", put("inputs", 0, "steps", 0, "params", "scale", float("nan")), "scale: wanted a finite number"),
        ("step with unknown parameter", put("inputs", 0, "steps", 0, "params", "gamma", 1), "step 'scale' knows no 'gamma'"),
        (
            "step reverses two channels",
            put("inputs", 0, "steps", 0, {"op": "reverse_channels", "params": {}}),
            "of 3 colours, got [2]",
        ),
        ("output of boxes", put("outputs", 0, "kind", "boxes"), "kind 'boxes'"),
        ("label is a number", put("outputs", 0, "labels", ["a", 1]), "labels[1]: wanted text"),
        ("output of another dtype", put("outputs", 0, "dtype", "int8"), "said to be int8[2], but the graph makes float32[2]"),
        ("requires holograms", put("requires", ["holograms"]), "requires 'holograms'"),
        ("requires is text", put("requires", "holograms"), "requires: wanted a list"),
    ):
        yield f"field {name}", Hostile(changed(change), said)


def letterboxes() -> Named:
    for name, change, said in (
        ("of no height", put("inputs", 0, "steps", 1, "params", "height", 0), "cannot letterbox to 0 x 6"),
        ("beyond the limit", put("inputs", 0, "steps", 1, "params", "width", 1 << 15), "cannot letterbox to 4 x 32768"),
        (
            "with two fills for three",
            put("inputs", 0, "steps", 1, "params", "fill", [1, 2]),
            "fill: 2 numbers for a last axis of 3",
        ),
        ("filled with infinity", put("inputs", 0, "steps", 1, "params", "fill", float("inf")), "fill: wanted a finite number"),
        ("without a fill", put("inputs", 0, "steps", 1, "params", {"height": 4, "width": 6}), "step 'letterbox' lacks 'fill'"),
        ("missing after decode", put("inputs", 0, "steps", 1, {"op": "reverse_channels", "params": {}}), "followed by 'resize' or"),
    ):
        yield f"letterbox {name}", Hostile(changed(change, PHOTO), said)


def tensors() -> Named:
    for name, change, said in (
        ("digest is text", put("tensors", 0, "sha256", "text"), "sha256: wanted bytes"),
        ("first not at 0", put("tensors", 0, "offset", 64), "offset 64 should be 0"),
        ("overlap", put("tensors", 1, "offset", 0), "offset 0 should be 64"),
        ("not aligned", put("tensors", 1, "offset", 65), "offset 65 should be 64"),
        ("before the data", put("tensors", 1, "offset", -64), "offset -64 should be 64"),
        ("far behind the data", put("tensors", 1, "offset", MOST), f"offset {MOST} should be 64"),
        ("size too small", put("tensors", 1, "size", 4), "takes 8 bytes, not 4"),
        ("size negative", put("tensors", 1, "size", -8), "takes 8 bytes, not -8"),
        ("name twice", put("tensors", 0, "name", "w"), "names must rise"),
        ("names fall", put("tensors", 1, "name", "a"), "names must rise"),
        ("dtype object", put("tensors", 0, "dtype", "object"), "dtype 'object' is unknown"),
        ("dtype of numpy", put("tensors", 0, "dtype", "<f4"), "dtype '<f4' is unknown"),
        ("dtype float16 of 4 bytes", put("tensors", 0, "dtype", "float16"), "float16[1] takes 2 bytes, not 4"),
        ("axis negative", put("tensors", 0, "shape", [-1]), "cannot be"),
        ("axis of 2^40", put("tensors", 0, "shape", [1 << 40]), "cannot be"),
        ("product over 2^63", put("tensors", 0, "shape", [HUGE, HUGE, HUGE]), "too large for any file"),
        ("product that wraps to 4 bytes", put("tensors", 0, "shape", [1 << 30, 1 << 30, 1 << 4, 1]), "too large for any file"),
        ("nothing times much", put("tensors", 0, "shape", [0, HUGE, HUGE]), "too large for any file"),
        ("rank 17", put("tensors", 0, "shape", [1] * 17), "17 axes"),
        ("fewer than the data", without("tensors", 1), "the tensors end at byte 4"),
        ("past the end", lambda header: header["tensors"][1].update(shape=[200], size=800), "end past the data's 72"),
        ("without its weight", put("tensors", 1, "name", "x2"), "input 'w' is no tensor of the graph"),
    ):  # fmt: skip
        yield f"tensor {name}", Hostile(changed(change), said)


def scales() -> Named:
    at = {entry["name"]: index for index, entry in enumerate(header_of(NARROW)["tensors"])}
    w, scale, half = at["w"], at["w/scale"], at["h"]
    start = header_of(NARROW)["tensors"][scale]["offset"]

    def numbers_at(*floats: float) -> bytes:
        head, _, data = sections(NARROW)
        return forge(head, data[:start] + struct.pack(f"<{len(floats)}f", *floats))

    for name, change, said in (
        ("missing", put("tensors", w, "scale", "none"), "its scales should be float32[2], there is none"),
        ("of itself", put("tensors", w, "scale", "w"), "a tensor of int8, or one of scales, cannot have scales"),
        ("of scales", put("tensors", scale, "scale", "w/scale"), "a tensor of float32, or one of scales"),
        ("of float16", put("tensors", half, "scale", "w/scale"), "a tensor of float16, or one of scales"),
        ("that is float16", put("tensors", w, "scale", "h"), "its scales should be float32[2], there is float16[2, 2]"),
        ("of another size", put("tensors", w, "axis", 0), "its scales should be float32[3], there is float32[2]"),
        ("one for all where there are two", without("tensors", w, "axis"), "its scales should be float32[], there is float32[2]"),
        ("along axis 2 of 2", put("tensors", w, "axis", 2), "axis 2 is none"),
        ("along axis -1", put("tensors", w, "axis", -1), "axis -1 is none"),
        ("along axis 2^63 - 1", put("tensors", w, "axis", MOST), f"axis {MOST} is none"),
        ("along an axis of text", put("tensors", w, "axis", "0"), "axis: wanted a 64-bit integer, got str"),
        ("name is a number", put("tensors", w, "scale", 1), "scale: wanted text, got int"),
        ("an axis without", without("tensors", w, "scale"), "axis 1 is none of a tensor with scales"),
    ):
        yield f"scale {name}", Hostile(changed(change, NARROW), said)
    for name, floats in (("NaN", (float("nan"), 1)), ("infinite", (1, float("inf"))), ("zero", (0, 1)), ("negative", (1, -1))):
        yield f"scale that is {name}", Hostile(numbers_at(*floats), "its scales are not all finite and above zero")


def attributes() -> Named:
    def tensor(**parts: object) -> dict[str, object]:
        return {"dtype": "float32", "shape": [2], "data": bytes(8)} | parts

    for name, value, said in (
        ("null", None, "is a number, text"),
        ("bytes", b"x", "is a number, text"),
        ("mixed list", [1, 2.0], "is a number, text"),
        ("list of lists", [[1]], "is a number, text"),
        ("map of what nobody knows", {"a": 1}, "the map is no tensor and no packed numbers"),
        ("empty map", {}, "the map is no tensor and no packed numbers"),
        ("tensor with another key", tensor(offset=0), "the map is no tensor"),
        ("tensor of 2^62 bytes", tensor(shape=[HUGE, HUGE]), "too large for any file"),
        ("tensor of too few bytes", tensor(shape=[HUGE]), f"takes {HUGE * 4} bytes, not 8"),
        ("tensor of a negative size", tensor(shape=[-2]), "cannot be"),
        ("tensor of nothing times much", tensor(shape=[0, HUGE, HUGE], data=b""), "too large for any file"),
        ("tensor of rank 200", tensor(shape=[1] * 200), "200 axes"),
        ("tensor of objects", tensor(dtype="object"), "dtype 'object' is unknown"),
        ("tensor of odd bools", tensor(dtype="bool", data=b"\x01\x02"), "a bool is a byte of 0 or 1"),
        ("tensor without data", tensor(data=None), "data: wanted bytes, got NoneType"),
        ("packed bytes of no whole numbers", {"ints": bytes(7)}, "7 bytes are no numbers of 8 bytes"),
        ("packed text", {"ints": "12345678"}, "wanted bytes, got str"),
        ("packed twice", {"ints": bytes(8), "floats": bytes(8)}, "the map is no tensor"),
    ):
        yield f"attribute {name}", Hostile(changed(put("graph", "nodes", 0, "attrs", {"value": value})), said)
    yield "attribute unknown", Hostile(changed(put("graph", "nodes", 0, "attrs", {"alpha": 1})), "unknown attribute 'alpha'")


def graphs() -> Named:
    value = {"name": "x", "dtype": "float32", "shape": [None, 2]}
    for name, change, said in (
        ("op unknown", put("graph", "nodes", 0, "op", "Melt"), "unknown op 'Melt'"),
        ("cycle of two", more(node("Relu", ["p"], ["q"]), node("Relu", ["q"], ["p"])), "form a cycle"),
        ("cycle of one", more(node("Relu", ["p"], ["p"])), "form a cycle"),
        ("node before its input", more(node("Relu", ["m"], ["q"])), "is made later, by node 1"),
        ("value made twice", more(node("Relu", ["x"], ["m"])), "output 'm' is made already"),
        ("value that is an input", more(node("Relu", ["x"], ["x"])), "output 'x' is made already"),
        ("value that is a weight", more(node("Relu", ["x"], ["w"])), "output 'w' is made already"),
        ("value twice of one node", more(node("Split", ["x"], ["p", "p"], axis=1, num_outputs=2)), "output 'p' is made already"),
        ("input twice", put("graph", "inputs", [value, value]), "1 inputs for the graph's 2"),
        ("input that is a weight", put("graph", "inputs", 0, "name", "w"), "weight 'w': the name is empty or taken twice"),
        ("input without a name", put("graph", "inputs", 0, "name", ""), "the name is empty or taken twice"),
        ("input of an unknown dtype", put("graph", "inputs", 0, "dtype", "bfloat16"), "unknown dtype 'bfloat16'"),
        ("input without a batch", put("graph", "inputs", 0, "shape", [7, 2]), "shape [7, 2] is not [N, sizes above 0]"),
        ("input of size 0", put("graph", "inputs", 0, "shape", [None, 0]), "is not [N, sizes above 0]"),
        ("output of nothing", put("graph", "outputs", 0, "name", "z"), "no node makes it"),
        ("output of another shape", put("graph", "outputs", 0, "shape", [None, 3]), "the graph makes float32[N, 2]"),
        ("node without outputs", more(node("Relu", ["x"], [])), "wants 1 outputs, got 0"),
        ("node of many inputs", more(node("Relu", ["x"] * 5000, ["q"])), "wants 1 inputs, got 5000"),
        ("layer of a node that is not there", put("graph", "layers", [{"name": "a", "kind": "Dense", "nodes": [9]}]), "layer 'a'"),
        ("layer twice", put("graph", "layers", [{"name": "a", "kind": "Dense", "nodes": []}] * 2), "the name is taken twice"),
        ("shapes that do not fit", more(numbers("p", 1, 2, 3), node("Cast", ["p"], ["q"], to=1), node("Add", ["x", "q"], ["r"])), ""),
    ):  # fmt: skip
        yield f"graph {name}", Hostile(changed(change), said)


def bombs() -> Named:
    """Graphs of a few bytes that ask for tensors of any size."""
    wide = 1 << 30
    for name, nodes in (
        ("ConstantOfShape", [numbers("p", wide, wide), node("ConstantOfShape", ["p"], ["q"])]),
        ("ConstantOfShape of a negative size", [numbers("p", -5), node("ConstantOfShape", ["p"], ["q"])]),
        ("Expand", [numbers("p", wide, wide, 2), node("Expand", ["x", "p"], ["q"])]),
        ("Tile", [numbers("p", 1, MOST), node("Tile", ["x", "p"], ["q"])]),
        ("Pad", [numbers("p", 0, MOST, 0, MOST), node("Pad", ["x", "p"], ["q"])]),
        ("Range", [numbers("f", 0), numbers("g", 1 << 62), numbers("h", 1), node("Range", ["f", "g", "h"], ["q"])]),
        ("Range of no step", [numbers("f", 0), numbers("g", 1), numbers("h", 0), node("Range", ["f", "g", "h"], ["q"])]),
        ("OneHot", [numbers("f", 1, 2), numbers("g", 1 << 60), numbers("h", 0, 1), node("OneHot", ["f", "g", "h"], ["q"])]),
        ("Split", [numbers("p", 1, 1), node("Split", ["p"], ["q"], axis=0, num_outputs=1 << 60)]),
        ("Resize", [
            numbers("s", 1, 1, 1 << 40, 1 << 40), numbers("p", 0, 1, 1, 2), node("Reshape", ["x", "p"], ["r"]),
            node("Resize", ["r", "", "", "s"], ["q"]),
        ]),
        ("Unsqueeze", [numbers("p", *range(1, 41)), node("Unsqueeze", ["x", "p"], ["r"]), node("Reshape", ["r", "r"], ["q"])]),
        ("chain of Tiles", [
            numbers("p", 1, 1 << 8), node("Tile", ["x", "p"], ["t0"]),
            *(node("Tile", [f"t{at}", "p"], [f"t{at + 1}"]) for at in range(9)),
        ]),
        ("chain of Concats", [
            node("Concat", ["x", "x"], ["t0"], axis=1), *(node("Concat", [f"t{at}"] * 2, [f"t{at + 1}"], axis=1) for at in range(70)),
        ]),
        ("MatMul", [
            numbers("p", 1 << 25, 1), numbers("r", 1, 1 << 25), node("ConstantOfShape", ["p"], ["f"]), node("ConstantOfShape", ["r"], ["g"]),
            node("MatMul", ["f", "g"], ["q"]),
        ]),
        ("pads that strides pass over", [
            numbers("p", 0, 1, 2), node("Reshape", ["x", "p"], ["r"]),
            node("MaxPool", ["r"], ["q"], kernel_shape=[1], pads=[1 << 40, 1 << 40], strides=[1 << 40]),
        ]),
        ("TopK", [numbers("p", 1, 2), numbers("k", 1 << 60), node("TopK", ["p", "k"], ["q", "i"])]),
    ):  # fmt: skip
        yield f"bomb {name}", Hostile(changed(more(*nodes)), "")


def main() -> None:
    for path in FOLDER.glob("*.astore"):
        path.unlink()
    for name, found in files().items():
        (FOLDER / f"{name}.astore").write_bytes(found.data)


if __name__ == "__main__":
    main()
