"""The queries as the demonstration copies them."""

import tomllib
from pathlib import Path

import pytest

from esp.demo.folders import QueryFolder, copy_query, windows_folder
from esp.errors import FileError


def test_copy_without_options_is_the_file_in_the_repository(tmp_path: Path) -> None:
    copied = copy_query("digits_camera", tmp_path)
    assert (copied.path / "query.toml").read_text() == (windows_folder() / "digits_camera" / "query.toml").read_text()
    assert copied.recipe.is_file()
    assert copied.astore == copied.path / "digits.astore"
    assert not copied.astore.exists()  # it is trained, not copied


def test_suffix_renames_every_topic_and_the_group_and_nothing_else(tmp_path: Path) -> None:
    plain, own = copy_query("digits_camera", tmp_path / "a"), copy_query("digits_camera", tmp_path / "b", suffix="x1")
    assert own.topics == tuple(f"{topic}-x1" for topic in plain.topics)
    assert own.dead_topic == "digits.dead-x1"
    text = (own.path / "query.toml").read_text()
    assert tomllib.loads(text)["query"]["group"] == "digits_camera-x1"
    without = text.replace("-x1", "").replace('group = "digits_camera"\n', "")
    assert without.replace("changelog = { enabled = false }\n", "") == (plain.path / "query.toml").read_text()


def test_fetch_wait_goes_to_the_sources_alone(tmp_path: Path) -> None:
    copied = copy_query("shoulder_imu", tmp_path, fetch_wait_ms=5)
    waits = {name: window.get("connect", {}).get("fetch_max_wait_ms") for name, window in copied.tables["windows"].items()}
    assert {name: wait for name, wait in waits.items() if wait is not None} == {"samples": 5}


def test_topics_are_those_of_all_connectors_and_the_dead_letters(tmp_path: Path) -> None:
    windows = {"a": {"connect": {"topic": "in"}}, "b": {}, "c": {"connect": {"topic": "out"}}}
    query = QueryFolder(tmp_path, {"query": {"name": "q", "dead": {"topic": "d"}}, "windows": windows})
    assert query.topics == ("in", "out", "d")
    assert query.topic("c") == "out"


def test_missing_query_is_one_line_with_the_mend(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="install esp-engine anew"):
        copy_query("no_such_query", tmp_path)
