"""Rule 4 of FORMAT.md: msgpack with limits, read a value at a time."""

import struct
from typing import Any

from tests.astore.stranger.rules import Refused, is_text, need

CONSTANTS = {0xC0: None, 0xC2: False, 0xC3: True}
NUMBERS = dict(zip(range(0xCA, 0xD4), "fdBHIQbhiq"))
LENGTHS = {0xC4: "bB", 0xC5: "bH", 0xC6: "bI", 0xD9: "tB", 0xDA: "tH", 0xDB: "tI", 0xDC: "lH", 0xDD: "lI", 0xDE: "mH", 0xDF: "mI"}


def unpacked(raw: bytes) -> Any:
    """Rule 4: the one value that the bytes hold."""
    at = values = 0

    def take(count: int) -> bytes:
        nonlocal at
        need(count <= len(raw) - at, "4: a length larger than the bytes that remain")
        at += count
        return raw[at - count : at]

    def number(form: str) -> Any:
        return struct.unpack(">" + form, take(struct.calcsize(form)))[0]

    def value(level: int) -> Any:
        nonlocal values
        values += 1
        need(values <= 262144 and level <= 16, "4: values or levels")
        tag = take(1)[0]
        if tag < 0x80 or tag >= 0xE0:
            return tag if tag < 0x80 else tag - 256
        if tag in CONSTANTS or tag in NUMBERS:
            return CONSTANTS[tag] if tag in CONSTANTS else number(NUMBERS[tag])
        need(tag < 0xC0 or tag in LENGTHS, "4: an extension type")
        kind, count = ("t", tag & 31) if tag >= 0xA0 else ("l" if tag >= 0x90 else "m", tag & 15)
        if tag >= 0xC0:
            kind, count = LENGTHS[tag][0], number(LENGTHS[tag][1])
        if kind in "bt":
            return take(count) if kind == "b" else text(take(count))
        need(count * "_lm".index(kind) <= len(raw) - at, "4: a length larger than the bytes that remain")
        if kind == "l":
            return [value(level + 1) for _ in range(count)]
        found: dict[str, Any] = {}
        for _ in range(count):
            key = value(level + 1)
            need(is_text(key) and key not in found, "4: a key that is no text, or twice")
            found[key] = value(level + 1)
        return found

    root = value(1)
    need(at == len(raw), "4: bytes after the value")
    return root


def text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as err:
        raise Refused("4: text that is not UTF-8") from err
