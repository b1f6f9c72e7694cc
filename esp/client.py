"""A client of the engine's admin API, as ``esp status`` and ``esp deploy`` use it."""

import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from rich.table import Table

from esp.astore.binary import read
from esp.errors import TransportError, UsageError


class AdminClient:
    """Talks to one engine; TransportError when it cannot be reached or refuses, with the engine's own reason."""

    def __init__(self, url: str, token: str | None = None) -> None:
        if not url.startswith(("http://", "https://")):
            url = f"http://{url}"
        self.url, self.token = url.rstrip("/"), token

    def status(self) -> dict[str, Any]:
        return self._call("GET", "/v1/status")

    def act(self, query: str, action: str) -> dict[str, Any]:
        """``pause``, ``resume`` or ``drain`` a query."""
        return self._call("POST", f"/v1/queries/{query}/{action}")

    def deploy(self, model: Path, window: str) -> dict[str, Any]:
        """Sends an astore, checked here first, to QUERY/WINDOW."""
        query, slash, name = window.partition("/")
        if not slash or not query or not name:
            raise UsageError(f"'{window}' names no window", where="--window", mend="write QUERY/WINDOW, as esp status shows them")
        digest = read(model, verify=True).digest
        return self._call("PUT", f"/v1/queries/{query}/windows/{name}/model", model.read_bytes(), {"esp-digest": digest})

    def _call(self, method: str, path: str, data: bytes | None = None, headers: dict[str, str] | None = None) -> dict[str, Any]:
        headers = {"Content-Type": "application/octet-stream", **(headers or {})}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                result: dict[str, Any] = json.load(answer)
                return result
        except urllib.error.HTTPError as error:
            raise TransportError(f"the engine refused: {_reason(error)}", where=self.url + path) from error
        except OSError as error:
            reason = getattr(error, "reason", error)
            raise TransportError(
                f"no engine answers ({reason})", where=self.url, mend="start one with esp run, or name it with --to"
            ) from error


def _reason(error: urllib.error.HTTPError) -> str:
    body = error.read()
    try:
        answer = json.loads(body)
        return str(answer.get("error") or answer.get("detail"))
    except (ValueError, AttributeError):
        return f"{error.code} {error.reason}"


def status_table(status: dict[str, Any]) -> Table:
    """Windows of every query, a row each."""
    table = Table("query", "window", "kind", "in", "out", "late", "dead", "model", title=f"esp engine {status['version']}")
    for query in status["queries"]:
        latency = query["latency_seconds"]
        summary = f"{query['name']} ({query['state']}, p50 {latency['p50'] * 1e3:.3g} ms, p99 {latency['p99'] * 1e3:.3g} ms)"
        for window in query["windows"]:
            model = window.get("model")
            shown = f"{model['name']} {model['digest'][:12]} {model['backend']}" if model else ""
            counts = [str(window[count]) for count in ("in", "out", "late", "dead")]
            table.add_row(summary, window["name"], window["kind"], *counts, shown)
            summary = ""
    return table
