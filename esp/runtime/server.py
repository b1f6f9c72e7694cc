"""The one port of the engine: metrics, health, and the admin API with its OpenAPI description."""

import contextlib
import hmac
import ipaddress
import socket
import ssl
from collections.abc import Callable, Iterator
from typing import Annotated, Any
from urllib.parse import urlsplit

import uvicorn
from fastapi import Depends, FastAPI, HTTPException, Request, Response
from fastapi.responses import JSONResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.requests import ClientDisconnect

import esp
from esp.errors import EspError, StartError, UsageError
from esp.runtime.admin import Admin, RefusedError
from esp.runtime.answers import Action, Deployment, Health, QueryState, Readiness, Refusal, Status

MAX_UPLOAD_BYTES = 2 << 30
REFUSALS: dict[int, str] = {
    401: "The token is missing or wrong",
    403: "Without a token: the request comes from another site, or names another host",
    404: "There is no such query",
    409: "The query is not running yet",
    413: "The upload is too large",
    422: "The model cannot take the place of the one that scores",
    500: "It failed, and nothing was changed",
}


def build_app(
    engine: Admin, token: str | None = None, max_upload_bytes: int = MAX_UPLOAD_BYTES, *, guards_metrics: bool = False
) -> FastAPI:
    """The application over an engine; with a token, whatever looks into or changes a query needs it, and /metrics if told so.

    Without one it takes requests that come from no other site's page and name a loopback host or the address that they reach.
    """
    app = FastAPI(
        title="esp engine", version=esp.__version__, description="Watches and changes the continuous queries of one engine."
    )
    app.add_exception_handler(EspError, _refuse)
    app.add_exception_handler(RefusedError, _refuse_as_told)
    app.add_exception_handler(StarletteHTTPException, _refuse_plainly)
    app.add_exception_handler(Exception, _fail)
    guard = Depends(_guard(token) if token else _only_own_site)
    _add_watching(app, engine, [guard] if token and guards_metrics else [])
    _add_admin(app, engine, [guard], max_upload_bytes)
    _add_holding(app, engine, [guard], max_upload_bytes)
    return app


def _add_watching(app: FastAPI, engine: Admin, allowed: list[Any]) -> None:
    """Health, open to everyone who reaches the port, and metrics, open unless ``allowed`` says otherwise."""
    answers: dict[int | str, dict[str, Any]] = {200: {"content": {"text/plain": {}}}, **(_refusals(401) if allowed else {})}

    @app.get(
        "/metrics", tags=["watch"], summary="Metrics in the text format of Prometheus", dependencies=allowed,
        response_class=Response, responses=answers,
    )  # fmt: skip
    async def metrics() -> Response:
        return Response(await engine.metrics(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get("/healthz", tags=["watch"], summary="Whether the process lives")
    async def healthz() -> Health:
        return Health()

    @app.get(
        "/readyz", tags=["watch"], summary="Whether every query runs and reaches its peers",
        responses={503: {"model": Readiness, "description": "Not ready"}},
    )  # fmt: skip
    async def readyz(response: Response) -> Readiness:
        readiness = await engine.readiness()
        response.status_code = 200 if readiness.ready else 503
        return readiness


def _add_admin(app: FastAPI, engine: Admin, allowed: list[Any], max_upload_bytes: int) -> None:
    """What looks into queries or changes them."""

    @app.get(
        "/v1/status",
        tags=["admin"],
        dependencies=allowed,
        summary="Queries, windows, models, counts, lag and latency",
        responses=_refusals(401, 403),
    )
    async def status() -> Status:
        return await engine.status()

    def add(action: Action, summary: str) -> None:
        @app.post(
            f"/v1/queries/{{query}}/{action}", tags=["admin"], dependencies=allowed, summary=summary, operation_id=action,
            responses=_refusals(401, 403, 404, 409, 500),
        )  # fmt: skip
        async def act(query: str) -> QueryState:
            return await engine.act(query, action)

    add("pause", "Fetch no more")
    add("resume", "Fetch again")
    add("drain", "Pause, and answer when all that was fetched is sent, saved and committed")

    @app.put(
        "/v1/queries/{query}/windows/{window}/model", tags=["admin"], dependencies=allowed, summary="Deploy an astore to a score window",
        responses=_refusals(401, 403, 404, 409, 413, 422, 500), openapi_extra=UPLOAD,
    )  # fmt: skip
    async def deploy(query: str, window: str, request: Request) -> Deployment:
        await engine.require(query)
        data = await _body(request, max_upload_bytes)
        return await engine.deploy(query, window, data, request.headers.get("esp-digest", ""))


def _add_holding(app: FastAPI, engine: Admin, allowed: list[Any], max_upload_bytes: int) -> None:
    """Deployments in two halves, for whoever deploys to several engines: a supervisor of workers, ``esp deploy`` with more than one address."""
    route: dict[str, Any] = {
        "path": "/v1/queries/{query}/windows/{window}/held",
        "dependencies": allowed,
        "include_in_schema": False,
    }

    @app.put(**route)
    async def hold(query: str, window: str, request: Request) -> Deployment:
        await engine.require(query)
        return await engine.hold(query, window, await _body(request, max_upload_bytes), request.headers.get("esp-digest", ""))

    @app.post(**{**route, "path": f"{route['path']}/standing"})
    async def stand(query: str, window: str) -> Health:
        await engine.stand(query, window)
        return Health()

    @app.post(**route)
    async def swap(query: str, window: str) -> Deployment:
        return await engine.swap(query, window)

    @app.delete(**route)
    async def drop(query: str, window: str) -> Health:
        await engine.drop(query, window)
        return Health()


UPLOAD: dict[str, Any] = {
    "requestBody": {"required": True, "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}},
    "parameters": [
        {
            "name": "esp-digest", "in": "header", "required": False, "schema": {"type": "string"},
            "description": "The digest that the astore should have",
        }
    ],
}  # fmt: skip


def _refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {status: {"model": Refusal, "description": REFUSALS[status]} for status in statuses}


async def _refuse(request: Request, err: Exception) -> JSONResponse:
    assert isinstance(err, EspError)
    return JSONResponse({"error": str(err)}, 422 if err.exit_status == 2 else 500)


async def _refuse_as_told(request: Request, err: Exception) -> JSONResponse:
    assert isinstance(err, RefusedError)
    return JSONResponse({"error": err.text}, err.status)


async def _refuse_plainly(request: Request, err: Exception) -> JSONResponse:
    assert isinstance(err, StarletteHTTPException)
    return JSONResponse({"error": err.detail}, err.status_code, err.headers)


async def _fail(request: Request, err: Exception) -> JSONResponse:
    """The answer to a failure that nobody foresaw; uvicorn puts its traceback into the log."""
    return JSONResponse({"error": f"the engine failed at this ({type(err).__name__}); its log says more"}, 500)


def _guard(token: str) -> Callable[..., None]:
    def check(given: Annotated[HTTPAuthorizationCredentials | None, Depends(HTTPBearer(auto_error=False))]) -> None:
        if given is None or not hmac.compare_digest(given.credentials.encode(), token.encode()):
            raise HTTPException(
                401, "the token is missing or wrong; give it with --token-file", headers={"WWW-Authenticate": "Bearer"}
            )

    return check


def _only_own_site(request: Request) -> None:
    """Keeps out what a web page of another site sends through the operator's browser, also by a name that leads here."""
    host, origin = request.headers.get("host", ""), request.headers.get("origin")
    name, (own, *_) = _name_of(host), request.scope.get("server") or ("",)
    if not name or not (_is_loopback(name) or name == own):
        mend = "ask 127.0.0.1 or the address that it listens at, or guard it with --token-file"
        raise HTTPException(403, f"the host {host[:80]!r} is not this engine's address; {mend}")
    if origin is not None and origin.lower().partition("://")[2] != host.lower():
        raise HTTPException(403, f"a page of {origin[:80]!r} may not ask this; guard the engine with --token-file to allow it")


def _name_of(host: str) -> str:
    """The name or address in a Host header, without port and brackets; empty where there is none."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _is_loopback(name: str) -> bool:
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"


async def _body(request: Request, limit_bytes: int) -> bytes:
    too_large = HTTPException(413, f"the upload is larger than {limit_bytes} bytes; deploy a smaller model")
    if int(request.headers.get("content-length", 0)) > limit_bytes:
        raise too_large
    parts, size = [], 0
    try:
        async for part in request.stream():
            size += len(part)
            if size > limit_bytes:
                raise too_large
            parts.append(part)
    except ClientDisconnect as err:
        raise HTTPException(400, f"the upload ended after {size} bytes; send it again") from err
    return b"".join(parts)


def bind(listen: str) -> socket.socket:
    """A socket that listens at HOST:PORT (port 0 = any free one).

    UsageError when that is no address; StartError when the port is in use or the host no address of this machine.
    """
    host, _, port = listen.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65_535:
        raise UsageError(f"'{listen}' is no address", where="--listen", mend="write HOST:PORT, such as 127.0.0.1:8088")
    try:
        family, kind, _, _, address = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)[0]
        sock = socket.socket(family, kind)
    except OSError as err:
        raise _no_port(listen, err) from err
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen(128)  # at once: until then another engine could bind the same port
    except OSError as err:
        sock.close()
        raise _no_port(listen, err) from err
    return sock


def _no_port(listen: str, err: OSError) -> StartError:
    return StartError(
        f"cannot listen at {listen} ({err.strerror})", where="--listen", mend="choose another port, such as 127.0.0.1:0"
    )


def is_open(listen: str) -> bool:
    """Whether others than this machine reach the address."""
    return not _is_loopback(listen.rpartition(":")[0].strip("[]"))


class AdminServer(uvicorn.Server):
    """uvicorn on a socket that is already bound, over TLS where there is a context, leaving signals to the engine."""

    def __init__(self, app: FastAPI, tls: ssl.SSLContext | None = None) -> None:
        config = uvicorn.Config(app, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=1)
        config.load()
        config.ssl = tls
        super().__init__(config)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
