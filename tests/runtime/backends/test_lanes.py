"""Tiles of 4, 8 and 16 lanes: narrower ones are compiled for narrower CPUs, which this host runs too."""

import json
import os
import platform
import subprocess
import sys
from typing import Any

import pytest

SSE = "+sse,+sse2,+sse3,+ssse3,+sse4.1,+sse4.2,+popcnt"
AVX2 = f"{SSE},+avx,+avx2,+fma,+bmi,+bmi2,+f16c,+lzcnt,+movbe"
# Lanes -> the CPU that kernels are compiled for. Four lanes stand for NEON; fma is there as it is on every ARM.
TARGETS = {
    8: {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": AVX2},
    4: {"NUMBA_CPU_NAME": "nehalem", "NUMBA_CPU_FEATURES": f"{SSE},+avx,+fma"},
}
TEXT = [
    f"--ignore=tests/kernels/test_{name}.py" for name in ("compile", "csv", "json", "msgpack", "numbers")
]  # no vectors in these
TESTS = ("tests/kernels", *TEXT, "tests/runtime/backends/test_numba.py")

pytestmark = pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="the narrow targets are those of x86")


def started(lanes: int | None, *arguments: str) -> "subprocess.Popen[str]":
    """A process whose kernels are compiled for so many lanes; None = for the host."""
    env = {key: value for key, value in os.environ.items() if key not in ("NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES")}
    target = TARGETS[lanes] if lanes else {}
    return subprocess.Popen(
        [sys.executable, *arguments], env=env | target, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def ended(process: "subprocess.Popen[str]") -> str:
    """What it printed; it ended well."""
    out, err = process.communicate(timeout=600)
    assert process.returncode == 0, out[-3000:] + err[-3000:]
    return out


@pytest.fixture(scope="module")
def results() -> dict[int, dict[str, Any]]:
    """Lanes -> what the program of lanes.py told, for 4, 8 and the host's own."""
    running = [started(lanes, "-m", "tests.runtime.backends.lanes") for lanes in (*TARGETS, None)]
    told = [json.loads(ended(process)) for process in running]
    return {one["lanes"]: one for one in told}


def test_narrower_targets_are_compiled_for_fewer_lanes(results: dict[int, dict[str, Any]]) -> None:
    assert set(results) >= {4, 8}
    assert all(one["has_fma"] for one in results.values())


def test_every_tile_gives_the_same_bits(results: dict[int, dict[str, Any]]) -> None:
    widest = results[max(results)]["digests"]
    assert len(widest) > 200
    for lanes, one in results.items():
        differing = [name for name in widest if one["digests"].get(name) != widest[name]]
        assert one["digests"].keys() == widest.keys(), lanes
        assert not differing, f"{lanes} lanes: {differing}"


def test_the_tests_of_the_kernels_pass_at_fewer_lanes() -> None:
    running = [started(lanes, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *TESTS) for lanes in TARGETS]
    assert all("[100%]" in ended(process) for process in running)
