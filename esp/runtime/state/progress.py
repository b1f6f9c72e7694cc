"""What is told of tasks that are restored, and of transactions."""

from dataclasses import dataclass


@dataclass(slots=True)
class Restore:
    """How far the state of a task is restored; ``way`` is what it comes from ("" = there is none)."""

    done_bytes: int = 0
    total_bytes: int = 0
    seconds: float = 0.0
    way: str = ""
    is_done: bool = False

    def add(self, size_bytes: int) -> None:
        self.done_bytes += size_bytes
        self.total_bytes = max(self.total_bytes, self.done_bytes)


@dataclass(slots=True)
class Transactions:
    """Transactions of the tasks of a source: committed, taken back, refused because another engine has the task."""

    committed: int = 0
    aborted: int = 0
    fenced: int = 0
