"""What goes into the model of a score window: fields of one event, the last events of a key, or one event a step."""

from collections.abc import Mapping, Sequence
from math import prod

import pydantic

from esp.astore.model import Astore, Input
from esp.errors import GraphError, QueryError
from esp.runtime.durations import Duration
from esp.runtime.kinds.keyed import check_ring, refuse_retractions, require_field
from esp.runtime.kinds.rings import channels
from esp.runtime.kinds.sequence import LONGEST
from esp.runtime.kinds.window import Environment, Stream
from esp.runtime.schema import FieldType
from esp.runtime.stateful import StepModel, step_model


class Series(pydantic.BaseModel):
    """What a series of events is made of."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    fields: tuple[str, ...] = pydantic.Field(
        (),
        description="numbers and one-dimensional tensors that make the channels; the field that feeds the model's input, if left out",
    )
    max_gap: Duration | None = pydantic.Field(None, description="a longer gap in event time starts the series of a key anew")


class SequenceOf(Series):
    """The last events of a key go into the model as one tensor, once they are there, and then at every ``hop``-th event."""

    length: int = pydantic.Field(ge=1, le=LONGEST, description="events in a sequence: as many as the model takes")
    hop: int = pydantic.Field(1, ge=1, le=LONGEST, description="events from one sequence of a key to the next")


class StatefulOf(Series):
    """Every event is one step of a recurrent network, whose states are kept for each key."""


def plain_fields(astore: Astore, model: str, named: Mapping[str, str], stream: Stream, env: Environment) -> list[str]:
    """The field that feeds each input of the model; QueryError when it is missing or of another type."""
    _check_names(astore, model, named, env)
    return [_field(item, item.shape, model, named, stream, env) for item in astore.inputs]


def sequence_fields(
    of: SequenceOf, astore: Astore, model: str, named: Mapping[str, str], stream: Stream, env: Environment
) -> list[str]:
    """The fields that make the sequence; QueryError unless it is what the model's one input takes."""
    refuse_retractions(stream, env, "sequence score")
    _check_names(astore, model, named, env)
    item = _only_input(astore, model, f"{env.where}.sequence")
    if item.dtype != "float32" or len(item.shape) != 2:
        raise QueryError(
            f"input '{item.name}' of model '{model}' takes {FieldType(item.dtype, item.shape)}, and a sequence is float32[length, channels]",
            where=f"{env.where}.sequence", mend="take sequence out, or name another model",
        )  # fmt: skip
    where, names = f"{env.where}.sequence", _series_fields(of, item, named, env, "sequence")
    if of.length != item.shape[0]:
        what = f"a sequence has {of.length} events, but input '{item.name}' of model '{model}' takes {item.shape[0]}"
        raise QueryError(what, where=f"{where}.length", mend=f"say length = {item.shape[0]}")
    _check_channels(names, item.shape[1], f"input '{item.name}' of model '{model}' takes", stream, f"{where}.fields")
    check_ring(4 * prod(item.shape), f"{where}.length")
    return names


def stateful_fields(
    of: StatefulOf, astore: Astore, model: str, named: Mapping[str, str], stream: Stream, env: Environment
) -> list[str]:
    """The fields that make an event of the series; QueryError unless it is what the model takes of one."""
    refuse_retractions(stream, env, "stateful score")
    _check_names(astore, model, named, env)
    steps = model_of_steps(astore, model, env)
    item = steps.astore.inputs[0]
    names = _series_fields(of, item, named, env, "stateful")
    if not of.fields:
        return [_field(item, steps.event, model, named, stream, env)]
    if item.dtype != "float32":
        raise QueryError(
            f"fields make float32, but input '{item.name}' of model '{model}' takes {item.dtype}", where=f"{env.where}.stateful.fields",
            mend=f"name one field: input = {{ {item.name} = ... }}",
        )  # fmt: skip
    what = f"an event of input '{item.name}' of model '{model}' has"
    _check_channels(names, prod(steps.event), what, stream, f"{env.where}.stateful.fields")
    return names


def model_of_steps(astore: Astore, model: str, env: Environment) -> StepModel:
    """The model for one event; QueryError where it has none."""
    try:
        return step_model(astore)
    except GraphError as err:
        what = f"{err.where}: {err.what}" if err.where else err.what
        raise QueryError(f"model '{model}' keeps no state: {what}", where=f"{env.where}.stateful", mend=err.mend) from err


def _check_names(astore: Astore, model: str, named: Mapping[str, str], env: Environment) -> None:
    names = [item.name for item in astore.inputs]
    for name in named:
        if name not in names:
            raise QueryError(
                f"model '{model}' has no input '{name}'", where=f"{env.where}.input", mend=f"its inputs: {', '.join(names)}"
            )


def _only_input(astore: Astore, model: str, where: str) -> Input:
    if len(astore.inputs) != 1:
        names = ", ".join(item.name for item in astore.inputs)
        raise QueryError(f"model '{model}' has the inputs {names}, and a series feeds one", where=where, mend="name another model")
    return astore.inputs[0]


def _series_fields(of: Series, item: Input, named: Mapping[str, str], env: Environment, key: str) -> list[str]:
    if of.fields and item.name in named:
        raise QueryError(
            f"input '{item.name}' is fed twice: by input and by {key}.fields",
            where=f"{env.where}.{key}.fields",
            mend="say one of them",
        )
    return [*of.fields] or [named.get(item.name, item.name)]


def _check_channels(names: Sequence[str], wanted: int, who: str, stream: Stream, where: str) -> None:
    found = channels(stream, names, where)
    if found != wanted:
        raise QueryError(
            f"{', '.join(names)}: {found} channels, but {who} {wanted}", where=where, mend="name the fields that make them"
        )


def _field(item: Input, shape: tuple[int, ...], model: str, named: Mapping[str, str], stream: Stream, env: Environment) -> str:
    """The field that feeds an input, of which it takes the shape given."""
    name, where = named.get(item.name, item.name), f"{env.where}.input.{item.name}"
    require_field(stream, name, where)
    found, wanted = stream.schema[name].type, FieldType(item.dtype, shape)
    if (found.base, found.shape) != (wanted.base, wanted.shape):
        raise QueryError(
            f"field '{name}' is {found}, but input '{item.name}' of model '{model}' takes {wanted}",
            where=where, mend="name another field, or make it that type before",
        )  # fmt: skip
    return name
