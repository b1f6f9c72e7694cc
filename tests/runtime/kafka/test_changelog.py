"""Links as records of the changelog and back, without a broker: cut, joined, taken away, and left out where a piece is missing."""

import numpy as np
import pytest

from esp.errors import StateError
from esp.runtime.events import VarColumn, raw_block
from esp.runtime.kafka import changelog
from esp.runtime.kafka.changelog import Log, blocks_of, keys_of
from esp.runtime.kafka.ledger import Pointer
from esp.runtime.state.chain import Chain, Checkpoint, Link, Owner
from esp.runtime.state.tables import Tables

OWNER = Owner("q", "f", "kafka:t")


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changelog, "CHUNK_BYTES", 200)
    monkeypatch.setattr(changelog, "TOGETHER", 2)


def links(n: int) -> tuple[list[Link], list[Chain]]:
    """A full link of 40 keys and changes of one key each, and the chain after each of them."""
    tables, chain, made, chains = Tables(), Chain(), list[Link](), list[Chain]()
    table = tables.table("w", "t", {"n": ("int64", ())})
    table.rows(VarColumn.of([f"key-{number}" for number in range(40)]))
    for number in range(1, n + 1):
        table.column("n")[table.rows(VarColumn.of(["key-7"]))] += 1
        checkpoint = Checkpoint({("s", 0): 10 * number}, tables.dump(changed_only=number > 1))
        made.append(OWNER.link(chain, number, 0, checkpoint))
        chain = chain.followed_by(made[-1])
        chains.append(chain)
    return made, chains


def held(*made: Link, gone: list[bytes] | None = None) -> Log:
    log = Log()
    for link in made:
        for block in blocks_of(link, gone or [], "log", 0):
            log.add(block)
    return log


def test_links_come_back_whole_out_of_records_of_a_limited_size() -> None:
    made, chains = links(3)
    blocks = list(blocks_of(made[0], [], "log", 0))
    assert len(blocks) > 2
    assert max(int(block.value_size.max()) for block in blocks) == 200
    restored = OWNER.follow(0, held(*made).chain(), "here")
    assert (restored.chain, restored.offsets) == (chains[-1], {("s", 0): 30})
    table = restored.tables.table("w", "t", {"n": ("int64", ())})
    assert table.column("n")[table.find(VarColumn.of(["key-7"]))] == 3


def test_the_keys_of_a_chain_are_those_of_its_records() -> None:
    made, chains = links(4)
    written = [
        block.buffer[at : at + size].tobytes()
        for link in made
        for block in blocks_of(link, [], "log", 0)
        for at, size in zip(block.key_at, block.key_size)
    ]
    assert keys_of(chains[-1]) == written == held(*made).keys()
    full = [key for key in written if b"-full-" in key]
    assert full == [b"000000000001-full-%05d-%05d" % (chunk, len(full)) for chunk in range(len(full))]


def test_tombstones_take_links_away_and_other_keys_are_passed_over() -> None:
    made, chains = links(2)
    log = held(*made)
    log.add(raw_block([b"x", b"y"], keys=[b"not ours", None]))
    log.add(raw_block([None] * len(keys_of(chains[0])), keys=keys_of(chains[0])))
    assert log.chain() == []  # changes alone are no state
    assert list(log.links) == [(2, False)]


@pytest.mark.parametrize("missing", [0, 1, -1])
def test_a_link_that_lacks_a_piece_is_none(missing: int) -> None:
    made, _ = links(2)
    log = held(made[0])
    pieces = log.links[1, True].found
    del pieces[sorted(pieces)[missing]]
    assert log.chain() == []


def test_a_damaged_piece_is_found() -> None:
    made, chains = links(2)
    log = held(*made)
    for name, offset in (((2, False), {("s", 0): 10}), ((1, True), None)):
        damaged = log.links[name].found[0].copy()
        damaged[60] ^= np.uint8(1)
        log.links[name].found[0] = damaged
        if offset is None:
            with pytest.raises(StateError, match="damaged"):
                OWNER.follow(0, log.chain(), "here")
        else:  # changes that are damaged are left out, and the next link is full
            restored = OWNER.follow(0, log.chain(), "here")
            assert (restored.offsets, restored.chain) == (offset, Chain(2, chains[0].digest))


def test_what_others_say_with_a_commit_is_no_pointer() -> None:
    pointer = Pointer(7, bytes(range(32)), 40, 812)
    assert Pointer.parse(pointer.text()) == pointer
    assert len(pointer.text()) < 200
    for text in (
        "",
        "checked by hand",
        "{}",
        "[1]",
        '{"number": 1}',
        '{"number": "x", "digest": "zz", "since": 0, "size_bytes": 0}',
    ):
        assert Pointer.parse(text) is None
