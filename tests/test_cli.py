"""The command: what goes to stdout, what to stderr, with which exit status; every fault one line and no traceback."""

import asyncio
import copy
import json
import os
import shutil
import subprocess
import sys
import threading
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import esp
from esp import cli
from esp.astore.binary import from_bytes, to_bytes, write
from esp.errors import EspError
from esp.runtime.connect.memory import TOPICS
from esp.runtime.engine import Engine, EngineSettings
from esp.runtime.query import load_query
from esp.runtime.server import bind
from tests.runtime import moves
from tests.runtime.memory_stream import until

FILES = moves.QUERY
for _name in ("dead", "samples", "scores"):
    FILES = FILES.replace(f'"memory", topic = "moves.{_name}"', f'"file", path = "{_name}.jsonl"')


@dataclass
class Answer:
    """What a call left: exit status, stdout, stderr."""

    status: int
    out: str
    err: str

    def one_line(self, status: int, *parts: str) -> None:
        """It failed with this status, and said so in one line that holds these parts."""
        assert self.status == status, self
        assert self.out == ""
        (line,) = self.err.splitlines()
        assert line.startswith("esp: ")
        for part in parts:
            assert part in line, line


Esp = Callable[..., Answer]


@pytest.fixture
def esp_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Iterator[Esp]:
    """The command, called in this process in a folder of its own."""
    import logging

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ESP_TOKEN", raising=False)
    root = logging.getLogger()
    before = root.handlers[:], root.level

    def call(*args: object) -> Answer:
        monkeypatch.setattr(sys, "argv", ["esp", *map(str, args)])
        capfd.readouterr()
        status = 0
        try:
            cli.main()
        except SystemExit as end:
            status = int(end.code or 0)
        root.handlers[:], root.level = before
        return Answer(status, *capfd.readouterr())

    TOPICS.clear()
    yield call
    TOPICS.clear()


def run_process(*args: object, cwd: Path) -> Answer:
    """The command as a process of its own."""
    env = {key: value for key, value in os.environ.items() if not key.startswith(("ESP_TOKEN", "ESP_URL", "ESP_BROKERS"))}
    done = subprocess.run(
        [sys.executable, "-m", "esp", *map(str, args)], cwd=cwd, env=env, capture_output=True, text=True, timeout=240, check=False
    )
    return Answer(done.returncode, done.stdout, done.stderr)


# ---- help ---------------------------------------------------------------------------------------------------------------


def test_help_and_version_go_to_stdout(tmp_path: Path) -> None:
    told = run_process("--help", cwd=tmp_path)
    assert (told.status, told.err) == (0, "")
    for verb in ("train", "inspect", "verify", "check", "run", "status", "deploy", "pause", "resume", "drain", "demo"):
        assert f"\n  {verb} " in told.out
    assert "..." not in told.out.partition("Commands:")[2]  # no sentence is cut short
    assert run_process("--version", cwd=tmp_path) == Answer(0, f"{esp.__version__}\n", "")


@pytest.mark.parametrize("args", [["--nope"], ["frob"], ["inspect"], ["run"], ["run", "q", "--log", "xml"], ["deploy", "m.astore"]])
def test_wrong_usage_ends_with_two(esp_command: Esp, args: list[str]) -> None:
    answer = esp_command(*args)
    assert (answer.status, answer.out) == (2, "")
    assert "Error:" in answer.err
    assert "Traceback" not in answer.err


# ---- astores ------------------------------------------------------------------------------------------------------------


def _flip(data: bytes, at: int) -> bytes:
    changed = bytearray(data)
    changed[at] ^= 0xFF
    return bytes(changed)


def _newer(data: bytes) -> bytes:
    return data[:8] + b"\x09" + data[9:]  # FORMAT.md: the version stands at byte 8


ASTORES: dict[str, tuple[Callable[[bytes], bytes], list[str]]] = {
    "a byte of the header flipped": (lambda data: _flip(data, 100), ["damaged", "fetch or write it anew"]),
    "a byte of a tensor flipped": (lambda data: _flip(data, -3), ["tensor", "SHA-256", "fetch or write it anew"]),
    "cut short": (lambda data: data[:-10], ["cut short"]),
    "cut in its prefix": (lambda data: data[:30], ["cut short"]),
    "of a newer version": (_newer, ["version 9 is newer", "upgrade"]),
    "another file": (lambda data: b"PK" + data, ["not an astore", "esp train"]),
    "empty": (lambda data: b"", ["not an astore"]),
}


@pytest.mark.parametrize("fault", ASTORES)
def test_a_bad_astore_is_one_line_for_verify_check_and_run(esp_command: Esp, tmp_path: Path, fault: str) -> None:
    spoil, parts = ASTORES[fault]
    folder = moves.write_query(tmp_path / "q")
    (folder / "tiny.astore").write_bytes(spoil((folder / "tiny.astore").read_bytes()))
    esp_command("verify", "q/tiny.astore").one_line(2, "q/tiny.astore", *parts)
    for verb in ("check", "run"):
        esp_command(verb, "q").one_line(2, "q/query.toml: models.tiny: ", "q/tiny.astore", *parts)


def test_an_astore_that_is_not_there_is_one_line(esp_command: Esp) -> None:
    for verb in ("inspect", "verify"):
        esp_command(verb, "nowhere.astore").one_line(2, "nowhere.astore", "check the path")


def test_a_good_astore_is_shown_and_verified(esp_command: Esp, tmp_path: Path) -> None:
    astore = write(moves.tiny(), tmp_path / "m.astore")
    shown = esp_command("inspect", "m.astore")
    assert (shown.status, shown.err) == (0, "")
    assert astore.digest in shown.out
    assert json.loads(esp_command("inspect", "m.astore", "--json").out)["digest"] == astore.digest
    assert "SHA-256" in esp_command("verify", "m.astore").out
    assert json.loads(esp_command("verify", "m.astore", "--json").out)["digest"] == astore.digest


# ---- recipes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("recipe", "parts"),
    [
        ("nmae = 'x'", ["r.toml", "nmae"]),
        ("name = ", ["r.toml", "TOML"]),
        (None, ["r.toml", "cannot be read"]),
    ],
)
def test_a_bad_recipe_is_one_line(esp_command: Esp, tmp_path: Path, recipe: str | None, parts: list[str]) -> None:
    if recipe is not None:
        (tmp_path / "r.toml").write_text(recipe)
    esp_command("train", "r.toml", "-o", "m.astore").one_line(2, *parts)
    assert not (tmp_path / "m.astore").exists()


# ---- queries ------------------------------------------------------------------------------------------------------------

QUERIES: dict[str, tuple[str, str, list[str]]] = {
    "a typo in a key": ("time =", "tiem =", ["windows.samples: unknown key 'tiem'", "did you mean 'time'?"]),
    "a cycle": ('from = "samples"', 'from = "scored"', ["windows", "cycle: scored -> scored"]),
    "a missing model": ('"tiny.astore"', '"gone.astore"', ["models.tiny", "gone.astore", "check the path"]),
    "a model that nobody has named": ('model = "tiny"', 'model = "tyni"', ["windows.scored.model", "no model 'tyni'"]),
    "a field of the wrong type": ("float32[2]", "float64[2]", ["windows.scored.input.acc", "is float64[2]", "takes float32[2]"]),
    "a field that is not there": ("acc:", "gyro:", ["windows.scored.input.acc", "no field 'acc'"]),
    "a path of an astore that none can be": ('"tiny.astore"', '"' + "a" * 300 + '"', ["models.tiny", "cannot be read"]),
    "a kind that is no name": ('kind = "score"', 'kind = ["score"]', ["windows.scored.kind", "unknown window kind"]),
    "a connector that is no table": (
        'connect = { connector = "memory", topic = "moves.scores" }',
        'connect = "kafka"',
        ["windows.scores.connect", "a connector is wanted"],
    ),
    "a key of a source on a sink": (
        '"memory", topic = "moves.scores"',
        '"kafka", topic = "x", start = "latest"',
        ["windows.scores.connect", "a sink has no key 'start'"],
    ),
    "a window's name with a dot": ("windows.scores]", 'windows."sc.ores"]', ["windows", "'sc.ores' is no name"]),
    "a window's name with a slash": ("windows.scores]", 'windows."sc/ores"]', ["windows", "'sc/ores' is no name"]),
}
KEYED = """
[windows.last]
kind = "copy"
from = "samples"
by = ["lane"]
keep = 1
[windows.lasts]
kind = "sink"
from = "last"
connect = { connector = "memory", topic = "x" }
"""


@pytest.mark.parametrize("fault", QUERIES)
def test_a_bad_query_is_one_line_for_check_and_run(esp_command: Esp, tmp_path: Path, fault: str) -> None:
    good, bad, parts = QUERIES[fault]
    assert good in moves.QUERY
    moves.write_query(tmp_path / "q", moves.QUERY.replace(good, bad, 1))
    for verb in ("check", "run"):
        esp_command(verb, "q").one_line(2, "q/query.toml: ", *parts)


def test_a_keyed_window_across_partitions_is_one_line(esp_command: Esp, tmp_path: Path) -> None:
    text = moves.QUERY.replace("acc:", "lane:int32, acc:").replace('topic = "moves.samples"', 'topic = "two", partitions = 2')
    moves.write_query(tmp_path / "q", text + KEYED)
    esp_command("check", "q").one_line(2, "q/query.toml: windows.last", "device", 'scope = "partition"')


def test_a_query_that_is_not_there_and_one_that_comes_twice_are_one_line(esp_command: Esp, tmp_path: Path) -> None:
    esp_command("check", "nowhere").one_line(2, "nowhere: there is no such file; check the path")
    moves.write_query(tmp_path / "q")
    esp_command("run", "q", "q", "--listen", "127.0.0.1:0").one_line(2, "two queries have the name 'moves'")


MADE = [
    1,
    -1,
    1.5,
    True,
    "",
    "x",
    "a.b",
    "\x00",
    "a" * 300,
    [],
    ["x"],
    [[]],
    {},
    {"a": 1},
    {"connector": ["x"]},
    10**30,
    float("nan"),
]


def test_whatever_stands_in_a_query_it_is_loaded_or_refused_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every value of a query, one after another, made into something else, taken out, or given a neighbour that nobody knows."""
    folder = moves.write_query(tmp_path / "q")
    good = tomllib.loads((folder / "query.toml").read_text())
    spoilt: dict[str, Any] = {}
    monkeypatch.setattr("esp.runtime.query.read_toml", lambda path, error: spoilt["query"])

    def places(table: dict[str, Any], before: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
        for key, value in table.items():
            yield (*before, key)
            if isinstance(value, dict):
                yield from places(value, (*before, key))

    refused: list[EspError] = []
    for *outer, key in places(good):
        for made in [*MADE, None]:
            spoilt["query"] = table = copy.deepcopy(good)
            for each in outer:
                table = table[each]
            if made is None:
                table[f"{key}x"] = table.pop(key)
            else:
                table[key] = made
            try:
                load_query(folder)
            except EspError as error:
                refused.append(error)
    assert len(refused) > 400
    for error in refused:
        assert (error.exit_status, "\n" in str(error), str(folder) in str(error)) == (2, False, True), error


def test_check_shows_the_fields_on_every_edge(esp_command: Esp, tmp_path: Path) -> None:
    moves.write_query(tmp_path / "q")
    answer = esp_command("check", "q", "--json")
    assert (answer.status, answer.err) == (0, "")
    assert json.loads(answer.out)["moves"]["samples"] == {"out": "device:string, ts:stamp(ms), acc:float32[2]"}


# ---- the engine at its start --------------------------------------------------------------------------------------------


def test_a_port_in_use_ends_with_three(esp_command: Esp, tmp_path: Path) -> None:
    moves.write_query(tmp_path / "q")
    with bind("127.0.0.1:0") as taken:
        port = taken.getsockname()[1]
        esp_command("run", "q", "--listen", f"127.0.0.1:{port}").one_line(3, "--listen", f"127.0.0.1:{port}", "choose another port")
    esp_command("run", "q", "--listen", "here").one_line(2, "--listen", "'here' is no address", "HOST:PORT")


def test_state_that_cannot_be_had_ends_with_three(esp_command: Esp, tmp_path: Path) -> None:
    folder = moves.write_query(tmp_path / "q")
    (tmp_path / "file").write_text("")
    options = ("run", "q", "--listen", "127.0.0.1:0", "--log-level", "error")
    esp_command(*options, "--state", "file").one_line(3, "file/moves", "cannot be made", "name another directory")
    with_engine(
        folder, tmp_path / "state", lambda url: esp_command(*options, "--state", "state").one_line(3, "another engine", "--state")
    )


def test_a_broken_checkpoint_ends_with_three_and_fresh_goes_on(esp_command: Esp, tmp_path: Path) -> None:
    folder = moves.write_query(tmp_path / "q", FILES)
    (tmp_path / "samples.jsonl").write_bytes(moves.event(1) + b"\n{broken\n" + moves.event(2) + b"\n")
    options = ("run", "q", "--listen", "127.0.0.1:0", "--log", "json")
    first = esp_command(*options)
    assert (first.status, first.out) == (0, "")
    lines = [json.loads(line) for line in first.err.splitlines()]
    assert [line["message"] for line in lines if line["level"] == "warning"]
    assert len((tmp_path / "scores.jsonl").read_text().splitlines()) == 2
    assert (tmp_path / "dead.jsonl").read_bytes() == b"{broken\n"
    (file,) = (tmp_path / "esp-state/moves/samples").glob("*.ckpt")
    file.write_bytes(file.read_bytes()[:40])
    esp_command(*options[:-1], "text", "--log-level", "error").one_line(3, file.name, "cut short", "--fresh")
    (line,) = (json.loads(line) for line in esp_command(*options, "--log-level", "error").err.splitlines())
    (line,) = (json.loads(line) for line in esp_command(*options, "--log-level", "error").err.splitlines())
    assert (line["level"], "cut short" in line["message"]) == ("error", True)
    assert esp_command(*options, "--fresh").status == 0
    assert folder.exists()


def test_a_broker_that_is_down_ends_with_three(tmp_path: Path) -> None:
    text = moves.QUERY.replace('"memory"', '"kafka"')
    moves.write_query(tmp_path / "q", text)
    options = ("--brokers", "127.0.0.1:1", "--wait-for-broker", "1", "--listen", "127.0.0.1:0", "--log-level", "error")
    answer = run_process("run", "q", *options, cwd=tmp_path)
    answer.one_line(3, "q/query.toml: windows.", "127.0.0.1:1", "no Kafka broker answered within 1 s", "start the broker")


def test_no_password_or_token_is_ever_told(esp_command: Esp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sasl = 'security_protocol = "SASL_PLAINTEXT", username = "me", password_env = "BROKER_PASSWORD"'
    text = moves.QUERY.replace('"memory"', '"kafka"').replace('topic = "moves.scores"', f'topic = "moves.scores", {sasl}')
    monkeypatch.setenv("BROKER_PASSWORD", "s3cret-password")
    monkeypatch.setenv("ESP_TOKEN", "s3cret-token")
    options = ("--brokers", "127.0.0.1:1", "--wait-for-broker", "0", "--listen", "127.0.0.1:0", "--log-level", "debug")
    moves.write_query(tmp_path / "q", text)
    answer = esp_command("run", "q", *options)
    assert (answer.status, "no Kafka broker answered" in answer.err) == (3, True)
    assert "s3cret" not in answer.out + answer.err
    moves.write_query(tmp_path / "q", text.replace("username =", 'client = { sasl_plain_password = "s3cret" }, username ='))
    refused = esp_command("check", "q")
    refused.one_line(2, "windows.scores.connect", "client.sasl_plain_password is set by the connector itself")
    assert "s3cret" not in refused.err
    moves.write_query(tmp_path / "q", text.replace("username =", 'password = "s3cret", username ='))
    refused = esp_command("check", "q")
    refused.one_line(2, "unknown key 'password'")
    assert "s3cret" not in refused.err


# ---- the engine that runs -----------------------------------------------------------------------------------------------


def with_engine(folder: Path, state: Path, work: Callable[[str], object], token: str | None = None) -> None:
    """Runs a query behind a real port in a thread, and some work with its address."""
    started, ends = threading.Event(), {}

    async def live() -> None:
        engine = Engine([load_query(folder)], EngineSettings("127.0.0.1:0", state, token))
        ends["stop"], ends["loop"], ends["engine"] = engine.stopping, asyncio.get_running_loop(), engine
        life = asyncio.ensure_future(engine.run())
        await until(lambda: engine.runners["moves"].is_ready or life.done())
        started.set()
        await life

    thread = threading.Thread(target=lambda: asyncio.run(live()))
    thread.start()
    assert started.wait(60)
    engine: Any = ends["engine"]
    try:
        work(f"http://{engine.address}")
    finally:
        loop: Any = ends["loop"]
        loop.call_soon_threadsafe(engine.stopping.set)
        thread.join(60)


def test_an_engine_is_watched_paused_and_given_another_model(esp_command: Esp, tmp_path: Path) -> None:
    folder = moves.write_query(tmp_path / "q")
    new = write(moves.tiny(bias=0.5), tmp_path / "new.astore")
    write(moves.tiny(name="gyro"), tmp_path / "other.astore")
    old = from_bytes(to_bytes(moves.tiny()))
    (tmp_path / "token").write_text("s3cret\n")

    def work(url: str) -> None:
        to = ("--to", url, "--token-file", "token")
        told = esp_command("status", *to)
        assert (told.status, told.err) == (0, "")
        assert f"scored scores with tiny {old.short_digest} on numpy" in told.out
        assert json.loads(esp_command("status", *to, "--json").out)["queries"][0]["state"] == "running"
        assert esp_command("pause", "moves", *to) == Answer(0, "moves: paused\n", "")
        assert json.loads(esp_command("drain", "moves", *to, "--json").out) == {"query": "moves", "state": "paused"}
        assert esp_command("resume", "moves", *to) == Answer(0, "moves: running\n", "")

        esp_command("status", "--to", url).one_line(2, url, "the token is missing or wrong", "--token-file")
        esp_command("pause", "mvoes", *to).one_line(2, "there is no query 'mvoes' here; there are moves")
        for window, parts in (("scored", ["QUERY/WINDOW"]), ("moves/samples", ["no score window", "scored"])):
            esp_command("deploy", "new.astore", "--window", window, *to).one_line(2, *parts)
        esp_command("deploy", "q/query.toml", "--window", "moves/scored", *to).one_line(2, "q/query.toml", "not an astore")
        esp_command("deploy", "other.astore", "--window", "moves/scored", *to).one_line(2, "the engine refused", "gyro")

        said = esp_command("deploy", "new.astore", "--window", "moves/scored", *to)
        wanted = f"moves/scored: {new.short_digest} scores in the place of {old.short_digest}\n"
        assert said == Answer(0, wanted, "")
        answer = json.loads(esp_command("deploy", "q/tiny.astore", "--window", "moves/scored", *to, "--json").out)
        assert (answer["old"], answer["new"]) == (new.digest, old.digest)

    with_engine(folder, tmp_path / "state", work, token="s3cret")


def test_where_no_engine_is_every_verb_says_so_in_one_line(esp_command: Esp, tmp_path: Path) -> None:
    write(moves.tiny(), tmp_path / "m.astore")
    to = ("--to", "127.0.0.1:1")
    for call in (("status",), ("pause", "q"), ("drain", "q"), ("deploy", "m.astore", "--window", "q/w")):
        esp_command(*call, *to).one_line(1, "http://127.0.0.1:1: no engine answers", "esp run")
    esp_command("status", "--to", "http://a b").one_line(2, "--to", "is no address")


@pytest.mark.parametrize(
    ("content", "part"), [(None, "No such file"), (b"", "empty"), (b"\xff\xfe\x00", "no text"), (b"s3cret\nmore", "no token")]
)
def test_a_token_file_that_will_not_do_is_one_line_without_the_token(
    esp_command: Esp, tmp_path: Path, content: bytes | None, part: str
) -> None:
    if content is not None:
        (tmp_path / "token").write_bytes(content)
    answer = esp_command("status", "--to", "127.0.0.1:1", "--token-file", "token")
    answer.one_line(2, "--token-file token", part)
    assert "s3cret" not in answer.err


def test_the_command_is_on_the_path() -> None:
    beside = Path(sys.executable).with_name("esp")
    if not beside.exists() and shutil.which("esp") is None:
        pytest.skip("the package is not installed")
    done = subprocess.run(
        [str(beside if beside.exists() else "esp"), "--version"], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == f"{esp.__version__}\n"
