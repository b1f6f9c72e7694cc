"""How many cores there are to score on."""

import os
from pathlib import Path

QUOTA = Path("/sys/fs/cgroup/cpu.max")  # of a container: microseconds of CPU in each period, or "max"


def cores(quota: Path) -> int:
    """The cores that this process may use: those that it may run on, or less where a control group gives it less time."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        time, period = quota.read_text().split()
        return max(1, min(usable, -(-int(time) // int(period))))
    except (OSError, ValueError):  # there is none
        return usable


def threads_of(wanted: int) -> int:
    """How many threads score a batch: as many as wanted; for 0 one a core, but for the one that the event loop needs."""
    return wanted or max(1, cores(QUOTA) - 1)
