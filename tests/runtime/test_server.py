"""The engine's port: health, the admin API, and deployments into a query that runs."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from esp.astore.binary import from_bytes, to_bytes
from esp.astore.graph import Node, Value
from esp.astore.model import Astore, Input
from esp.errors import StartError, UsageError
from esp.runtime.admin import Local
from esp.runtime.connect.memory import TOPICS
from esp.runtime.peer import Peer
from esp.runtime.query import load_query
from esp.runtime.runner import QueryRunner
from esp.runtime.server import bind, build_app, is_open
from tests.runtime import moves

MODEL_URL = "/v1/queries/moves/windows/scored/model"


@pytest.fixture(autouse=True)
def _topics() -> Iterator[None]:
    TOPICS.clear()
    yield
    TOPICS.clear()


def with_engine(folder: Path, work: Callable[[moves.Engine], Awaitable[None]], **options: Any) -> None:
    """Runs some work against the query of a folder."""

    async def run() -> None:
        async with moves.running(folder, **options) as engine:
            await work(engine)

    asyncio.run(run())


def digest_of(data: bytes) -> str:
    return from_bytes(data).digest


def test_metrics_and_health_are_open_and_the_rest_needs_the_token(tmp_path: Path) -> None:
    async def work(engine: moves.Engine) -> None:
        for path in ("/metrics", "/healthz", "/readyz", "/openapi.json"):
            assert (await engine.client.get(path)).status_code == 200
        calls = [("GET", "/v1/status"), ("PUT", MODEL_URL)]
        calls += [("POST", f"/v1/queries/moves/{action}") for action in ("pause", "resume", "drain")]
        for method, path in calls:
            for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic c2VjcmV0"}):
                answer = await engine.client.request(method, path, headers=headers)
                assert answer.status_code == 401
                assert answer.headers["www-authenticate"] == "Bearer"
                assert "token" in answer.json()["error"]
        right = {"Authorization": "Bearer s3cret-token"}
        status = await engine.client.get("/v1/status", headers=right)
        assert status.status_code == 200
        for path in ("/metrics", "/readyz", "/openapi.json"):
            assert "s3cret" not in (await engine.client.get(path)).text
        assert "s3cret" not in status.text

    with_engine(moves.write_query(tmp_path), work, token="s3cret-token")


def test_ready_is_false_until_the_query_runs_and_while_a_peer_is_lost(tmp_path: Path) -> None:
    async def asked(runner: QueryRunner) -> tuple[int, Any]:
        async with moves.client_of(build_app(Local({"moves": runner}))) as client:
            answer = await client.get("/readyz")
            return answer.status_code, answer.json()

    runner = QueryRunner(load_query(moves.write_query(tmp_path)), tmp_path / "other")
    wanted = {"ready": False, "queries": {"moves": "not running"}, "reasons": {"moves": ["it is starting, draining or has ended"]}}
    assert asyncio.run(asked(runner)) == (503, wanted)

    async def work(engine: moves.Engine) -> None:
        assert await asked(engine.runner) == (200, {"ready": True, "queries": {"moves": "running"}, "reasons": {}})
        engine.runner.sinks["scores"].peer = Peer("the broker is gone")  # type: ignore[misc]
        wanted = {"ready": False, "queries": {"moves": "disconnected"}, "reasons": {"moves": ["scores: the broker is gone"]}}
        assert await asked(engine.runner) == (503, wanted)

    with_engine(tmp_path, work)


def test_a_query_that_does_not_run_yet_cannot_be_changed(tmp_path: Path) -> None:
    runner = QueryRunner(load_query(moves.write_query(tmp_path)), tmp_path / "state")

    async def ask() -> httpx.Response:
        async with moves.client_of(build_app(Local({"moves": runner}))) as client:
            return await client.put(MODEL_URL, content=to_bytes(moves.tiny(1)))

    answer = asyncio.run(ask())
    assert answer.status_code == 409
    assert "not running" in answer.json()["error"]


def test_pause_stops_the_stream_and_resume_lets_it_go_on(tmp_path: Path) -> None:
    async def work(engine: moves.Engine) -> None:
        assert len(await engine.scored_by(1, 2)) == 2
        paused = await engine.client.post("/v1/queries/moves/pause")
        assert paused.json() == {"query": "moves", "state": "paused"}
        moves.topic("samples").append([moves.event(3)])
        drained = await engine.client.post("/v1/queries/moves/drain")
        assert drained.json() == {"query": "moves", "state": "paused"}
        assert len(moves.topic("scores").values()) == 2
        assert moves.topic("samples").commits["moves"] == {0: 2}
        assert (await engine.client.post("/v1/queries/moves/resume")).json() == {"query": "moves", "state": "running"}
        await engine.worked_off()
        assert len(moves.topic("scores").values()) == 3

    with_engine(moves.write_query(tmp_path), work)


def test_unknown_queries_windows_and_actions_are_refused_with_what_there_is(tmp_path: Path) -> None:
    async def work(engine: moves.Engine) -> None:
        client = engine.client
        for method, path, status, wanted in (
            ("POST", "/v1/queries/mvoes/pause", 404, "moves"),
            ("POST", "/v1/queries/moves/explode", 404, "Not Found"),
            ("GET", "/v1/queries/moves/pause", 405, "Not Allowed"),
            ("GET", "/nowhere", 404, "Not Found"),
            ("PUT", "/v1/queries/moves/windows/samples/model", 422, "score windows: scored"),
            ("PUT", "/v1/queries/moves/windows/nowhere/model", 422, "score windows: scored"),
        ):
            answer = await client.request(method, path)
            assert (answer.status_code, wanted in answer.json()["error"]) == (status, True), answer.text

    with_engine(moves.write_query(tmp_path), work)


def test_a_deployed_model_scores_from_the_next_block_on_and_everyone_is_told(tmp_path: Path) -> None:
    old, new = digest_of(to_bytes(moves.tiny())), to_bytes(moves.tiny(bias=0.5))

    async def work(engine: moves.Engine) -> None:
        assert await engine.scored_by(1, 2) == [old[:12]] * 2
        answer = await engine.client.put(MODEL_URL, content=new, headers={"esp-digest": digest_of(new)})
        assert answer.json() == {"window": "moves/scored", "old": old, "new": digest_of(new), "backend": "numpy"}
        assert await engine.scored_by(3, 4) == [digest_of(new)[:12]] * 2
        status = (await engine.client.get("/v1/status")).json()
        assert status["queries"][0]["windows"][1]["model"] == {
            "name": "tiny",
            "digest": digest_of(new),
            "backend": "numpy",
            "way": "",
        }
        assert f'digest="{digest_of(new)[:12]}"' in (await engine.client.get("/metrics")).text

    with_engine(moves.write_query(tmp_path), work)


def test_a_deployment_outlives_a_restart_until_the_query_names_another_model(tmp_path: Path) -> None:
    new, third = to_bytes(moves.tiny(bias=0.5)), moves.tiny(bias=0.7)

    async def deploy(engine: moves.Engine) -> None:
        assert (await engine.client.put(MODEL_URL, content=new)).status_code == 200

    async def after_restart(engine: moves.Engine) -> None:
        assert await engine.scored_by(1) == [digest_of(new)[:12]]

    async def after_change(engine: moves.Engine) -> None:
        assert await engine.scored_by(2) == [digest_of(to_bytes(third))[:12]]

    with_engine(moves.write_query(tmp_path), deploy)
    with_engine(tmp_path, after_restart)
    with_engine(moves.write_query(tmp_path, model=third), after_change)


GOOD = to_bytes(moves.tiny(bias=0.5))
FLIPPED = bytearray(GOOD)
FLIPPED[-3] ^= 1
REFUSED: dict[str, tuple[bytes, dict[str, str], int, str]] = {
    "another digest than announced": (GOOD, {"esp-digest": "0" * 64}, 422, "was announced"),
    "a truncated upload": (GOOD[:-5], {}, 422, "cut short"),
    "a flipped byte": (bytes(FLIPPED), {}, 422, "SHA-256"),
    "no astore": (b"hello", {}, 422, "not an astore"),
    "nothing": (b"", {}, 422, "not an astore"),
    "another input": (to_bytes(moves.tiny(name="gyro")), {}, 422, "gyro"),
    "an input of another shape": (to_bytes(moves.tiny(width=3)), {}, 422, "float32[3]"),
    "too many bytes": (bytes(1 << 17), {}, 413, "larger than"),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_an_upload_that_will_not_do_is_refused_with_the_reason_and_the_old_model_goes_on(tmp_path: Path, fault: str) -> None:
    data, headers, status, reason = REFUSED[fault]

    async def work(engine: moves.Engine) -> None:
        answer = await engine.client.put(MODEL_URL, content=data, headers=headers)
        assert answer.status_code == status
        assert reason in answer.json()["error"]
        assert "\n" not in answer.json()["error"]
        assert await engine.scored_by(1) == [digest_of(to_bytes(moves.tiny()))[:12]]

    with_engine(moves.write_query(tmp_path), work, max_upload_bytes=1 << 16)


def test_a_model_whose_inputs_stand_in_another_order_would_be_fed_wrongly_and_is_refused(tmp_path: Path) -> None:
    def pair(first: str, second: str) -> Astore:
        one = moves.tiny(name=first)
        graph = replace(
            one.graph,
            nodes=(Node("Sub", (first, second), ("x",)), Node("Gemm", ("x", "w", "b"), ("z",)), one.graph.nodes[1]),
            inputs=(Value(first, "float32", (None, 2)), Value(second, "float32", (None, 2))),
        )
        return replace(one, graph=graph, inputs=(Input(first, "float32", (2,)), Input(second, "float32", (2,))))

    async def work(engine: moves.Engine) -> None:
        answer = await engine.client.put(MODEL_URL, content=to_bytes(pair("gyro", "acc")))
        assert answer.status_code == 422
        assert "in another order" in answer.json()["error"]
        assert (await engine.client.put(MODEL_URL, content=to_bytes(pair("acc", "gyro")))).status_code == 200

    text = moves.QUERY.replace("acc:float32[2]", "acc:float32[2], gyro:float32[2]")
    with_engine(moves.write_query(tmp_path, text, pair("acc", "gyro")), work)


def test_an_upload_of_unknown_length_is_cut_off_at_the_limit(tmp_path: Path) -> None:
    async def parts() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield bytes(1 << 12)

    async def work(engine: moves.Engine) -> None:
        assert (await engine.client.put(MODEL_URL, content=parts())).status_code == 413

    with_engine(moves.write_query(tmp_path), work, max_upload_bytes=1 << 16)


def test_an_unforeseen_failure_is_told_in_the_same_form(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*args: object) -> None:
        raise RuntimeError("boom")

    async def work(engine: moves.Engine) -> None:
        monkeypatch.setattr(engine.runner, "deploy", fail)
        answer = await engine.client.put(MODEL_URL, content=GOOD)
        assert answer.status_code == 500
        assert "RuntimeError" in answer.json()["error"]

    with_engine(moves.write_query(tmp_path), work)


def test_status_counts_what_every_window_has_seen(tmp_path: Path) -> None:
    async def work(engine: moves.Engine) -> None:
        moves.topic("samples").append([b"{broken"])
        assert len(await engine.scored_by(1, 2, 3)) == 3
        (query,) = (await engine.client.get("/v1/status")).json()["queries"]
        counts = {w["name"]: (w["kind"], w["from"], w["in"], w["out"], w["late"], w["dead"]) for w in query["windows"]}
        assert counts == {
            "samples": ("source", None, 4, 3, 0, 1),
            "scored": ("score", "samples", 3, 3, 0, 0),
            "scores": ("sink", "scored", 3, 3, 0, 0),
        }
        assert (query["name"], query["state"], set(query["latency_seconds"])) == ("moves", "running", {"p50", "p90", "p99"})

    with_engine(moves.write_query(tmp_path), work)


def test_the_openapi_description_lists_every_route_with_its_answers(tmp_path: Path) -> None:
    description = build_app(Local({})).openapi()
    json.dumps(description)
    answers = {
        (method.upper(), path): set(operation["responses"])
        for path, operations in description["paths"].items()
        for method, operation in operations.items()
    }
    action = {"200", "401", "404", "409", "500"}
    for key, wanted in {
        ("GET", "/metrics"): {"200"},
        ("GET", "/healthz"): {"200"},
        ("GET", "/readyz"): {"200", "503"},
        ("GET", "/v1/status"): {"200", "401"},
        ("POST", "/v1/queries/{query}/pause"): action,
        ("POST", "/v1/queries/{query}/resume"): action,
        ("POST", "/v1/queries/{query}/drain"): action,
        ("PUT", "/v1/queries/{query}/windows/{window}/model"): action | {"413"},
    }.items():
        assert wanted <= answers[key], key
    assert len(answers) == 8
    assert len({op["operationId"] for path in description["paths"].values() for op in path.values()}) == 8
    for name in ("Refusal", "Status", "Deployment"):
        assert name in description["components"]["schemas"]
    references = [part.split('"')[0] for part in json.dumps(description).split('"#/components/schemas/')[1:]]
    assert set(references) <= set(description["components"]["schemas"])


def test_a_port_in_use_is_told_in_one_line() -> None:
    with bind("127.0.0.1:0") as taken, pytest.raises(StartError, match=r"--listen: cannot listen at .*in use.*; choose another"):
        bind("{}:{}".format(*taken.getsockname()))


@pytest.mark.parametrize("listen", ["nonsense", "127.0.0.1", "127.0.0.1:", ":80", "127.0.0.1:99999", "127.0.0.1:-1", "a:b"])
def test_what_is_no_address_is_wrong_usage(listen: str) -> None:
    with pytest.raises(UsageError, match="is no address"):
        bind(listen)


def test_an_address_of_another_machine_cannot_be_had() -> None:
    with pytest.raises(StartError, match="cannot listen"):
        bind("192.0.2.1:80")  # of a block kept for documentation


def test_who_is_beyond_loopback_is_known() -> None:
    open_ones = ["0.0.0.0:80", "[::]:80", "192.0.2.1:80", "example.org:80"]
    assert [is_open(listen) for listen in [*open_ones, "127.0.0.1:80", "[::1]:80", "localhost:80"]] == [True] * 4 + [False] * 3


@pytest.mark.skipif(not socket.has_ipv6, reason="this machine has no IPv6")
def test_an_address_of_ipv6_stands_in_brackets() -> None:
    try:
        with bind("[::1]:0") as sock:
            assert sock.family == socket.AF_INET6
    except StartError:
        pytest.skip("IPv6 is switched off here")


ADMIN = [
    ("GET", "/v1/status"),
    ("PUT", MODEL_URL),
    *(("POST", f"/v1/queries/moves/{action}") for action in ("pause", "resume", "drain")),
]


def asked(headers: dict[str, str], token: str | None = None, url: str = "http://127.0.0.1:8088") -> dict[int, str]:
    """The statuses, with an answer each, of all admin routes of an engine without queries that is reached at a URL."""

    async def ask() -> dict[int, str]:
        transport = httpx.ASGITransport(app=build_app(Local({}), token))
        async with httpx.AsyncClient(transport=transport, base_url=url) as client:
            for path in ("/metrics", "/healthz"):
                assert (await client.get(path, headers=headers)).status_code == 200
            assert (await client.get("/readyz", headers=headers)).status_code == 503
            answers = [await client.request(method, path, headers=headers) for method, path in ADMIN]
            return {answer.status_code: answer.text for answer in answers}

    return asyncio.run(ask())


OTHER_SITES = [
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": ""},
    {"Origin": "http://127.0.0.1:3000"},
    {"Origin": "http://localhost:8088"},
    {"Host": "evil.example:8088"},
    {"Host": "evil.example:8088", "Origin": "http://evil.example:8088"},
    {"Host": "127.0.0.1.evil.example:8088"},
    {"Host": "10.0.0.7:8088"},
    {"Host": "[::1"},
    {"Host": ""},
]


@pytest.mark.parametrize("headers", OTHER_SITES)
def test_without_a_token_what_another_sites_page_sends_is_refused_in_one_line(headers: dict[str, str]) -> None:
    answers = asked(headers)
    assert set(answers) == {403}
    error = json.loads(answers[403])["error"]
    assert "--token-file" in error
    assert "\n" not in error


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Host": "localhost:8088"},
        {"Host": "LOCALHOST"},
        {"Host": "[::1]:8088"},
        {"Host": "127.0.0.1:8088", "Origin": "http://127.0.0.1:8088"},
        {"Host": "localhost:9000", "Origin": "http://localhost:9000"},  # through a tunnel to another port
    ],
)
def test_without_a_token_programs_and_pages_of_the_engine_itself_are_heard(headers: dict[str, str]) -> None:
    assert set(asked(headers)) == {200, 404}  # 404: there is no such query


def test_the_address_that_the_engine_listens_at_is_its_own() -> None:
    assert set(asked({}, url="http://10.0.0.7:8088")) == {200, 404}


@pytest.mark.parametrize("headers", OTHER_SITES)
def test_with_the_token_nothing_more_is_asked(headers: dict[str, str]) -> None:
    assert set(asked({**headers, "Authorization": "Bearer s3cret"}, "s3cret")) == {200, 404}
    assert set(asked(headers, "s3cret")) == {401}
