"""Imports point one way (DESIGN.md, section 1): every module of esp/ is parsed and held to the table below."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# A layer, the modules that belong to it, and the layers that it may import beside itself. A module belongs to the row with the longest prefix.
LAYERS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "errors": (("esp", "esp.errors", "esp.files", "esp.secrets", "esp.settings", "esp.tls"), ()),
    "kernels": (("esp.kernels",), ()),
    "astore": (("esp.astore",), ("errors",)),
    "train": (("esp.train",), ("errors", "kernels", "astore")),
    "events": (("esp.runtime.schema", "esp.runtime.events", "esp.runtime.durations", "esp.runtime.unread", "esp.runtime.peer"), ("errors", "kernels")),
    "backends": (("esp.runtime.backends",), ("errors", "kernels", "astore", "events")),
    "scorer": (("esp.runtime.scorer", "esp.runtime.drift", "esp.runtime.stateful", "esp.runtime.windowed"), ("errors", "kernels", "astore", "events", "backends")),
    "columns": (
        ("esp.runtime.expressions", "esp.runtime.codecs", "esp.runtime.state", "esp.runtime.keys", "esp.runtime.headers", "esp.runtime.dead_letters",
         "esp.runtime.reasons"),
        ("errors", "kernels", "events"),
    ),
    "kinds": (("esp.runtime.kinds",), ("errors", "kernels", "astore", "events", "columns", "scorer")),
    "connect": (("esp.runtime.connector", "esp.runtime.connect", "esp.runtime.kafka"), ("errors", "kernels", "events", "columns")),
    "metrics": (("esp.runtime.metrics", "esp.runtime.meters"), ("errors", "kernels", "astore", "events", "columns", "scorer", "kinds")),
    "engine": (  # query, engine, server and what drives them
        ("esp.runtime",),
        ("errors", "kernels", "astore", "events", "columns", "scorer", "backends", "kinds", "connect", "metrics"),
    ),
    "cli": (("esp.cli", "esp.demo", "esp.client", "esp.rollout", "esp.__main__"), ("errors", "astore", "train", "events", "columns", "scorer", "kinds", "connect", "metrics", "engine")),
}  # fmt: skip

# What knows neither an event loop nor Kafka: it is tested as plain functions.
SYNCHRONOUS = ("kernels", "astore", "train", "events", "columns", "backends", "scorer", "kinds")

# Third-party packages that are an edge, and the modules that may import each.
EDGES: dict[str, tuple[str, ...]] = {
    "aiokafka": ("esp.runtime.kafka",),
    "fastavro": ("esp.runtime.codecs.avro",),
    "google": ("esp.runtime.codecs.protobuf",),
    "confluent_kafka": ("esp.demo",),
    "prometheus_client": ("esp.runtime.metrics", "esp.runtime.workers"),
    "onnx": ("esp.astore.onnx",),
    "onnxruntime": ("esp.runtime.backends.onnxruntime",),
    "PIL": ("esp.astore.image",),
    "uvicorn": ("esp.runtime.server",),
    "fastapi": ("esp.runtime.server",),
    "h5py": ("esp.astore.hdf5",),
    "cryptography": ("esp.astore.signing",),
    "sklearn": ("esp.train",),
    "seglearn": ("esp.train",),
    "typer": ("esp.cli", "esp.demo"),
    "httpx": ("esp.cli", "esp.demo"),
}
KERNELS_MAY = {"numpy", "numba", "llvmlite"} | set(sys.stdlib_module_names)


def is_in(module: str, prefix: str) -> bool:
    return module == prefix or module.startswith(prefix + ".")


def layer_of(module: str) -> str:
    """The layer with the longest prefix of the name."""
    return max((len(prefix), name) for name, (prefixes, _) in LAYERS.items() for prefix in prefixes if is_in(module, prefix))[1]


def imports_of(source: str, module: str, is_package: bool) -> Iterator[tuple[int, str]]:
    """Line and full name of everything that a module imports, inside functions too."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = module.split(".")
            base = parts[: len(parts) - node.level + is_package] if node.level else []
            package = ".".join([*base, *([node.module] if node.module else [])])
            yield from ((node.lineno, f"{package}.{alias.name}") for alias in node.names)


def faults_of(source: str, module: str, is_package: bool = False) -> list[str]:
    """What a module imports against the rules, one line each."""
    layer, faults = layer_of(module), []
    for line, name in imports_of(source, module, is_package):
        package = name.partition(".")[0]
        if package == "esp":
            fault = other_layer(layer, name)
        else:
            fault = other_package(layer, module, package)
        if fault:
            faults.append(f"{module}, line {line}: {fault}")
    return faults


def other_layer(layer: str, name: str) -> str:
    wanted = layer_of(name)
    return "" if wanted in (layer, *LAYERS[layer][1]) else f"{layer} may not import {wanted} ({name})"


def other_package(layer: str, module: str, package: str) -> str:
    if layer == "kernels" and package not in KERNELS_MAY:
        return f"kernels import numpy, numba and llvmlite alone, not {package}"
    if layer in SYNCHRONOUS and package in ("asyncio", "aiokafka", "uvloop"):
        return f"{layer} knows no {package}"
    if package in EDGES and not any(is_in(module, home) for home in EDGES[package]):
        return f"{package} is imported in {' and '.join(EDGES[package])} alone"
    return ""


def modules() -> list[tuple[str, Path]]:
    paths = sorted((ROOT / "esp").rglob("*.py"))
    return [(".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"), path) for path in paths]


def test_every_module_has_a_layer() -> None:
    own = [prefix for prefixes, _ in LAYERS.values() for prefix in prefixes if prefix != "esp"]
    homeless = [name for name, _ in modules() if name != "esp" and not any(is_in(name, prefix) for prefix in own)]
    assert not homeless, "give these a row in LAYERS"


def test_imports_point_one_way() -> None:
    faults = [fault for name, path in modules() for fault in faults_of(path.read_text(), name, path.name == "__init__.py")]
    assert not faults, "\n".join(["imports against DESIGN.md, section 1:", *faults])


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("esp.train.fit", "from esp.runtime.events import EventBlock"),
        ("esp.runtime.engine", "import esp.train.fit"),
        ("esp.runtime.kinds.score", "def late():\n    import asyncio"),
        ("esp.runtime.kinds.score", "from esp.runtime.kafka.settings import KafkaSource"),
        ("esp.runtime.kinds.score", "from esp.runtime import engine"),
        ("esp.runtime.kinds.score", "from ..connect import kafka"),
        ("esp.runtime.backends.numba", "from esp.runtime.scorer import Scorer"),
        ("esp.runtime.state.tables", "from esp.runtime.kinds.window import Window"),
        ("esp.astore.graph", "from esp.kernels.gemm import gemm"),
        ("esp.astore.graph", "from esp import train"),
        ("esp.kernels.gemm", "from esp.errors import EspError"),
        ("esp.kernels.gemm", "import scipy.signal"),
        ("esp.runtime.engine", "from aiokafka import AIOKafkaConsumer"),
        ("esp.runtime.engine", "import esp.cli"),
        ("esp.runtime.connect.file", "import prometheus_client"),
    ],
)
def test_an_import_against_the_rules_is_found(module: str, source: str) -> None:
    assert len(faults_of(source, module)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        (
            "esp.runtime.kafka.settings",
            "import asyncio\nfrom aiokafka import AIOKafkaConsumer\nfrom esp.runtime.events import RawBlock",
        ),
        ("esp.runtime.kinds.score", "from . import window\nfrom esp.runtime import expressions\nfrom esp.errors import QueryError"),
        ("esp.kernels.gemm", "import math\nimport numpy as np\nfrom esp.kernels.compile import kernel"),
        ("esp.cli", "from esp import __version__\nfrom esp.train import fit\nimport typer"),
    ],
)
def test_an_import_within_the_rules_passes(module: str, source: str) -> None:
    assert faults_of(source, module) == []
