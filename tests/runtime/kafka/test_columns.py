"""Whether records travel as columns: an aiokafka that is built otherwise is found at the start, and said aloud."""

import logging
from collections.abc import Iterator
from typing import Any

import pytest

from esp.runtime.connect import connection
from esp.runtime.kafka import columns
from esp.runtime.kafka.binding import BindingError, rebound, require, require_use
from esp.runtime.kafka.settings import KafkaConnection


@pytest.fixture(autouse=True)
def unknown() -> Iterator[None]:
    columns.fault.cache_clear()
    yield
    columns.fault.cache_clear()


def settings(**more: Any) -> KafkaConnection:
    found = connection({"connector": "kafka", "topic": "t", **more}, "q")
    assert isinstance(found, KafkaConnection)
    return found


def test_the_aiokafka_that_is_installed_is_built_as_we_know_it(caplog: pytest.LogCaptureFixture) -> None:
    assert columns.are_wanted(settings(), "q: t")
    assert not columns.are_wanted(settings(records="client"), "q: t")
    assert not caplog.records


def test_another_is_said_aloud_and_gets_the_slow_way(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def changed(name: str) -> None:
        raise BindingError("Fetcher._proc_fetch_request does not use MemoryRecords")

    caplog.set_level(logging.WARNING)
    monkeypatch.setattr(columns.importlib, "import_module", changed)
    assert not columns.are_wanted(settings(), "q: t")
    assert "q: t: aiokafka" in caplog.text
    assert "(Fetcher._proc_fetch_request does not use MemoryRecords); records go the slow way" in caplog.text


def outer(a: int, *, b: int = 2) -> tuple[int, int, str]:
    return a, b, logging.getLevelName(10)


def test_a_bound_copy_uses_the_new_name_and_the_function_keeps_the_old() -> None:
    copy = rebound(outer, logging=type("Other", (), {"getLevelName": staticmethod(lambda level: "other")}))
    assert copy(1) == (1, 2, "other")
    assert copy(1, b=3) == (1, 3, "other")
    assert outer(1) == (1, 2, "DEBUG")
    with pytest.raises(BindingError, match="outer does not use json"):
        rebound(outer, json=None)


def test_parameters_and_uses_are_checked() -> None:
    require(outer, "a b")
    require_use(outer, ["getLevelName"])
    with pytest.raises(BindingError, match=r"outer takes \(a b\), not \(a\)"):
        require(outer, "a")
    with pytest.raises(BindingError, match="outer does not use getLogger"):
        require_use(outer, ["getLogger"])
