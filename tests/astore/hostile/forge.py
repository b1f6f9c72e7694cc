"""Files with sound sums around whatever header, weights and signature are given; written after FORMAT.md, not with esp."""

import copy
import hashlib
import struct
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgpack

Change = Callable[[Any], Any]
GOLDEN = Path(__file__).parents[1] / "golden"
TINY = (GOLDEN / "tiny.astore").read_bytes()


def aligned(at: int) -> int:
    return -(-at // 64) * 64


def sections(data: bytes) -> tuple[bytes, bytes, bytes]:
    """Header, signature and data of a file that is taken at its word."""
    head, signature = struct.unpack_from("<II", data, 24)
    return data[64 : 64 + head], data[64 + head : 64 + head + signature], data[aligned(64 + head + signature) :]


def header_of(data: bytes) -> Any:
    return msgpack.unpackb(sections(data)[0])


def forge(header: Any, weights: bytes, signature: bytes = b"", version: int = 1) -> bytes:
    """A file whose prefix fits its sections; the header is a map, or bytes."""
    head = header if isinstance(header, bytes) else msgpack.packb(header)
    start = aligned(64 + len(head) + len(signature))
    sizes = struct.pack("<QII", start + len(weights), len(head), len(signature)) + hashlib.sha256(head).digest()
    first = b"\x89ASTORE\n" + struct.pack("<I", version)
    crc = zlib.crc32(first + bytes(4) + sizes + head + signature)
    body = first + struct.pack("<I", crc) + sizes + head + signature
    return body + bytes(start - len(body)) + weights


def changed(change: Change, data: bytes = TINY) -> bytes:
    """A file with its header changed and its sums made right again."""
    _, signature, weights = sections(data)
    header = copy.deepcopy(header_of(data))
    change(header)
    return forge(header, weights, signature)


def put(*path: Any) -> Change:
    """Sets the value at a path: the last argument."""

    def change(header: Any) -> None:
        for key in path[:-2]:
            header = header[key]
        header[path[-2]] = path[-1]

    return change


def without(*path: Any) -> Change:
    """Takes the key at a path away."""

    def change(header: Any) -> None:
        for key in path[:-1]:
            header = header[key]
        header.pop(path[-1])

    return change


def node(op: str, inputs: Iterable[str], outputs: Iterable[str], **attrs: Any) -> dict[str, Any]:
    return {"op": op, "inputs": [*inputs], "outputs": [*outputs], "attrs": attrs}


def numbers(name: str, *values: int) -> dict[str, Any]:
    """A constant of int64."""
    return node("Constant", [], [name], value_ints=[*values])


def more(*nodes: dict[str, Any]) -> Change:
    """Puts nodes in front of the others."""

    def change(header: Any) -> None:
        header["graph"]["nodes"][:0] = nodes
        header["graph"]["layers"] = []

    return change
