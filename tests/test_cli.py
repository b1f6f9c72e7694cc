"""The command: what goes to stdout, what to stderr, with which exit status; an engine that cannot start, and one that runs."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import esp
from esp.astore.binary import from_bytes, to_bytes, write
from esp.runtime.connect.memory import TOPICS
from esp.runtime.server import bind
from tests.command import Answer, Esp, esp_in, run_process
from tests.engine_thread import with_engine
from tests.runtime import moves

FILES = moves.QUERY
for _name in ("dead", "samples", "scores"):
    FILES = FILES.replace(f'"memory", topic = "moves.{_name}"', f'"file", path = "{_name}.jsonl"')


@pytest.fixture
def esp_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Iterator[Esp]:
    """The command, called in this process in a folder of its own."""
    TOPICS.clear()
    yield esp_in(tmp_path, monkeypatch, capfd)
    TOPICS.clear()


# ---- help ---------------------------------------------------------------------------------------------------------------


def test_help_and_version_go_to_stdout(tmp_path: Path) -> None:
    told = run_process("--help", cwd=tmp_path)
    assert (told.status, told.err) == (0, "")
    for verb in (
        "train",
        "import",
        "export",
        "convert",
        "inspect",
        "score",
        "verify",
        "keygen",
        "sign",
        "check",
        "warmup",
        "run",
        "status",
        "deploy",
        "pause",
        "resume",
        "drain",
        "demo",
    ):
        assert f"\n  {verb} " in told.out
    assert "..." not in told.out.partition("Commands:")[2]  # no sentence is cut short
    assert run_process("--version", cwd=tmp_path) == Answer(0, f"{esp.__version__}\n", "")


@pytest.mark.parametrize("args", [["--nope"], ["frob"], ["inspect"], ["run"], ["run", "q", "--log", "xml"], ["deploy", "m.astore"]])
def test_wrong_usage_ends_with_two(esp_command: Esp, args: list[str]) -> None:
    verb = f"esp {args[0]}" if args[0] in ("inspect", "run", "deploy") else "esp"
    esp_command(*args).one_line(2, f"; see {verb} --help")


def test_without_a_verb_the_help_is_on_stderr(esp_command: Esp) -> None:
    answer = esp_command()
    assert (answer.status, answer.out) == (2, "")
    assert "\n  inspect " in answer.err


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
    (file,) = (tmp_path / "esp-state/moves/sources/samples").glob("*.ckpt")
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


def test_an_option_that_stands_over_the_query_is_named_where_it_is_wrong(esp_command: Esp, tmp_path: Path) -> None:
    moves.write_query(tmp_path / "q")
    esp_command("run", "q", "--brokers", "a:9x").one_line(2, "esp: --brokers: 'a:9x' is no address of a broker: write HOST:PORT")
    refused = esp_command("run", "q", "--wait-for-broker", "-1")
    refused.one_line(2, "esp: --wait-for-broker: wait_for_broker_s: input should be greater than or equal to 0, got -1.0")


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


def test_a_model_is_deployed_to_engines_started_apart_by_one_command(esp_command: Esp, tmp_path: Path) -> None:
    folder = moves.write_query(tmp_path / "q")
    old, new = from_bytes(to_bytes(moves.tiny())), write(moves.tiny(bias=0.5), tmp_path / "new.astore")

    def work(first: str, second: str) -> None:
        call = ("deploy", "new.astore", "--window", "moves/scored", "--to", first, "--to", second)
        swapped = f"moves/scored: {new.short_digest} scores in the place of {old.short_digest}\n"
        assert esp_command(*call) == Answer(0, f"{first}: {swapped}{second}: {swapped}", "")
        told = json.loads(esp_command(*call, "--json").out)["engines"]
        assert [(each["engine"], each["old"], each["new"]) for each in told] == [
            (url, new.digest, new.digest) for url in (first, second)
        ]
        esp_command(*call[:-1], "127.0.0.1:1").one_line(1, "http://127.0.0.1:1: no engine answers")
        esp_command(*call[:-1], first).one_line(2, "named twice")

    with_engine(folder, tmp_path / "one", lambda first: with_engine(folder, tmp_path / "two", lambda second: work(first, second)))


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
        [str(beside if beside.exists() else "esp"), "--version"], capture_output=True, text=True, timeout=240, check=True
    )
    assert done.stdout == f"{esp.__version__}\n"
