"""Which rows a codec's kernel leaves to the generic library."""

import dataclasses

import numpy as np

from esp.runtime.codecs import codec
from esp.runtime.events import raw_block
from esp.runtime.schema import Schema


def refused(name: str, schema: str, values: list[bytes], **options: str) -> list[int]:
    """The rows that the kernel does not take."""
    decoder = codec(name, Schema.parse(schema), **options)._decoder  # type: ignore[attr-defined]
    found: list[int] = []
    for row, value in enumerate(values):

        def counted(job: np.ndarray, fields: np.ndarray, row: int = row) -> int:
            taken = int(decoder.kernel(job, fields))
            found.extend([row] * (1 - taken))
            return taken

        dataclasses.replace(decoder, kernel=counted).decode(raw_block([value]))
    return found
