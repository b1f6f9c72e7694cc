"""Records that lie against pages which nobody may read: a kernel that reads past either end of one ends this process.

``python -m tests.kernels.guarded FORMAT`` reads damaged and cut-off records so, and says how many there were, and how many were good.
"""

import ctypes
import mmap
import sys
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from esp.runtime.codecs import codec
from esp.runtime.events import U8, raw_block
from esp.runtime.schema import Schema
from tests.runtime.codecs.test_agreement import base_records, damaged, plain_csv, plain_json, plain_msgpack

PAGE, PAGES, NO_ACCESS = mmap.PAGESIZE, 2, 0
LONG = Schema.parse("a:string, x:float32[40], u:uint8[12,3], b:blob")
WRITERS = {"msgpack": plain_msgpack, "json": plain_json, "csv": plain_csv}
OPTIONS = {"csv": ({}, {"tensors": "text"}, {"tensors": "base64"})}


class Guarded:
    """Memory of which the page before and the page behind cannot be read."""

    def __init__(self) -> None:
        self.memory = mmap.mmap(-1, (PAGES + 2) * PAGE)
        self.bytes = np.frombuffer(self.memory, np.uint8)
        libc = ctypes.CDLL(None, use_errno=True)
        for page in (0, PAGES + 1):
            assert libc.mprotect(ctypes.c_void_p(self.bytes.ctypes.data + page * PAGE), ctypes.c_size_t(PAGE), NO_ACCESS) == 0

    def place(self, value: bytes, is_last: bool) -> U8:
        start = (PAGES + 1) * PAGE - len(value) if is_last else PAGE
        self.bytes[start : start + len(value)] = np.frombuffer(value, np.uint8)
        return self.bytes[start : start + len(value)]


def values(name: str, random: np.random.Generator) -> Iterator[tuple[Schema, bytes]]:
    schema, found = base_records()
    whole = [WRITERS[name](schema, record) for record in found]
    for at in range(1500):
        yield schema, damaged(random, whole[at % len(whole)])
    x = random.normal(0, 100, 40)
    record = {
        "a": "é" * 40 + '"\x01',
        "x": x.astype(np.float32).tolist(),
        "u": random.integers(0, 256, 36).tolist(),
        "b": bytes(range(100)),
    }
    texts = [",".join(map(repr, x.tolist())), ", ".join(f"{part:.4f}" for part in x) + ",", x.astype("<f4").tobytes()]
    for one in (record, *(record | {"x": text} for text in texts if name != "csv")):
        data = WRITERS[name](LONG, one)
        for end in range(len(data) + 1):
            yield LONG, data[:end]
        for _ in range(400):
            yield LONG, damaged(random, data)
    if name == "csv":
        for text in (texts[0], texts[1]):
            data = f'a,"{text}","{",".join(map(str, record["u"]))}",AAAA'.encode()  # type: ignore[arg-type]
            for end in range(len(data) + 1):
                yield LONG, data[:end]


def main(name: str) -> None:
    guarded, random = Guarded(), np.random.default_rng(23)
    readers = {
        str(schema): [codec(name, schema, **options) for options in OPTIONS.get(name, ({},))]
        for schema in (base_records()[0], LONG)
    }
    count = good = 0
    for schema, value in values(name, random):
        for reader in readers[str(schema)]:
            found = [reader.decode(replace(raw_block([value]), buffer=guarded.place(value, is_last))) for is_last in (False, True)]
            assert found[0].reasons == found[1].reasons
            count, good = count + 1, good + (not found[0].reasons)
    print(count, good)


if __name__ == "__main__":
    main(sys.argv[1])
