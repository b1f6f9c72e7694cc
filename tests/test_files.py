"""Files that are there whole or not at all."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from esp.files import whole_file, write_whole


def test_the_parts_stand_in_the_file_one_after_the_other_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "model"
    path.write_bytes(b"what was there before")
    write_whole(path, [b"ab", memoryview(b"cd"), b""])
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == {"model": b"abcd"}


def test_a_write_that_fails_leaves_the_old_file_and_no_part_of_the_new(tmp_path: Path) -> None:
    def parts() -> Iterator[bytes]:
        yield b"half"
        raise OSError("no space")

    path = tmp_path / "model"
    path.write_bytes(b"old")
    with pytest.raises(OSError, match="no space"):
        write_whole(path, parts())
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == {"model": b"old"}


def test_the_bytes_are_on_the_disk_before_the_name_and_the_name_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    sync, replace = os.fsync, Path.replace

    def fsync(descriptor: int) -> None:
        done.append("sync " + Path(os.readlink(f"/proc/self/fd/{descriptor}")).suffix)
        sync(descriptor)

    def rename(self: Path, target: Path) -> Path:
        done.append("rename")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", rename)
    write_whole(tmp_path / "model", [b"x"])
    assert done == ["sync .part", "rename", "sync "]


def test_a_file_may_be_read_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "model"
    path.write_bytes(b"old")
    with whole_file(path) as file:
        file.write(b"new of " + path.read_bytes())
    assert path.read_bytes() == b"new of old"


def test_an_interrupt_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "model"
    path.write_bytes(b"old")

    def interrupted() -> None:
        with whole_file(path) as file:
            file.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == {"model": b"old"}


def test_a_pipe_or_a_folder_is_not_replaced_by_a_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("pipe")
    for name in ("pipe", "link"):
        with pytest.raises(OSError, match="no regular file"):
            write_whole(tmp_path / name, [b"x"])
    for path in (tmp_path / "folder", Path("."), Path("/")):
        with pytest.raises(IsADirectoryError):
            write_whole(path, [b"x"])
    assert sorted(file.name for file in tmp_path.iterdir()) == ["folder", "link", "pipe"]
    assert (tmp_path / "pipe").is_fifo()


def test_a_link_stays_and_the_file_that_it_leads_to_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "current").symlink_to("models/one")
    write_whole(tmp_path / "current", [b"x"])
    assert (tmp_path / "current").is_symlink()
    assert {file.name: file.read_bytes() for file in (tmp_path / "models").iterdir()} == {"one": b"x"}
