"""What the commands share: options, where results and messages go, and how errors end."""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from esp.errors import EspError, FileError, UsageError
from esp.files import write_whole

PIPE_WIDTH = 132  # letters of a table that no terminal shows
out = Console(soft_wrap=True, width=None if sys.stdout and sys.stdout.isatty() else PIPE_WIDTH)
err = Console(stderr=True, soft_wrap=True)

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Url = Annotated[str, typer.Option("--to", help="Address of the engine.", envvar="ESP_URL")]
Urls = Annotated[
    list[str] | None,
    typer.Option(
        "--to",
        metavar="URL",
        help="Address of the engine (http://127.0.0.1:8088); once for each of the engines of one group that were started apart.",
        envvar="ESP_URL",
    ),
]
TokenFile = Annotated[Path | None, typer.Option(help="File that holds the token of the admin API (or set ESP_TOKEN).")]
CaFile = Annotated[
    Path | None,
    typer.Option(envvar="ESP_CA_FILE", help="Certificates (PEM) of the authorities to trust for an engine at https://."),
]
Model = Annotated[Path, typer.Argument(metavar="MODEL.astore", help="The model.")]
Queries = Annotated[list[Path], typer.Argument(metavar="QUERY...", help="Query files, or folders that hold a query.toml.")]
QueryName = Annotated[str, typer.Argument(metavar="QUERY", help="Name of the query, as esp status shows it.")]
DEFAULT_URL = "http://127.0.0.1:8088"
LINE_EVERY_S = 10.0


def fail(error: EspError) -> NoReturn:
    print(f"esp: {error}", file=sys.stderr)
    sys.exit(error.exit_status)


def show(result: Any, as_json: bool, render: Callable[[], None]) -> None:
    if as_json:
        print(json.dumps(result, ensure_ascii=False, default=bytes.hex))  # digests of tensors are bytes
    else:
        render()


def tell(table: RenderableType) -> None:
    """Prints tables on stdout, without the spaces that fill their lines where no terminal shows them."""
    if out.is_terminal:
        out.print(table)
        return
    with out.capture() as captured:
        out.print(table)
    print("\n".join(line.rstrip() for line in captured.get().rstrip("\n").split("\n")))


def token(file: Path | None) -> str | None:
    """The token of the admin API, from a file or the environment; UsageError where it cannot be one. It is never shown."""
    where = f"--token-file {file}" if file else "ESP_TOKEN"
    try:
        token = file.read_text(encoding="utf-8").strip() if file else os.environ.get("ESP_TOKEN", "")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise UsageError(f"the token cannot be read ({reason})", where=where, mend="give a text file that holds it") from error
    if file and not token:
        raise UsageError("the file is empty", where=where, mend="put the token into it")
    if not (token.isascii() and token.isprintable()) or " " in token:
        raise UsageError("this is no token", where=where, mend="use letters, digits and signs of ASCII, without spaces")
    return token or None


def write_text(path: Path, text: str) -> None:
    """Writes a file that is not there half; FileError where it cannot be."""
    try:
        write_whole(path, [text.encode()])
    except OSError as error:
        reason = f"the file cannot be written ({error.strerror or error})"
        raise FileError(reason, where=str(path), mend="check the path, and the room there") from error


@contextmanager
def progress_bar(title: str) -> Iterator[Callable[[int, int], None]]:
    """What is called with how much is done of how much: a bar on a terminal, a line each ten seconds elsewhere."""
    if sys.stderr.isatty():
        columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn(), TimeRemainingColumn())
        with Progress(*columns, console=err) as bar:
            task = bar.add_task(title, total=None)
            yield lambda done, size: bar.update(task, completed=done, total=size)
        return
    last = time.monotonic()

    def tell(done: int, size: int) -> None:
        nonlocal last
        if time.monotonic() - last >= LINE_EVERY_S:
            last = time.monotonic()
            print(f"{title}: {100 * done // max(size, 1)} %", file=sys.stderr, flush=True)

    yield tell
