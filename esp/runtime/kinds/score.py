"""The score kind: a model scores every event, or the last events of a key, and the scores become fields beside those that came in."""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal, Protocol

import pydantic

from esp.astore.model import Astore, Output
from esp.errors import QueryError
from esp.runtime.kinds.keyed import KeyedSettings
from esp.runtime.kinds.rings import Rings
from esp.runtime.kinds.scoring.feeds import EventFeed, Feed, SequenceFeed, StatefulFeed
from esp.runtime.kinds.scoring.inputs import SequenceOf, StatefulOf, model_of_steps, plain_fields, sequence_fields, stateful_fields
from esp.runtime.kinds.scoring.outputs import TEXT, Adding, Part, parts_of
from esp.runtime.kinds.scoring.window import ScoreWindow
from esp.runtime.kinds.window import Environment, Settings, Stream, Window
from esp.runtime.schema import Field, Schema
from esp.runtime.scorer import Scorer
from esp.runtime.stateful import StatefulScorer
from esp.runtime.windowed import WindowScorer


class ScoreSettings(KeyedSettings):
    """Scores every event with a model; a deployment may swap the model between two blocks.

    With ``sequence`` the model scores the last events of each key, and what leaves are the events that complete a sequence. With
    ``stateful`` every event is one step of a recurrent network, whose states are kept for each key: what leaves is what the network
    makes of all the key's events so far. Both keep state for each key (``by``, ``scope``) and take no updates or deletes.

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
    sequence: SequenceOf | None = pydantic.Field(
        None, description="score the last events of a key: { length = 128, hop = 1, fields = [...], max_gap = '2s' }"
    )
    stateful: StatefulOf | None = pydantic.Field(
        None,
        description="true, or { fields = [...], max_gap = '2s' }: one step of a recurrent network an event, its states kept by key",
    )
    output: dict[str, str] = pydantic.Field(
        default_factory=dict,
        description="what is added = the name of its field (empty: left out): label and probability of the likeliest class "
        "(added by default; OUTPUT.label and OUTPUT.probability where several outputs have labels), and every output "
        "by its name (added by default where it has no labels)",
    )
    model_field: str = pydantic.Field("", description="a string field of this name is added: 12 digits of the digest of the model")

    @pydantic.field_validator("stateful", mode="before")
    @classmethod
    def _said(cls, value: Any) -> Any:
        """``true`` says that all is as it is by default."""
        if isinstance(value, str | int | float) and not isinstance(value, bool):
            raise ValueError("input should be true or a table")
        return ({} if value else None) if isinstance(value, bool) else value

    def resolve(self, stream: Stream | None, env: Environment) -> dict[str, Stream]:
        assert stream is not None
        astore = self.astore(env)
        self._check_keys(stream, env)
        self.fields_in(astore, stream, env)
        schema = self.schema_out(astore, stream.schema, env)
        added = schema.names[len(stream.schema) :] if stream.retracts else ()
        return {"out": replace(stream, schema=schema, unretracted=(*stream.unretracted, *added))}

    def build(self, stream: Stream | None, env: Environment) -> Window:
        assert stream is not None
        astore = self.astore(env)
        adding = Adding(self.parts(astore, env), bool(self.model_field))
        feed = self._feed(astore, stream, env)
        return ScoreWindow(self.model, self.schema_out(astore, stream.schema, env), feed, adding, stream.retracts)

    def bind(self, astore: Astore, max_batch: int, threads: int = 1) -> Scorer:
        """Binds a model as this window scores it; BackendError, or GraphError, when it cannot be."""
        if self.stateful is not None:
            return StatefulScorer.bind(astore, self.backend, max_batch, threads=threads)
        if self.sequence is not None:
            return WindowScorer.bind(astore, self.backend, max_batch, threads=threads, hop=self.sequence.hop)
        return Scorer.bind(astore, self.backend, max_batch, threads=threads)

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
        """The fields that feed the model; QueryError when one is missing, or they are not what it takes."""
        if self.sequence is not None:
            return sequence_fields(self.sequence, astore, self.model, self.input, stream, env)
        if self.stateful is not None:
            return stateful_fields(self.stateful, astore, self.model, self.input, stream, env)
        return plain_fields(astore, self.model, self.input, stream, env)

    def parts(self, astore: Astore, env: Environment) -> list[Part]:
        """What is added, in order; QueryError for keys of ``output`` that are none."""
        outputs: Sequence[Output] = astore.outputs
        if self.stateful is not None:
            outputs = model_of_steps(astore, self.model, env).outputs
        return parts_of(outputs, self.output, self.model, env)

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

    def _check_keys(self, stream: Stream, env: Environment) -> None:
        """QueryError unless keys are said where state is kept for them, and only there."""
        if self.sequence is not None and self.stateful is not None:
            raise QueryError("sequence and stateful exclude each other", where=f"{env.where}.stateful", mend="take one of them out")
        if self.sequence is not None or self.stateful is not None:
            self.key_fields(stream, env)
            return
        for key in ("by", "scope"):
            if key in self.model_fields_set:
                raise QueryError(
                    "nothing is kept by key here", where=f"{env.where}.{key}", mend="take it out, or say sequence or stateful"
                )

    def _feed(self, astore: Astore, stream: Stream, env: Environment) -> Feed:
        fields = self.fields_in(astore, stream, env)
        if self.sequence is not None:
            length, channels = astore.inputs[0].shape
            rings = Rings(self.key_fields(stream, env), fields, (length, channels), self.sequence.hop, self.sequence.max_gap)
            return SequenceFeed(rings)
        if self.stateful is not None:
            return StatefulFeed(self.key_fields(stream, env), fields, bool(self.stateful.fields), self.stateful.max_gap)
        return EventFeed(fields)


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
