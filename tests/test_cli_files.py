"""Bad astores, recipes and queries: each is one line that says what, where and the mend, with status 2 and no traceback."""

import copy
import json
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from esp.astore.binary import write
from esp.errors import EspError
from esp.runtime.connect.memory import TOPICS
from esp.runtime.query import load_query
from tests.command import Esp, esp_in
from tests.runtime import moves


@pytest.fixture
def esp_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Iterator[Esp]:
    """The command, called in this process in a folder of its own."""
    TOPICS.clear()
    yield esp_in(tmp_path, monkeypatch, capfd)
    TOPICS.clear()


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
        (None, ["r.toml", "there is no such file"]),
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
    "a kind that is no name": ('kind = "score"', 'kind = ["score"]', ["windows.scored.kind", "has no kind"]),
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
