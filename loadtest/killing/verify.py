"""The verifier: recomputes what must have come out from the input topic alone, and holds every output topic against it, record by record."""

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgpack

from loadtest.killing.kit import LABELS, SCORED, Model
from loadtest.killing.reference import Lane, Record, Reference, Wanted, event_of
from loadtest.killing.topics import Topics

NEAR = 1e-5
SHOWN = 6  # faults of a kind that are told in full


@dataclass(slots=True)
class Verdict:
    """What was found. ``doubled`` and ``disordered`` are faults where delivery is exactly once; all else always is."""

    is_once: bool
    events: int = 0
    wanted: Counter[str] = field(default_factory=Counter)  # by topic
    lost: int = 0
    doubled: int = 0
    unexpected: int = 0
    differing: int = 0
    disordered: int = 0
    undecided: int = 0
    told: list[str] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        faults = self.lost + self.unexpected + self.differing + self.undecided
        return not (faults or (self.is_once and self.doubled + self.disordered))

    def tell(self, kind: str, what: str, count: int = 1) -> None:
        setattr(self, kind, getattr(self, kind) + count)
        is_fault = self.is_once or kind not in ("doubled", "disordered")
        if is_fault and sum(line.startswith(kind) for line in self.told) < SHOWN:
            self.told.append(f"{kind}: {what}")


def verify(topics: Topics, models: Sequence[Model], outputs: Sequence[str], is_once: bool) -> Verdict:
    """Reads all topics of a run, whose workers have ended; ``models`` are those that were deployed, in order."""
    isolation = "read_committed" if is_once else "read_uncommitted"
    verdict, source = Verdict(is_once), topics.whole("events", "read_uncommitted")
    for short in outputs if is_once else ():
        if any(held := topics.undecided(short)):
            verdict.tell("undecided", f"{short}: {held} offsets lie behind a transaction that nobody has ended", sum(held))
    got = {short: topics.whole(short, isolation) for short in outputs}
    return judge(verdict, source, got, models)


def judge(
    verdict: Verdict, source: Sequence[Sequence[Record]], got: Mapping[str, Sequence[Sequence[Record]]], models: Sequence[Model]
) -> Verdict:
    """The comparison itself, of records by partition."""
    verdict.events = sum(map(len, source))
    for partition, records in enumerate(source):
        found = {short: _read(short, parts[partition]) for short, parts in got.items()}
        reference = Reference(partition, _models(verdict, partition, records, found, models).at)
        for record in records:
            reference.take(record)
        lanes: dict[Lane, list[_Got]] = defaultdict(list)
        for short, outputs in found.items():
            for output in outputs:
                lanes[short, partition, output.window].append(output)
        for lane in sorted(reference.lanes.keys() | lanes.keys()):
            wanted = reference.lanes.get(lane, [])
            verdict.wanted[lane[0]] += len(wanted)
            _compare(verdict, lane, wanted, lanes.get(lane, []))
    return verdict


@dataclass(frozen=True, slots=True)
class _Got:
    """An output taken apart: what names it, its fields, the window that a dead letter names."""

    name: tuple[Any, ...]
    fields: Mapping[str, Any]
    record: Record
    window: str = ""


def _read(short: str, records: Sequence[Record]) -> list[_Got]:
    found = []
    for record in records:
        if short == "dead":
            told = {name: value.decode() for name, value in record.headers if name.startswith("esp-")}
            found.append(_Got((int(told["esp-offset"]),), told, record, told["esp-window"]))
        else:
            fields = msgpack.unpackb(record.value) if short == "motions" else json.loads(record.value)
            name = (fields["device"], fields["window_start"]) if short == "tallies" else (fields["id"],)
            found.append(_Got(name, fields, record))
    return found


class _Models:
    """Which model scored from which offset on, as the outputs of a partition say."""

    def __init__(self, models: Sequence[Model]) -> None:
        self.by_digest = {(model.window, model.digest): at for at, model in enumerate(models)}
        self.models = models
        self.first = {window: next(model for model in models if model.window == window) for window in SCORED}
        self.named: dict[tuple[str, int], Model] = {}  # window, offset

    def at(self, window: str, _: int, offset: int) -> Model:
        """The model that an output of this offset names; where there is none, the one before."""
        named = self.named.get((window, offset))
        if named is not None:
            self.first[window] = named
        return self.first[window]


def _models(
    verdict: Verdict, partition: int, source: Sequence[Record], found: Mapping[str, list[_Got]], models: Sequence[Model]
) -> _Models:
    """Reads the digests off the outputs; an unknown one, or an older one behind a newer one, is told."""
    known = _Models(models)
    offset_of = {event["id"]: record.offset for record in source for event in (event_of(record)[0],) if event is not None}
    for window, short in SCORED.items():
        digests = {offset_of[g.name[0]]: g.fields["model"] for g in reversed(found.get(short, [])) if g.name[0] in offset_of}
        newest = -1
        for offset in sorted(digests):
            at = known.by_digest.get((window, digests[offset]))
            if at is None or at < newest:
                verdict.tell(
                    "differing", f"{short}/{partition}: input offset {offset} was scored by {digests[offset]}, out of turn"
                )
                continue
            newest = at
            known.named[window, offset] = models[at]
    return known


def _compare(verdict: Verdict, lane: Lane, wanted: Sequence[Wanted], got: Sequence[_Got]) -> None:
    first: dict[tuple[Any, ...], _Got] = {}
    place = "/".join(map(str, lane)).rstrip("/")
    for output in got:
        before = first.setdefault(output.name, output)
        if before is not output:
            verdict.tell("doubled", f"{place}: {output.name} at offsets {before.record.offset} and {output.record.offset}")
            if _bytes(before.record) != _bytes(output.record):
                verdict.tell("differing", f"{place}: {output.name} comes twice, as {before.record} and {output.record}")
    names = {each.name for each in wanted}
    for name in sorted(first.keys() - names):
        verdict.tell("unexpected", f"{place}: {name} at offset {first[name].record.offset}: {first[name].record.value!r:.300}")
    for each in wanted:
        if each.name not in first:
            verdict.tell("lost", f"{place}: {each.name}")
        elif reason := _fault(each, first[each.name]):
            verdict.tell("differing", f"{place}: {each.name}: {reason}")
    here = [name for name in first if name in names]
    due = [each.name for each in wanted if each.name in first]
    if moved := sum(a != b for a, b in zip(here, due)):
        verdict.tell("disordered", f"{place}: from {next(a for a, b in zip(here, due) if a != b)} on", moved)


def _bytes(record: Record) -> tuple[Any, ...]:
    return record.key, record.value, record.headers, record.ts_ms


def _fault(wanted: Wanted, got: _Got) -> str | None:
    """Why an output is not what it must be."""
    record, fields = got.record, got.fields
    exact, headers = {name: fields.get(name) for name in wanted.exact}, record.headers
    if wanted.value is not None:
        headers = tuple(header for header in headers if not header[0].startswith("esp-"))
        if record.value != wanted.value or not fields.get("esp-reason"):
            return f"the letter is {record}"
    if (record.key, headers, record.ts_ms, exact) != (wanted.key, wanted.headers, wanted.ts_ms, dict(wanted.exact)):
        return f"wanted {wanted}, got {record}"
    for name, value in wanted.near.items():
        if (value is None) != (fields[name] is None) or (
            value is not None and abs(fields[name] - value) > NEAR * max(1, abs(value))
        ):
            return f"{name}: wanted {value}, got {fields[name]}"
    if wanted.shares:
        share = wanted.shares[LABELS.index(fields["label"])]
        if abs(share - max(wanted.shares)) > NEAR or abs(fields["probability"] - share) > NEAR:
            return f"wanted the shares {wanted.shares}, got {fields['label']} at {fields['probability']}"
    return None
