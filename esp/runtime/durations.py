"""Lengths of time as a query file writes them (``"2s"``, ``"500ms"``), held as nanoseconds."""

import re
from decimal import Decimal
from typing import Annotated, Any

import pydantic

UNITS_NS = {
    "ns": 1, "us": 1_000, "ms": 1_000_000, "s": 1_000_000_000, "min": 60_000_000_000, "h": 3_600_000_000_000,
    "d": 86_400_000_000_000,
}  # fmt: skip
DURATION_EXAMPLES = ["500ms", "2s"]
_LONGEST_NS = 1 << 61
_TEXT = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-z]+)\s*")


def parse_duration(value: Any) -> int:
    """Nanoseconds of a text such as ``1.5s``; whole numbers are nanoseconds already.

    >>> parse_duration("1.5s")
    1500000000
    """
    if isinstance(value, int) and not isinstance(value, bool):
        ns: Decimal | int = value
    else:
        match = _TEXT.fullmatch(value) if isinstance(value, str) else None
        if not match or match[2] not in UNITS_NS:
            raise ValueError(f"{value!r} is no duration: write a number and one of {', '.join(UNITS_NS)}, such as '500ms'")
        ns = Decimal(match[1]) * UNITS_NS[match[2]]
    if ns != int(ns) or not 0 <= ns <= _LONGEST_NS:
        raise ValueError(f"{value!r} is no whole number of nanoseconds from 0 to {_LONGEST_NS}")
    return int(ns)


def duration_text(ns: int) -> str:
    """The shortest text of a duration.

    >>> duration_text(90_000_000_000)
    '90s'
    """
    unit = next(unit for unit, size in reversed(UNITS_NS.items()) if ns % size == 0)
    return f"{ns // UNITS_NS[unit]}{unit}" if ns else "0s"


Duration = Annotated[
    int,
    pydantic.BeforeValidator(parse_duration),
    pydantic.PlainSerializer(duration_text, return_type=str),
    pydantic.WithJsonSchema({"type": "string", "examples": DURATION_EXAMPLES}),
]
