"""What several workers say, as one answer."""

from typing import Any

import pytest

from esp.runtime.workers.gateway import _summed


def told(p99: float | None) -> dict[str, Any]:
    return {
        "name": "q", "state": "running", "windows": [], "latency_seconds": {"p99": p99}, "lag_events": {}, "state_bytes": 0, "checkpoints": 0,
    }  # fmt: skip


@pytest.mark.parametrize(("each", "worst"), [((0.1, 10.0), 10.0), ((0.1, None), None), ((None, None), None)])
def test_a_latency_is_the_worst_of_all_and_none_is_longer_than_is_measured(each: tuple[float | None, ...], worst: float) -> None:
    assert _summed("q", [told(p99) for p99 in each], len(each)).latency_seconds == {"p99": worst}
