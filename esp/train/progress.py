"""How training shows itself: a bar on a terminal, one line an epoch elsewhere, or nothing."""

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from esp.train.fit import Epoch

# Title and number of epochs -> a context that gives what is called after each epoch.
ProgressMaker = Callable[[str, int], AbstractContextManager[Callable[[Epoch], None]]]


@contextmanager
def quiet(title: str, epochs: int) -> Iterator[Callable[[Epoch], None]]:
    """Shows nothing."""
    yield lambda epoch: None


@contextmanager
def lines(title: str, epochs: int) -> Iterator[Callable[[Epoch], None]]:
    """One line an epoch on stderr."""
    yield lambda epoch: print(f"{title}: {epoch}", file=sys.stderr, flush=True)


@contextmanager
def bar(title: str, epochs: int) -> Iterator[Callable[[Epoch], None]]:
    """A progress bar on stderr with the loss and, where it is watched, the validation."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, TextColumn("{task.fields[note]}"), console=Console(stderr=True)) as progress:
        task = progress.add_task(title, total=epochs, note="")

        def show(epoch: Epoch) -> None:
            watched = "" if epoch.validation is None else f"  validation {epoch.validation}"
            progress.update(task, completed=epoch.number, note=f"loss {epoch.loss:.4f}{watched}")

        yield show


def default_progress() -> ProgressMaker:
    """The bar on a terminal, lines elsewhere."""
    return bar if sys.stderr.isatty() else lines
