"""A reader of astore files written after FORMAT.md alone: it shares no line with esp, so that it can judge what esp writes."""

import hashlib
import struct
import zlib
from typing import Any

import numpy as np
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from tests.astore.stranger.fields import check_variables, nodes_of
from tests.astore.stranger.rules import Refused, array, is_map, is_size, is_text, many, need
from tests.astore.stranger.values import unpacked

__all__ = ["Reader", "Refused"]


def padded(at: int) -> int:
    return -(-at // 64) * 64


class Reader:
    """What a file says: ``header`` as it stands, ``digest``, ``signer``, and the ``weights`` and ``attrs`` that the graph means."""

    def __init__(self, raw: bytes) -> None:
        need(len(raw) >= 64 and raw[:8] == b"\x89ASTORE\n", "3: magic")
        version, crc, size, head, sign, self.digest = struct.unpack("<IIQII32s", raw[8:64])
        self.start, end = padded(64 + head + sign), 64 + head + sign
        need(version == 1 and size == len(raw) and self.start <= size and head <= 2**24 and sign <= 4096, "3: version or sizes")
        need(zlib.crc32(raw[:12] + bytes(4) + raw[16:end]) == crc, "3: CRC")
        need(hashlib.sha256(raw[64 : 64 + head]).digest() == self.digest, "3: digest")
        self.header, self.signer = unpacked(raw[64 : 64 + head]), self.signed(raw[64 + head : end])
        need(not any(raw[end : self.start]), "1: padding")
        self.weights = self.tensors(raw)
        check_variables(self.header)
        self.attrs = nodes_of(
            self.header["graph"], {value["name"] for value in self.header["graph"]["inputs"]} | self.weights.keys()
        )

    def signed(self, raw: bytes) -> bytes | None:
        """The key that is said to have signed the digest."""
        if not raw:
            return None
        found = unpacked(raw)
        need(is_map(found) and found.get("algorithm") == "ed25519", "9: algorithm")
        key, value = found.get("key"), found.get("signature")
        need(type(key) is bytes and len(key) == 32 and type(value) is bytes and len(value) == 64, "9: key or signature")
        self.signature = value
        return bytes(key)

    def check_signature(self, key: bytes) -> None:
        """Refuses the file unless the key has signed it; the tensors are checked already."""
        need(self.signer == key, "9: not signed by this key")
        try:
            Ed25519PublicKey.from_public_bytes(key).verify(self.signature, b"esp-astore-v1\n" + self.digest)
        except InvalidSignature as err:
            raise Refused("9: the signature is not that of its key") from err

    def tensors(self, raw: bytes) -> dict[str, np.ndarray[Any, Any]]:
        need(is_map(self.header) and many(self.header.get("tensors"), is_map), "5: tensors")
        end, last, held, table = self.start, "", {}, self.header["tensors"]
        for one in table:
            name, begin = one.get("name"), padded(end)
            need(is_text(name) and name > last and one.get("offset") == begin - self.start, "6: names and offsets")
            need(is_size(one.get("size"), len(raw) - begin) and not any(raw[end:begin]), "1, 6: size or padding")
            end, last = begin + one["size"], name
            held[name] = array(raw[begin:end], one.get("dtype"), one.get("shape"))
            need(hashlib.sha256(raw[begin:end]).digest() == one.get("sha256"), "5: sha256")
        need(end == len(raw), "1: something follows the last tensor")
        scales = {one["scale"] for one in table if is_text(one.get("scale"))}
        return {one["name"]: self.weight(one, held, scales) for one in table if "scale" in one or one["name"] not in scales}

    def weight(self, one: dict[str, Any], held: dict[str, Any], scales: set[str]) -> np.ndarray[Any, Any]:
        """Rule 7: what a tensor means."""
        values, axis = held[one["name"]], one.get("axis")
        if "scale" not in one:
            need("axis" not in one, "7: an axis without scales")
            return values.astype(np.float32) if one["dtype"] == "float16" else values
        need(one["dtype"] == "int8" and one["name"] not in scales and is_text(one["scale"]) and one["scale"] in held, "7: scale")
        scale = held[one["scale"]]
        need(scale.dtype == np.float32 and np.all(np.isfinite(scale) & (scale > 0)), "7: scales")
        need("axis" not in one or is_size(axis, values.ndim - 1), "7: axis")
        need(list(scale.shape) == ([] if axis is None else [values.shape[axis]]), "7: a scale for each index")
        wide = [-1 if at == axis else 1 for at in range(values.ndim)] if scale.ndim else []
        with np.errstate(over="ignore"):
            return (values.astype(np.float64) * scale.astype(np.float64).reshape(wide)).astype(np.float32)
