"""A query whose records follow schemas of a registry: loaded, started, and run while the registry is there, away and back."""

import asyncio
import json
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from esp.errors import QueryError, StartError
from esp.runtime import runner as runner_module
from esp.runtime.codecs.registry.client import Client
from esp.runtime.connect import MemoryTopic
from esp.runtime.connect import memory as memory_connector
from esp.runtime.events import raw_block
from esp.runtime.headers import decode_headers
from esp.runtime.query import load_query
from esp.runtime.reference import key_rows
from esp.runtime.runner import QueryRunner
from esp.runtime.task import Task
from esp.runtime.unread import Unwanted
from tests.registry_server import RegistryServer, serving
from tests.runtime.codecs.test_avro import bytes_of, read_back
from tests.runtime.memory_stream import until

pytest.importorskip("fastavro")
READING = {"type": "record", "name": "Reading", "fields": [{"name": "id", "type": "long"}, {"name": "p", "type": "float"}]}
QUERY = """
[query]
name = "readings"
dead = {{ connector = "memory", topic = "dead" }}

[windows.readings]
kind = "source"
schema = "id*:int64, p:float32"
format = "avro"
connect = {{ connector = "memory", topic = "readings" }}
options = {source}

[windows.doubled]
kind = "compute"
from = "readings"
fields = {{ twice = "p * 2" }}

[windows.out]
kind = "sink"
from = "doubled"
format = "{format}"
fields = ["id", "twice"]
connect = {{ connector = "memory", topic = "doubled" }}
options = {sink}
"""


@pytest.fixture(autouse=True)
def topics() -> Iterator[dict[str, MemoryTopic]]:
    """The topics of this process, empty for each test."""
    memory_connector.TOPICS.clear()
    for name in ("readings", "doubled", "dead"):
        memory_connector.TOPICS[name] = MemoryTopic(name)
    yield memory_connector.TOPICS
    memory_connector.TOPICS.clear()


@pytest.fixture
def server() -> Iterator[RegistryServer]:
    with serving() as server:
        yield server


def write_query(folder: Path, source: str, sink: str = "{}", format: str = "avro") -> Path:
    (folder / "query.toml").write_text(QUERY.format(source=source, sink=sink, format=format))
    return folder / "query.toml"


def runner(folder: Path, server: RegistryServer, **more: Any) -> QueryRunner:
    wait = "".join(f", {key} = {value}" for key, value in more.items())
    source, sink = (
        f'{{ registry = {{ url = "{server.url}"{wait} }} }}',
        f'{{ registry = {{ url = "{server.url}", register = true{wait} }} }}',
    )
    return QueryRunner(load_query(write_query(folder, source, sink)), folder / "state")


def framed(number: int, **value: Any) -> bytes:
    return b"\0" + number.to_bytes(4, "big") + bytes_of(READING, value)


def doubled(server: RegistryServer, topics: dict[str, MemoryTopic]) -> list[Any]:
    entry = server.subjects["doubled-value"][0]
    values = topics["doubled"].values()
    assert all(value is not None and value[:5] == b"\0" + entry.number.to_bytes(4, "big") for value in values)
    return [read_back(json.loads(entry.body["schema"]), value[5:]) for value in values if value is not None]


def reasons(topics: dict[str, MemoryTopic]) -> list[str]:
    topic = topics["dead"]
    return [
        dict(decode_headers(headers))["esp-reason"].decode()
        for block in topic.logs[0].blocks
        for headers in map(block.headers, range(len(block)))
    ]  # type: ignore[union-attr]


def test_records_of_a_registry_go_through_a_query_and_bad_ones_to_the_dead_letters(
    tmp_path: Path, server: RegistryServer, topics: dict[str, MemoryTopic]
) -> None:
    number = server.add("readings-value", READING)
    topics["readings"].append(
        [framed(number, id=1, p=0.5), b"{}", framed(99, id=2, p=1.0), framed(number, id=3, p=2.5), framed(number, id=4, p=1.0)[:-1]]
    )
    topics["readings"].end()
    asyncio.run(runner(tmp_path, server).run(asyncio.Event()))
    assert doubled(server, topics) == [{"id": 1, "twice": 1.0}, {"id": 3, "twice": 5.0}]
    found = reasons(topics)
    assert found[:2] == [
        "wanted a zero and the number of a schema, got 2 bytes",
        "schema 99: the registry refuses (404): Schema not found",
    ]
    assert found[2].startswith("wanted an Avro record, got bytes that are none")
    assert len(found) == 3


def test_events_wait_while_the_registry_is_away_and_none_is_lost(
    tmp_path: Path, server: RegistryServer, topics: dict[str, MemoryTopic]
) -> None:
    number, query = server.add("other", READING), runner(tmp_path, server)
    away: list[bool] = []

    async def main() -> None:
        stopping = asyncio.Event()
        running = asyncio.create_task(query.run(stopping))
        await until(lambda: query.is_ready)
        assert query.is_connected
        server.away = "/schemas/ids/"
        topics["readings"].append([framed(number, id=i, p=1.0) for i in range(3)])
        await until(lambda: not query.is_connected)
        assert query.reasons == [f"readings.registry: schema registry {server.url}: it answers 503"]
        away.append(bool(topics["doubled"].values()))
        server.away = None
        await until(lambda: len(topics["doubled"].values()) == 3)
        assert query.is_connected
        stopping.set()
        await running

    asyncio.run(main())
    assert away == [False]
    assert [row["id"] for row in doubled(server, topics)] == [0, 1, 2]
    assert reasons(topics) == []


def test_a_schema_is_never_awaited_on_the_event_loop(
    tmp_path: Path, server: RegistryServer, topics: dict[str, MemoryTopic], monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = [server.add(f"s{i}", READING | {"doc": str(i)}) for i in range(2)]
    query, asked, ask = runner(tmp_path, server), list[bool](), Client.schema

    def seen(self: Client, number: int, query: str = "") -> Any:
        asked.append(threading.current_thread() is threading.main_thread())
        return ask(self, number, query)

    monkeypatch.setattr(Client, "schema", seen)

    async def main() -> None:
        stopping = asyncio.Event()
        running = asyncio.create_task(query.run(stopping))
        await until(lambda: query.is_ready)
        for count in range(1, 42):  # one record at a time is light work, which the loop would do itself
            topics["readings"].append([framed(numbers[count == 41], id=count, p=1.0)])
            await until(lambda count=count: len(topics["doubled"].values()) == count)  # type: ignore[misc]
        stopping.set()
        await running

    asyncio.run(main())
    assert asked == [False, False]


def test_records_that_are_given_up_while_their_schema_is_awaited_are_as_if_never_taken(
    tmp_path: Path, server: RegistryServer
) -> None:
    number = server.add("other", READING)
    query = runner(tmp_path, server).query
    query.registries.start()
    task, raw = Task(query, "readings", 0, {}), raw_block([framed(number, id=i, p=1.0) for i in range(3)], offsets=[5, 6, 7])
    query.registries.is_vain = lambda: True
    with pytest.raises(Unwanted):
        task.process(raw)
    assert (task.next_offset, task.steps, task.events) == (0, 0, 0)
    query.registries.is_vain = lambda: False
    ((name, block),) = task.process(raw)
    assert (name, len(block), task.next_offset) == ("out", 3, 8)


def test_a_task_that_another_engine_has_taken_over_is_closed_while_its_schema_is_awaited(
    tmp_path: Path, server: RegistryServer, topics: dict[str, MemoryTopic], monkeypatch: pytest.MonkeyPatch
) -> None:
    number, query, key, asked = server.add("other", READING), runner(tmp_path, server), ("readings", 0), list[str]()
    monkeypatch.setattr(runner_module, "KafkaSource", memory_connector.MemorySource)
    monkeypatch.setattr(memory_connector.MemorySource, "rejoin", lambda self: asked.append("rejoin"), raising=False)
    monkeypatch.setattr(query.durability, "is_lost", lambda lost: lost == key)

    async def main() -> None:
        stopping = asyncio.Event()
        running = asyncio.create_task(query.run(stopping))
        await until(lambda: query.is_ready)
        server.next += [(503, b"")] * 1000
        topics["readings"].append([framed(number, id=i, p=1.0) for i in range(3)])
        await until(lambda: not query.is_connected)
        query._lost.put_nowait(key)
        await until(lambda: bool(asked))
        assert key not in query.worker.tasks
        assert not query.worker.unwanted
        stopping.set()
        await running

    asyncio.run(main())
    assert asked == ["rejoin"]
    assert topics["doubled"].values() == []


def test_a_stop_while_the_registry_is_away_drains_all_else_and_the_next_run_goes_on_with_what_waited(
    tmp_path: Path, server: RegistryServer, topics: dict[str, MemoryTopic], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    known, unknown, query = (
        server.add("readings-value", READING),
        server.add("other", READING | {"doc": "2"}),
        runner(tmp_path, server),
    )

    async def main() -> None:
        stopping = asyncio.Event()
        running = asyncio.create_task(query.run(stopping))
        await until(lambda: query.is_ready)
        topics["readings"].append([framed(known, id=i, p=1.0) for i in range(3)])
        await until(lambda: len(topics["doubled"].values()) == 3)
        server.next += [(503, b"")] * 1000
        topics["readings"].append([framed(unknown, id=i, p=1.0) for i in range(3, 6)])
        await until(lambda: not query.is_connected)
        stopping.set()
        await running

    asyncio.run(main())
    assert "readings: what waits for its schema is left to the next start" in caplog.text
    assert "query readings has drained: everything is sent, saved and committed" in caplog.text
    server.next.clear()
    topics["readings"].end()
    asyncio.run(runner(tmp_path, server).run(asyncio.Event()))
    assert [row["id"] for row in doubled(server, topics)] == [0, 1, 2, 3, 4, 5]  # none twice: the first were saved


def test_a_registry_that_is_down_ends_the_start_with_status_3(tmp_path: Path) -> None:
    with serving() as gone:
        query = runner(tmp_path, gone, wait_s=0)
    with pytest.raises(
        StartError,
        match=r"query.toml: windows.(readings|out).options.registry: schema registry http://127.0.0.1:\d+: it does not answer",
    ) as err:
        asyncio.run(query.run(asyncio.Event()))
    assert err.value.exit_status == 3


def test_a_stop_at_the_start_waits_for_no_registry(tmp_path: Path) -> None:
    with serving() as gone:
        query = runner(tmp_path, gone, wait_s=3600)

    async def main() -> None:
        stopping = asyncio.Event()
        running = asyncio.create_task(query.run(stopping))
        await until(lambda: any(peer.trouble for peer in query.query.registries.peers().values()))
        stopping.set()
        await running

    asyncio.run(main())


def test_rows_that_the_schema_of_a_sink_does_not_take_are_dead_letters_with_what_they_come_from(
    tmp_path: Path, topics: dict[str, MemoryTopic]
) -> None:
    (tmp_path / "in.avsc").write_text(
        json.dumps(READING | {"fields": [READING["fields"][0], {"name": "p", "type": ["null", "float"]}]})
    )  # type: ignore[index]
    (tmp_path / "out.avsc").write_text(
        json.dumps(READING | {"fields": [READING["fields"][0], {"name": "twice", "type": "double"}]})
    )  # type: ignore[index]
    query = load_query(write_query(tmp_path, '{ schema_file = "in.avsc" }', '{ schema_file = "out.avsc" }'))
    schema = json.loads((tmp_path / "in.avsc").read_text())
    values = [bytes_of(schema, {"id": i, "p": None if i % 2 else float(i)}) for i in range(5)]
    topics["readings"].append(values, keys=[b"k%d" % i for i in range(5)])
    topics["readings"].end()
    asyncio.run(QueryRunner(query, tmp_path / "state").run(asyncio.Event()))
    written = [
        read_back(json.loads((tmp_path / "out.avsc").read_text()), value)
        for value in topics["doubled"].values()
        if value is not None
    ]
    assert written == [{"id": 0, "twice": 0.0}, {"id": 2, "twice": 4.0}, {"id": 4, "twice": 8.0}]
    assert reasons(topics) == ["field 'twice': null, and the schema takes none"] * 2
    assert topics["dead"].values() == [values[1], values[3]]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (
            "{}",
            "query.toml: windows.readings.options: it is not said by which schema records are read; add schema_file or registry",
        ),
        ('{ schema_fil = "x" }', "query.toml: windows.readings.options: unknown key 'schema_fil'; did you mean 'schema_file'?"),
        (
            '{ schema_file = "gone.avsc" }',
            "query.toml: windows.readings.options.schema_file: .*gone.avsc cannot be read .No such file",
        ),
        (
            '{ registry = { url = "registry" } }',
            "query.toml: windows.readings.options.registry: url takes an http or https address",
        ),
        (
            '{ registry = { url = "http://r", register = true } }',
            "query.toml: windows.readings.options.registry.register: a source registers nothing",
        ),
        (
            '{ registry = { url = "http://r", password = "s3cret" } }',
            "query.toml: windows.readings.options.registry: unknown key 'password'",
        ),
        (
            '{ registry = { url = "https://r", cafile = "gone.pem" } }',
            "query.toml: windows.readings.options.registry.cafile: gone.pem cannot be read as certificates",
        ),
        ('{ registry = "http://r" }', "query.toml: windows.readings.options.registry: input should be a table"),
    ],
)
def test_options_that_cannot_be_right_are_refused_at_load(tmp_path: Path, options: str, reason: str) -> None:
    with pytest.raises(QueryError, match=reason) as err:
        load_query(write_query(tmp_path, options))
    assert "s3cret" not in str(err.value)
    assert "\n" not in str(err.value)


def test_a_file_holds_no_records_of_these_formats(tmp_path: Path) -> None:
    path = write_query(tmp_path, '{ schema_file = "x.avsc" }')
    path.write_text(path.read_text().replace('connector = "memory", topic = "readings"', 'connector = "file", path = "x.json"'))
    with pytest.raises(
        QueryError, match=r"query.toml: windows.readings.format: a file holds no records of format 'avro'; use json"
    ):
        load_query(path)


def test_a_format_whose_package_is_missing_is_told_with_the_mend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in [name for name in sys.modules if name.startswith("esp.runtime.codecs.avro")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "fastavro", None)
    with pytest.raises(QueryError) as err:
        load_query(write_query(tmp_path, '{ schema_file = "x.avsc" }'))
    mend = "format 'avro' needs the package fastavro; pip install 'esp-engine[avro]'"
    assert str(err.value) == f"{tmp_path}/query.toml: windows.readings: {mend}"


def test_defaults_and_required_fields_of_a_source_hold_for_records_of_every_schema(
    tmp_path: Path, server: RegistryServer, topics: dict[str, MemoryTopic]
) -> None:
    short = {"type": "record", "name": "Short", "fields": [{"name": "id", "type": "long"}]}
    whole, lesser = server.add("a", READING), server.add("b", short)
    values = [framed(whole, id=1, p=0.5), b"\0\0\0\0%c" % lesser + bytes_of(short, {"id": 2})]
    for more, ids, why in [
        ("defaults = {p = 2.5}", [1, 2], []),
        ('required = ["p"]', [1], ["field 'p': wanted float32, for it is required, got nothing"]),
    ]:
        for name in topics:
            topics[name] = MemoryTopic(name)
        source, sink = (
            f'{{ registry = {{ url = "{server.url}" }} }}',
            f'{{ registry = {{ url = "{server.url}", register = true }} }}',
        )
        path = write_query(tmp_path, source, sink)
        path.write_text(path.read_text().replace('kind = "source"', f'kind = "source"\n{more}'))
        topics["readings"].append(values)
        topics["readings"].end()
        asyncio.run(QueryRunner(load_query(path), tmp_path / more[:3]).run(asyncio.Event()))
        assert [row["id"] for row in doubled(server, topics)] == ids
        assert reasons(topics) == why


def test_a_registry_that_nobody_needs_is_not_asked_by_a_check_of_the_query(tmp_path: Path, server: RegistryServer) -> None:
    runner(tmp_path, server)
    assert server.asked == []


def test_the_keys_of_both_formats_and_of_the_registry_are_listed() -> None:
    for table in ("options.avro", "options.protobuf"):
        assert [row["key"] for row in key_rows(table)] == ["schema_file", "registry", "name", "tensors"]
    keys = {row["key"]: row for row in key_rows("options.registry")}
    assert keys["url"]["default"] == "needed"
    assert keys["register"]["default"] == "False"


def test_the_example_of_the_documentation_loads(tmp_path: Path) -> None:
    pytest.importorskip("google.protobuf")
    text = Path(runner_module.__file__).with_name("codecs").joinpath("SCHEMAS.md").read_text()
    (tmp_path / "query.toml").write_text(text.partition("```toml\n")[2].partition("```")[0])
    assert list(load_query(tmp_path).windows) == ["readings", "strong", "out"]
