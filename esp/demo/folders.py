"""The queries that the demonstration runs: copied out of the package, their topics renamed where others may hold them."""

import re
import shutil
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import esp
from esp.errors import FileError
from esp.settings import read_toml

TOPIC = re.compile(r'(\btopic\s*=\s*")([^"]+)(")')
QUERY_TABLE = re.compile(r"^\[query\]\s*$", re.MULTILINE)
RECIPE, QUERY = "recipe.toml", "query.toml"


@dataclass(frozen=True, slots=True)
class QueryFolder:
    """A folder with a query file, the recipe of its model and a place for the astore; ``tables`` are those of the query file."""

    path: Path
    tables: Mapping[str, Any]

    @property
    def name(self) -> str:
        return str(self.tables["query"]["name"])

    @property
    def recipe(self) -> Path:
        return self.path / RECIPE

    @property
    def astore(self) -> Path:
        """Where the query looks for its only model."""
        (model,) = self.tables["models"].values()
        return self.path / str(model["path"])

    @property
    def dead_topic(self) -> str:
        return str(self.tables["query"]["dead"]["topic"])

    def topic(self, window: str) -> str:
        return str(self.window(window)["connect"]["topic"])

    @property
    def topics(self) -> tuple[str, ...]:
        """Every topic that the query reads or writes."""
        connected = [window["connect"]["topic"] for window in self.tables["windows"].values() if "connect" in window]
        return (*connected, self.dead_topic)

    def window(self, name: str) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.tables["windows"][name]
        return found


def windows_folder() -> Path:
    """The folder of ready queries: beside the package in a checkout, inside it where it was installed."""
    package = Path(esp.__file__).parent
    for folder in (package / "_windows", package.parent / "windows"):
        if folder.is_dir():
            return folder
    raise FileError(
        "the queries of the demonstration are not there", where=str(package / "_windows"), mend="install esp-engine anew"
    )


def copy_query(name: str, into: Path, *, suffix: str = "", fetch_wait_ms: int | None = None) -> QueryFolder:
    """Copies query file and recipe; with options it keeps no changelog, for a run is never restarted. With a suffix every topic, and the consumer group, gets a name of its own; ``fetch_wait_ms`` goes to the sources."""
    source, target = windows_folder() / name, into / name
    target.mkdir(parents=True)
    try:
        shutil.copyfile(source / RECIPE, target / RECIPE)
        text = (source / QUERY).read_text(encoding="utf-8")
    except OSError as err:
        raise FileError(f"the query cannot be read ({err.strerror})", where=str(source), mend="install esp-engine anew") from err
    if fetch_wait_ms is not None:
        text = _with_fetch_wait(text, fetch_wait_ms)
    if suffix or fetch_wait_ms is not None:
        text = QUERY_TABLE.sub("[query]\nchangelog = { enabled = false }", text, count=1)
    if suffix:
        text = TOPIC.sub(rf"\g<1>\g<2>-{suffix}\g<3>", text)
        text = QUERY_TABLE.sub(f'[query]\ngroup = "{name}-{suffix}"', text, count=1)
    (target / QUERY).write_text(text, encoding="utf-8")
    return QueryFolder(target, read_toml(target / QUERY))


def _with_fetch_wait(text: str, fetch_wait_ms: int) -> str:
    """The query file with the setting added behind the topic of each source."""
    for window in tomllib.loads(text)["windows"].values():
        if window["kind"] == "source":
            topic = f'topic = "{window["connect"]["topic"]}"'
            text = text.replace(topic, f"{topic}, fetch_max_wait_ms = {fetch_wait_ms}")
    return text
