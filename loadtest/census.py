"""What a process holds, sampled each second of a soak: memory, files, threads, mappings, checkpoint files, lag; and the bars on their growth."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from pathlib import Path
from statistics import median

import psutil

SAMPLE_S = 1.0
FIRST = 0.1  # memory after this share of the run is what the end is held against
MEMORY_GROWTH = 0.05
MORE = {"files": 3, "threads": 2, "maps": 0.05, "state_files": 0.5}  # that many more at the end, or that share more, at most
LAG_S = 2.0  # of input that may wait at the end


@dataclass(frozen=True, slots=True)
class Held:
    """One sample; ``at_s`` from the start of the soak."""

    at_s: float
    memory_mb: float
    files: int
    threads: int
    maps: int
    state_files: int
    state_mb: float
    lag: int
    deploys: int


def held(process: psutil.Process, at_s: float, state: Path, lag: int, deploys: int) -> Held:
    """What a process holds now."""
    sizes = []
    for path in state.rglob("*"):
        try:
            if path.is_file():
                sizes.append(path.stat().st_size)
        except OSError:  # a checkpoint has taken it away
            continue
    with process.oneshot():
        maps = Path(f"/proc/{process.pid}/maps").read_bytes().count(b"\n")
        memory_mb, files, threads = process.memory_info().rss / 1e6, process.num_fds(), process.num_threads()
    return Held(at_s, memory_mb, files, threads, maps, len(sizes), sum(sizes) / 1e6, lag, deploys)


class Census:
    """Samples from a thread until it is stopped; what ``take`` raises ends it, and is raised by ``stop``."""

    def __init__(self, take: Callable[[], Held]) -> None:
        self.samples: list[Held] = []
        self._take, self._end = take, threading.Event()
        self._failure: list[Exception] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            while not self._end.wait(SAMPLE_S):
                self.samples.append(self._take())
        except Exception as err:
            self._failure.append(err)

    def stop(self) -> list[Held]:
        self._end.set()
        self._thread.join()
        for failure in self._failure:
            raise failure
        return self.samples


def tenths(samples: Sequence[Held]) -> list[Held]:
    """The medians of the samples of each tenth of the run."""
    bounds = [len(samples) * part // 10 for part in range(11)]
    return [_middle(samples[begin:end]) for begin, end in pairwise(bounds) if end > begin]


def _middle(samples: Sequence[Held]) -> Held:
    values = {each.name: median(getattr(sample, each.name) for sample in samples) for each in fields(Held)}
    return Held(**(values | {"at_s": samples[-1].at_s, "deploys": samples[-1].deploys}))


def breaches(samples: Sequence[Held], rate: float) -> list[str]:
    """The bars that do not hold, a line each: growth from behind the first tenth to the end, and what waits there."""
    if len(samples) < 20:
        return [f"{len(samples)} samples are too few to tell"]
    width = max(2, len(samples) // 50)
    first = round(len(samples) * FIRST)
    begin, end = _middle(samples[first : first + width]), _middle(samples[-width:])
    found = []
    if end.memory_mb > begin.memory_mb * (1 + MEMORY_GROWTH):
        found.append(f"memory: {begin.memory_mb:.1f} MB after the first tenth, {end.memory_mb:.1f} MB at the end")
    early, late = (asdict(_middle(part)) for part in (samples[first : 2 * first], samples[-first:]))
    for name, more in MORE.items():
        most = early[name] + (more if isinstance(more, int) else more * early[name])
        if late[name] > most:
            found.append(f"{name}: {early[name]:g} in the second tenth, {late[name]:g} in the last")
    if end.lag > LAG_S * rate:
        found.append(f"lag: {end.lag:,.0f} events wait at the end, more than come in {LAG_S:g} s")
    return found
