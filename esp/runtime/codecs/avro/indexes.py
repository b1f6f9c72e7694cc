"""Numbers of branches and symbols below zero: fastavro counts them from the end, so a record that it has read is walked over once more."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from esp.runtime.codecs.avro.types import Type

Walk = Callable[[bytes, int], int]  # from where a value begins to where it ends; IndexError where it has a number below zero
_Many = Callable[[bytes, int, int], int]  # the same over as many values as are said
_SIZES = {"null": 0, "boolean": 1, "float": 4, "double": 8}
_GOES_ON = bytes(range(128, 256))  # bytes of a number that are not its last
_MOST_BITS = 63


@dataclass(frozen=True, slots=True)
class _Part:
    """How values of a type are walked over: ``size`` is that of each, -1 where they differ; ``has_index``: some may have a number below zero."""

    walk: Walk
    size: int = -1
    has_index: bool = False


def walk_of(record: Type) -> Walk | None:
    """A walk over records as far as they may have such a number; None where they have neither branches nor symbols."""
    known: dict[int, _Part] = {}
    parts = [_part(entry.type, known) for entry in record.fields]
    while parts and not parts[-1].has_index:
        parts.pop()
    return _all(parts).walk if parts else None


def _part(kind: Type, known: dict[int, _Part]) -> _Part:
    """``known`` holds what there is of types by their ids, for a type may stand in many places."""
    if id(kind) not in known:
        known[id(kind)] = _made(kind, known)
    return known[id(kind)]


def _made(kind: Type, known: dict[int, _Part]) -> _Part:
    if kind.kind == "union":
        return _union([_part(part, known) for part in kind.parts])
    if kind.kind == "record":
        return _all([_part(entry.type, known) for entry in kind.fields])
    if kind.kind in ("array", "map"):
        return _blocks(_part(kind.parts[0], known), has_keys=kind.kind == "map")
    if kind.kind == "enum":
        return _Part(_past_symbol, has_index=True)
    if kind.kind in ("int", "long"):
        return _Part(_past_number)
    return _Part(_past_bytes) if kind.kind in ("bytes", "string") else _fixed(_SIZES.get(kind.kind, kind.size))


def _fixed(size: int) -> _Part:
    return _Part(lambda data, at: at + size, size)


def _all(parts: Sequence[_Part]) -> _Part:
    """One value after the other; those of a known size are passed over together."""
    walks, ahead = [], 0
    for part in parts:
        if part.size >= 0:
            ahead += part.size
            continue
        walks += [_fixed(ahead).walk] * (ahead > 0) + [part.walk]
        ahead = 0
    if not walks:
        return _fixed(ahead)
    walks += [_fixed(ahead).walk] * (ahead > 0)

    def walk(data: bytes, at: int) -> int:
        for one in walks:
            at = one(data, at)
        return at

    return _Part(walk, has_index=any(part.has_index for part in parts))


def _union(branches: Sequence[_Part]) -> _Part:
    walks = [branch.walk for branch in branches]
    steps = [1 + branch.size for branch in branches]  # over index and value; 0 where the size differs

    def walk(data: bytes, at: int) -> int:
        index, after = _number(data, at)
        if index < 0:
            raise IndexError(f"number {index} of {len(walks)} branches")
        return walks[index](data, after)

    def quick(data: bytes, at: int) -> int:
        first = data[at]
        return walk(data, at) if first & 129 else walks[first >> 1](data, at + 1)

    def quickest(data: bytes, at: int) -> int:
        first = data[at]
        return walk(data, at) if first & 129 else at + steps[first >> 1]

    return _Part(quickest if all(steps) else quick, has_index=True)


def _blocks(item: _Part, *, has_keys: bool) -> _Part:
    many = _keyed(item) if has_keys else _many(item)

    def walk(data: bytes, at: int) -> int:
        while True:
            count, at = _number(data, at)
            if count == 0:
                return at
            if count < 0:  # then the block's size follows
                at = _past_number(data, at)
            at = many(data, at, abs(count))

    return _Part(walk, has_index=item.has_index)


def _many(item: _Part) -> _Many:
    if item.size >= 0:
        return lambda data, at, count: at + item.size * count
    return _past_numbers if item.walk is _past_number else _one_by_one(item.walk)


def _keyed(item: _Part) -> _Many:
    return _one_by_one(lambda data, at: item.walk(data, _past_bytes(data, at)))


def _one_by_one(walk: Walk) -> _Many:
    def many(data: bytes, at: int, count: int) -> int:
        for _ in range(count):
            at = walk(data, at)
        return at

    return many


def _number(data: bytes, at: int) -> tuple[int, int]:
    """A whole number and where it ends."""
    bits = shift = 0
    while True:
        byte = data[at]
        bits |= (byte & 127) << shift
        at += 1
        if byte < 128:
            return bits >> 1 ^ -(bits & 1), at
        shift += 7
        if shift > _MOST_BITS:
            raise IndexError("a number past 64 bits")


def _past_number(data: bytes, at: int) -> int:
    while data[at] > 127:
        at += 1
    return at + 1


def _past_numbers(data: bytes, at: int, count: int) -> int:
    while count > 0:  # as many bytes as there are numbers end no more of them than that
        piece = data[at : at + count]
        if not piece:
            raise IndexError("an array ends too early")
        at += len(piece)
        count -= len(piece.translate(None, _GOES_ON))
    return at


def _past_bytes(data: bytes, at: int) -> int:
    size, at = (data[at] >> 1, at + 1) if not data[at] & 129 else _number(data, at)
    if size < 0:
        raise IndexError("a length below zero")
    return at + size


def _past_symbol(data: bytes, at: int) -> int:
    if data[at] & 1:
        raise IndexError(f"number {_number(data, at)[0]} of an enum's symbols")
    return _past_number(data, at)
