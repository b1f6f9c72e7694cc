"""Stateful scoring: a recurrent network takes one step an event, and the states of each key are kept by who asks for the scores."""

from dataclasses import dataclass, replace

import numpy as np

from esp.astore.graph import Array
from esp.astore.model import Astore, Input, Output
from esp.astore.preprocess import Prepared
from esp.astore.stepping import step_graph
from esp.errors import GraphError
from esp.runtime.backends.bars import refused_by
from esp.runtime.backends.choice import Chooser
from esp.runtime.backends.intake import lift, split_steps
from esp.runtime.backends.stepping import Memory, Steps, stepper
from esp.runtime.events import I64, Bools
from esp.runtime.scorer import Scorer, Scores, among_refused, join

__all__ = ["Memory", "StatefulScorer", "StepModel", "step_model"]

NOT_FINITE = "the states of its key would not be finite after it (an infinite or huge reading)"
OF_CHANNELS = {
    "scale": ("scale", "offset"),
    "normalise": ("mean", "std"),
}  # steps that are the same at every event, and their numbers


@dataclass(frozen=True, slots=True)
class StepModel:
    """A model for one event: an astore whose inputs are the event and the states, whose outputs are the model's and the states.

    ``event`` is the shape that an event's field has; ``initial`` are the states before the first event.
    """

    astore: Astore
    event: tuple[int, ...]
    initial: Array

    @property
    def outputs(self) -> tuple[Output, ...]:
        """What the model makes of an event."""
        return self.astore.outputs[:-1]


def step_model(astore: Astore) -> StepModel:
    """The model for one event; GraphError, with the reason, where it has none."""
    if len(astore.inputs) != 1:
        names = ", ".join(item.name for item in astore.inputs)
        raise GraphError(f"it has the inputs {names}, and one is wanted: the series", mend="make a model of the series alone")
    (item,) = astore.inputs
    work, _ = split_steps(item.steps)
    for step in work:
        if step.op not in OF_CHANNELS:
            raise GraphError(f"its preprocessing has '{step.op}' before its numbers are ready", mend="score windows of it")
    stepped = step_graph(lift(astore))
    axis = stepped.axis - 1
    if axis == len(item.shape) - 1:
        item = _without_numbers_of_steps(item)
    states = stepped.graph.inputs[1].shape[1]
    assert isinstance(states, int)
    event = Input(item.name, item.dtype, _one(item.shape, axis), work, item.missing, item.impute, item.statistics)
    memory = Input(_other("states", [item.name]), "float32", (states,), missing="nan")
    outputs = [_of_event(output, at) for output, at in zip(astore.outputs, stepped.axes)]
    outputs.append(Output(_other("states", [output.name for output in outputs]), "float32", (states,)))
    made = replace(astore, graph=stepped.graph, inputs=(event, memory), outputs=tuple(outputs), storage={})
    return StepModel(made, item.shape[:axis] + item.shape[axis + 1 :], stepped.initial)


def _without_numbers_of_steps(item: Input) -> Input:
    """An input whose last axis is time, without its statistics; GraphError where it has numbers for each step."""
    given = [(step.op, step.params[key]) for step in split_steps(item.steps)[0] for key in OF_CHANNELS[step.op]]
    for name, numbers in (*given, ("impute", item.impute)):
        if isinstance(numbers, list | tuple):
            raise GraphError(f"'{name}' of its input has numbers for each step", mend="give it one number")
    return replace(item, statistics={})


def _one(shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
    return (*shape[:axis], 1, *shape[axis + 1 :])


def _other(name: str, taken: list[str]) -> str:
    while name in taken:
        name += "'"
    return name


def _of_event(output: Output, axis: int | None) -> Output:
    """An output at one event: an output of every event loses that axis."""
    if axis is None:
        return output
    shape = output.shape[: axis - 1] + output.shape[axis:]
    if axis == len(output.shape):  # the labels were those of steps
        return Output(output.name, output.dtype, shape)
    return replace(output, shape=shape)


class StatefulScorer(Scorer):
    """A model bound for one event, which is scored by ``step``; ``one`` is the scorer of events and states that does it."""

    def __init__(self, astore: Astore, model: StepModel, one: Scorer) -> None:
        super().__init__(astore, one.backend, one.bound, one.max_batch, one.threads)
        self.one, self.initial, self.way = one, model.initial, "one step an event"
        self.event, _ = model.astore.inputs
        self.is_plain = not self.event.steps and self.event.dtype == "float32"  # it goes to the network as it comes
        self.drifts, graph = one.drifts[:1], model.astore.graph
        self.stepper = stepper(one.bound, graph.inputs, graph.outputs, one.max_batch)

    @classmethod
    def bind(
        cls, astore: Astore, backend: str = "auto", max_batch: int = 1024, chooser: Chooser | None = None, threads: int = 1
    ) -> "StatefulScorer":
        """Binds the model for one event; GraphError where it has none. ``auto`` measures and remembers it apart from the whole one."""
        model = step_model(astore)
        apart = replace(model.astore, digest=f"{astore.digest}-step" if astore.digest else "")
        return cls(astore, model, Scorer.bind(apart, backend, max_batch, chooser, threads))

    def warm(self) -> None:
        self.one.warm()
        self.drifts = self.one.drifts[:1]  # states are no events

    def step(self, column: Array, valid: Bools | None, rows: I64, ts_ns: I64, memory: Memory) -> Scores:
        """Scores n events of the keys in ``rows``, in stream order; what the model refuses leaves the key's states as they were.

        ``column`` holds events in the shape of the input, with a 1 where time is.
        """
        self.drifts[0].observe(column)
        if valid is None and self.is_plain and column.flags.c_contiguous:
            steps = self.stepper.advance_whole(column, rows, ts_ns, memory)
            if steps is not None:
                return _scores(steps)
        taken = self.one.intakes[0].take(column, valid)
        found = [taken]
        if self.one.bars and (beyond := refused_by(self.one.bars, [taken.array])):  # before any state has moved
            found.append(Prepared(taken.array, *beyond))
        refused, reasons = join(len(rows), found)
        if refused is None:
            return _scores(self.stepper.advance(taken.array, rows, ts_ns, memory))
        kept = ~refused
        return _joined(_scores(self.stepper.advance(taken.array[kept], rows[kept], ts_ns[kept], memory)), refused, reasons)


def _scores(steps: Steps) -> Scores:
    """Scores of steps: zeros, and a reason, for the events that moved nothing."""
    if steps.refused is None:
        return Scores(steps.outputs)
    for output in steps.outputs:
        output[steps.refused] = 0
    return Scores(steps.outputs, steps.refused, (NOT_FINITE,) * int(steps.refused.sum()))


def _joined(scores: Scores, refused: Bools, reasons: tuple[str, ...]) -> Scores:
    """The scores of the rows that were not refused before among those that were."""
    if scores.refused is None:
        return among_refused(scores.outputs, refused, reasons)
    kept = np.flatnonzero(~refused)
    of_row = dict(zip(np.flatnonzero(refused).tolist(), reasons)) | dict.fromkeys(kept[scores.refused].tolist(), NOT_FINITE)
    outputs, rows = among_refused(scores.outputs, refused, reasons).outputs, sorted(of_row)
    every = refused.copy()
    every[rows] = True
    return Scores(outputs, every, tuple(of_row[row] for row in rows))
