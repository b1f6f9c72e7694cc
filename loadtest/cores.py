"""Which core works for whom: the party that is measured has one to itself, everything else shares the others."""

import os
import shutil


def shares() -> tuple[frozenset[int], frozenset[int]] | None:
    """The cores of broker, generator and analyser, and the one of the party; None where cores are one, or cannot be given."""
    if not hasattr(os, "sched_getaffinity") or not shutil.which("taskset"):
        return None
    cores = sorted(os.sched_getaffinity(0))
    return (frozenset(cores[:-1]), frozenset(cores[-1:])) if len(cores) > 1 else None


def keep_to(cores: frozenset[int]) -> None:
    """This process, and what it starts from now on."""
    os.sched_setaffinity(0, cores)


def kept_to(cores: frozenset[int], command: list[str]) -> list[str]:
    """The command that runs another on these cores alone."""
    return ["taskset", "-c", ",".join(map(str, sorted(cores))), *command] if cores else command
