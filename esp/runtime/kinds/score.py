"""The score kind: a model scores every event, and the scores become fields beside those that came in."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import numpy as np
import pydantic

from esp.astore.graph import Array
from esp.astore.model import Astore, Output
from esp.errors import QueryError
from esp.runtime.events import I64, Block, Bools, Column, DeadBlock, EventBlock, Opcode, VarColumn
from esp.runtime.kinds.keyed import require_field
from esp.runtime.kinds.window import Context, Environment, Ports, Settings, Stream, Window
from esp.runtime.schema import ELEMENTS, NUMBERS, Field, FieldType, Schema

TEXT = FieldType("string")


class ScoreSettings(Settings):
    """Scores every event with a model; a deployment may swap the model between two blocks.

    Deletes are not scored, for the model may be another one by then: where the input retracts, the fields that are added are
    ``unretracted``, and what would have to take their values back is refused at load. A row that the model refuses passes there with
    nulls, beside its dead letter: its delete will follow, and must find what it takes back.
    """

    model_config = pydantic.ConfigDict(protected_namespaces=())

    kind: Literal["score"]
    model: str = pydantic.Field(description="the model: its name under [models]")
    backend: Literal["auto", "numba", "onnxruntime", "numpy"] = pydantic.Field(
        "auto", description="what computes the scores; auto: numba or onnxruntime, whichever was faster when first bound"
    )
    input: dict[str, str] = pydantic.Field(
        default_factory=dict, description="the model's input = the field that feeds it; the field of the same name, if left out"
    )
    output: dict[str, str] = pydantic.Field(
        default_factory=dict,
        description="what is added = the name of its field (empty: left out): label and probability of the likeliest class "
        "(added by default; OUTPUT.label and OUTPUT.probability where several outputs have labels), and every output "
        "by its name (added by default where it has no labels)",
    )
    model_field: str = pydantic.Field("", description="a string field of this name is added: 12 digits of the digest of the model")

    def resolve(self, stream: Stream | None, env: Environment) -> dict[str, Stream]:
        assert stream is not None
        astore = self.astore(env)
        self.fields_in(astore, stream, env)
        schema = self.schema_out(astore, stream.schema, env)
        added = schema.names[len(stream.schema) :] if stream.retracts else ()
        return {"out": replace(stream, schema=schema, unretracted=(*stream.unretracted, *added))}

    def build(self, stream: Stream | None, env: Environment) -> Window:
        assert stream is not None
        astore = self.astore(env)
        feeding = [stream.schema.index(name) for name in self.fields_in(astore, stream, env)]
        parts = self.parts(astore, env)
        return ScoreWindow(self, self.schema_out(astore, stream.schema, env), feeding, parts, stream.retracts)

    def astore(self, env: Environment) -> Astore:
        """The model at load; QueryError when the query has none of that name."""
        if self.model not in env.models:
            known = ", ".join(env.models) or "none"
            raise QueryError(
                f"there is no model '{self.model}'",
                where=f"{env.where}.model",
                mend=f"models here: {known}; add [models.{self.model}]",
            )
        return env.models[self.model]

    def fields_in(self, astore: Astore, stream: Stream, env: Environment) -> list[str]:
        """The field that feeds each input of the model; QueryError when it is missing or of another type."""
        where, names = f"{env.where}.input", [item.name for item in astore.inputs]
        for name in self.input:
            if name not in names:
                raise QueryError(f"model '{self.model}' has no input '{name}'", where=where, mend=f"its inputs: {', '.join(names)}")
        fields = []
        for item in astore.inputs:
            name = self.input.get(item.name, item.name)
            require_field(stream, name, f"{where}.{item.name}")
            found, wanted = stream.schema[name].type, FieldType(item.dtype, item.shape)
            if (found.base, found.shape) != (wanted.base, wanted.shape):
                raise QueryError(
                    f"field '{name}' is {found}, but input '{item.name}' of model '{self.model}' takes {wanted}",
                    where=f"{where}.{item.name}", mend="name another field, or make it that type before",
                )  # fmt: skip
            fields.append(name)
        return fields

    def parts(self, astore: Astore, env: Environment) -> "list[Part]":
        """What is added, in order: for each output its label and probability, or itself; QueryError for keys that are none."""
        labelled = [output for output in astore.outputs if _is_labelled(output)]
        parts: list[Part] = []
        known: list[str] = []
        for at, output in enumerate(astore.outputs):
            several = len(labelled) > 1
            for key in ("label", "probability") if _is_labelled(output) else ():
                known.append(f"{output.name}.{key}" if several else key)
                name = self.output.get(known[-1], f"{output.name}_{key}" if several else key)
                parts += [Part(name, at, key, _type(output, key, env))] if name else []
            if output.name in known:
                raise QueryError(
                    f"output '{output.name}' of model '{self.model}' has a name that means another thing here",
                    where=f"{env.where}.output", mend="name the output otherwise when the model is made",
                )  # fmt: skip
            known.append(output.name)
            name = self.output.get(output.name, "" if _is_labelled(output) else output.name)
            parts += [Part(name, at, "tensor", _type(output, "tensor", env))] if name else []
        for key in self.output:
            if key not in known:
                raise QueryError(
                    f"model '{self.model}' gives no '{key}'", where=f"{env.where}.output", mend=f"it gives: {', '.join(known)}"
                )
        return parts

    def schema_out(self, astore: Astore, schema: Schema, env: Environment) -> Schema:
        """The fields that come in, and those that are added; QueryError when a name is there already."""
        added = [Field(part.name, part.type) for part in self.parts(astore, env)]
        added += [Field(self.model_field, TEXT)] if self.model_field else []
        names = list(schema.names)
        for field in added:
            if field.name in names:
                mend = f"give it another name: output = {{ {field.name} = ... }}, or model_field"
                raise QueryError(f"the field '{field.name}' is there already", where=f"{env.where}.output", mend=mend)
            if not re.fullmatch(r"[A-Za-z_]\w*", field.name):
                mend = 'use letters, digits and underscores: output = { OUTPUT = "name" }'
                raise QueryError(f"'{field.name}' is no name of a field", where=f"{env.where}.output", mend=mend)
            names.append(field.name)
        return Schema((*schema.fields, *added))


@dataclass(frozen=True, slots=True)
class Part:
    """One field that is added: of output ``at``, the label, the probability of the likeliest class, or the tensor itself."""

    name: str
    at: int
    what: str
    type: FieldType


def _is_labelled(output: Output) -> bool:
    return output.kind == "probabilities" and bool(output.labels) and len(output.shape) == 1


def _type(output: Output, what: str, env: Environment) -> FieldType:
    if what == "label":
        return TEXT
    if what == "probability":
        return FieldType(output.dtype)
    if output.dtype not in (ELEMENTS if output.shape else NUMBERS):
        raise QueryError(
            f"output '{output.name}' is {output.dtype}, which no field can hold", where=f"{env.where}.output",
            mend=f'leave it out: output = {{ {output.name} = "" }}',
        )  # fmt: skip
    return FieldType(output.dtype, output.shape)


class Planned(Protocol):
    """A score window as a query has planned it."""

    @property
    def settings(self) -> Settings: ...
    @property
    def stream(self) -> Stream | None: ...
    @property
    def environment(self) -> Environment: ...


def check_swap(old: Astore, new: Astore, planned: Planned) -> None:
    """QueryError with the reason when ``new`` cannot take the place of ``old`` in a window: other inputs, or other fields out."""
    settings, stream, env = planned.settings, planned.stream, planned.environment
    assert isinstance(settings, ScoreSettings)
    assert stream is not None
    where = f"{env.where}: deploying '{new.name}'"
    mend = "deploy a model with the inputs and outputs of the old one, or change the query"
    before, after = (
        settings.resolve(stream, Environment(where, {**env.models, settings.model: astore}))["out"].schema for astore in (old, new)
    )
    taking = Environment(where, env.models)
    if settings.fields_in(old, stream, taking) != settings.fields_in(new, stream, taking):
        fields = ", ".join(settings.fields_in(old, stream, taking))
        raise QueryError(f"it takes other fields, or in another order (wanted {fields})", where=where, mend=mend)
    if before != after:
        raise QueryError(f"the events that leave would be ({after}), but others rely on ({before})", where=where, mend=mend)


class ScoreWindow:
    """Scores blocks. Deletes pass unscored, with nulls in the fields added; events that the model refuses leave by ``dead``.

    A refused event that comes from no record has no dead letter: it passes with nulls too.
    """

    def __init__(self, settings: ScoreSettings, schema: Schema, feeding: list[int], parts: list[Part], retracts: bool) -> None:
        self.settings, self.schema, self.feeding, self.parts, self.retracts = settings, schema, feeding, parts, retracts
        self.labels: tuple[Astore | None, Mapping[int, VarColumn]] = (None, {})  # label tables of the model at work

    def open(self, context: Context) -> None:
        self.context = context

    def close(self) -> None:
        pass

    def on_block(self, port: str, block: Block) -> Ports:
        assert isinstance(block, EventBlock)
        scorer = self.context.scorer(self.settings.model)
        rows = _rows_to_score(block)
        taken = block if rows is None else block.take(rows)
        scores = scorer.score([taken.columns[at] for at in self.feeding], [taken.validity[at] for at in self.feeding])
        outputs, refused = scores.outputs, None
        if scores.refused is not None:
            rows = np.arange(len(block)) if rows is None else rows
            refused, rows = rows[scores.refused], rows[~scores.refused]
            outputs = tuple(output[~scores.refused] for output in outputs)
        added = self._added(scorer.astore, outputs, _Place(len(block), rows))
        columns, validity = zip(*added) if added else ((), ())
        scored = replace(
            block, schema=self.schema, columns=(*block.columns, *columns), validity=(*block.validity, *validity),
            models=(*block.models, scorer.astore.short_digest),
        )  # fmt: skip
        if refused is None:
            return [("out", scored)]
        return self._without_dead(scored, refused, scores.reasons)

    def _without_dead(self, scored: EventBlock, refused: I64, reasons: tuple[str, ...]) -> Ports:
        """Sends the refused events that come from a record to the dead-letter output; they go on only where deletes may follow."""
        if scored.raw is None or scored.raw_row is None:
            return [("out", scored)]
        is_dead = scored.raw_row[refused] >= 0
        dead = refused[is_dead]
        why = tuple(reason for reason, gone in zip(reasons, is_dead) if gone)
        ports: Ports = [("out", scored if self.retracts else scored.take(np.delete(np.arange(len(scored)), dead)))]
        return [*ports, ("dead", DeadBlock(scored.raw, scored.raw_row[dead], why, self.context.window))] if len(dead) else ports

    def _added(self, astore: Astore, outputs: tuple[Array, ...], place: "_Place") -> list[tuple[Column, Bools | None]]:
        """The new columns with their validity, in the order of the schema."""
        best = {at: outputs[at].argmax(axis=1) for at in {part.at for part in self.parts if part.what != "tensor"}}
        added: list[tuple[Column, Bools | None]] = []
        for part in self.parts:
            output = outputs[part.at]
            if part.what == "tensor":
                added.append((place.spread(output), place.is_scored))
                continue
            probability = output[np.arange(len(output)), best[part.at]]
            if part.what == "probability":
                added.append((place.spread(probability), place.is_scored))
            else:
                added.append(self._label(astore, part.at, best[part.at], probability, place))
        if self.settings.model_field:
            which = place.spread(np.zeros(place.scored, np.int64), 1)
            added.append((VarColumn.of([astore.short_digest, ""]).take(which), place.is_scored))
        return added

    def _label(self, astore: Astore, at: int, best: I64, probability: Array, place: "_Place") -> tuple[Column, Bools | None]:
        """The likeliest class by name; null where the probability is NaN."""
        if astore is not self.labels[0]:
            tables = {n: VarColumn.of([*output.labels, ""]) for n, output in enumerate(astore.outputs)}
            self.labels = astore, tables
        none = len(astore.outputs[at].labels)
        unsure = np.isnan(probability)
        which = place.spread(np.where(unsure, none, best) if unsure.any() else best, none)
        is_there = which != none if unsure.any() else place.is_scored
        return self.labels[1][at].take(which), is_there


class _Place:
    """Where scored rows stand among all rows of a block: ``rows`` of them, or all (None)."""

    def __init__(self, n: int, rows: I64 | None) -> None:
        self.n, self.rows = n, rows
        self.scored = n if rows is None else len(rows)
        self.is_scored: Bools | None = None
        if rows is not None:
            self.is_scored = np.zeros(n, np.bool_)
            self.is_scored[rows] = True

    def spread(self, values: Array, fill: int = 0) -> Array:
        """Values of the scored rows as a column of all rows; the others hold ``fill``."""
        if self.rows is None:
            return values
        full = np.full((self.n, *values.shape[1:]), fill, values.dtype)
        full[self.rows] = values
        return full


def _rows_to_score(block: EventBlock) -> I64 | None:
    """The rows that are no deletes; None = all."""
    if block.opcode is None:
        return None
    is_delete = (block.opcode == Opcode.DELETE) | (block.opcode == Opcode.SAFEDELETE)
    return np.flatnonzero(~is_delete) if is_delete.any() else None
