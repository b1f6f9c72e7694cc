"""The command ``esp``: verbs on astores, recipes, queries and running engines."""

import asyncio
import json
import logging
import os
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn, TypeVar

import typer
from rich.console import Console

import esp
from esp.errors import EspError, UsageError

R = TypeVar("R")
app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None, help=esp.__doc__
)
out, err = Console(soft_wrap=True), Console(stderr=True, soft_wrap=True)

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Url = Annotated[str, typer.Option("--to", help="Address of the engine.", envvar="ESP_URL")]
TokenFile = Annotated[Path | None, typer.Option(help="File that holds the token of the admin API (or set ESP_TOKEN).")]
Model = Annotated[Path, typer.Argument(metavar="MODEL.astore", help="The model.")]
Queries = Annotated[list[Path], typer.Argument(metavar="QUERY...", help="Query files, or folders that hold a query.toml.")]
QueryName = Annotated[str, typer.Argument(metavar="QUERY", help="Name of the query, as esp status shows it.")]
DEFAULT_URL = "http://127.0.0.1:8088"


def main() -> None:
    """Runs the command; every error of ours is one line on stderr with its exit status."""
    try:
        app(prog_name="esp")
    except EspError as error:
        fail(error)
    except KeyboardInterrupt:
        sys.exit(130)


def fail(error: EspError) -> NoReturn:
    print(f"esp: {error}", file=sys.stderr)
    sys.exit(error.exit_status)


def show(result: Any, as_json: bool, render: Callable[[], None]) -> None:
    if as_json:
        print(json.dumps(result, ensure_ascii=False, default=bytes.hex))  # digests of tensors are bytes
    else:
        render()


@app.command()
def train(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE.toml", help="Data, layers and optimiser.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Where the astore goes.")],
    folds: Annotated[int, typer.Option(help="Cross-validate over so many folds of the data's groups first.")] = 0,
    as_json: Json = False,
) -> None:
    """Train a model as a recipe says."""
    from esp.astore.binary import write
    from esp.train.recipe import mean_accuracy, run_folds, run_recipe

    result: dict[str, Any] = {"folds_mean_accuracy": mean_accuracy(run_folds(recipe, folds))} if folds else {}
    astore = write(run_recipe(recipe).astore, output)
    result |= {"astore": str(output), "digest": astore.digest, "metrics": astore.card["metrics"]}
    show(result, as_json, lambda: out.print_json(data=result))


@app.command()
def inspect(model: Model, as_json: Json = False) -> None:
    """Show what an astore says of itself."""
    from esp.astore.binary import read
    from esp.astore.inspect import describe, render

    description = describe(read(model))
    show(description, as_json, lambda: out.print(render(description)))


@app.command()
def verify(model: Model, as_json: Json = False) -> None:
    """Check every byte of an astore against its digests."""
    from esp.astore.binary import verify as verify_file

    result = verify_file(model)
    show(asdict(result), as_json, lambda: out.print("\n".join(result.checked)))


@app.command()
def check(queries: Queries, as_json: Json = False) -> None:
    """Load queries without running them; show what flows."""
    from esp.runtime.query import load_query

    result = {}
    for query in map(load_query, queries):
        result[query.name] = {
            name: {port: str(stream.schema) for port, stream in window.ports.items()} for name, window in query.windows.items()
        }
    show(result, as_json, lambda: out.print_json(data=result))


@app.command()
def keys(
    table: Annotated[str, typer.Argument(help="query, a window kind or a connector; all their names, if left out.")] = "",
    as_json: Json = False,
) -> None:
    """List the keys that a table of a query file takes."""
    from esp.runtime.reference import key_rows, key_table

    rows = key_rows(table)
    show(rows, as_json, lambda: out.print(key_table(rows)))


@app.command()
def run(
    queries: Queries,
    brokers: Annotated[
        str | None, typer.Option(envvar="ESP_BROKERS", help="Kafka brokers HOST:PORT,... instead of those in the query.")
    ] = None,
    listen: Annotated[str, typer.Option(help="HOST:PORT of metrics, health and admin API.")] = "127.0.0.1:8088",
    state: Annotated[Path, typer.Option(help="Folder of checkpoints and deployed models.")] = Path("esp-state"),
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Forget the state: start from the group's commit and the query's models.")
    ] = False,
    token_file: TokenFile = None,
    wait_for_broker: Annotated[float | None, typer.Option(help="Seconds to wait for a broker at the start.")] = None,
    log: Annotated[Literal["text", "json"], typer.Option(help="Form of the log lines.")] = "text",
    log_level: Annotated[Literal["debug", "info", "warning", "error"], typer.Option(help="Least level that is logged.")] = "info",
) -> None:
    """Run continuous queries until stopped.

    The first SIGTERM (or Ctrl-C) drains: what was fetched is sent, saved and committed. A second one ends at once.
    """
    from esp.runtime.engine import Engine, EngineSettings
    from esp.runtime.logs import set_up_logs
    from esp.runtime.query import load_query

    set_up_logs(log, log_level)
    overrides = {"brokers": brokers, "wait_for_broker_s": wait_for_broker}
    try:
        loaded = [load_query(path, {key: value for key, value in overrides.items() if value is not None}) for path in queries]
        asyncio.run(Engine(loaded, EngineSettings(listen, state, _token(token_file), fresh)).run())
    except EspError as error:
        if log == "text":
            raise
        logging.getLogger("esp").error("%s", error)  # every line on stderr is JSON then, the last one too
        sys.exit(error.exit_status)


@app.command()
def status(to: Url = DEFAULT_URL, token_file: TokenFile = None, as_json: Json = False) -> None:
    """Show what a running engine does."""
    from esp.client import AdminClient, status_tables

    result = AdminClient(to, _token(token_file)).status()
    show(result, as_json, lambda: out.print(status_tables(result)))


@app.command()
def deploy(
    model: Model,
    window: Annotated[str, typer.Option(help="QUERY/WINDOW whose model is replaced.")],
    to: Url = DEFAULT_URL,
    token_file: TokenFile = None,
    as_json: Json = False,
) -> None:
    """Put a model in the place of a running window's."""
    from esp.client import AdminClient

    result = AdminClient(to, _token(token_file)).deploy(model, window)
    show(
        result, as_json, lambda: out.print(f"{result['window']}: {result['new'][:12]} scores in the place of {result['old'][:12]}")
    )


def _act(action: str, query: str, to: str, token_file: Path | None, as_json: bool) -> None:
    from esp.client import AdminClient

    result = AdminClient(to, _token(token_file)).act(query, action)
    show(result, as_json, lambda: out.print(f"{result['query']}: {result['state']}"))


@app.command()
def pause(query: QueryName, to: Url = DEFAULT_URL, token_file: TokenFile = None, as_json: Json = False) -> None:
    """Let a running query fetch no more."""
    _act("pause", query, to, token_file, as_json)


@app.command()
def resume(query: QueryName, to: Url = DEFAULT_URL, token_file: TokenFile = None, as_json: Json = False) -> None:
    """Let a paused query go on."""
    _act("resume", query, to, token_file, as_json)


@app.command()
def drain(query: QueryName, to: Url = DEFAULT_URL, token_file: TokenFile = None, as_json: Json = False) -> None:
    """Pause a query, and wait until its work is safe."""
    _act("drain", query, to, token_file, as_json)


@app.command()
def demo(
    brokers: Annotated[str | None, typer.Option(help="A real Kafka HOST:PORT instead of the embedded broker.")] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Stay up until interrupted.")] = False,
    as_json: Json = False,
) -> None:
    """Train, stream, score and deploy, live, in a minute."""
    from esp.demo.show import run_demo

    sys.exit(run_demo(brokers, keep=keep, as_json=as_json))


@app.callback(invoke_without_command=True)
def version(show_version: Annotated[bool, typer.Option("--version", help="Print the version and end.")] = False) -> None:
    if show_version:
        print(esp.__version__)
        raise typer.Exit


def _token(file: Path | None) -> str | None:
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
