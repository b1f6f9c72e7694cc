"""Where a number is too large for float32: kernels and the generic path draw the line where IEEE 754 does, to the last double."""

import csv
import dataclasses
import io
import math
import struct
from collections.abc import Sequence
from typing import Any

import msgpack
import numpy as np
import orjson
import pytest

from esp.runtime.codecs import codec
from esp.runtime.codecs.values import cell
from esp.runtime.events import raw_block
from esp.runtime.schema import Schema
from tests.runtime.codecs.test_agreement import generic, same

LARGEST = float(np.finfo(np.float32).max)
HALFWAY = LARGEST + 2.0**103  # to where the next float32 would be; a tie goes to the even one, which is infinity
NEAR = (
    LARGEST,
    math.nextafter(math.nextafter(HALFWAY, 0), 0),
    math.nextafter(HALFWAY, 0),
    HALFWAY,
    math.nextafter(HALFWAY, math.inf),
)
DOUBLES = (*NEAR, *(-value for value in NEAR))
SCALAR, TENSOR = Schema.parse("a:float32"), Schema.parse("a:float32[2]")
FORMATS = ("json", "msgpack", "csv")


def as_float32(value: float) -> float | None:
    """The nearest float32 by C's own conversion; None where it is infinite."""
    try:
        return float(struct.unpack("<f", struct.pack("<f", value))[0])
    except OverflowError:
        return None


FITTING = [value for value in DOUBLES if as_float32(value) is not None]


def written(name: str, value: Any) -> bytes:
    if name == "csv":
        out = io.StringIO()
        csv.writer(out, lineterminator="").writerow(value if isinstance(value, list) else [value])
        return out.getvalue().encode()
    return bytes(orjson.dumps({"a": value}) if name == "json" else msgpack.packb({"a": value}))


def test_the_last_double_below_the_middle_still_fits() -> None:
    assert [*NEAR[:3], *(-value for value in NEAR[:3])] == FITTING
    assert np.array(FITTING).astype(np.float32).tolist() == [LARGEST] * 3 + [-LARGEST] * 3


@pytest.mark.parametrize("schema", [SCALAR, TENSOR], ids=["scalar", "tensor"])
@pytest.mark.parametrize("name", FORMATS)
def test_a_kernel_takes_every_double_that_rounds_to_a_float32(name: str, schema: Schema) -> None:
    def refuse(value: bytes) -> Sequence[Any]:
        raise AssertionError(f"the generic library was asked for {value!r}")

    decoder = dataclasses.replace(codec(name, schema)._decoder, read=refuse)  # type: ignore[attr-defined]
    values = FITTING if schema is SCALAR else [[1.5, value] for value in FITTING]
    found = decoder.decode(raw_block([written(name, value) for value in values]))
    assert tuple(found.reasons) == ()
    assert np.ravel(found.columns[0]).tolist() == np.ravel(np.array(values).astype(np.float32)).tolist()


@pytest.mark.parametrize("name", FORMATS)
def test_kernels_and_generic_libraries_refuse_the_same_doubles(name: str) -> None:
    for schema, values in ((SCALAR, list(DOUBLES)), (TENSOR, [[value, 1.5] for value in DOUBLES])):
        raw = raw_block([written(name, value) for value in values])
        found = codec(name, schema).decode(raw)
        same(found, generic(name, schema, raw))
        assert found.bad_row.tolist() == [row for row, value in enumerate(DOUBLES) if as_float32(value) is None]
        assert all(f"wanted {schema.fields[0].type}, got float" in reason for reason in found.reasons)


@pytest.mark.parametrize("value", FITTING)
def test_the_rule_of_python_values_takes_what_fits(value: float) -> None:
    assert np.float32(cell(SCALAR.fields[0], value)) == as_float32(value)
