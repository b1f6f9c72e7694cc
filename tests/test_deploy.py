"""The files for containers: they parse, what they name is there, and the dashboard asks for metrics that the engine has."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
YAML_FILES = sorted([ROOT / "compose.yaml", *(ROOT / "deploy").rglob("*.yml")])


def panels() -> list[dict[str, Any]]:
    return json.loads((ROOT / "deploy/grafana/dashboards/esp.json").read_text())["panels"]


@pytest.mark.parametrize("path", YAML_FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_yaml_files_parse(path: Path) -> None:
    yaml = pytest.importorskip("yaml")
    assert isinstance(yaml.safe_load(path.read_text()), dict)


def test_compose_mounts_what_is_there() -> None:
    mounted = re.findall(r"(?m)^\s+- (\./\S+?):", (ROOT / "compose.yaml").read_text())
    assert len(mounted) == 3
    assert [path for path in mounted if not (ROOT / path).exists()] == []


def test_compose_makes_every_topic_of_the_query() -> None:
    query = tomllib.loads((ROOT / "windows/digits_camera/query.toml").read_text())
    wanted = {window["connect"]["topic"] for window in query["windows"].values() if "connect" in window} | {
        query["query"]["dead"]["topic"]
    }
    made = re.search(r"for topic in (.*); do", (ROOT / "compose.yaml").read_text())
    assert made is not None
    assert set(made[1].split()) == wanted


def test_the_image_copies_what_is_there() -> None:
    copied = re.findall(r"(?m)^COPY (?!--from)(.+) \S+$", (ROOT / "Dockerfile").read_text())
    names = [name for line in copied for name in line.split()]
    assert names
    assert [name for name in names if not (ROOT / name).exists()] == []


def test_the_image_does_not_run_as_root() -> None:
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    assert lines.index("USER esp") < next(i for i, line in enumerate(lines) if line.startswith("ENTRYPOINT"))


def test_the_image_has_its_kernels_compiled_by_who_runs_it_and_before_their_folder_becomes_a_volume() -> None:
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    cache = next(i for i, line in enumerate(lines) if line.startswith("ENV") and "ESP_CACHE_DIR=/var/cache/esp" in line)
    volume = next(i for i, line in enumerate(lines) if line.startswith("VOLUME") and "/var/cache/esp" in line)
    assert lines.index("USER esp") < cache < lines.index("RUN esp warmup") < volume  # what is written into a volume later is lost


def test_prometheus_scrapes_the_port_that_the_engine_listens_on() -> None:
    assert 'targets: ["engine:8088"]' in (ROOT / "deploy/prometheus.yml").read_text()
    assert '"--listen", "0.0.0.0:8088"' in (ROOT / "compose.yaml").read_text()


def test_panels_have_their_own_place_and_number() -> None:
    assert len({panel["id"] for panel in panels()}) == len(panels())
    cells = [
        (x, y)
        for panel in panels()
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) == 23


def test_every_panel_asks_for_metrics_of_the_engine() -> None:
    expressions = [target["expr"] for panel in panels() for target in panel["targets"]]
    named = {name for expr in expressions for name in re.findall(r"esp_[a-z_]+", expr)}
    assert all(expr.count("(") == expr.count(")") for expr in expressions)
    families = {re.sub(r"_(total|info|bucket)$", "", name) for name in named}
    assert families >= {
        "esp_events_in",
        "esp_events_dead",
        "esp_events_late",
        "esp_latency_seconds",
        "esp_model",
        "esp_consumer_lag_events",
    }
