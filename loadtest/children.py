"""Child processes of a load test: they leave Ctrl-C to the parent, and end when it has gone."""

import multiprocessing
import signal


def leave_signals_to_parent() -> None:
    """For the first line of a child: Ctrl-C reaches the whole terminal group, and the parent tidies up."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def is_orphan() -> bool:
    """Whether the parent has died without tidying up."""
    parent = multiprocessing.parent_process()
    return parent is not None and not parent.is_alive()
