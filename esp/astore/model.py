"""What an astore holds: a graph, what goes into it and comes out of it in the user's terms, and how it was made."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from esp.astore.graph import Graph

DIGEST_DIGITS = 12  # of the SHA-256, where space matters


@dataclass(frozen=True, slots=True)
class Step:
    """One step of preprocessing. ``op`` with its parameters:

    ``decode`` (image file bytes -> uint8[h, w, channels]; channels 1 or 3), ``resize`` (height, width; bilinear, half-pixel
    centres), ``scale`` (scale, offset: x * scale + offset), ``normalise`` (mean, std, each one number or one a channel of
    the last axis), ``channels_first`` ([..., c] -> [c, ...]), ``reshape`` (shape).
    """

    op: Literal["decode", "resize", "scale", "normalise", "channels_first", "reshape"]
    params: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Input:
    """One input variable as an event gives it: ``dtype`` and ``shape`` of its field (``blob`` with () for an image file).

    ``missing`` says what a null, or a NaN within, becomes: ``refuse`` (the event goes to the dead-letter output), ``nan``
    (passed on as NaN), ``impute`` (replaced by ``impute``: one number or one a channel of the last axis).
    ``statistics`` are of the training data, as the event gives it: count, mean, std, min, max and missing, lists of one a
    channel of the last axis (of the whole, where there is but one axis).
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    steps: tuple[Step, ...] = ()
    missing: Literal["refuse", "nan", "impute"] = "refuse"
    impute: float | tuple[float, ...] = 0.0
    statistics: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Output:
    """One output variable: a ``tensor``, or ``probabilities`` over ``labels`` from which label and probability are taken."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    kind: Literal["tensor", "probabilities"] = "tensor"
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Astore:
    """A model ready to be scored. ``inputs[i]``, preprocessed, feeds ``graph.inputs[i]``; ``outputs[i]`` is ``graph.outputs[i]``.

    ``card`` says how it was trained (data digest, settings, metrics). ``digest`` is the SHA-256 (64 hex digits) of the
    file's header without its signature; empty until written or read.
    """

    name: str
    graph: Graph
    inputs: tuple[Input, ...]
    outputs: tuple[Output, ...]
    card: Mapping[str, Any] = field(default_factory=dict)
    digest: str = ""

    @property
    def short_digest(self) -> str:
        return self.digest[:DIGEST_DIGITS]
