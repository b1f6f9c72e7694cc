"""The course of a test: one topic that every party drains in turn, or an open loop, or a ramp of them, for each party in turn."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import reduce
from operator import getitem
from statistics import median_low
from typing import Any

from loadtest.measure import drain, generated, open_loop
from loadtest.parties import Ground, Party
from loadtest.plan import Load
from loadtest.ramp import highest
from loadtest.subjects import SubjectError
from loadtest.summary import FAULTS, is_good, summarise

WARM_S, WARM_RATE = 20.0, 30_000.0  # a broker of some seconds is two to five times as slow as later, for whatever runs first
BESIDE_S = 15.0  # an open loop beside the engine takes no longer: its quantiles have settled by then
Say = Callable[[str], None]


def filled(ground: Ground, load: Load, parties: Sequence[Party], runs: int, say: Say, *, warms: bool = False) -> dict[str, Any]:
    """Fills the topic once; the parties drain it by turns, ``runs`` times each, after a turn each that ``warms`` the broker, untimed."""
    workload, topics = ground.workload, ground.topics
    say(f"filling the topic with {load.events:,} events")
    topics.make(workload.source, notes_append=False)
    generated(topics, workload.source, load, workload)
    seen: dict[str, list[dict[str, Any]]] = {party.name: [] for party in parties}
    failed: dict[str, str] = {}
    if warms:
        say("a broker that has just started compiles what it runs: the first turns are not timed")
    for run in range(0 if warms else 1, runs + 1):
        for party in parties:
            if party.name in failed:
                continue
            name = f"{party.name}-{run}"
            route = party.route(name, workload.source)
            targets = [f"{name}.{short}" for short in party.targets]
            topics.make(*targets)
            say(f"{party.name} drains it ({run or 'untimed'} of {runs})")
            try:
                figures = drain(topics, route, party.start(ground, name, workload.source), load, workload)
            except SubjectError as err:
                failed[party.name] = _line(err)
                say(failed[party.name])
                continue
            seen[party.name].append(summarise(figures, route, load, workload))
            topics.drop(*targets)
    found = {name: middle(figures, untimed=int(warms)) for name, figures in seen.items() if len(figures) > warms}
    return _result(found, failed, parties, "events_per_s")


def flowing(ground: Ground, load: Load, parties: Sequence[Party], runs: int, say: Say) -> dict[str, Any]:
    """The first party under an open loop, then each of the others under the same rate, on topics of their own, ``runs`` times by turns."""
    beside = replace(load, events=min(load.events, max(1, round((load.rate or 0) * BESIDE_S))))
    rate = max(load.rate or 0, WARM_RATE)
    warm = replace(load, events=round(rate * WARM_S), rate=rate)
    seen: dict[str, list[dict[str, Any]]] = {party.name: [] for party in parties}
    failed: dict[str, str] = {}
    say("a broker that has just started compiles what it runs: the first figures are thrown away")
    _loop(ground, warm, parties[-1], "warming", say)
    for run in range(runs):
        for party in parties:
            if party.name in failed:
                continue
            is_first = party is parties[0] and run == 0
            try:
                seen[party.name].append(_loop(ground, load if is_first else beside, party, f"{party.name}-{run}", say))
            except SubjectError as err:
                failed[party.name] = _line(err)
                say(failed[party.name])
    return _result({name: middle(figures, "latency_ms", "p50") for name, figures in seen.items() if figures}, failed, parties)


def ramping(ground: Ground, load: Load, most: float, parties: Sequence[Party], say: Say) -> dict[str, Any]:
    """Each party under rates that grow from that of ``load``, up to the highest that it holds (``most`` at most), whose figures are shown."""
    found: dict[str, Any] = {}
    failed: dict[str, str] = {}
    for party in parties:

        def meet(here: Load, step: int, party: Party = party) -> dict[str, Any]:
            return _loop(ground, here, party, f"{party.name}-{step}", say)

        try:
            figures, steps = highest(load, most, meet)
        except SubjectError as err:
            failed[party.name] = _line(err)
            say(failed[party.name])
            continue
        held = [step.rate for step in steps if step.is_held]
        found[party.name] = figures | {"held_rate": max(held, default=0.0), "steps": [asdict(step) for step in steps]}
    return _result(found, failed, parties, "held_rate")


def _loop(ground: Ground, load: Load, party: Party, name: str, say: Say) -> dict[str, Any]:
    """One party under one open loop, between topics of its own."""
    source = f"{name}-events"
    ground.topics.make(source, notes_append=False)
    targets = [f"{name}.{short}" for short in party.targets]
    ground.topics.make(*targets)
    route = party.route(name, source)
    say(f"{party.name} under {load.rate:,.0f} events/s for {load.seconds:.3g} s")
    sent, seen = open_loop(ground.topics, route, party.start(ground, name, source), load, ground.workload)
    ground.topics.drop(source, *targets)
    figures = summarise(seen, route, load, ground.workload, sent)
    say(f"  to receipt p50 {figures['latency_ms']['p50']:.3g} ms, p99 {figures['latency_ms']['p99']:.3g} ms")
    return figures


def middle(runs: Sequence[dict[str, Any]], *by: str, untimed: int = 0) -> dict[str, Any]:
    """The figures of the run with the median rate (or what ``by`` leads to), and the rates of all, but of the first ``untimed``; a fault of
    any run is a fault."""
    timed = runs[untimed:]
    rates = [figures["events_per_s"] for figures in timed]
    ranks = [reduce(getitem, by, figures) if by else rate for figures, rate in zip(timed, rates)]
    chosen = timed[ranks.index(median_low(ranks))]
    faults = {name: max(figures.get(name) or 0 for figures in runs) for name in FAULTS if name in chosen}
    return chosen | faults | {"runs_events_per_s": rates}


def _result(found: dict[str, Any], failed: dict[str, str], parties: Sequence[Party], compared: str | None = None) -> dict[str, Any]:
    """Figures by party, in order, with what the engine's ``compared`` is by the party's."""
    here = [party for party in parties if party.name in found]
    told = {party.name: {"title": party.title, "linger_ms": party.linger_ms, **found[party.name]} for party in here}
    for figures in told.values():
        if compared and "engine" in told and figures[compared]:
            figures["engine_by_it"] = told["engine"][compared] / figures[compared]
    return {"parties": told, "failed": failed}


def _line(err: Exception) -> str:
    return " ".join(str(err).split())[-400:]


def is_whole(result: dict[str, Any]) -> bool:
    """Whether every party ran to its end, and every event came out of each once, and right."""
    return not result["failed"] and all(is_good(figures) for figures in result["parties"].values())
