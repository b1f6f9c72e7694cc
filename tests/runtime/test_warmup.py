"""What ``esp warmup`` does: kernels compiled by several processes, and the models of queries bound as a start binds them."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from esp.errors import BackendError, QueryError
from esp.kernels.compile import CACHE_DIR
from esp.runtime import warmup
from esp.runtime.backends import choice
from esp.runtime.connect.memory import TOPICS
from esp.runtime.warmup import Warmed, kernel_modules, warm_up
from tests.command import esp_in
from tests.runtime import moves

SMALL = [("esp.kernels.intake",)]


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One module of few kernels stands for all of them, for a cache may be empty."""
    monkeypatch.setattr(warmup, "kernel_modules", lambda: SMALL)
    TOPICS.clear()
    yield
    TOPICS.clear()


def test_every_module_with_kernels_is_compiled() -> None:
    folder = Path(warmup.kernels.__file__ or "").parent
    wanted = {f"esp.kernels.{path.stem}" for path in folder.glob("*.py") if "@kernel" in path.read_text()}
    assert len(wanted) > 5
    found = [name for line in kernel_modules() for name in line]
    assert wanted <= set(found)
    assert len(found) == len(set(found))
    assert kernel_modules()[0] == ("esp.kernels.json", "esp.kernels.csv", "esp.kernels.msgpack")


@pytest.mark.parametrize("processes", [1, 2])
def test_what_is_compiled_once_is_not_compiled_again(processes: int) -> None:
    warm_up((), processes)
    warmth = warm_up((), processes)
    assert (warmth.compiled, warmth.cache, warmth.models) == (0, CACHE_DIR, ())


def test_a_process_that_ends_early_leaves_its_work_to_this_one(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken:
        def __init__(self, *_: Any) -> None:
            raise warmup.BrokenProcessPool

    imported = list[str]()
    monkeypatch.setattr(warmup, "ProcessPoolExecutor", Broken)
    monkeypatch.setattr(warmup.importlib, "import_module", imported.append)
    assert warm_up((), 2).compiled == 0
    assert imported == [name for line in SMALL for name in line]
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


def test_models_of_queries_are_bound_and_an_auto_one_is_remembered(tmp_path: Path) -> None:
    query = moves.write_query(tmp_path / "q", moves.QUERY.replace('backend = "numpy"', 'backend = "auto"'))
    (model,) = warm_up([query], 1).models
    assert (model.window, model.backend) == ("moves/scored", "numba")
    found = choice.CHOOSER.recall_all(model.digest).values()
    assert [(one.backend, list(one.ratios)) for one in found] == [("numba", [1])]


def test_a_query_or_a_model_that_cannot_start_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    query = moves.write_query(tmp_path / "q")
    monkeypatch.setattr("esp.runtime.scorer.MOST_FLOPS", 1)
    with pytest.raises(BackendError, match="FLOPs"):
        warm_up([query], 1)
    (query / "query.toml").write_text("")
    with pytest.raises(QueryError):
        warm_up([query], 1)


def test_the_command_tells_counts_cache_and_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any) -> None:
    call = esp_in(tmp_path, monkeypatch, capfd)
    moves.write_query(tmp_path / "q")
    warm_up((), 1)
    plain = call("warmup", "q")
    assert plain.status == 0
    first, second = plain.out.splitlines()
    assert first == f"0 functions compiled; the kernels are in {CACHE_DIR}"
    assert second.startswith("moves/scored: ")
    assert second.endswith(" on numpy")
    told = json.loads(call("warmup", "q", "--json").out)
    assert (told["compiled"], told["cache"]) == (0, str(CACHE_DIR))
    assert [set(model) for model in told["models"]] == [set(Warmed.__slots__)]
    call("warmup", "nothing").one_line(2, "nothing")
