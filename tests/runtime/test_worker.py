"""The worker thread: everything in the order in which it was put, and an end that nobody waits for in vain."""

import asyncio
import threading
from typing import Any, cast

import pytest

from esp.errors import EspError
from esp.runtime import worker as worker_module
from esp.runtime.channels import Bounds
from esp.runtime.events import RawBlock, raw_block
from esp.runtime.meters import QueryMeter
from esp.runtime.reading import Reader
from esp.runtime.task import Outputs, Task
from esp.runtime.worker import Worker


@pytest.fixture(autouse=True)
def all_is_light(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the clock of CPU seconds no block costs anything, whatever machine and garbage collector do meanwhile."""
    monkeypatch.setattr(worker_module, "thread_time", lambda: 0.0)


class Recorder:
    """Stands in for a task: remembers the sizes of its blocks, and gives each to a sink."""

    def __init__(self) -> None:
        self.offsets: list[list[int]] = []
        self.reader, self.outlet = Reader(), None
        self.gate = threading.Event()
        self.gate.set()

    def process(self, raw: RawBlock) -> Outputs:
        self.gate.wait()
        if raw.value(0) == b"bad":
            raise RuntimeError("broken window")
        self.offsets.append(raw.offset.tolist())
        return [("sink", raw)]


def worker(bounds: Bounds | None = None, max_batch: int = 4) -> tuple[Worker, Recorder]:
    made, task = Worker("q", bounds or Bounds(100, 1 << 20), max_batch, QueryMeter({})), Recorder()
    made.tasks["in", 0] = cast(Task, task)
    made.start(asyncio.get_running_loop())
    return made, task


def block(first: int, n: int, value: bytes = b"x") -> RawBlock:
    return raw_block([value] * n, offsets=list(range(first, first + n)))


def test_records_are_worked_off_in_order_in_blocks_of_the_largest_size_and_calls_between_them() -> None:
    async def main() -> None:
        made, task = worker()
        await made.put("in", [block(0, 6)])
        seen = await made.call(lambda: list(task.offsets))
        await made.put("in", [block(6, 1)])
        await made.call(lambda: None)
        assert seen == [[0, 1, 2, 3], [4, 5]]
        assert task.offsets == [*seen, [6]]
        assert [cast(Any, item)[1].offset[0] for item in await made.outbox.take_all()] == [0, 4, 6]
        await made.stop()

    asyncio.run(main())


def test_records_of_a_partition_that_has_gone_are_passed_over() -> None:
    async def main() -> None:
        made, task = worker()
        made.tasks.clear()
        await made.put("in", [block(0, 6)])
        await made.call(lambda: None)
        assert task.offsets == []
        await made.stop()

    asyncio.run(main())


def test_a_block_that_fails_ends_the_worker_and_no_call_is_answered_after_it() -> None:
    async def main() -> None:
        made, task = worker()
        await made.put("in", [block(0, 1, b"bad")])
        await made.put("in", [block(1, 1)])
        with pytest.raises(RuntimeError, match="broken window"):
            await made.call(lambda: None)
        with pytest.raises(RuntimeError, match="broken window"):
            await made.watch()
        assert task.offsets == []
        await made.stop()

    asyncio.run(main())


def test_a_call_that_fails_ends_the_worker_for_it_may_have_left_a_task_half_way() -> None:
    async def main() -> None:
        made, task = worker()
        with pytest.raises(ZeroDivisionError):
            await made.call(lambda: 1 // 0)
        await made.put("in", [block(0, 1)])
        with pytest.raises(ZeroDivisionError):
            await made.watch()
        assert task.offsets == []
        await made.stop()

    asyncio.run(main())


def test_a_stop_drops_what_waits_and_tells_those_that_wait() -> None:
    async def main() -> None:
        made, _ = worker(Bounds(2, 1 << 20), max_batch=1)
        await made.put("in", [block(0, 50)])  # nobody takes the outputs: the worker stands after the second
        calling = asyncio.create_task(made.call(lambda: None))
        await asyncio.sleep(0)
        await made.stop()
        with pytest.raises(EspError, match="query 'q' has ended"):
            await calling
        with pytest.raises(EspError, match="query 'q' has ended"):
            await made.call(lambda: None)

    asyncio.run(main())


def test_the_latency_of_records_is_the_clock_less_their_stamps() -> None:
    async def main() -> None:
        meter = QueryMeter({})
        made = Worker("q", Bounds(100, 1 << 20), 4, meter, clock=lambda: 12.5)
        made.tasks["in", 0] = cast(Task, Recorder())
        made.start(asyncio.get_running_loop())
        await made.put("in", [raw_block([b"x"] * 3, ts_ms=[12_000, 0, 13_000])])  # one has no stamp, one a stamp ahead of the clock
        await made.call(lambda: None)
        assert (meter.latency.counts.sum(), meter.latency.total) == (2, 0.5)
        await made.stop()

    asyncio.run(main())


def test_a_call_that_nobody_waits_for_any_more_fails_in_silence() -> None:
    async def main() -> None:
        made, task = worker()
        task.gate.clear()
        await made.put("in", [block(0, 1)])
        calling = asyncio.create_task(made.call(lambda: "answer"))
        await asyncio.sleep(0)
        calling.cancel()
        task.gate.set()
        assert await made.call(lambda: "next") == "next"
        await made.stop()

    asyncio.run(main())


async def _idle(made: Worker, events: int = 1) -> None:
    """Until blocks of a size are known to be light and the worker has nothing to do."""
    await made.put("in", [block(0, events)])
    await made.call(lambda: None)
    while not made.inbox.is_awaited:  # noqa: ASYNC110  nobody tells when a thread has begun to wait
        await asyncio.sleep(0.001)


def test_what_is_light_is_worked_off_at_once_while_the_worker_has_nothing_to_do() -> None:
    async def main() -> None:
        made, task = worker()
        await _idle(made)
        await made.put("in", [block(1, 1)])
        assert task.offsets == [[0], [1]]  # nobody has been waited for
        assert [cast(Any, item)[1].offset[0] for item in await made.outbox.take_all()] == [0, 1]
        await made.stop()

    asyncio.run(main())


def test_what_is_light_waits_behind_what_the_worker_is_about() -> None:
    async def main() -> None:
        made, task = worker()
        await _idle(made)
        task.gate.clear()
        await made.put("in", [block(1, 3)])  # of this size none has been measured: the worker takes it, and stands at the gate
        await made.put("in", [block(4, 1)])
        assert task.offsets == [[0]]
        task.gate.set()
        await made.call(lambda: None)
        assert [offset for offsets in task.offsets for offset in offsets] == [0, 1, 2, 3, 4]
        await made.stop()

    asyncio.run(main())


@pytest.mark.parametrize("what", ["a dear block", "a source that may wait", "many bytes", "a full channel"])
def test_the_event_loop_is_not_kept_by(what: str) -> None:
    async def main() -> None:
        made, task = worker(Bounds(2 if what == "a full channel" else 100, 1 << 20))
        await _idle(made)
        if what == "a dear block":
            for _ in range(20):
                made._costs["in"].add(1, 0.1)
        elif what == "a source that may wait":
            made.waiting = frozenset({"in"})
        elif what == "a full channel":
            await made.put("in", [block(1, 1)])
        task.gate.clear()  # whoever works it off stands here
        before = len(task.offsets)
        await made.put("in", [block(2, 1, b"x" * (100_000 if what == "many bytes" else 1))])
        assert len(task.offsets) == before
        task.gate.set()
        await made.outbox.take_all()
        await made.call(lambda: None)
        assert task.offsets[-1] == [2]
        await made.stop()

    asyncio.run(main())


def test_a_light_block_that_fails_ends_the_worker_as_any_does() -> None:
    async def main() -> None:
        made, task = worker()
        await _idle(made)
        await made.put("in", [block(1, 1, b"bad")])
        await made.put("in", [block(2, 1)])
        with pytest.raises(RuntimeError, match="broken window"):
            await made.call(lambda: None)
        assert task.offsets == [[0]]
        await made.stop()

    asyncio.run(main())
