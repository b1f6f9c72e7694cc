"""A token server over HTTPS that answers what a test lays out for it."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from esp.runtime.kafka.oauth import OAuth
from tests.certificates import Authority
from tests.served import served

SECRET = "s3cret:/%"


@dataclass
class TokenServer:
    """A token server: what it answers next (status, body, headers), and what it was asked."""

    url: str = ""
    cafile: Path = Path()
    answers: list[tuple[int, bytes, dict[str, str]]] = field(default_factory=list)
    asked: list[tuple[dict[str, str], dict[str, list[str]]]] = field(default_factory=list)

    def give(self, status: int, body: Any, **headers: str) -> None:
        self.answers.append((status, body if isinstance(body, bytes) else json.dumps(body).encode(), headers))

    def settings(self, **more: Any) -> OAuth:
        return OAuth(**({"url": self.url, "client_id": "es p", "client_secret_env": "CLIENT_SECRET", "cafile": self.cafile} | more))


@contextmanager
def serving(authority: Authority, host: str = "127.0.0.1") -> Iterator[TokenServer]:
    seen = TokenServer(cafile=authority.file)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            form = self.rfile.read(int(self.headers["Content-Length"]))
            seen.asked.append((dict(self.headers), parse_qs(form.decode())))
            status, body, headers = seen.answers.pop(0)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with served(Handler, authority, host) as address:
        seen.url = f"{address}/token"
        yield seen
