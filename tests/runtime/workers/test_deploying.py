"""Deployments to several workers: all come to the new model or all stay with the old one, whoever refuses or dies, and when."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest

from esp.runtime.admin import RefusedError
from esp.runtime.workers.deploying import Deploying
from esp.runtime.workers.process import UnreachableError

ANSWER = {"window": "q/w", "old": "0" * 64, "new": "1" * 64, "backend": "numba"}
HOLD, STAND, SWAP, DROP = "PUT", "POST standing", "POST", "DELETE"
TARGET = "/v1/queries/q/windows/w/held"


class Worker:
    """Stands in for a worker and its process; ``fails`` raises instead of answering some of the requests."""

    course: ClassVar[list[str]] = []  # of all workers

    def __init__(self, fails: Callable[[str], Exception | None] = lambda method: None) -> None:
        self.process, self.number = self, 1
        self.fails, self.asked, self.is_killed, self.ended = fails, list[str](), False, asyncio.Event()

    def running(self) -> "Worker":
        return self

    async def ask(self, method: str, target: str, body: bytes = b"", headers: Any = None, timeout_s: float = 0) -> bytes:
        assert target in (TARGET, f"{TARGET}/standing")
        method += " standing" if target != TARGET else ""
        self.asked.append(method)
        self.course.append(method)
        if failure := self.fails(method):
            raise failure
        return json.dumps(ANSWER).encode()

    def kill(self) -> None:
        self.is_killed = True
        self.ended.set()


def failing(method: str, failure: Exception) -> Callable[[str], Exception | None]:
    return lambda asked: failure if asked == method else None


def deploy(folder: Path, *workers: Worker) -> str:
    members: Any = workers
    return asyncio.run(Deploying(members, folder).deploy("q", "w", b"model", "")).new


def recorded(folder: Path, digest: str) -> None:
    (folder / "q" / "models").mkdir(parents=True)
    (folder / "q" / "models" / "deployed.json").write_text(json.dumps({"w": {"digest": digest, "over": "0" * 64}}))


def test_all_check_before_one_swaps(tmp_path: Path) -> None:
    workers = [Worker() for _ in range(3)]
    Worker.course.clear()
    assert deploy(tmp_path, *workers) == ANSWER["new"]
    assert [worker.asked for worker in workers] == [[HOLD, STAND, SWAP]] * 3
    assert Worker.course == [*[HOLD] * 3, *[STAND] * 3, *[SWAP] * 3]
    assert not any(worker.is_killed for worker in workers)


def test_a_worker_that_does_not_come_to_stand_changes_nothing_anywhere(tmp_path: Path) -> None:
    workers = [Worker(), Worker(failing(STAND, UnreachableError(409, "worker 2 did not answer in time")))]
    with pytest.raises(RefusedError, match="worker 2 did not answer in time"):
        deploy(tmp_path, *workers)
    assert [worker.asked for worker in workers] == [[HOLD, STAND, DROP]] * 2


def test_a_worker_that_was_started_meanwhile_is_ended_once_the_deployment_stands(tmp_path: Path) -> None:
    later = Worker()

    def dies(method: str) -> Exception | None:
        if method != SWAP:
            return None
        workers[1].process = later
        return UnreachableError(409, "worker 2 is not running")

    workers = [Worker(), Worker(dies)]
    assert deploy(tmp_path, *workers) == ANSWER["new"]
    assert later.is_killed
    assert not workers[0].is_killed


@pytest.mark.parametrize("at", [0, 1])
def test_a_worker_that_refuses_the_model_changes_nothing_anywhere(tmp_path: Path, at: int) -> None:
    workers = [Worker(), Worker(), Worker()]
    workers[at].fails = failing(HOLD, RefusedError(422, f"worker {at + 1}: it does not fit"))
    with pytest.raises(RefusedError, match=f"worker {at + 1}: it does not fit"):
        deploy(tmp_path, *workers)
    assert all(SWAP not in worker.asked and worker.asked[-1] == DROP for worker in workers)
    assert not any(worker.is_killed for worker in workers)


def test_a_first_swap_that_is_refused_changes_nothing(tmp_path: Path) -> None:
    workers = [Worker(failing(SWAP, RefusedError(500, "worker 1: the disk is full"))), Worker()]
    with pytest.raises(RefusedError, match="the disk is full"):
        deploy(tmp_path, *workers)
    assert workers[1].asked == [HOLD, STAND, DROP]


@pytest.mark.parametrize("is_recorded", [True, False])
def test_after_a_first_swap_that_nobody_answers_for_the_table_decides(tmp_path: Path, is_recorded: bool) -> None:
    recorded(tmp_path, str(ANSWER["new" if is_recorded else "old"]))
    workers = [Worker(failing(SWAP, UnreachableError(409, "worker 1 is not running"))), Worker()]
    if is_recorded:
        assert deploy(tmp_path, *workers) == ANSWER["new"]
        assert workers[1].asked == [HOLD, STAND, SWAP]
    else:
        with pytest.raises(RefusedError, match="worker 1 is not running"):
            deploy(tmp_path, *workers)
        assert workers[1].asked == [HOLD, STAND, DROP]
    assert workers[0].is_killed  # it comes back with what the table says


@pytest.mark.parametrize("failure", [RefusedError(500, "worker 2: no"), UnreachableError(409, "worker 2 is not running")])
def test_a_later_worker_that_cannot_swap_is_ended_and_the_deployment_stands(tmp_path: Path, failure: Exception) -> None:
    workers = [Worker(), Worker(failing(SWAP, failure)), Worker()]
    assert deploy(tmp_path, *workers) == ANSWER["new"]
    assert [worker.is_killed for worker in workers] == [False, True, False]


def test_step_by_step_it_is_the_same_course_and_nothing_is_asked_that_does_not_follow(tmp_path: Path) -> None:
    workers: Any = [Worker(), Worker()]
    deploying = Deploying(workers, tmp_path)

    async def steps() -> None:
        with pytest.raises(RefusedError, match="no model waits for window 'w' of query 'q'; deploy it again"):
            await deploying.stand("q", "w")
        held = await deploying.hold("q", "w", b"model", "")
        assert [worker.asked for worker in workers] == [[HOLD]] * 2
        await deploying.stand("q", "w")
        assert await deploying.swap("q", "w") == held
        with pytest.raises(RefusedError, match="no model waits"):
            await deploying.swap("q", "w")
        await deploying.drop("q", "w")

    asyncio.run(steps())
    assert [worker.asked for worker in workers] == [[HOLD, STAND, SWAP]] * 2


def test_what_is_held_is_dropped_by_all_workers_also_where_one_of_them_refused_it(tmp_path: Path) -> None:
    workers: Any = [Worker(), Worker(failing(HOLD, RefusedError(422, "worker 2: it does not fit")))]
    deploying = Deploying(workers, tmp_path)

    async def steps() -> None:
        with pytest.raises(RefusedError, match="it does not fit"):
            await deploying.hold("q", "w", b"model", "")
        await deploying.drop("q", "w")
        with pytest.raises(RefusedError, match="no model waits"):
            await deploying.swap("q", "w")

    asyncio.run(steps())
    assert [worker.asked for worker in workers] == [[HOLD, DROP]] * 2
