"""A client of the engine's admin API, as ``esp status`` and ``esp deploy`` use it."""

import http.client
import json
import ssl
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from esp.astore.binary import read
from esp.errors import TransportError, UsageError
from esp.tls import client_context

TIMEOUT_S = 120
LONGEST_S = 10.0  # the last bound of the engine's histograms


class AdminClient:
    """Talks to one engine; to one at https:// only if the authorities in ``ca_file`` (None = the system's) vouch for it.

    UsageError when the engine refuses what was asked (its own reason), TransportError when it fails or cannot be reached.
    """

    def __init__(self, url: str, token: str | None = None, ca_file: Path | None = None) -> None:
        url = url if "://" in url else f"{'https' if ca_file else 'http'}://{url}"
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or not url.isascii() or not url.isprintable() or " " in url:
            raise UsageError(f"'{url}' is no address of an engine", where="--to", mend="write http://HOST:PORT")
        self.url, self.token = url.rstrip("/"), token
        handlers: list[urllib.request.BaseHandler] = [_Stay()]
        if parts.scheme == "https":
            handlers.append(urllib.request.HTTPSHandler(context=client_context(ca_file, "--ca-file", UsageError)))
        self._opener = urllib.request.build_opener(*handlers)

    def status(self) -> dict[str, Any]:
        return self._call("GET", "/v1/status")

    def act(self, query: str, action: str) -> dict[str, Any]:
        """``pause``, ``resume`` or ``drain`` a query."""
        return self._call("POST", f"/v1/queries/{quote(query, safe='')}/{action}")

    def deploy(self, model: Path, window: str) -> dict[str, Any]:
        """Sends an astore, checked here first, to QUERY/WINDOW."""
        return self._send(model, f"{_place(window)}/model")

    def hold(self, model: Path, window: str) -> dict[str, Any]:
        """The first half of a deployment to several engines: the model is checked and warm, and waits (see ``rollout``)."""
        return self._send(model, f"{_place(window)}/held")

    def stand(self, window: str, timeout_s: float) -> dict[str, Any]:
        """Between the halves: answers when all is durable and the stream stands still, for a while, until ``swap`` or ``drop``."""
        return self._call("POST", f"{_place(window)}/held/standing", timeout_s=timeout_s)

    def swap(self, window: str) -> dict[str, Any]:
        """The second half: what is held scores."""
        return self._call("POST", f"{_place(window)}/held")

    def drop(self, window: str) -> dict[str, Any]:
        """Forgets what is held, and the stream goes on."""
        return self._call("DELETE", f"{_place(window)}/held")

    def _send(self, model: Path, path: str) -> dict[str, Any]:
        return self._call("PUT", path, model.read_bytes(), {"esp-digest": read(model, verify=True).digest})

    def _call(
        self, method: str, path: str, data: bytes | None = None, headers: dict[str, str] | None = None, timeout_s: float = TIMEOUT_S
    ) -> dict[str, Any]:
        headers = {"Content-Type": "application/octet-stream", **(headers or {})}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        try:
            with self._opener.open(request, timeout=timeout_s) as answer:
                result: dict[str, Any] = json.load(answer)
                return result
        except urllib.error.HTTPError as err:
            kind = UsageError if 400 <= err.code < 500 else TransportError
            raise kind(f"the engine refused: {_reason(err)}", where=self.url + path) from err
        except (OSError, ValueError, http.client.HTTPException) as err:
            reason = getattr(err, "reason", err)
            if isinstance(reason, ssl.SSLCertVerificationError):
                raise TransportError(
                    f"its certificate is not accepted ({reason.verify_message})",
                    where=self.url,
                    mend="give --ca-file, or mend the name in --to",
                ) from err
            raise TransportError(
                f"no engine answers ({reason or type(err).__name__})",
                where=self.url,
                mend="start one with esp run, or name it with --to (https:// where it has a certificate)",
            ) from err


class _Stay(urllib.request.HTTPRedirectHandler):
    """Follows no redirect, for the token would go with it; an engine sends none."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _place(window: str) -> str:
    """The path of QUERY/WINDOW."""
    query, _, name = window.partition("/")
    if not query or not name:
        raise UsageError(f"'{window}' names no window", where="--window", mend="write QUERY/WINDOW, as esp status shows them")
    return f"/v1/queries/{quote(query, safe='')}/windows/{quote(name, safe='')}"


def _reason(err: urllib.error.HTTPError) -> str:
    """What the engine says of a refusal; the status alone where something else than an engine answers."""
    try:
        return str(json.loads(err.read())["error"])
    except (OSError, ValueError, KeyError, TypeError):
        return f"{err.code} {err.reason}"


def status_tables(status: dict[str, Any]) -> RenderableType:
    """A few lines for every query, then its windows, a row each; fits 80 columns."""
    parts: list[RenderableType] = [Text(f"esp engine {status['version']}", style="bold")]
    parts += [Text(f"  {_worker(worker)}") for worker in status.get("workers", [])]
    for query in status["queries"]:
        parts += [Text(), Text.assemble((query["name"], "bold"), f"  {query['state']}"), *_figures(query), _windows(query)]
        scoring = [window for window in query["windows"] if window["model"]]
        parts += [Text(f"  {window['name']} scores with {_model(window['model'])}") for window in scoring]
    return Group(*parts)


def _worker(worker: dict[str, Any]) -> str:
    state = "ready" if worker["ready"] else "not ready"
    again = f", started again {worker['restarts']} times ({worker['last_end']})" if worker["restarts"] else ""
    return f"worker {worker['number']}: {state}, process {worker['pid'] or 'none'}{again}"


def _figures(query: dict[str, Any]) -> tuple[Text, Text]:
    latency = ", ".join(f"{share} {_ms(seconds)}" for share, seconds in query["latency_seconds"].items())
    lag = sum(query["lag_events"].values())
    saved = f"state {query['state_bytes']:,} bytes, {query['checkpoints']:,} checkpoints"
    return Text(f"  latency {latency}"), Text(f"  lag {lag:,} events, {saved}")


def _ms(seconds: float | None) -> str:
    """None is longer than the engine measures."""
    if seconds is None:
        return f">{LONGEST_S:g} s"
    ms = seconds * 1e3
    return f"{ms:,.0f} ms" if ms >= 999.5 else f"{ms:.3g} ms"


def _windows(query: dict[str, Any]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=True)
    for name in ("window", "kind", "from", "in", "out", "late", "dead"):
        table.add_column(name, justify="right" if name in ("in", "out", "late", "dead") else "left", overflow="fold")
    for window in query["windows"]:
        counts = (f"{window[count]:,}" for count in ("in", "out", "late", "dead"))
        table.add_row(Text(window["name"]), window["kind"], Text(window["from"] or ""), *counts)
    return table


def _model(model: dict[str, str]) -> str:
    way = f",\n    {model['way']}" if model.get("way") else ""  # an older engine tells none
    return f"{model['name']} {model['digest'][:12]} on {model['backend']}{way}"
