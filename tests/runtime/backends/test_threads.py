"""Threads: a batch split over helpers, plans that run in several threads at once, and processes that end or fork meanwhile."""

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from esp.astore.graph import Array
from esp.kernels.compile import compilations
from esp.runtime.backends import bind, cores, places, threads
from esp.runtime.backends import numba as backend
from esp.runtime.backends.payoff import LONGEST, Payoff
from tests.runtime.backends.nets import NETS, events

THREADS = (1, 2, 3, 4)
each_net = pytest.mark.parametrize("name", NETS)


@pytest.fixture
def split_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of two rows and more are split, into pieces of a row and more, whether it pays or not."""
    monkeypatch.setattr(backend.Payoff, "is_due", lambda self: True)
    monkeypatch.setattr(backend, "PART_NS", 1e-3)
    monkeypatch.setattr(backend, "PIECE_NS", 1e-3)
    monkeypatch.setattr(backend, "TILE_ROWS", (1,))


def same(found: tuple[Array, ...], wanted: tuple[Array, ...]) -> bool:
    return len(found) == len(wanted) and all(np.array_equal(one, other) for one, other in zip(found, wanted))


def rows(x: list[Array], first: int, n: int) -> list[Array]:
    return [np.ascontiguousarray(array[first : first + n]) for array in x]


@each_net
@pytest.mark.usefixtures("split_all")
def test_a_rows_result_is_the_same_bits_on_every_number_of_threads(name: str) -> None:
    graph = NETS[name]()
    x = events(graph, 67)
    alone, bounds = bind("numba", graph, 32), [bind("numba", graph, 32, count) for count in THREADS]
    for n in range(1, 68):
        wanted = alone.run(rows(x, 67 - n, n))
        assert all(same(bound.run(rows(x, 67 - n, n)), wanted) for bound in bounds)


@each_net
def test_batches_of_every_size_around_the_splits_give_the_same_bits(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = NETS[name]()
    monkeypatch.setattr(backend.Payoff, "is_due", lambda self: True)
    monkeypatch.setattr(backend, "PART_NS", 7.0)
    monkeypatch.setattr(backend, "PIECE_NS", 3.0)
    bound: Any = backend.NumbaBound(graph, bind("numba", graph, 16).table, {}, 4, 1.0)  # type: ignore[attr-defined]  # a nanosecond a row
    assert bound.split_rows == 14
    x = events(graph, 80)
    alone = bind("numba", graph, 16)
    for n in (*range(12, 36), 47, 48, 49, 63, 64, 65, 80):
        assert same(bound.run(rows(x, 0, n)), alone.run(rows(x, 0, n)))


def test_helpers_take_part_in_large_batches_and_in_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    claims: list[int] = []
    claim = threads.POOL.claim
    monkeypatch.setattr(backend.Payoff, "is_due", lambda self: True)
    monkeypatch.setattr(threads.POOL, "claim", lambda count: claims.append(count) or claim(count))
    graph = NETS["convolutional"]()
    bound = backend.NumbaBound(graph, bind("numba", graph, 64).table, {}, 4, 10_000.0)  # type: ignore[attr-defined]  # 10 us a row
    x = events(graph, 64)
    for n in (1, 19):
        bound.run(rows(x, 0, n))
    assert claims == []  # a part is 100 us, and two are the least
    for n in (20, 29, 30, 64):
        bound.run(rows(x, 0, n))
    assert claims == [1, 1, 2, 3]


@pytest.mark.usefixtures("split_all")
def test_who_finds_no_helper_idle_scores_alone() -> None:
    graph = NETS["sequence"]()
    bound, x = bind("numba", graph, 32, 3), events(graph, 40)
    wanted = bind("numba", graph, 32).run(x)
    taken = threads.POOL.claim(100)
    try:
        assert len(taken) >= 2
        assert same(bound.run(x), wanted)
    finally:
        threads.POOL.give_back(taken)
    assert same(bound.run(x), wanted)


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.usefixtures("split_all")
def test_one_plan_and_several_score_at_the_same_time_in_many_threads(count: int) -> None:
    nets = {name: NETS[name]() for name in ("convolutional", "sequence", "attention")}
    bounds = {name: bind("numba", graph, 16, count) for name, graph in nets.items()}
    batches = [(name, events(graph, n, seed=n)) for name, graph in nets.items() for n in (1, 3, 16, 33)]
    wanted = [bind("numba", nets[name], 16).run(x) for name, x in batches]
    callers = 12
    together = threading.Barrier(callers)

    def score(which: int) -> bool:
        together.wait()
        order = np.random.default_rng(which).permutation(len(batches) * 10) % len(batches)
        return all(same(bounds[batches[at][0]].run(batches[at][1]), wanted[at]) for at in order)

    with ThreadPoolExecutor(callers) as pool:
        assert all(pool.map(score, range(callers)))
    for bound in bounds.values():
        made: Any = bound
        assert 1 <= made.places.made == len(made.places.free) <= places.MOST_CALLERS + count - 1


def test_a_caller_without_a_place_waits_until_one_is_given_back() -> None:
    graph = NETS["convolutional"]()
    bound: Any = bind("numba", graph, 4)
    x = events(graph, 2)
    wanted, held = bound.run(x), [bound.places.take() for _ in range(places.MOST_CALLERS)]
    assert bound.places.spare() is None
    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(bound.run, x) for _ in range(2)]
        while bound.places.waiting < 2:
            assert not any(one.done() for one in waiting)
        for place in held:
            bound.places.give_back(place)
        assert all(same(one.result(120), wanted) for one in waiting)
    assert len(bound.places.free) == places.MOST_CALLERS


@pytest.mark.usefixtures("split_all")
def test_a_call_that_fails_gives_everything_back() -> None:
    graph = NETS["convolutional"]()
    bound: Any = bind("numba", graph, 4, 3)
    (x,) = events(graph, 8)
    idle = len(threads.POOL.idle)
    for _ in range(2 * places.MOST_CALLERS):
        with pytest.raises(TypeError):
            bound.run([x.astype(np.float64)])
    assert len(threads.POOL.idle) == idle
    assert len(bound.places.free) == bound.places.made
    assert same(bound.run([x]), bind("numba", graph, 4).run([x]))


@pytest.mark.usefixtures("split_all")
def test_splitting_compiles_nothing() -> None:
    graph = NETS["attention"]()
    bound, x = bind("numba", graph, 8, 4), events(graph, 30)
    before = compilations()
    bound.run(x)
    assert compilations() == before


CHILD = """
import os, sys
import numpy as np
from esp.runtime.backends import bind, numba, threads
from tests.runtime.backends.nets import NETS, events
numba.PART_NS = numba.PIECE_NS = 1e-3
numba.Payoff.is_due = lambda self: True
graph = NETS["convolutional"]()
bound, x = bind("numba", graph, 8, 3), events(graph, 40)
wanted = bind("numba", graph, 8).run(x)
def check():
    return all(np.array_equal(*pair) for _ in range(50) for pair in zip(bound.run(x), wanted))
assert check() and len(threads.POOL.idle) == 2
"""


def run_child(program: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CHILD + program],
        timeout=360,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[3],
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "scored\n"


def test_a_process_with_helpers_ends_by_itself() -> None:
    run_child("print('scored')")


def test_a_process_ends_while_another_thread_scores() -> None:
    run_child("""
import threading
started = threading.Event()
def score():
    while True:
        check()
        started.set()
threading.Thread(target=score, daemon=True).start()
started.wait()
print('scored')
""")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system knows no fork")
def test_a_forked_process_makes_helpers_of_its_own() -> None:
    run_child("""
import warnings
warnings.simplefilter("ignore", DeprecationWarning)
child = os.fork()
if not child:
    os._exit(0 if len(threads.POOL.idle) == 0 and check() and len(threads.POOL.idle) == 2 else 1)
assert os.waitpid(child, 0)[1] == 0
assert check()
print('scored')
""")


def test_a_system_that_gives_no_more_threads_leaves_the_pool_smaller(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    start, left = threading.Thread.start, iter(range(2))

    def refuse(thread: threading.Thread) -> None:
        if next(left, None) is None:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    pool = threads.Pool()
    pool.reserve(5)
    assert (len(pool.claim(9)), pool.size) == (2, 2)
    assert "batches are scored by 3 threads at most" in caplog.text


@pytest.fixture
def eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)


@pytest.mark.usefixtures("eight_cores")
@pytest.mark.parametrize(
    ("text", "wanted"), [("max 100000", 8), ("250000 100000", 3), ("50000 100000", 1), ("9900000 100000", 8), ("?", 8)]
)
def test_cores_are_those_that_the_process_may_use(text: str, wanted: int, tmp_path: Path) -> None:
    quota = tmp_path / "cpu.max"
    assert cores.cores(quota) == 8
    quota.write_text(text + "\n")
    assert cores.cores(quota) == wanted


@pytest.mark.usefixtures("eight_cores")
def test_one_core_is_left_to_the_event_loop_unless_a_number_is_asked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(cores, "QUOTA", tmp_path / "none")
    assert [cores.threads_of(wanted) for wanted in (0, 1, 8, 20)] == [7, 1, 8, 20]
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3})
    assert cores.threads_of(0) == 1


def splits(batches: int, alone_ns: float, split_ns: float) -> list[int]:
    """Which of so many batches are split, where a row costs so much alone and so much when split."""
    payoff, done = Payoff(), list[int]()
    for at in range(batches):
        if payoff.is_due():
            done.append(at)
            payoff.split(split_ns)
        else:
            payoff.alone(alone_ns)
    return done


def test_splits_that_pay_go_on_and_are_compared_anew_from_time_to_time() -> None:
    assert splits(600, 10.0, 6.0) == [at for at in range(600) if at not in (0, LONGEST + 1, 2 * LONGEST + 2)]


def test_splits_that_lose_time_are_tried_ever_more_rarely() -> None:
    assert splits(1000, 10.0, 10.0) == [1, 3, 6, 11, 20, 37, 70, 135, 264, 521, 778]


def test_a_split_pays_again_when_the_machine_is_quiet_again() -> None:
    payoff = Payoff()
    payoff.is_due()
    payoff.alone(10.0)
    for _ in range(3):
        payoff.split(30.0)
    assert [payoff.is_due() for _ in range(5)] == [False] * 4 + [True]
    payoff.split(6.0)
    assert [payoff.is_due() for _ in range(3)] == [True] * 3


def test_a_batch_that_was_held_up_is_no_measure() -> None:
    payoff = Payoff()
    for row_ns in (10.0, 1000.0):
        payoff.alone(row_ns)
    assert payoff.alone_ns == 12.5


def test_a_bound_compares_before_it_splits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "PART_NS", 1e-3)
    seen: list[str] = []
    monkeypatch.setattr(Payoff, "alone", lambda self, row_ns: seen.append("alone"))
    monkeypatch.setattr(Payoff, "split", lambda self, row_ns: seen.append("split"))
    graph = NETS["convolutional"]()
    bound, x = bind("numba", graph, 16, 2), events(graph, 40)
    results = [bound.run(x) for _ in range(3)]
    assert seen == ["alone", "split", "split"]
    assert same(results[0], results[1])
