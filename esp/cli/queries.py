"""Verbs on queries and running engines."""

import asyncio
import logging
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from esp.cli.backfill import (
    DEFAULT_LISTEN,
    FREE_PORT,
    BackfillModel,
    BackfillName,
    BackfillOptions,
    CloseWindows,
    CreateTopics,
    FromOffset,
    FromTime,
    IntoLive,
    Output,
    Suffix,
    Until,
    WarmUp,
    run_backfill,
)
from esp.cli.options import DEFAULT_URL, CaFile, Json, Model, Queries, QueryName, TokenFile, Url, Urls, err, out, show, tell, token
from esp.errors import EspError, FileError, UsageError

if TYPE_CHECKING:
    import ssl

    from esp.client import AdminClient


def check(queries: Queries, as_json: Json = False) -> None:
    """Load queries without running them; show what flows."""
    from esp.runtime.query import load_query

    result = {}
    for query in map(load_query, queries):
        result[query.name] = {
            name: {port: str(stream.schema) for port, stream in window.ports.items()} for name, window in query.windows.items()
        }
    show(result, as_json, lambda: out.print_json(data=result))


def keys(
    table: Annotated[str, typer.Argument(help="query, a window kind or a connector; all their names, if left out.")] = "",
    as_json: Json = False,
) -> None:
    """List the keys that a table of a query file takes."""
    from esp.runtime.reference import key_rows, key_table

    rows = key_rows(table)
    show(rows, as_json, lambda: tell(key_table(rows)))


def warmup(
    queries: Annotated[
        list[Path] | None, typer.Argument(metavar="[QUERY...]", help="Queries whose models are bound and measured too.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Compile all kernels ahead, as for an image."""
    from esp.runtime.warmup import warm_up

    warmth = warm_up(queries or ())
    models = [asdict(model) for model in warmth.models]

    def render() -> None:
        out.print(f"{warmth.compiled} functions compiled; the kernels are in {warmth.cache}")
        for model in warmth.models:
            out.print(f"{model.window}: {model.model} ({model.digest[:12]}) on {model.backend}")

    show({"compiled": warmth.compiled, "cache": str(warmth.cache), "models": models}, as_json, render)


def run(
    queries: Queries,
    brokers: Annotated[
        str | None, typer.Option(envvar="ESP_BROKERS", help="Kafka brokers HOST:PORT,... instead of those in the query.")
    ] = None,
    listen: Annotated[
        str | None,
        typer.Option(help=f"HOST:PORT of metrics, health and admin API; {DEFAULT_LISTEN}, and for a backfill any free port."),
    ] = None,
    state: Annotated[Path, typer.Option(help="Folder of checkpoints and deployed models.")] = Path("esp-state"),
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Forget the state: start from the group's commit and the query's models.")
    ] = False,
    token_file: TokenFile = None,
    cert_file: Annotated[Path | None, typer.Option(help="Certificate (PEM) of the port: it speaks https then.")] = None,
    key_file: Annotated[Path | None, typer.Option(help="Key of the certificate, if it is not in the same file.")] = None,
    guard_metrics: Annotated[bool, typer.Option("--guard-metrics", help="Ask for the token at /metrics too.")] = False,
    workers: Annotated[
        int, typer.Option(min=1, max=256, help="Processes that share the partitions as one group, behind one port.")
    ] = 1,
    trusted_keys: Annotated[
        list[Path] | None,
        typer.Option(
            envvar="ESP_TRUSTED_KEYS", help="File of public keys: load and deploy only models that one of them has signed."
        ),
    ] = None,
    wait_for_broker: Annotated[float | None, typer.Option(help="Seconds to wait for a broker at the start.")] = None,
    from_time: FromTime = "",
    from_offset: FromOffset = "",
    until: Until = "",
    warm_up: WarmUp = "",
    output: Output = None,
    suffix: Suffix = "",
    into_live: IntoLive = False,
    create_topics: CreateTopics = False,
    close_windows: CloseWindows = False,
    model: BackfillModel = None,
    name: BackfillName = "",
    log: Annotated[Literal["text", "json"], typer.Option(help="Form of the log lines.")] = "text",
    log_level: Annotated[Literal["debug", "info", "warning", "error"], typer.Option(help="Least level that is logged.")] = "info",
) -> None:
    """Run continuous queries until stopped.

    The first SIGTERM (or Ctrl-C) drains: what was fetched is sent, saved and committed. A second one ends at once.

    With --workers the partitions are shared among so many processes, which one port stands for; one that dies is started again.

    With --from-time, --from-offset or --until it is a backfill: that range of one query's input is worked off into other outputs, as
    fast as it goes and beside the live query, and the command ends with it. Broken off, the same command goes on.
    """
    from esp.astore.signing import trusted_keys as keys_in
    from esp.runtime.engine import Engine, EngineSettings
    from esp.runtime.logs import set_up_logs
    from esp.runtime.query import load_query

    set_up_logs(log, log_level)
    said = BackfillOptions(
        from_time, from_offset, until, warm_up, name, suffix, tuple(output or ()), tuple(model or ()), close_windows, create_topics,
        into_live,
    )  # fmt: skip
    try:
        if not trusted_keys and "ESP_TRUSTED_KEYS" in os.environ:  # set, but empty: nobody is to be left unguarded by a slip
            raise FileError("there is no path in it", where="ESP_TRUSTED_KEYS", mend="name the file of public keys, or unset it")
        trusted = [key for file in trusted_keys or () for key in keys_in(file)]
        given = _overrides(brokers, wait_for_broker)
        loaded = [load_query(path, given, trusted) for path in queries]
        listen = listen or (FREE_PORT if said.is_backfill else DEFAULT_LISTEN)
        settings = EngineSettings(listen, state, token(token_file), fresh, _tls(cert_file, key_file), guard_metrics)
        if guard_metrics and not settings.token:
            raise UsageError("there is no token to ask for", where="--guard-metrics", mend="give --token-file, or set ESP_TOKEN")
        if said.is_backfill and workers > 1:
            raise UsageError("a backfill runs in one process", where="--workers", mend="leave it out")
        if asked := said.asked():
            run_backfill(asked, loaded, settings, has_bar=log == "text")
        elif workers > 1:
            from esp.runtime.workers.supervisor import Plan, Supervisor

            asyncio.run(Supervisor(Plan(workers, loaded, settings, given, trusted, log, log_level)).run())
        else:
            asyncio.run(Engine(loaded, settings).run())
    except EspError as error:
        if log == "text":
            raise
        logging.getLogger("esp").error("%s", error)  # every line on stderr is JSON then, the last one too
        sys.exit(error.exit_status)


def _overrides(brokers: str | None, wait_for_broker: float | None) -> dict[str, Any]:
    """What stands over the settings of all Kafka connectors; QueryError that names the option where it cannot be right."""
    from esp.runtime.connect import connection

    options = {"--brokers": ("brokers", brokers), "--wait-for-broker": ("wait_for_broker_s", wait_for_broker)}
    given = {option: pair for option, pair in options.items() if pair[1] is not None}
    for option, (key, value) in given.items():
        connection({"connector": "kafka", "topic": "any", key: value}, option)
    return dict(given.values())


def _tls(cert_file: Path | None, key_file: Path | None) -> "ssl.SSLContext | None":
    from esp.tls import server_context

    if key_file and not cert_file:
        raise UsageError("a key alone is no certificate", where="--key-file", mend="give --cert-file beside it")
    return server_context(cert_file, key_file, UsageError) if cert_file else None


def status(to: Url = DEFAULT_URL, token_file: TokenFile = None, ca_file: CaFile = None, as_json: Json = False) -> None:
    """Show what a running engine does."""
    from esp.client import status_tables

    result = _client(to, token_file, ca_file).status()
    show(result, as_json, lambda: tell(status_tables(result)))


def deploy(
    model: Model,
    window: Annotated[str, typer.Option(help="QUERY/WINDOW whose model is replaced.")],
    to: Urls = None,
    token_file: TokenFile = None,
    ca_file: CaFile = None,
    as_json: Json = False,
) -> None:
    """Put a model in the place of a running window's."""
    engines = [_client(url, token_file, ca_file) for url in to or [DEFAULT_URL]]
    if len(engines) == 1:
        result = engines[0].deploy(model, window)
        show(result, as_json, lambda: out.print(_deployed(result)))
        return
    from esp.rollout import roll_out

    results = roll_out(engines, model, window, say=lambda line: err.print(line, highlight=False, markup=False))
    told = [{"engine": engine.url, **result} for engine, result in zip(engines, results)]
    show({"engines": told}, as_json, lambda: out.print("\n".join(f"{each['engine']}: {_deployed(each)}" for each in told)))


def _deployed(told: Mapping[str, str]) -> str:
    return f"{told['window']}: {told['new'][:12]} scores in the place of {told['old'][:12]}"


def _client(to: str, token_file: Path | None, ca_file: Path | None) -> "AdminClient":
    from esp.client import AdminClient

    return AdminClient(to, token(token_file), ca_file)


def _act(action: str, query: str, client: "AdminClient", as_json: bool) -> None:
    result = client.act(query, action)
    show(result, as_json, lambda: out.print(f"{result['query']}: {result['state']}"))


def pause(
    query: QueryName, to: Url = DEFAULT_URL, token_file: TokenFile = None, ca_file: CaFile = None, as_json: Json = False
) -> None:
    """Let a running query fetch no more."""
    _act("pause", query, _client(to, token_file, ca_file), as_json)


def resume(
    query: QueryName, to: Url = DEFAULT_URL, token_file: TokenFile = None, ca_file: CaFile = None, as_json: Json = False
) -> None:
    """Let a paused query go on."""
    _act("resume", query, _client(to, token_file, ca_file), as_json)


def drain(
    query: QueryName, to: Url = DEFAULT_URL, token_file: TokenFile = None, ca_file: CaFile = None, as_json: Json = False
) -> None:
    """Pause a query, and wait until its work is safe."""
    _act("drain", query, _client(to, token_file, ca_file), as_json)


def demo(
    brokers: Annotated[str | None, typer.Option(help="A real Kafka HOST:PORT instead of the embedded broker.")] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Stay up until interrupted.")] = False,
    as_json: Json = False,
) -> None:
    """Train, stream, score and deploy, live, in a minute."""
    from esp.demo.show import run_demo

    sys.exit(run_demo(brokers, keep=keep, as_json=as_json))
