"""The aggregate kind: tumbling windows of event time, folded event by event and emitted when the watermark passes their end."""

from dataclasses import replace
from typing import Literal

import numpy as np
import numpy.typing as npt
import pydantic

from esp.errors import QueryError
from esp.kernels import windows as kernels
from esp.runtime.durations import Duration
from esp.runtime.events import END_NS, I64, Block, Bools, Column, EventBlock, Opcode, VarColumn
from esp.runtime.keys import pack_keys, unpack_keys
from esp.runtime.kinds.assemble import empty_block
from esp.runtime.kinds.folds import Fold, parse_folds
from esp.runtime.kinds.keyed import KeyedSettings
from esp.runtime.kinds.retractions import refuse_unretracted
from esp.runtime.kinds.window import Context, Environment, Ports, Stream, Window
from esp.runtime.schema import Field, FieldType, Schema

_PARTITION = FieldType("int32")


class AggregateSettings(KeyedSettings):
    """Folds the events of each key in each window into one row."""

    kind: Literal["aggregate"]
    size: Duration = pydantic.Field(gt=0, description="length of a window in event time, such as '1s'")
    offset: Duration = pydantic.Field(0, description="shifts where windows begin (at multiples of size since 1970)")
    aggregates: dict[str, str] = pydantic.Field(
        min_length=1, description="field -> count, count(x), sum(x), mean(x), min(x), max(x) or std(x); nulls are left out"
    )

    def resolve(self, stream: Stream | None, env: Environment) -> dict[str, Stream]:
        assert stream is not None
        schema, known = self._schema(stream, env), stream.partitioned_by
        refuse_unretracted(self.key_fields(stream, env), stream, f"{env.where}.by")
        if self.scope == "partition":
            known = ("partition",)
        return {"out": Stream(schema, False, known), "late": stream}

    def build(self, stream: Stream | None, env: Environment) -> Window:
        assert stream is not None
        return AggregateWindow(self, self.key_fields(stream, env), self._schema(stream, env), self._folds(stream, env))

    def _folds(self, stream: Stream, env: Environment) -> tuple[Fold, ...]:
        return parse_folds(self.aggregates, stream, f"{env.where}.aggregates")

    def _schema(self, stream: Stream, env: Environment) -> Schema:
        """Key fields, the window's bounds, the aggregates."""
        keys = [Field(name, stream.schema[name].type, is_key=True) for name in self.key_fields(stream, env)]
        if self.scope == "partition":
            keys.append(Field("partition", _PARTITION, is_key=True))
        is_whole_ms = self.size % 1_000_000 == self.offset % 1_000_000 == 0
        bound = FieldType("stamp", unit="ms" if is_whole_ms else "ns")
        bounds = [Field("window_start", bound), Field("window_end", bound)]
        made = [Field(fold.name, fold.type) for fold in self._folds(stream, env)]
        try:
            return Schema((*keys, *bounds, *made))
        except QueryError as err:
            raise QueryError(err.what, where=f"{env.where}.aggregates", mend="name the aggregate otherwise") from err


class AggregateWindow:
    """One row of a state table for each key and open window.

    An event is late when the watermark, itself included, has passed the end of its window. Results are in order of window end,
    then of the key's first event in the window.
    """

    def __init__(self, settings: AggregateSettings, by: tuple[str, ...], schema: Schema, folds: tuple[Fold, ...]) -> None:
        self.settings, self.by, self.schema, self.folds = settings, by, schema, folds
        self.nothing = empty_block(schema, END_NS)
        self.fields = tuple(dict.fromkeys(fold.field for fold in folds if fold.field))  # each is folded once

    def open(self, context: Context) -> None:
        n, self.partition = len(self.fields), context.partition
        self.table = context.table(
            "windows",
            {
                "start_ns": ("int64", ()), "born": ("int64", ()), "n": ("int64", ()), "counts": ("int64", (n, 4)),
                "reals": ("float64", (n, 6)), "ints": ("int64", (n, 3)),
            },
        )  # fmt: skip
        self.meta = context.table("meta", {"born": ("int64", ())})
        self.meta_row = self.meta.rows(VarColumn.of([b""]))
        starts = self.table.column("start_ns")[self.table.live()]
        self.next_end_ns = self._first_end(starts)

    def close(self) -> None:
        pass

    def on_block(self, port: str, block: Block) -> Ports:
        assert isinstance(block, EventBlock)
        size, offset = self.settings.size, self.settings.offset
        start_ns = (block.ts_ns - offset) // size * size + offset
        is_late = start_ns + size <= block.watermark_ns
        ports: Ports = []
        if is_late.any():
            ports.append(("late", block.take(np.flatnonzero(is_late))))
            on_time = np.flatnonzero(~is_late)
            block, start_ns = block.take(on_time), start_ns[on_time]
        if len(block):
            self._fold(block, start_ns)
        return [("out", self._close(block.end_watermark_ns)), *ports]

    def _fold(self, block: EventBlock, start_ns: I64) -> None:
        columns = [*(block.column(name) for name in self.by), start_ns]
        rows = self.table.rows(pack_keys(columns, [*(block.valid(name) for name in self.by), None], len(block)))
        sign = np.ones(len(block), np.int8)
        if block.opcode is not None:
            sign[block.opcode >= Opcode.DELETE] = -1
        column, born = self.table.column, self.meta.column("born")
        last = kernels.fold_rows(rows, start_ns, sign, int(born[self.meta_row[0]]), column("start_ns"), column("born"), column("n"))
        if last != born[self.meta_row[0]]:
            born[self.meta_row] = last
            self.meta.touch(self.meta_row)
        self.next_end_ns = min(self.next_end_ns, self._first_end(start_ns))
        for place, name in enumerate(self.fields):
            self._fold_field(block.column(name), block.valid(name), rows, sign, place)

    def _fold_field(self, values: Column, valid: Bools | None, rows: I64, sign: npt.NDArray[np.int8], place: int) -> None:
        column = self.table.column
        there = np.ones(len(rows), np.uint8) if valid is None else np.ascontiguousarray(valid).view(np.uint8)
        if isinstance(values, VarColumn) or values.ndim > 1 or values.dtype.kind == "b":  # only count(x) takes these
            values = np.zeros(len(rows), np.int64)
        if values.dtype.kind == "f":
            kernels.fold_floats(
                rows, sign, np.ascontiguousarray(values, np.float64), there, place, column("counts"), column("reals")
            )
        else:
            exact = np.ascontiguousarray(values, np.int64)
            kernels.fold_ints(rows, sign, exact, there, place, column("counts"), column("reals"), column("ints"))

    def _first_end(self, start_ns: I64) -> int:
        """When the first of some windows is to be closed: all are at the end of the stream."""
        return min(int(start_ns.min()) + self.settings.size, END_NS) if len(start_ns) else END_NS + 1

    def _close(self, watermark_ns: int) -> EventBlock:
        """The results of all windows that the watermark has passed; they leave the table."""
        if watermark_ns < self.next_end_ns:
            return replace(self.nothing, end_watermark_ns=watermark_ns)
        live = self.table.live()
        starts, born = self.table.column("start_ns")[live], self.table.column("born")[live]
        is_due = np.minimum(starts + self.settings.size, END_NS) <= watermark_ns
        rows = live[is_due][np.lexsort((born[is_due], starts[is_due]))]
        self.next_end_ns = self._first_end(starts[~is_due])
        out = self._results(rows[self.table.column("n")[rows] > 0], watermark_ns)
        self.table.remove(rows)
        return out

    def _results(self, rows: I64, watermark_ns: int) -> EventBlock:
        key_types = [field.type for field in self.schema.fields[: len(self.by)]]
        columns, validity = unpack_keys(self.table.keys(rows), key_types)
        start_ns = self.table.column("start_ns")[rows]
        end_ns = start_ns + self.settings.size
        if self.settings.scope == "partition":
            columns.append(np.full(len(rows), self.partition, np.int32))
        columns += [start_ns, end_ns]
        validity += [None] * (len(columns) - len(validity))
        for fold in self.folds:
            place = self.fields.index(fold.field) if fold.field else -1
            values, valid = fold.result(self.table, rows, place)
            columns.append(values)
            validity.append(valid)
        ts_ns = np.minimum(end_ns, END_NS) - 1
        return EventBlock(self.schema, tuple(columns), tuple(validity), ts_ns, ts_ns, watermark_ns)
