"""What the demonstration found out, and whether it is well: every fault is a sentence."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from esp.demo.models import Model
from esp.demo.readers import DigitsTally, Latencies, ShoulderTally

LEAST_DIGITS, ABOVE_SHOULDER = 0.97, 0.80
DEAD_EVENTS = 1  # the one that is played on purpose


@dataclass(slots=True)
class Findings:
    """All that a run has to show; ``max_delay_ms`` is what the digits query's watermark stays behind."""

    models: tuple[Model, Model]
    shoulder_model: Model
    digits: DigitsTally
    shoulder: ShoulderTally
    digits_sent: int
    shoulder_sent: int
    max_delay_ms: int
    play_s: float
    seconds: dict[str, float] = field(default_factory=dict)
    refusals: tuple[str, ...] = ()  # what brokers or threads complained about
    engine_status: int | None = None  # None: it still runs


def faults(found: Findings) -> list[str]:
    """Everything that is wrong with a run, a sentence each; nothing, if all is well."""
    return [*found.refusals, *_delivery(found), *_models(found), *_counts(found), *_dead(found), *_accuracy(found), *_engine(found)]


def _delivery(found: Findings) -> list[str]:
    said = []
    for name, unit, tally in (("digits", "events", found.digits), ("shoulder", "sequences", found.shoulder)):
        for what, count in (("LOST", tally.lost), ("DOUBLED", tally.doubled), ("UNKNOWN", tally.unknown)):
            if count:
                said.append(f"{name}: {count} {unit} {what}")
    for name, sent, planned in (
        ("digits", found.digits_sent, len(found.digits.plan.events)),
        ("shoulder", found.shoulder_sent, len(found.shoulder.plan.events)),
    ):
        if sent != planned:
            said.append(f"{name}: only {sent} of {planned} events were sent")
    return said


def _models(found: Findings) -> list[str]:
    wanted = {model.short_digest for model in found.models}
    seen = set(found.digits.by_model)
    said = [f"digits: no event was scored by model {digest}" for digest in sorted(wanted - seen)]
    said += [f"digits: events were scored by model {digest}, which nobody deployed" for digest in sorted(seen - wanted)]
    strangers = set(found.shoulder.models) - {found.shoulder_model.short_digest}
    return said + [f"shoulder: sequences were scored by model '{digest}', which nobody deployed" for digest in sorted(strangers)]


def _counts(found: Findings) -> list[str]:
    expected, counted = found.digits.closed(found.max_delay_ms), found.digits.counted
    if expected == counted and (expected or not found.digits.scored):
        return []
    wrong = sum(expected[key] != counted[key] for key in expected.keys() | counted.keys())
    return [
        f"digits.counts: {counted.total()} images counted in windows that closed, {expected.total()} were scored in them "
        f"({wrong} of {len(expected.keys() | counted.keys())} rows differ)"
    ]


def _dead(found: Findings) -> list[str]:
    count = len(found.digits.dead_reasons)
    return [] if count == DEAD_EVENTS else [f"digits.dead: {count} dead letters, {DEAD_EVENTS} was played on purpose"]


def _accuracy(found: Findings) -> list[str]:
    said = []
    for what, accuracy in (*_digits_accuracies(found), ("digits, streamed", found.digits.accuracy)):
        if not accuracy >= LEAST_DIGITS:
            said.append(f"{what}: accuracy {accuracy:.4f} is below {LEAST_DIGITS}")
    for what, accuracy in (("shoulder, held out", found.shoulder_model.accuracy), ("shoulder, streamed", found.shoulder.accuracy)):
        if not accuracy > ABOVE_SHOULDER:
            said.append(f"{what}: accuracy {accuracy:.4f} is not above {ABOVE_SHOULDER}")
    return said


def _digits_accuracies(found: Findings) -> list[tuple[str, float]]:
    return [(f"digits {model.short_digest}, held out", model.accuracy) for model in found.models]


def _engine(found: Findings) -> list[str]:
    return [f"the engine ended with status {found.engine_status} instead of 0"] if found.engine_status else []


def as_dict(found: Findings) -> dict[str, Any]:
    """The summary for machines."""
    digits, shoulder, said = found.digits, found.shoulder, faults(found)
    models = [
        {
            "digest": model.digest,
            "held_out_accuracy": _number(model.accuracy),
            **_scored(digits.by_model.get(model.short_digest, (0, 0))),
        }
        for model in found.models
    ]
    return {
        "ok": not said,
        "faults": said,
        "digits": {
            "events_sent": found.digits_sent, "events_scored": int(digits.times.sum()), **_tallied(digits),
            "images_counted": digits.counted.total(), "dead_letters": list(digits.dead_reasons), "models": models,
        },
        "shoulder": {
            "events_sent": found.shoulder_sent, "sequences_expected": len(shoulder.plan.expected), "sequences_scored": shoulder.scored,
            **_tallied(shoulder), "models": [
                {"digest": found.shoulder_model.digest, "held_out_accuracy": _number(found.shoulder_model.accuracy), "scored": shoulder.scored}
            ],
        },
        "play_seconds": round(found.play_s, 2),
        "engine_exit_status": found.engine_status,
        "seconds": {phase: round(seconds, 2) for phase, seconds in found.seconds.items()},
    }  # fmt: skip


def _scored(counts: Sequence[int]) -> dict[str, Any]:
    return {"scored": counts[0], "streamed_accuracy": counts[1] / counts[0] if counts[0] else None}


def _tallied(tally: DigitsTally | ShoulderTally) -> dict[str, Any]:
    return {
        "lost": tally.lost, "doubled": tally.doubled, "unknown": tally.unknown, "streamed_accuracy": _number(tally.accuracy),
        "latency_ms": _latency(tally.latencies),
    }  # fmt: skip


def _number(value: float) -> float | None:
    """NaN, where nothing was measured, is null in JSON."""
    return None if math.isnan(value) else value


def _latency(latencies: Latencies) -> dict[str, float | None]:
    return {f"p{share:g}": _number(round(latencies.quantile_ms(share / 100), 2)) for share in (50, 90, 99, 99.9)}


def lines(found: Findings) -> list[str]:
    """The summary for people."""
    digits, shoulder, (first, second) = found.digits, found.shoulder, found.models
    share = Counter({model.short_digest: digits.by_model.get(model.short_digest, [0])[0] for model in found.models})
    return [
        f"digits    held-out accuracy {first.accuracy:.4f} ({first.short_digest}) and {second.accuracy:.4f} ({second.short_digest}); "
        f"streamed {digits.accuracy:.4f}",
        f"          {int(digits.times.sum())} of {found.digits_sent} events scored, {digits.lost} lost, {digits.doubled} doubled; "
        f"p50 {digits.latencies.quantile_ms(0.5):.1f} ms, p99 {digits.latencies.quantile_ms(0.99):.1f} ms",
        f"          {share[first.short_digest]} scored by {first.short_digest}, then {share[second.short_digest]} by {second.short_digest}; "
        f"{digits.counted.total()} counted in closed windows",
        *(f"          dead letter, played on purpose: {reason}" for reason in digits.dead_reasons),
        f"shoulder  held-out accuracy {found.shoulder_model.accuracy:.4f} per window ({found.shoulder_model.short_digest}); "
        f"streamed {shoulder.accuracy:.4f}",
        f"          {found.shoulder_sent} samples sent, {shoulder.scored} of {len(shoulder.plan.expected)} sequences scored, "
        f"{shoulder.lost} lost, {shoulder.doubled} doubled; "
        f"p50 {shoulder.latencies.quantile_ms(0.5):.1f} ms, p99 {shoulder.latencies.quantile_ms(0.99):.1f} ms",
        "seconds   " + ", ".join(f"{phase} {seconds:.1f}" for phase, seconds in found.seconds.items()),
    ]
