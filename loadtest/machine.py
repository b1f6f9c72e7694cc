"""What a figure was measured on: processor, memory, versions, commit."""

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

import esp

PACKAGES = ("aiokafka", "confluent-kafka", "numpy", "numba", "llvmlite", "onnxruntime", "msgpack")
SIMD = ("avx512f", "avx2", "sse4_2", "sve", "asimd")  # the widest first


def machine() -> dict[str, object]:
    """Processor, cores, widest vector instructions, memory, system."""
    lines = _cpuinfo()
    flags = lines.get("flags", lines.get("Features", "")).split()
    return {
        "cpu": lines.get("model name", platform.processor() or platform.machine()),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "simd": next((name for name in SIMD if name in flags), "unknown"),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "system": f"{platform.system()} {platform.release()}",
        "load_1m": round(os.getloadavg()[0], 2),
    }


def _cpuinfo() -> dict[str, str]:
    """The first processor's lines; none where the system has no such file."""
    try:
        text = Path("/proc/cpuinfo").read_text().split("\n\n")[0]
    except OSError:
        return {}
    pairs = (line.partition(":") for line in text.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def versions() -> dict[str, str]:
    found = {"esp": esp.__version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def commit(root: Path) -> str:
    """The commit that was measured, with + when files differ from it; unknown outside a checkout."""
    try:
        name = subprocess.run(
            ["git", "-C", str(root), "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=True
        )
        changed = subprocess.run(["git", "-C", str(root), "status", "--porcelain"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return name.stdout.strip() + ("+" if changed.stdout.strip() else "")
