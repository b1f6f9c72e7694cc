"""The one port of the engine: metrics, health, and the admin API with its OpenAPI description."""

import contextlib
import hmac
import logging
import socket
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Annotated, Any

import uvicorn
from fastapi import Depends, FastAPI, HTTPException, Request, Response
from fastapi.responses import JSONResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

import esp
from esp.errors import EspError, FileError, StartError
from esp.runtime.metrics import exposition
from esp.runtime.runner import QueryRunner

MAX_UPLOAD_BYTES = 2 << 30
log = logging.getLogger("esp.server")


def build_app(runners: Mapping[str, QueryRunner], token: str | None = None) -> FastAPI:
    """The application over the engine's runners; with a token, whatever looks into or changes a query needs it."""
    app = FastAPI(
        title="esp engine", version=esp.__version__, description="Watches and changes the continuous queries of one engine."
    )
    allowed = [Depends(_guard(token))]

    @app.exception_handler(EspError)
    async def refuse(request: Request, err: EspError) -> JSONResponse:
        return JSONResponse({"error": str(err)}, status_code=422 if err.exit_status == 2 else 500)

    @app.get("/metrics", tags=["watch"], summary="Metrics in the text format of Prometheus")
    async def metrics() -> Response:
        return Response(exposition(runners), media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get("/healthz", tags=["watch"], summary="Whether the process lives")
    async def healthz() -> dict[str, str]:
        return {"status": "alive"}

    @app.get("/readyz", tags=["watch"], summary="Whether every query runs and reaches its peers")
    async def readyz() -> JSONResponse:
        states = {name: _state(runner) for name, runner in runners.items()}
        is_ready = bool(states) and all(runner.is_ready and runner.is_connected for runner in runners.values())
        return JSONResponse({"ready": is_ready, "queries": states}, status_code=200 if is_ready else 503)

    @app.get("/v1/status", tags=["admin"], dependencies=allowed, summary="Queries, windows, models, counts, lag and latency")
    async def status() -> dict[str, Any]:
        return {"version": esp.__version__, "queries": [describe(runner) for runner in runners.values()]}

    @app.post("/v1/queries/{query}/{action}", tags=["admin"], dependencies=allowed, summary="pause, resume or drain a query")
    async def act(query: str, action: str) -> dict[str, str]:
        runner = _runner(runners, query)
        actions: dict[str, Callable[[], Awaitable[None]]] = {"pause": runner.pause, "resume": runner.resume, "drain": runner.drain}
        if action not in actions:
            raise HTTPException(404, f"no action '{action}'; there are {', '.join(actions)}")
        await actions[action]()
        return {"query": query, "state": _state(runner)}

    @app.put(
        "/v1/queries/{query}/windows/{window}/model", tags=["admin"], dependencies=allowed,
        summary="Deploy an astore to a score window", openapi_extra={"requestBody": {"content": {"application/octet-stream": {}}, "required": True}},
    )  # fmt: skip
    async def deploy(query: str, window: str, request: Request) -> Mapping[str, str]:
        runner = _runner(runners, query)
        return await runner.deploy(window, await _body(request), request.headers.get("esp-digest", ""))

    return app


def _guard(token: str | None) -> Callable[..., None]:
    def check(given: Annotated[HTTPAuthorizationCredentials | None, Depends(HTTPBearer(auto_error=False))]) -> None:
        if token is not None and (given is None or not hmac.compare_digest(given.credentials.encode(), token.encode())):
            raise HTTPException(401, "the token is missing or wrong", headers={"WWW-Authenticate": "Bearer"})

    return check


def _runner(runners: Mapping[str, QueryRunner], query: str) -> QueryRunner:
    if query not in runners:
        raise HTTPException(404, f"there is no query '{query}' here; there are {', '.join(runners)}")
    return runners[query]


async def _body(request: Request) -> bytes:
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > MAX_UPLOAD_BYTES:
            raise FileError(f"the upload is larger than {MAX_UPLOAD_BYTES} bytes", mend="deploy a smaller model")
        parts.append(part)
    return b"".join(parts)


def _state(runner: QueryRunner) -> str:
    if not runner.is_ready:
        return "starting"
    if not runner.is_connected:
        return "disconnected"
    return "paused" if runner.is_paused else "running"


def describe(runner: QueryRunner) -> dict[str, Any]:
    """What ``/v1/status`` says of one query."""
    meter, query = runner.meter, runner.query
    windows = []
    for name, window in query.windows.items():
        counts = meter.windows[name]
        entry: dict[str, Any] = {"name": name, "kind": counts.kind, "from": window.settings.source or None}
        entry |= {"in": counts.events_in, "out": counts.events_out, "late": counts.events_late, "dead": counts.events_dead}
        if name in runner.scorers:
            scorer = runner.scorers[name]
            entry["model"] = {"name": scorer.astore.name, "digest": scorer.astore.digest, "backend": scorer.backend}
        windows.append(entry)
    quantiles = {f"p{share:g}": meter.latency.quantile(share / 100) for share in (50, 90, 99)}
    lag = {source: sum(partitions.values()) for source, partitions in meter.lag.items()}
    return {
        "name": query.name, "state": _state(runner), "windows": windows, "latency_seconds": quantiles, "lag_events": lag,
        "state_bytes": meter.state_size_bytes, "checkpoints": runner.checkpoints,
    }  # fmt: skip


def bind(listen: str) -> socket.socket:
    """A listening socket at HOST:PORT (port 0 = any free one); StartError when the port is in use or no address of this machine."""
    host, _, port = listen.rpartition(":")
    try:
        family, kind, _, _, address = socket.getaddrinfo(host.strip("[]") or "127.0.0.1", int(port), type=socket.SOCK_STREAM)[0]
        sock = socket.socket(family, kind)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
    except (OSError, ValueError) as err:
        raise StartError(
            f"cannot listen at {listen} ({err})", where="--listen", mend="choose another port, such as 127.0.0.1:0"
        ) from err
    return sock


class AdminServer(uvicorn.Server):
    """uvicorn on a socket that is already bound, leaving signals to the engine."""

    def __init__(self, app: FastAPI) -> None:
        super().__init__(uvicorn.Config(app, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=1))

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
