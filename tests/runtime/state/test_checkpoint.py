"""The checkpoint store: what was saved comes back, and damage ends in the newest state that is intact or in one line."""

from pathlib import Path

import numpy as np
import pytest

from esp.errors import StateError
from esp.runtime.events import VarColumn
from esp.runtime.state.checkpoint import Checkpoint, CheckpointStore
from esp.runtime.state.tables import Tables

COUNTS = {"n": ("int64", ())}


class Counter:
    """A task that counts keys: the state after k events is known by heart."""

    def __init__(self, store: CheckpointStore) -> None:
        self.store, self.tables, self.offset = store, Tables(), 0
        loaded = store.load(3)
        if loaded is not None:
            self.tables.load(loaded.tables)
            self.offset = loaded.offsets["digits", 3]

    def count(self, *keys: str) -> None:
        table = self.tables.table("count", "by_key", COUNTS)
        rows = table.rows(VarColumn.of(keys))
        np.add.at(table.column("n"), rows, 1)
        self.offset += len(keys)

    def save(self) -> None:
        tables = self.tables.dump(changed_only=self.store.wants_changes(3))
        self.store.save(3, Checkpoint({("digits", 3): self.offset}, tables))

    def counts(self) -> dict[bytes, int]:
        table = self.tables.table("count", "by_key", COUNTS)
        rows = table.live()
        keys = table.keys(rows)
        return {keys.value(i): int(table.column("n")[row]) for i, row in enumerate(rows)}


def opened(path: Path, fingerprint: str = "f1", source: str = "kafka:digits") -> CheckpointStore:
    return CheckpointStore(path / "digits", "digits", fingerprint, source)


def chain_of_three(path: Path) -> list[Path]:
    """A full checkpoint of 10 events and two increments of one event each."""
    counter = Counter(opened(path))
    counter.count(*"abcdefghij")
    counter.save()
    for _ in range(2):
        counter.count("a")
        counter.save()
    return sorted((path / "digits").glob("*.ckpt"))


def test_nothing_saved_is_none(tmp_path: Path) -> None:
    assert opened(tmp_path).load(0) is None


def test_full_and_incremental_checkpoints_come_back_with_their_offsets(tmp_path: Path) -> None:
    names = [path.name for path in chain_of_three(tmp_path)]
    assert names == ["p3-000000000001-full.ckpt", "p3-000000000002-more.ckpt", "p3-000000000003-more.ckpt"]
    again = Counter(opened(tmp_path))
    assert again.offset == 12
    assert again.counts() == dict.fromkeys((b"%c" % c for c in b"bcdefghij"), 1) | {b"a": 3}
    again.count("j", "k")
    again.save()
    assert Counter(opened(tmp_path)).counts() == again.counts()
    assert Counter(opened(tmp_path)).offset == 14


def test_a_full_checkpoint_replaces_a_chain_that_outweighs_it(tmp_path: Path) -> None:
    counter = Counter(opened(tmp_path))
    for i in range(40):
        counter.count("a", f"key-{i}")
        counter.save()
        files = sorted((tmp_path / "digits").glob("*.ckpt"))
        assert sum(path.name.endswith("full.ckpt") for path in files) == 1
        sizes = [path.stat().st_size for path in files]
        assert sum(sizes[1:-1]) <= sizes[0]
        assert Counter(opened(tmp_path)).counts() == counter.counts()


@pytest.mark.parametrize("cut", [0, 10, 60, -1])
def test_a_torn_newest_increment_falls_back_to_the_one_before(tmp_path: Path, cut: int) -> None:
    newest = chain_of_three(tmp_path)[-1]
    newest.write_bytes(newest.read_bytes()[:cut])
    counter = Counter(opened(tmp_path))
    assert (counter.offset, counter.counts()[b"a"]) == (11, 2)
    counter.count("a", "a")
    counter.save()
    assert Counter(opened(tmp_path)).counts()[b"a"] == 4


def test_a_damaged_middle_increment_drops_what_comes_after_it(tmp_path: Path) -> None:
    middle = chain_of_three(tmp_path)[1]
    data = bytearray(middle.read_bytes())
    data[len(data) // 2] ^= 1
    middle.write_bytes(data)
    counter = Counter(opened(tmp_path))
    assert (counter.offset, counter.counts()[b"a"]) == (10, 1)


def test_a_missing_middle_increment_drops_what_comes_after_it(tmp_path: Path) -> None:
    chain_of_three(tmp_path)[1].unlink()
    assert Counter(opened(tmp_path)).offset == 10


def test_every_flipped_byte_of_the_base_is_an_error_of_one_line(tmp_path: Path) -> None:
    base = chain_of_three(tmp_path)[0]
    data = base.read_bytes()
    for at in range(0, len(data), 7):
        base.write_bytes(data[:at] + bytes([data[at] ^ 0x40]) + data[at + 1 :])
        with pytest.raises(StateError, match=r"damaged; .*--fresh") as caught:
            opened(tmp_path).load(3)
        assert "\n" not in str(caught.value)


def test_a_missing_base_is_an_error(tmp_path: Path) -> None:
    chain_of_three(tmp_path)[0].unlink()
    with pytest.raises(StateError, match="missing"):
        opened(tmp_path).load(3)


def test_a_leftover_temporary_file_does_no_harm(tmp_path: Path) -> None:
    chain_of_three(tmp_path)
    (tmp_path / "digits" / "p3-000000000004-more.tmp").write_bytes(b"half")
    counter = Counter(opened(tmp_path))
    counter.count("a")
    counter.save()
    assert Counter(opened(tmp_path)).offset == 13


def test_the_checkpoint_of_another_query_shape_is_refused_and_clear_starts_anew(tmp_path: Path) -> None:
    chain_of_three(tmp_path)
    other = opened(tmp_path, "f2")
    with pytest.raises(StateError, match="other windows; start anew with --fresh") as caught:
        other.load(3)
    assert caught.value.exit_status == 3
    other.clear()
    assert other.load(3) is None


def test_the_checkpoint_of_another_source_is_refused(tmp_path: Path) -> None:
    chain_of_three(tmp_path)
    with pytest.raises(
        StateError, match=r"offsets are those of 'kafka:digits', .* 'kafka:more'; start anew with --fresh, or .*--state"
    ):
        opened(tmp_path, source="kafka:more").load(3)
    assert Counter(opened(tmp_path)).offset == 12


def test_a_second_engine_on_the_same_state_is_refused(tmp_path: Path) -> None:
    first, second = opened(tmp_path), opened(tmp_path)
    first.lock()
    with pytest.raises(StateError, match="another engine") as caught:
        second.lock()
    assert caught.value.exit_status == 3
    first.unlock()
    second.lock()
    second.unlock()


def test_after_a_failed_save_the_next_one_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counter = Counter(opened(tmp_path))
    counter.count(*"abcdefghij")
    counter.save()
    counter.count("a")
    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", lambda descriptor: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        with pytest.raises(StateError, match="No space left"):
            counter.save()
    assert not counter.store.wants_changes(3)
    counter.save()
    assert Counter(opened(tmp_path)).counts()[b"a"] == 2


def test_changes_without_a_base_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="without a full checkpoint"):
        opened(tmp_path).save(0, Checkpoint({}, Tables().dump(changed_only=True)))


def test_a_state_directory_that_cannot_be_made_is_an_error_of_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StateError, match="cannot be made: Not a directory; let the engine write there"):
        opened(tmp_path / "file").lock()
