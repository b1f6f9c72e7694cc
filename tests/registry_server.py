"""A schema registry over HTTP that speaks Confluent's REST API, and answers otherwise what a test lays out for it."""

import base64
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from tests.certificates import Authority
from tests.served import served

USER, PASSWORD, TOKEN = "esp", "s3cret:pass word", "s3cret-token"
Answer = tuple[int, bytes]


@dataclass
class Entry:
    """A registered schema, as the API shows it."""

    number: int
    body: dict[str, Any]

    def shown(self, serialized: bool) -> dict[str, Any]:
        kind = self.body.get("schemaType", "AVRO")
        text = self.body["serialized"] if serialized and "serialized" in self.body else self.body["schema"]
        shown = {"schema": text, **({"references": self.body["references"]} if "references" in self.body else {})}
        return shown if kind == "AVRO" else {**shown, "schemaType": kind}


@dataclass
class RegistryServer:
    """Subjects with their versions; ``asked`` are the requests so far; ``next`` are answers that come before any of its own.

    An answer is (status, body), or a function that writes to the socket what it likes. ``auth`` is what Authorization must be. What
    begins with ``away`` is answered 503.
    """

    url: str = ""
    cafile: Path | None = None
    auth: str | None = None
    away: str | None = None
    subjects: dict[str, list[Entry]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    next: list[Answer | Callable[[Any], None]] = field(default_factory=list)

    def add(self, subject: str, schema: Any, kind: str = "AVRO", **more: Any) -> int:
        """Registers a schema (JSON, where it is no text), and gives its number."""
        text = schema if isinstance(schema, str) else json.dumps(schema)
        body = {"schema": text, **({"schemaType": kind} if kind != "AVRO" else {}), **more}
        versions = self.subjects.setdefault(subject, [])
        for entry in versions:
            if entry.body["schema"] == text:
                return entry.number
        same = [entry.number for entries in self.subjects.values() for entry in entries if entry.body["schema"] == text]
        number = same[0] if same else 1 + max((e.number for entries in self.subjects.values() for e in entries), default=0)
        versions.append(Entry(number, body))
        return number

    def answer(self, method: str, target: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        url = urlsplit(target)
        parts, serialized = [unquote(part) for part in url.path.strip("/").split("/")], "format=serialized" in url.query
        if parts[:2] == ["schemas", "ids"]:
            found = [e for entries in self.subjects.values() for e in entries if str(e.number) == parts[2]]
            return (200, found[0].shown(serialized)) if found else (404, {"error_code": 40403, "message": "Schema not found"})
        versions = self.subjects.get(parts[1], []) if len(parts) > 1 else []
        if method == "POST" and parts[2:] == ["versions"]:
            if why := incompatible(versions, body):
                return 409, {
                    "error_code": 409,
                    "message": f'Schema being registered is incompatible with an earlier schema for subject "{parts[1]}", details: [{why}]',
                }
            more = {key: value for key, value in body.items() if key not in ("schema", "schemaType")}
            return 200, {"id": self.add(parts[1], body["schema"], body.get("schemaType", "AVRO"), **more)}
        if not versions:
            return 404, {"error_code": 40401, "message": f"Subject '{parts[1]}' not found."}
        if method == "POST":
            same = [entry for entry in versions if entry.body["schema"] == body["schema"]]
            return (200, {"id": same[0].number}) if same else (404, {"error_code": 40403, "message": "Schema not found"})
        version = len(versions) if parts[3] == "latest" else int(parts[3])
        if not 0 < version <= len(versions):
            return 404, {"error_code": 40402, "message": "Version not found."}
        return 200, {
            "subject": parts[1],
            "version": version,
            "id": versions[version - 1].number,
            **versions[version - 1].shown(serialized),
        }


def incompatible(versions: list[Entry], body: dict[str, Any]) -> str:
    """Backward compatibility as far as the tests need it: a new field of an Avro record has a default."""
    if not versions or body.get("schemaType", "AVRO") != "AVRO":
        return ""
    old = {entry["name"] for entry in json.loads(versions[-1].body["schema"])["fields"]}
    new = [entry["name"] for entry in json.loads(body["schema"])["fields"] if entry["name"] not in old and "default" not in entry]
    return f"READER_FIELD_MISSING_DEFAULT_VALUE: {new[0]}" if new else ""


def basic(user: str = USER, password: str = PASSWORD) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@contextmanager
def serving(authority: Authority | None = None) -> Iterator[RegistryServer]:
    seen = RegistryServer(cafile=authority.file if authority else None)

    class Handler(BaseHTTPRequestHandler):
        def _serve(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"{}")
            seen.asked.append(f"{self.command} {self.path}")
            if seen.next:
                laid = seen.next.pop(0)
                if callable(laid):
                    laid(self)
                else:
                    self._send(*laid)
            elif seen.away is not None and self.path.startswith(seen.away):
                self._send(503, b"")
            elif seen.auth is not None and self.headers.get("Authorization") != seen.auth:
                self._send(401, b'{"error_code": 401, "message": "Unauthorized"}')
            else:
                status, answer = seen.answer(self.command, self.path, body)
                self._send(status, json.dumps(answer).encode())

        def _send(self, status: int, data: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/vnd.schemaregistry.v1+json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = _serve

        def log_message(self, *_: object) -> None:
            pass

    with served(Handler, authority) as seen.url:
        yield seen
