"""Stepping keys event by event against the whole history: the same bits on numba, a rounding apart elsewhere."""

import numpy as np
import pytest

from esp.astore.graph import Array, Graph, run_reference
from esp.astore.stepping import step_graph
from esp.runtime.backends import bind
from esp.runtime.backends.stepping import Memory, NumbaStepper, Stepper, stepper
from esp.runtime.events import I64, VarColumn
from esp.runtime.state.tables import KeyedTable
from tests.astore.stepping.stacks import CHANNELS, fed, random_stack

SECOND = 1_000_000_000


def memory(width: int, initial: Array, max_gap_ns: int | None = None) -> tuple[KeyedTable, Memory]:
    table = KeyedTable("t", {"count": ("int64", ()), "last_ns": ("int64", ()), "h": ("float32", (width,))})
    return table, Memory(table, "h", initial, max_gap_ns)


def stepped(backend: str, graph: Graph, max_batch: int = 512) -> tuple[Stepper, Array]:
    made = step_graph(graph)
    return stepper(bind(backend, made.graph, max_batch), made.graph.inputs, made.graph.outputs, max_batch), made.initial


def keys_of(numbers: I64) -> VarColumn:
    return VarColumn.of([f"key {number}" for number in numbers])


def scored(backend: str, graph: Graph, keys: I64, x: Array, sizes: list[int], max_batch: int = 512) -> Array:
    """The scores of events in blocks of those sizes."""
    by, initial = stepped(backend, graph, max_batch)
    table, held = memory(len(initial), initial)
    made, at = [], 0
    for size in sizes:
        block = slice(at, at + size)
        rows = table.rows(keys_of(keys[block]))
        made.append(by.advance(x[block], rows, np.arange(at, at + size, dtype=np.int64), held).outputs[0])
        at += size
    assert at == len(x)
    return np.concatenate(made)


def event_shape(graph: Graph) -> tuple[int, ...]:
    return tuple(size for size in step_graph(graph).graph.inputs[0].shape[1:] if isinstance(size, int))


def random_events(seed: int, n: int, keys: int) -> tuple[I64, Array, list[int]]:
    """Keys that come in bursts, their readings, and sizes of blocks, some of them 0 and 1."""
    rng, sizes = np.random.default_rng(seed), list[int]()
    numbers = np.repeat(rng.integers(0, keys, n), rng.integers(1, 4, n))[:n]
    while sum(sizes) < n:
        sizes.append(min(int(rng.choice([0, 1, 1, 2, 7, 40])), n - sum(sizes)))
    return numbers, rng.standard_normal((n, CHANNELS)).astype(np.float32), sizes


@pytest.mark.parametrize("seed", range(8))
def test_every_event_is_scored_as_its_keys_whole_history_to_the_bit(seed: int) -> None:
    made, (keys, x, sizes) = random_stack(seed), random_events(seed, 160, 11)
    got = scored("numba", made(6), keys, x.reshape(-1, *event_shape(made(6))), sizes)
    for key in np.unique(keys):
        mine = np.flatnonzero(keys == key)
        for events in {1, min(2, len(mine)), (len(mine) + 1) // 2, len(mine)}:
            whole, array = made(events), fed(made, x[None, mine[:events]])
            (wanted,) = bind("numba", whole, 4).run([array])
            np.testing.assert_array_equal(got[mine[events - 1]], wanted[0])
            np.testing.assert_allclose(got[mine[events - 1]], run_reference(whole, [array])[0][0], atol=2e-6)


@pytest.mark.parametrize("backend", ["onnxruntime", "numpy"])
@pytest.mark.parametrize("seed", [3, 5, 6])
def test_other_backends_step_the_same_way(backend: str, seed: int) -> None:
    graph, (keys, x, sizes) = random_stack(seed)(6), random_events(seed, 120, 7)
    x = x.reshape(-1, *event_shape(graph))
    np.testing.assert_allclose(scored(backend, graph, keys, x, sizes), scored("numba", graph, keys, x, sizes), atol=2e-6)


def test_onnxruntime_agrees_over_the_whole_history() -> None:
    made, (keys, x, sizes) = random_stack(1), random_events(4, 90, 3)
    got = scored("numba", made(6), keys, x.reshape(-1, *event_shape(made(6))), sizes)
    for key in range(3):
        mine = np.flatnonzero(keys == key)
        (wanted,) = bind("onnxruntime", made(len(mine)), 4).run([fed(made, x[None, mine])])
        np.testing.assert_allclose(got[mine[-1]], wanted[0], atol=2e-6)


def test_how_events_are_cut_into_blocks_and_batches_moves_no_bit() -> None:
    graph, (keys, x, _) = random_stack(2)(6), random_events(9, 300, 40)
    x = x.reshape(-1, *event_shape(graph))
    one_by_one = scored("numba", graph, keys, x, [1] * 300)
    np.testing.assert_array_equal(scored("numba", graph, keys, x, [300]), one_by_one)
    np.testing.assert_array_equal(scored("numba", graph, keys, x, [100, 0, 200], max_batch=3), one_by_one)
    np.testing.assert_allclose(scored("numpy", graph, keys, x, [150, 150], max_batch=4), one_by_one, atol=2e-6)


@pytest.mark.parametrize("backend", ["numba", "numpy"])
def test_a_gap_begins_a_key_anew_and_no_other(backend: str) -> None:
    graph = random_stack(7)(6)
    by, initial = stepped(backend, graph)
    x = np.random.default_rng(1).standard_normal((6, *event_shape(graph))).astype(np.float32)
    table, held = memory(len(initial), initial, max_gap_ns=2 * SECOND)
    rows = table.rows(keys_of(np.array([0, 1, 0, 1, 0, 1])))
    seconds = np.array([0, 0, 2, 1, 5, 3])  # key 0: 0, 2 (just no gap), 5 (a gap); key 1: 0, 1, 3
    ((got,), _) = by.advance(x, rows, seconds * SECOND, held)
    table, fresh = memory(len(initial), initial)
    rows = table.rows(keys_of(np.array([0, 1, 0, 1, 2, 1])))
    ((wanted,), _) = by.advance(x, rows, seconds * SECOND, fresh)
    np.testing.assert_array_equal(got, wanted)


def test_a_table_that_grows_keeps_the_states() -> None:
    graph = random_stack(11)(6)
    by, initial = stepped("numba", graph)
    assert isinstance(by, NumbaStepper)
    x = np.random.default_rng(2).standard_normal((1, *event_shape(graph))).astype(np.float32)
    table, held = memory(len(initial), initial)
    now = np.zeros(1, np.int64)
    ((first,), _) = by.advance(x, table.rows(keys_of(np.array([0]))), now, held)
    crowd = np.repeat(x, 500, axis=0)
    ((all_first,), _) = by.advance(crowd, table.rows(keys_of(np.arange(1, 501))), np.zeros(500, np.int64), held)
    np.testing.assert_array_equal(all_first, np.repeat(first, 500, axis=0))
    ((second,), _) = by.advance(x, table.rows(keys_of(np.array([0]))), now, held)
    ((other,), _) = by.advance(x, table.rows(keys_of(np.array([77]))), now, held)
    np.testing.assert_array_equal(second, other)
    assert not np.array_equal(first, second)


def test_several_outputs_come_in_their_order() -> None:
    whole = random_stack(12)(6)
    (softmax,) = [node for node in whole.nodes if node.op == "Softmax"]
    logits = type(whole.outputs[0])(softmax.inputs[0], "float32", (None, 4))
    graph = Graph(whole.nodes, whole.inputs, (logits, *whole.outputs), whole.weights)
    by, initial = stepped("numba", graph)
    table, held = memory(len(initial), initial)
    x = np.random.default_rng(3).standard_normal((9, *event_shape(graph))).astype(np.float32)
    (z, p), _ = by.advance(x, table.rows(keys_of(np.arange(9) % 4)), np.zeros(9, np.int64), held)
    np.testing.assert_allclose(p, np.exp(z) / np.exp(z).sum(axis=1, keepdims=True), atol=1e-6)


@pytest.mark.parametrize("backend", ["numba", "numpy", "onnxruntime"])
def test_an_event_that_would_leave_states_without_finite_numbers_moves_nothing(backend: str) -> None:
    graph, (keys, x, _) = random_stack(5)(6), random_events(7, 80, 3)
    bad = np.zeros(80, np.bool_)
    bad[[4, 5, 30, 31, 32, 79]] = True
    x[bad] = np.float32([np.inf, -np.inf, np.nan])[np.arange(bad.sum()) % 3, None]
    x = x.reshape(-1, *event_shape(graph))
    by, initial = stepped(backend, graph)
    table, held = memory(len(initial), initial, max_gap_ns=20)
    times = np.arange(80, dtype=np.int64)
    times[50:] += 100  # a gap for every key
    (got,), refused = by.advance(x, table.rows(keys_of(keys)), times, held)
    assert refused is not None
    np.testing.assert_array_equal(refused, bad)
    by, _ = stepped(backend, graph)
    other, fresh = memory(len(initial), initial, max_gap_ns=20)
    (wanted,), none = by.advance(x[~bad], other.rows(keys_of(keys[~bad])), times[~bad], fresh)
    assert none is None
    np.testing.assert_array_equal(got[~bad], wanted)
    for column in ("count", "last_ns", "h"):
        mine, theirs = (one.column(column)[one.rows(keys_of(np.arange(3)))] for one in (table, other))
        np.testing.assert_array_equal(mine, theirs)
