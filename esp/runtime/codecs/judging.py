"""Why a decoder's kernel has refused records: what another kernel can surely say of them, so that the generic library need not read them."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from esp.kernels import verdicts
from esp.kernels.shortest import WRITTEN_PAST
from esp.runtime.events import I64, U8, Bools, VarColumn
from esp.runtime.reasons import Reasons
from esp.runtime.schema import Field, Schema

Kernel = Callable[[I64, I64, I64, I64, I64], None]  # job, fields, rows, faults, seen
_NUMBERS = 3 * 24 + WRITTEN_PAST  # bytes of the numbers of a reason: what was found, which of how many, where


@dataclass(frozen=True, slots=True)
class Judge:
    """A kernel that finds faults, and the texts that stand for them: ``texts`` cut by ``cuts`` into heads, words and ends."""

    kernel: Kernel
    texts: U8
    cuts: I64
    words: int  # where among the cuts the words of what was found begin

    @classmethod
    def of(cls, kernel: Kernel, schema: Schema, wanted: str) -> "Judge":
        """``wanted`` begins the reasons of records that are none."""
        heads = [_head(field, "") for field in schema] + [_missing(field) for field in schema] + [f"{wanted} (", ""]
        words = [word for pair in verdicts.FOUND_WORDS for word in pair]
        texts = [text.encode(errors="replace") for text in (*heads, *words, " as number ", " of ", ", at byte ")]
        size = np.array([len(text) for text in texts], np.int64)
        cuts = np.ascontiguousarray(np.stack((np.cumsum(size) - size, size), axis=1))
        return cls(kernel, np.frombuffer(b"".join(texts), np.uint8), cuts, len(heads))

    def judge(self, job: I64, fields: I64, rows: I64) -> tuple[Bools, Reasons]:
        """Which of the rows are surely bad, and why; the others are for the generic library."""
        faults = np.zeros((len(rows), verdicts.FAULT_WIDTH), np.int64)
        self.kernel(job, fields, rows, faults, np.empty(len(fields), np.int64))
        is_bad: Bools = faults[:, verdicts.FOUND] != verdicts.UNJUDGED
        faults = faults if is_bad.all() else faults[is_bad]
        most = int(self.cuts[:, 1].max()) * 4 + _NUMBERS + verdicts.QUOTED
        out, begin = np.empty(len(faults) * most + 1, np.uint8), np.empty(len(faults) + 1, np.int64)
        size = verdicts.write_reasons(faults, self.texts, self.cuts, self.words, out, begin)
        return is_bad, Reasons(VarColumn(begin, out[:size]))


def _head(field: Field, why: str) -> str:
    return " ".join(f"field '{field.name}': wanted {field.type},{why} got".split()) + " "


def _missing(field: Field) -> str:
    return _head(field, f" for it is {'a key' if field.is_key else 'required'},")
