"""The threads that help to score large batches: one pool for the process, asleep in a kernel until a batch is posted to them."""

import logging
import os
import threading

import numpy as np
import numpy.typing as npt

from esp.kernels.split import CALL, DONE, LOCKS, SIZE, WAKE, closed_lock, serve

log = logging.getLogger(__name__)


class Helper:
    """A thread that scores parts of others' batches."""

    __slots__ = ("address", "state")

    def __init__(self, name: str) -> None:
        self.state = np.zeros(SIZE, np.int64)
        self.state[WAKE], self.state[DONE] = closed_lock(), closed_lock()
        self.address = self.state.ctypes.data
        # The thread keeps its state alive. It never ends, holds no GIL while it sleeps, and so does not hold up an exit.
        threading.Thread(target=_serve, args=(self.state,), name=name, daemon=True).start()

    def lend(self, call: int) -> None:
        """Sets the call that it runs with."""
        self.state[CALL] = call


def _serve(state: npt.NDArray[np.int64]) -> None:
    serve(state.ctypes.data, *LOCKS)


class Pool:
    """Helpers that are lent to whoever scores a large batch; who finds none idle scores alone."""

    def __init__(self) -> None:
        self.size = 0
        self.forget()

    def forget(self) -> None:
        """Begins anew, without threads: a process has none of those that it was forked from."""
        self.lock, self.made = threading.Lock(), 0
        self.idle: list[Helper] = []

    def reserve(self, count: int) -> None:
        """Makes helpers until there are so many."""
        self.size = max(self.size, count)
        with self.lock:
            while self.made < self.size:
                try:
                    self.idle.append(Helper(f"esp-helper-{self.made + 1}"))
                except RuntimeError as err:  # the system gives no more threads
                    log.warning("batches are scored by %d threads at most: %s", self.made + 1, err)
                    self.size = self.made
                    return
                self.made += 1

    def claim(self, count: int) -> list[Helper]:
        """Takes idle helpers, so many at most; give them back."""
        if self.made < self.size:
            self.reserve(self.size)
        claimed: list[Helper] = []
        try:
            while len(claimed) < count:
                claimed.append(self.idle.pop())
        except IndexError:
            pass
        return claimed

    def give_back(self, helpers: list[Helper]) -> None:
        self.idle += helpers


POOL = Pool()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=POOL.forget)
