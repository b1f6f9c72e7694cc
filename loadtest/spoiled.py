"""Events and what is wrong with them: twenty kinds of malformed records, in JSON and in msgpack, each with the reason that must be given."""

import base64
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgpack
import orjson

FEATURES = 16
SCHEMA = f"id*:int64, ts:stamp(ms), device:string, level:int32, note:blob, features:float32[{FEATURES}]"
START_MS = 1_700_000_000_000
FORMATS = ("json", "msgpack")
NESTING = 2_000
Event = dict[str, Any]
Value = bytes | None


def event(number: int, rng: random.Random) -> Event:
    """A good event."""
    features = [round(rng.random(), 6) for _ in range(FEATURES)]
    note = number.to_bytes(8, "big")
    return {
        "id": number,
        "ts": START_MS + number,
        "device": f"d{number % 97}",
        "level": number % 11,
        "note": note,
        "features": features,
    }


def encoded(name: str, event: Event) -> bytes:
    """An event in a format: an object, or a map."""
    if name == "msgpack":
        return bytes(msgpack.packb(event))
    note = event["note"]
    return orjson.dumps({**event, "note": base64.b64encode(note).decode()} if isinstance(note, bytes) else event)


@dataclass(frozen=True, slots=True)
class Kind:
    """``spoil`` makes a record's value of a good event; ``reason`` (or its form in each format) is part of what must be said of it."""

    name: str
    spoil: Callable[[str, Event, random.Random], Value]
    reason: str | dict[str, str]

    def reason_in(self, name: str) -> str:
        return self.reason if isinstance(self.reason, str) else self.reason[name]


def _with(**fields: Any) -> Callable[[str, Event, random.Random], Value]:
    return lambda name, event, rng: encoded(name, {**event, **fields})


def _without(field: str) -> Callable[[str, Event, random.Random], Value]:
    return lambda name, event, rng: encoded(name, {key: value for key, value in event.items() if key != field})


def _features(change: Callable[[list[Any]], list[Any]]) -> Callable[[str, Event, random.Random], Value]:
    return lambda name, event, rng: encoded(name, {**event, "features": change(event["features"])})


def _truncated(name: str, event: Event, rng: random.Random) -> Value:
    whole = encoded(name, event)
    return whole[: rng.randrange(1, len(whole) - 1)]


def _no_utf8(name: str, event: Event, rng: random.Random) -> Value:
    return encoded(name, {**event, "device": "dXY"}).replace(b"dXY", b"d\xc3\x28")


def _no_reading(name: str, event: Event, rng: random.Random) -> Value:
    """NaN in msgpack, null in JSON, which has no NaN: the model refuses both."""
    if name == "json":
        return encoded(name, {**event, "features": None})
    return encoded(name, {**event, "features": [*event["features"][:-1], float("nan")]})


def _blob(name: str, event: Event, rng: random.Random) -> Value:
    return encoded(name, {**event, "note": "no=base64!" if name == "json" else [1]})


def _noise(name: str, event: Event, rng: random.Random) -> Value:
    return b"\xc1" + rng.randbytes(rng.randrange(1, 200))  # a byte that begins neither a text nor an object of msgpack


def _nested(name: str, event: Event, rng: random.Random) -> Value:
    if name == "json":
        return b'{"id":1,"more":' + b"[" * NESTING + b"]" * NESTING + b"}"
    return b"\x81\xa4more" + b"\x91" * NESTING + b"\x01"


def _endless(name: str, event: Event, rng: random.Random) -> Value:
    """A length of 4 GB that nothing follows, or a number of as many digits as fit."""
    if name == "json":
        return encoded(name, {**event, "id": "ID"}).replace(b'"ID"', b"9" * 400)
    return b"\x82\xa2id\x01\xa8features\xdd\xff\xff\xff\xff"


def _twice(name: str, event: Event, rng: random.Random) -> Value:
    """A key that comes twice, wrong the second time, which counts."""
    whole = encoded(name, event)
    if name == "json":
        return whole[:-1] + b',"level":"high"}'
    return bytes([whole[0] + 1]) + whole[1:] + b"\xa5level\xa4high"


def _other_format(name: str, event: Event, rng: random.Random) -> Value:
    return encoded("msgpack" if name == "json" else "json", event)


def _trailing(name: str, event: Event, rng: random.Random) -> Value:
    return encoded(name, event) + b"\x01x"


KINDS = (
    Kind("truncated", _truncated, ""),
    Kind("wrong type", _with(id="seven"), "field 'id': wanted int64, got the text 'seven'"),
    Kind("array too short", _features(lambda x: x[:-1]), "field 'features': wanted float32[16], got an array of 15"),
    Kind("array too long", _features(lambda x: [*x, 0.5]), "field 'features': wanted float32[16], got an array of 17"),
    Kind("no key", _without("id"), "field 'id': wanted int64, for it is a key, got"),
    Kind("no UTF-8", _no_utf8, "UTF-8"),
    Kind("integer out of range", _with(level=2**31), "field 'level': wanted int32, got int 2147483648"),
    Kind(
        "float out of range",
        _features(lambda x: [*x[:-1], 1e39]),
        "field 'features': wanted float32[16], got float 1e+39 as number 16 of 16",
    ),
    Kind("no reading", _no_reading, {"json": "input 'features' is null", "msgpack": "input 'features' is NaN at [15]"}),
    Kind("no blob", _blob, "field 'note': wanted blob"),
    Kind("empty", lambda name, event, rng: b"", ""),
    Kind("null", lambda name, event, rng: None, "no value"),
    Kind("noise", _noise, ""),
    Kind("nested", _nested, ""),
    Kind("endless", _endless, ""),
    Kind("twice", _twice, "field 'level': wanted int32, got the text 'high'"),
    Kind("other format", _other_format, ""),
    Kind("trailing bytes", _trailing, ""),
    Kind("before time", _with(ts=-(10**14)), "field 'ts': wanted stamp(ms), got int -100000000000000"),
    Kind("after time", _with(ts=4_700_000_000_000), "is no event time: it is to lie between 1823-11-12 and 2116-02-20"),
)
