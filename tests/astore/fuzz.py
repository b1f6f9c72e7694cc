"""A fuzzer of the reader: ``python -m tests.astore.fuzz --seconds 600``. Whatever the bytes, they are read or refused, soon and small.

It changes good and hostile files: bits, lengths, pieces of other files, and, with the sums made right again so that the
deeper layers are reached, values of the header, numbers of weights and attributes. What is refused in a new way is kept and
changed further. The first input that is neither read nor refused, or takes too long or too much memory, is written to a file.
"""

import argparse
import contextlib
import copy
import hashlib
import random
import re
import signal
import struct
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgpack
import numpy as np

from esp.astore.binary import from_bytes, to_bytes
from esp.astore.layout import DTYPES
from esp.errors import EspError
from tests.astore.hostile.forge import GOLDEN, TINY, aligned, forge, header_of, sections
from tests.astore.hostile.make import FOLDER
from tests.astore.op_cases import CASES

LIMIT_S = 2.0  # of CPU an input
CONSTANT = 96 << 20  # bytes; as in test_hostile.py
INTEGERS = [0, 1, -1, 2, 3, 7, 63, 64, 65, 255, 256, 4096, 65_535, 1 << 20, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 40,
            (1 << 62) + 1, (1 << 63) - 1, -(1 << 63), -5, 1 << 63, (1 << 64) - 1]  # fmt: skip
WORDS = [
    "",
    "x",
    "w",
    "y",
    "m",
    "b",
    "float32",
    "int64",
    "bool",
    "float16",
    "int8",
    "object",
    "Add",
    "Constant",
    "SAME_UPPER",
    "\0",
    "\U0001f600",
]
FLOATS = [0.0, -0.0, 1.0, 0.5, 1e38, -1e300, 1e-320, float("inf"), float("-inf"), float("nan"), 2.0**62]
PUBLIC = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")


class Crash(BaseException):
    """An input that is neither read nor refused as it should be; nothing in between may catch it."""


@dataclass
class Count:
    """What a run has done."""

    inputs: int = 0
    read: int = 0
    slowest_s: float = 0.0
    most_bytes: int = 0
    ways: set[str] = field(default_factory=set)


def seeds() -> list[bytes]:
    """Golden files, hostile files, and one of every op of the table over constants."""
    files = [path.read_bytes() for folder in (GOLDEN, FOLDER) for path in sorted(folder.glob("*.astore"))]
    return files + [with_op(op, seed) for op in CASES for seed in range(2)]


def with_op(op: str, seed: int) -> bytes:
    """The tiny model with a node of an op beside it, over weights."""
    case = CASES[op](np.random.default_rng([seed, *op.encode()]))
    arrays = {"b": np.array([1], "<f4"), "w": np.array([0.5, -2], "<f4")}
    arrays |= {f"x{at}": np.asarray(array, order="C") for at, array in enumerate(case.inputs) if array is not None}
    names = ["" if array is None else f"x{at}" for at, array in enumerate(case.inputs)]
    attrs = {name: plain(value) for name, value in case.attrs.items()}
    header = header_of(TINY)
    header["graph"]["nodes"].append(
        {"op": op, "inputs": names, "outputs": [f"z{at}" for at in range(case.outputs)], "attrs": attrs}
    )
    header["graph"]["inputs"][0]["name"] = header["graph"]["nodes"][0]["inputs"][0] = "in"
    header["inputs"][0]["name"] = "in"
    return with_tensors(header, {name: array for name, array in sorted(arrays.items()) if array.dtype.name in DTYPES})


def plain(value: Any) -> Any:
    if hasattr(value, "dtype"):
        return {"dtype": value.dtype, "shape": [*value.shape], "data": value.data}
    return [*value] if isinstance(value, tuple) else value


def with_tensors(header: Any, arrays: dict[str, Any]) -> bytes:
    """A file with these weights, its tensor table made for them."""
    header["tensors"], body = [], b""
    for name, array in arrays.items():
        data = array.tobytes()
        body += bytes(aligned(len(body)) - len(body))
        entry = {"name": name, "dtype": array.dtype.name, "shape": [*array.shape], "offset": len(body), "size": len(data)}
        header["tensors"].append(entry | {"sha256": hashlib.sha256(data).digest()})
        body += data
    return forge(header, body)


# ---- changes --------------------------------------------------------------------------------------------------------------


def bits(data: bytes, others: list[bytes], rng: random.Random) -> bytes:
    found = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 8])):
        if found:
            found[rng.randrange(len(found))] ^= 1 << rng.randrange(8)
    return bytes(found)


def splice(data: bytes, others: list[bytes], rng: random.Random) -> bytes:
    other = rng.choice(others)
    at, end = rng.randrange(len(data) + 1), rng.randrange(len(data) + 1)
    start = rng.randrange(len(other) + 1)
    return data[:at] + other[start : start + rng.choice([0, 1, 8, 64, 4096])] + data[end:]


def lengths(data: bytes, others: list[bytes], rng: random.Random) -> bytes:
    """A length of the prefix, or a word anywhere."""
    value = rng.choice(INTEGERS) & ((1 << 64) - 1)
    at, form = rng.choice([(16, "<Q"), (24, "<I"), (28, "<I"), (8, "<I"), (rng.randrange(max(len(data), 1)), ">I")])
    piece = struct.pack(form, value & ((1 << 8 * struct.calcsize(form)) - 1))
    return data[:at] + piece + data[at + len(piece) :]


def sealed_bytes(data: bytes, others: list[bytes], rng: random.Random) -> bytes:
    """The header's bytes changed, with the sums made right again."""
    head, signature, weights = sections(data)
    change = rng.choice([bits, splice])
    return forge(change(head, [sections(rng.choice(others))[0]], rng), weights, signature)


def sealed_values(data: bytes, others: list[bytes], rng: random.Random) -> bytes:
    """Values of the header changed, with the sums made right again."""
    head, signature, weights = sections(data)
    header, other = unpacked(head), unpacked(sections(rng.choice(others))[0])
    for _ in range(rng.choice([1, 1, 2, 4])):
        change_value(header, other, rng)
    return forge(packed(header), weights, signature)


def sealed_signature(data: bytes, others: list[bytes], rng: random.Random) -> bytes:
    head, signature, weights = sections(data)
    good = signature or sections((GOLDEN / "signed.astore").read_bytes())[1]
    return forge(head, weights, rng.choice([bits, splice])(good, others, rng)[:5000])


def sealed_weights(data: bytes, others: list[bytes], rng: random.Random) -> bytes:
    """Numbers of tensors and attributes made odd, with the sums made right again."""
    head, signature, weights = sections(data)
    header, body = unpacked(head), bytearray(weights)
    tensors = header.get("tensors") or []
    for _ in range(rng.choice([1, 2, 3])):
        if tensors and rng.random() < 0.6:
            odd_numbers(rng.choice(tensors), body, rng)
        else:
            odd_attribute(header, rng)
    return forge(packed(header), bytes(body), signature)


CHANGES = [
    bits,
    splice,
    lengths,
    sealed_bytes,
    sealed_values,
    sealed_values,
    sealed_values,
    sealed_signature,
    sealed_weights,
    sealed_weights,
]


def odd_numbers(tensor: Any, body: bytearray, rng: random.Random) -> None:
    dtype, start, size = DTYPES[tensor["dtype"]], tensor["offset"], tensor["size"]
    part = np.frombuffer(body, dtype, size // dtype.itemsize, start).copy()
    with np.errstate(all="ignore"):
        for at in range(len(part)) if rng.random() < 0.3 else [rng.randrange(len(part))]:
            part[at] = np.array(rng.choice(FLOATS if dtype.kind == "f" else INTEGERS)).astype(dtype)
    body[start : start + size] = part.tobytes()
    tensor["sha256"] = hashlib.sha256(body[start : start + size]).digest()


def odd_attribute(header: Any, rng: random.Random) -> None:
    attrs = rng.choice(header["graph"]["nodes"])["attrs"]
    name = rng.choice([*attrs] or ["axis"])
    value = attrs.get(name, 0)
    if isinstance(value, list) and value:
        value[rng.randrange(len(value))] = rng.choice(INTEGERS if isinstance(value[0], int) else FLOATS)
    else:
        attrs[name] = rng.choice(INTEGERS if isinstance(value, int) else FLOATS if isinstance(value, float) else WORDS)


def change_value(header: Any, other: Any, rng: random.Random) -> None:
    part, key = rng.choice(spots(header))
    doing = rng.randrange(6)
    if doing == 0:
        del part[key]
    elif doing == 1 and isinstance(part, list):
        part[key:key] = [copy.deepcopy(part[key])] * rng.choice([1, 2, 40])
    elif doing == 2:
        source, at = rng.choice(spots(other))
        part[key] = copy.deepcopy(source[at])
    elif doing == 3 and isinstance(part, dict):
        part[rng.choice([*WORDS, "scale", "axis", "attrs"])] = odd(rng)
    else:
        part[key] = odd(rng)


def odd(rng: random.Random) -> Any:
    return rng.choice([
        rng.choice(INTEGERS), rng.choice(WORDS), rng.choice(FLOATS), None, True, bytes(rng.randrange(40)), [], {}, [rng.choice(INTEGERS)] * 3,
        [rng.choice(WORDS)] * 2, {"ints": bytes(8 * rng.randrange(99))}, {"dtype": rng.choice(WORDS), "shape": [rng.choice(INTEGERS)], "data": bytes(8)},
    ])  # fmt: skip


def spots(part: Any) -> list[tuple[Any, Any]]:
    """Every place in a tree of maps and lists."""
    found: list[tuple[Any, Any]] = []
    for key in part if isinstance(part, dict) else range(len(part)):
        found.append((part, key))
        if isinstance(part[key], dict | list):
            found += spots(part[key])
    return found


def unpacked(head: bytes) -> Any:
    return msgpack.unpackb(head, strict_map_key=False)


def packed(header: Any) -> bytes:
    return msgpack.packb(header)


def changed_input(corpus: list[bytes], rng: random.Random) -> bytes:
    """One of the inputs changed; a file that a change cannot work on is changed as bytes."""
    data = rng.choice(corpus)
    for _ in range(rng.choice([1, 1, 1, 2])):
        change: Callable[[bytes, list[bytes], random.Random], bytes] = rng.choice(CHANGES)
        try:
            data = change(data, corpus, rng)
        except Exception:  # no header in it, say
            data = bits(data, corpus, rng)
    return data[: 1 << 20]


# ---- judging --------------------------------------------------------------------------------------------------------------


def judge(data: bytes, count: Count) -> str:
    """Reads an input in every way; how it was refused, or "read". Raises Crash."""
    tracemalloc.reset_peak()
    before, start = tracemalloc.get_traced_memory()[0], time.process_time()
    try:
        with alarm():
            way = outcome(data)
    except Exception as err:
        raise Crash(f"{type(err).__name__}: {err}") from err
    took, peak = time.process_time() - start, tracemalloc.get_traced_memory()[1] - before
    count.slowest_s, count.most_bytes = max(count.slowest_s, took), max(count.most_bytes, peak)
    if took > LIMIT_S:
        raise Crash(f"it took {took:.1f} s of CPU")
    if peak > 2 * len(data) + CONSTANT:
        raise Crash(f"it took {peak} bytes for {len(data)}")
    return way


def outcome(data: bytes) -> str:
    refused = [said(data, **options) for options in ({"verify": False}, {"verify": True}, {"trusted": [PUBLIC]})]
    if refused[1]:
        return refused[1]
    astore = from_bytes(data)
    try:
        again = to_bytes(astore)
    except EspError:  # it holds more than one header does, unpacked
        return "read"
    for name, array in from_bytes(again).graph.weights.items():
        if array.tobytes() != astore.graph.weights[name].tobytes():
            raise Crash(f"weight {name!r} is another one when written and read again")
    return "read"


def said(data: bytes, **options: Any) -> str:
    """How an input is refused; empty where it is read."""
    try:
        from_bytes(data, "fuzz", **options)
    except EspError as err:
        if "\n" in str(err) or len(str(err)) > 4000:
            raise Crash(f"the message is no line: {err!r:.200}") from err
        return re.sub(r"[0-9]+|'[^']*'", "#", err.what)[:80]
    return ""


@contextlib.contextmanager
def alarm() -> Iterator[None]:
    """Stops what takes ten times too long."""

    def stop(*_: object) -> None:
        raise Crash(f"it took more than {10 * LIMIT_S} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, 10 * LIMIT_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def fuzz(seconds: float, seed: int, crashes: Path, at_least: int = 0) -> Count:
    """Runs for so long, and for so many inputs. Raises Crash with the path of the input that it wrote."""
    rng, corpus, count, end = random.Random(seed), seeds(), Count(), time.monotonic() + seconds
    first = iter([*corpus])
    tracemalloc.start()
    try:
        while count.inputs < at_least or time.monotonic() < end:
            data = next(first, None) or changed_input(corpus, rng)
            try:
                way = judge(data, count)
            except Crash as crash:
                path = crashes / f"crash-{hashlib.sha256(data).hexdigest()[:12]}.astore"
                path.write_bytes(data)
                raise Crash(f"{path}: {crash}") from crash
            count.inputs += 1
            count.read += way == "read"
            if way not in count.ways or (way == "read" and rng.random() < 0.01):
                corpus.append(data)
            count.ways.add(way)
    finally:
        tracemalloc.stop()
    return count


def main() -> None:
    parser = argparse.ArgumentParser(description="Fuzz the reader of astores.")
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--crashes", type=Path, default=Path(), help="folder for the input of a crash")
    given = parser.parse_args()
    try:
        count = fuzz(given.seconds, given.seed, given.crashes)
    except Crash as crash:
        sys.exit(f"{crash}")
    print(
        f"{count.inputs} inputs in {given.seconds:.0f} s, seed {given.seed}: {count.read} read, {count.inputs - count.read} refused "
        f"in {len(count.ways)} ways; slowest {count.slowest_s:.2f} s of CPU, most memory {count.most_bytes / 1e6:.1f} MB; no crash"
    )


if __name__ == "__main__":
    main()
