"""Bounded channels between the event loop and a worker thread."""

import asyncio
import threading

from esp.runtime.channels import Bounds, FromWorker, ToWorker


def test_items_come_to_the_worker_in_order_and_the_end_after_them() -> None:
    async def main() -> list[list[int]]:
        channel: ToWorker[int] = ToWorker(Bounds(10, 1000), asyncio.get_running_loop())
        for item in range(3):
            channel.put(item, events=1)
        channel.close()
        return [channel.take() for _ in range(4)]

    assert asyncio.run(main()) == [[0], [1], [2], []]


def test_the_worker_takes_what_is_there_up_to_so_many_events() -> None:
    async def main() -> list[list[str]]:
        channel: ToWorker[str] = ToWorker(Bounds(100, 1000), asyncio.get_running_loop())
        for item, events in (("a", 3), ("call", 0), ("b", 3), ("c", 3), ("d", 50)):
            channel.put(item, events=events)
        return [channel.take(events) for events in (6, 6)]

    assert asyncio.run(main()) == [["a", "call", "b"], ["c", "d"]]


def test_a_full_channel_has_no_room_until_the_worker_has_taken() -> None:
    async def main() -> None:
        channel: ToWorker[str] = ToWorker(Bounds(events=5, size_bytes=1000), asyncio.get_running_loop())
        channel.put("a", events=4)
        assert channel.room.is_set()
        channel.put("b", events=1)
        assert channel.is_full
        assert not channel.room.is_set()
        await asyncio.to_thread(channel.take)
        async with asyncio.timeout(60):
            await channel.room.wait()

    asyncio.run(main())


def test_bytes_fill_a_channel_as_well_as_events() -> None:
    async def main() -> bool:
        channel: ToWorker[str] = ToWorker(Bounds(events=1000, size_bytes=10), asyncio.get_running_loop())
        channel.put("a", events=1, size_bytes=10)
        return channel.is_full

    assert asyncio.run(main())


def test_the_worker_waits_while_the_channel_to_the_loop_is_full() -> None:
    async def main() -> list[int]:
        channel: FromWorker[int] = FromWorker(Bounds(events=2, size_bytes=1000), asyncio.get_running_loop())
        worker = threading.Thread(target=lambda: [channel.put(item, events=1) for item in range(50)])
        worker.start()
        taken: list[int] = []
        while len(taken) < 50:
            part = await channel.take_all()
            assert len(part) <= 2
            taken += part
        worker.join()
        return taken

    assert asyncio.run(main()) == list(range(50))


def test_closing_lets_a_waiting_worker_go() -> None:
    async def main() -> None:
        channel: FromWorker[int] = FromWorker(Bounds(events=1, size_bytes=1000), asyncio.get_running_loop())
        worker = threading.Thread(target=lambda: [channel.put(item, events=1) for item in range(3)])
        worker.start()
        channel.close()
        await asyncio.to_thread(worker.join, 60)
        assert not worker.is_alive()

    asyncio.run(main())
