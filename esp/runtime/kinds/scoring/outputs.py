"""What a score window adds to events: labels, probabilities and tensors of a model's outputs, as fields."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from esp.astore.graph import Array
from esp.astore.model import Astore, Output
from esp.errors import QueryError
from esp.runtime.events import I64, Bools, Column, VarColumn
from esp.runtime.kinds.window import Environment
from esp.runtime.schema import ELEMENTS, NUMBERS, FieldType

TEXT = FieldType("string")


@dataclass(frozen=True, slots=True)
class Part:
    """One field that is added: of output ``at``, the label, the probability of the likeliest class, or the tensor itself."""

    name: str
    at: int
    what: str
    type: FieldType


def parts_of(outputs: Sequence[Output], named: Mapping[str, str], model: str, env: Environment) -> list[Part]:
    """What is added, in order: for each output its label and probability, or itself; QueryError for keys of ``named`` that are none."""
    labelled = [output for output in outputs if _is_labelled(output)]
    parts: list[Part] = []
    known: list[str] = []
    for at, output in enumerate(outputs):
        several = len(labelled) > 1
        for key in ("label", "probability") if _is_labelled(output) else ():
            known.append(f"{output.name}.{key}" if several else key)
            name = named.get(known[-1], f"{output.name}_{key}" if several else key)
            parts += [Part(name, at, key, _type(output, key, env))] if name else []
        if output.name in known:
            raise QueryError(
                f"output '{output.name}' of model '{model}' has a name that means another thing here",
                where=f"{env.where}.output", mend="name the output otherwise when the model is made",
            )  # fmt: skip
        known.append(output.name)
        name = named.get(output.name, "" if _is_labelled(output) else output.name)
        parts += [Part(name, at, "tensor", _type(output, "tensor", env))] if name else []
    for key in named:
        if key not in known:
            raise QueryError(f"model '{model}' gives no '{key}'", where=f"{env.where}.output", mend=f"it gives: {', '.join(known)}")
    return parts


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


class Adding:
    """Turns the outputs of a model into the columns that are added; ``is_named`` adds the digest of the model behind them."""

    def __init__(self, parts: Sequence[Part], is_named: bool) -> None:
        self.parts, self.is_named = parts, is_named
        self.labels: tuple[Astore | None, Mapping[int, VarColumn]] = (None, {})  # label tables of the model at work

    def columns(self, astore: Astore, outputs: tuple[Array, ...], place: "Place") -> list[tuple[Column, Bools | None]]:
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
        if self.is_named:
            which = place.spread(np.zeros(place.scored, np.int64), 1)
            added.append((VarColumn.of([astore.short_digest, ""]).take(which), place.is_scored))
        return added

    def _label(self, astore: Astore, at: int, best: I64, probability: Array, place: "Place") -> tuple[Column, Bools | None]:
        """The likeliest class by name; null where the probability is NaN."""
        if astore is not self.labels[0]:
            tables = {n: VarColumn.of([*output.labels, ""]) for n, output in enumerate(astore.outputs)}
            self.labels = astore, tables
        none = len(astore.outputs[at].labels)
        unsure = np.isnan(probability)
        which = place.spread(np.where(unsure, none, best) if unsure.any() else best, none)
        is_there = which != none if unsure.any() else place.is_scored
        return self.labels[1][at].take(which), is_there


class Place:
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
