"""Files that are there whole or not at all."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from esp.files import write_whole


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
