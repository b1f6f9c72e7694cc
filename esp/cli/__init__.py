"""The command ``esp``: verbs on models, recipes, queries and running engines."""

import sys
from typing import Annotated

import typer

import esp
from esp.cli import exchange, models, queries, trust
from esp.cli.options import fail
from esp.errors import EspError

COMMANDS = (
    models.train, exchange.import_, exchange.export, exchange.convert, models.inspect, models.score, trust.verify, trust.keygen,
    trust.sign, queries.check, queries.keys, queries.run, queries.status, queries.deploy, queries.pause, queries.resume,
    queries.drain, queries.demo,
)  # fmt: skip

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None, help=esp.__doc__
)
for _command in COMMANDS:
    app.command(_command.__name__.rstrip("_"))(_command)


def main() -> None:
    """Runs the command; every error of ours is one line on stderr with its exit status."""
    try:
        app(prog_name="esp")
    except EspError as error:
        fail(error)
    except KeyboardInterrupt:
        sys.exit(130)


@app.callback(invoke_without_command=True)
def version(show_version: Annotated[bool, typer.Option("--version", help="Print the version and end.")] = False) -> None:
    if show_version:
        print(esp.__version__)
        raise typer.Exit
