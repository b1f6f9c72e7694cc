"""The golden files beside tiny.astore, made by hand after FORMAT.md: ``python -m tests.astore.golden.make`` writes them anew."""

import hashlib
import struct
from pathlib import Path
from typing import Any

import msgpack
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.astore.hostile.forge import TINY, aligned, forge, node, sections

FOLDER = Path(__file__).parent
SEED = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")  # RFC 8032, section 7.1, test 1


def narrow() -> bytes:
    """y = x @ w + x2 where w is int8 along axis 1, h float16, and a node has a tensor for an attribute: as ``esp`` writes it."""
    parts: list[tuple[str, str, list[int], bytes, dict[str, Any]]] = [
        ("h", "float16", [2, 2], struct.pack("<4e", 0.5, -2, 65504, 2**-24), {}),
        ("w", "int8", [3, 2], struct.pack("6b", 127, -127, 63, 0, -1, 50), {"axis": 1, "scale": "w/scale"}),
        ("w/scale", "float32", [2], struct.pack("<2f", 0.5, 2.0), {}),
    ]
    tensors, body = [], b""
    for name, dtype, shape, data, more in parts:
        body += bytes(aligned(len(body)) - len(body))
        tensors.append(_sorted({
            "name": name, "dtype": dtype, "shape": shape, "offset": len(body), "size": len(data), "sha256": hashlib.sha256(data).digest(),
        } | more))  # fmt: skip
        body += data
    value = {"data": struct.pack("<2f", 1, -1), "dtype": "float32", "shape": [2]}
    nodes = [node("Constant", [], ["c"], value=value), node("MatMul", ["x", "w"], ["m"]), node("MatMul", ["m", "h"], ["n"]),
             node("Add", ["n", "c"], ["y"])]  # fmt: skip
    graph = {
        "inputs": [{"dtype": "float32", "name": "x", "shape": [None, 3]}], "layers": [], "nodes": [_sorted(item) for item in nodes],
        "opset": 21, "outputs": [{"dtype": "float32", "name": "y", "shape": [None, 2]}],
    }  # fmt: skip
    item = {"dtype": "float32", "impute": 0.0, "missing": "refuse", "name": "x", "shape": [3], "statistics": {}, "steps": []}
    output = {"dtype": "float32", "kind": "tensor", "labels": [], "name": "y", "shape": [2]}
    header = {
        "card": {},
        "graph": graph,
        "inputs": [item],
        "name": "narrow",
        "outputs": [output],
        "requires": [],
        "tensors": tensors,
    }
    return forge(header, body)


def photo() -> bytes:
    """What comes in comes out: image files in a letterbox, blue first, normalised, the channel first."""
    steps = [
        {"op": "decode", "params": {"channels": 3}},
        {"op": "letterbox", "params": {"fill": 114, "height": 4, "width": 6}},
        {"op": "reverse_channels", "params": {}},
        {"op": "normalise", "params": {"mean": [104.0, 117.0, 123.0], "std": 1}},
        {"op": "channels_first", "params": {}},
    ]
    graph = {
        "inputs": [{"dtype": "float32", "name": "x", "shape": [None, 3, 4, 6]}], "layers": [],
        "nodes": [_sorted(node("Identity", ["x"], ["y"]))], "opset": 21,
        "outputs": [{"dtype": "float32", "name": "y", "shape": [None, 3, 4, 6]}],
    }  # fmt: skip
    item = {"dtype": "blob", "impute": 0.0, "missing": "refuse", "name": "photo", "shape": [], "statistics": {}, "steps": steps}
    output = {"dtype": "float32", "kind": "tensor", "labels": [], "name": "y", "shape": [3, 4, 6]}
    header = {
        "card": {}, "graph": graph, "inputs": [item], "name": "photo", "outputs": [output], "requires": [], "tensors": [],
    }  # fmt: skip
    return forge(header, b"")


def signed() -> bytes:
    """tiny.astore with a signature by the key of RFC 8032's first test."""
    head, _, weights = sections(TINY)
    key = Ed25519PrivateKey.from_private_bytes(SEED)
    value = key.sign(b"esp-astore-v1\n" + hashlib.sha256(head).digest())
    section = {"algorithm": "ed25519", "key": key.public_key().public_bytes_raw(), "signature": value}
    return forge(head, weights, msgpack.packb(section))


def _sorted(item: dict[str, Any]) -> dict[str, Any]:
    return dict(sorted(item.items()))


if __name__ == "__main__":
    (FOLDER / "narrow.astore").write_bytes(narrow())
    (FOLDER / "photo.astore").write_bytes(photo())
    (FOLDER / "signed.astore").write_bytes(signed())
