"""The source kind: records become typed events with an event time and a watermark; those that can't are dead letters."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pydantic

from esp.errors import QueryError
from esp.kernels.origins import lie_between, watermarks
from esp.runtime.codecs import Codec, Place, codec
from esp.runtime.durations import Duration, duration_text
from esp.runtime.events import END_NS, I64, NEVER_NS, Block, DeadBlock, EventBlock, RawBlock, VarColumn
from esp.runtime.kinds.absent import with_defaults
from esp.runtime.kinds.assemble import empty_block
from esp.runtime.kinds.keyed import require_field
from esp.runtime.kinds.window import Context, Environment, Ports, Settings, Stream, Window
from esp.runtime.reasons import Reasons
from esp.runtime.schema import Schema

_FIRST_MS, _LAST_MS = NEVER_NS // 1_000_000 + 1, (END_NS - 1) // 1_000_000
_NO_ROWS: I64 = np.empty(0, np.int64)
_OUTSIDE = "is no event time: it is to lie between 1823-11-12 and 2116-02-20"


class SourceSettings(Settings):
    """Decodes the records of its connector."""

    kind: Literal["source"]
    schema_: str = pydantic.Field(
        alias="schema", description="fields of an event, such as 'id*:int64, ts:stamp(ms), acc:float32[3]'"
    )
    format: str = pydantic.Field("json", description="codec of the values: msgpack, json, csv, avro or protobuf")
    options: dict[str, Any] = pydantic.Field(default_factory=dict, description="options of the format; see esp keys options.csv")
    time: str = pydantic.Field("", description="the field that holds event time; the record's time stamp, if left out")
    max_delay: Duration = pydantic.Field(
        0, description="how far events may be out of order: what the watermark stays behind, such as '2s'"
    )
    max_ahead: Duration | None = pydantic.Field(
        None,
        description="how far the event time may lie ahead of the record's time stamp, such as '1h'; an event beyond is a dead letter and "
        "moves no watermark, which without a bound closes every window (a record without a stamp is not judged)",
    )
    defaults: dict[str, Any] = pydantic.Field(
        default_factory=dict, description="field = what it holds where a record has it not, or null; null, where nothing is said"
    )
    required: tuple[str, ...] = pydantic.Field(
        (), description="fields that every record must have: one without, or with null, is a dead letter; keys are so always"
    )
    partitioned_by: tuple[str, ...] | None = pydantic.Field(
        None, min_length=1, description="fields that decide which partition a record is on; needed by keyed windows"
    )

    def resolve(self, stream: Stream | None, env: Environment) -> dict[str, Stream]:
        schema = self._schema(env)
        if not len(schema):
            raise QueryError("the schema has no fields", where=f"{env.where}.schema", mend="write name:type, separated by commas")
        partitioned_by = () if env.one_partition else self.partitioned_by
        out = Stream(schema, partitioned_by=partitioned_by)
        for name in partitioned_by or ():
            require_field(out, name, f"{env.where}.partitioned_by")
        if self.time:
            require_field(out, self.time, f"{env.where}.time")
            if schema[self.time].type.base != "stamp":
                mend = f"write {self.time}:stamp(ms) in the schema"
                raise QueryError(f"event time '{self.time}' is a {schema[self.time].type}", where=f"{env.where}.time", mend=mend)
        elif self.max_ahead is not None:
            mend = "name the field of event time, or leave max_ahead out"
            raise QueryError(
                "event time is the record's own time stamp, ahead of which it cannot be", where=f"{env.where}.max_ahead", mend=mend
            )
        try:
            self._codec(schema, env)
        except QueryError as err:
            raise QueryError(err.what, where=err.where or env.where, mend=err.mend) from err
        return {"out": out}

    def build(self, stream: Stream | None, env: Environment) -> Window:
        schema = self._schema(env)
        return SourceWindow(self, schema, self._codec(schema, env))

    def _schema(self, env: Environment) -> Schema:
        return with_defaults(Schema.parse(self.schema_, f"{env.where}.schema"), self.defaults, self.required, env.where)

    def _codec(self, schema: Schema, env: Environment) -> Codec:
        return codec(self.format, schema, Place(env.where, env.folder, env.topic, env.registries), **self.options)

    @pydantic.model_serializer(mode="wrap")
    def _said(self, dump: pydantic.SerializerFunctionWrapHandler) -> dict[str, Any]:
        """A checkpoint of a source that says nothing of fields that are not there is the one of a version that knew no such keys.

        ``max_ahead`` may come and go with the state as it is.
        """
        return {
            key: value for key, value in dump(self).items() if key != "max_ahead" and (value or key not in ("defaults", "required"))
        }


class SourceWindow:
    """Turns RawBlocks into EventBlocks; the watermark is the running maximum of event time less ``max_delay``."""

    def __init__(self, settings: SourceSettings, schema: Schema, codec: Codec) -> None:
        self.settings, self.schema, self.codec = settings, schema, codec

    def open(self, context: Context) -> None:
        self.window = context.window
        self.table = context.table("watermark", {"ns": ("int64", ()), "is_set": ("uint8", ())})
        self.row = int(self.table.rows(VarColumn.of([b""]))[0])

    def close(self) -> None:
        pass

    def on_block(self, port: str, block: Block) -> Ports:
        assert isinstance(block, RawBlock)
        decoded = self.codec.decode(block)
        row = np.arange(len(block)) if decoded.row is None else decoded.row
        ts_ns, timeless, why = self._event_time(block, decoded.columns, decoded.validity, row)
        if not len(timeless):
            events = EventBlock(
                self.schema, decoded.columns, decoded.validity, ts_ns, *self._advance(ts_ns), raw=block, raw_row=row,
                spellings=decoded.spellings,
            )  # fmt: skip
            return self._ports(events, block, decoded.bad_row, decoded.reasons)
        events = EventBlock(
            self.schema, decoded.columns, decoded.validity, ts_ns, ts_ns, NEVER_NS, raw=block, raw_row=row,
            spellings=decoded.spellings,
        ).take(np.delete(np.arange(len(row)), timeless))  # fmt: skip
        watermark_ns, end_ns = self._advance(events.ts_ns)
        events = replace(events, watermark_ns=watermark_ns, end_watermark_ns=end_ns)
        bad = np.concatenate((decoded.bad_row, row[timeless]))
        order = np.argsort(bad)
        return self._ports(events, block, bad[order], Reasons.joined((decoded.reasons, why)).take(order))

    def end_of_stream(self) -> Ports:
        """The end of a bounded source: every window that is still open closes."""
        return [("out", empty_block(self.schema, END_NS))]

    def _event_time(self, raw: RawBlock, columns: Any, validity: Any, row: I64) -> tuple[I64, I64, list[str]]:
        """Event time in nanoseconds, where there is none within bounds, and why."""
        name = self.settings.time
        if not name:
            stamps = raw.ts_ms[row]
            bad = np.flatnonzero((stamps < _FIRST_MS) | (stamps > _LAST_MS))
            why = [f"the record's time stamp, {stamps[at]} ms, {_OUTSIDE}" for at in bad]
            return np.clip(stamps, _FIRST_MS, _LAST_MS) * 1_000_000, bad, why
        at = self.schema.index(name)
        ts_ns, valid = columns[at], validity[at]
        if valid is None and self.settings.max_ahead is None and lie_between(ts_ns, NEVER_NS, END_NS):
            return ts_ns, _NO_ROWS, []
        is_null = np.zeros(len(row), np.bool_) if valid is None else ~valid
        is_outside = (ts_ns <= NEVER_NS) | (ts_ns >= END_NS)
        is_ahead = self._is_ahead(ts_ns, raw.ts_ms[row])
        bad = np.flatnonzero(is_null | is_outside | is_ahead)
        return ts_ns, bad, [self._reason(ts_ns[at], is_null[at], is_outside[at]) for at in bad]

    def _is_ahead(self, ts_ns: I64, stamps_ms: I64) -> npt.NDArray[np.bool_]:
        """Which event times lie too far ahead of their records' time stamps, as far as there are any."""
        if self.settings.max_ahead is None:
            return np.zeros(len(ts_ns), np.bool_)
        bound = np.clip(stamps_ms, 0, _LAST_MS) * 1_000_000 + self.settings.max_ahead
        return (stamps_ms > 0) & (ts_ns > bound)

    def _reason(self, ts_ns: int, is_null: bool, is_outside: bool) -> str:
        name, ahead = self.settings.time, self.settings.max_ahead
        if is_null or is_outside or ahead is None:
            return f"field '{name}', the event time, is null" if is_null else f"field '{name}', {ts_ns} ns, {_OUTSIDE}"
        return f"field '{name}', {ts_ns} ns, lies more than max_ahead = {duration_text(ahead)} ahead of the record's time stamp"

    def _advance(self, ts_ns: I64) -> tuple[I64, int]:
        """The watermark after each event, and after all of them."""
        ns, is_set = self.table.column("ns"), self.table.column("is_set")
        before = int(ns[self.row]) if is_set[self.row] else NEVER_NS
        if not len(ts_ns):
            return ts_ns, before
        watermark = np.empty(len(ts_ns), np.int64)
        reached = watermarks(ts_ns, self.settings.max_delay, before, watermark)
        ns[self.row], is_set[self.row] = reached, 1
        self.table.touch(self.row)
        return watermark, reached

    def _ports(self, events: EventBlock, raw: RawBlock, bad_row: I64, reasons: Sequence[str]) -> Ports:
        ports: Ports = [("out", events)]
        if len(bad_row):
            ports.append(("dead", DeadBlock(raw, bad_row, reasons, self.window)))
        return ports
