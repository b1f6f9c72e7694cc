"""The command ``esp``: verbs on models, recipes, queries and running engines."""

import errno
import os
import sys
from collections.abc import Sequence
from typing import Annotated, NoReturn

import typer

import esp
from esp.cli import exchange, models, queries, trust
from esp.cli.options import fail
from esp.errors import EspError, UsageError

COMMANDS = (
    models.train, exchange.import_, exchange.export, exchange.convert, models.inspect, models.score, trust.verify, trust.keygen,
    trust.sign, queries.check, queries.keys, queries.warmup, queries.run, queries.status, queries.deploy, queries.pause, queries.resume,
    queries.drain, queries.demo,
)  # fmt: skip
BROKEN_PIPE, INTERRUPTED = 141, 130  # what a shell says of a command that the signal ended
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)  # what writing to stdout ends with
_WRONG_USAGE: type[Exception] = typer.BadParameter.__mro__[1]  # the parser's own family, which typer does not name

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None, help=esp.__doc__)
for _command in COMMANDS:
    app.command(_command.__name__.rstrip("_"))(_command)


def main() -> NoReturn:
    """Runs the command; every error of ours is one line on stderr with its exit status."""
    try:
        status = _status_of(sys.argv[1:])
        if sys.stdout:  # None where the caller has closed it
            sys.stdout.flush()  # where a full disk can still be told
    except EspError as error:
        fail(error)
    except KeyboardInterrupt:
        status = INTERRUPTED
    except BrokenPipeError:
        _drop_stdout()
        status = BROKEN_PIPE
    except OSError as error:
        what = error.strerror or str(error)
        if error.errno not in _NO_ROOM or error.filename:
            fail(EspError(what, where=str(error.filename or "")))
        _drop_stdout()
        fail(EspError(what, where="stdout", mend="make room there"))
    sys.exit(status)


def _status_of(args: Sequence[str]) -> int:
    """Runs a command for its exit status; UsageError where the parser does not take the arguments."""
    try:
        command = typer.main.get_command(app)
        with command.make_context("esp", list(args)) as context:
            command.invoke(context)
    except typer.Exit as end:
        return end.exit_code
    except SystemExit as end:
        return int(end.code or 0)
    except _WRONG_USAGE as error:
        said = " ".join(error.format_message().replace("Value error, ", "").split()).rstrip(".")  # type: ignore[attr-defined]
        path = error.ctx.command_path if error.ctx else "esp"  # type: ignore[attr-defined]
        raise UsageError(said[:1].lower() + said[1:], mend=f"see {path} --help") from error
    return 0


def _drop_stdout() -> None:
    """What is still in the buffer goes nowhere, or the interpreter would fail on it once more at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@app.callback(invoke_without_command=True)
def version(
    context: typer.Context, show_version: Annotated[bool, typer.Option("--version", help="Print the version and end.")] = False
) -> None:
    if show_version:
        print(esp.__version__)
        raise typer.Exit
    if context.invoked_subcommand is None:
        print(context.get_help(), file=sys.stderr)
        raise typer.Exit(2)
