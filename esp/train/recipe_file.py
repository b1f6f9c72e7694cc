"""A recipe file: a TOML file that names data, input, layers and optimiser, read and checked."""

import tomllib
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, get_args

import pydantic
from pydantic import Field

from esp.errors import FileError
from esp.train.layers import LAYERS, LayerSettings
from esp.train.settings import AdamSettings, AugmentSettings, FitSettings, OptimizerSettings, Settings, StopSettings
from esp.train.sources import AnySource

_UNKNOWN = ("extra_forbidden", "unexpected_keyword_argument")


class InputSettings(Settings):
    """The input as an event gives it, and the steps to what the network takes.

    A step is a table with ``op`` and its parameters; ``normalise`` without parameters learns them from the training data.
    """

    name: str
    missing: Literal["refuse", "nan", "impute"] = "refuse"
    impute: float | tuple[float, ...] = 0.0
    steps: tuple[dict[str, Any], ...] = ()


class OutputSettings(Settings):
    """The output variable."""

    name: str = "probabilities"


class Recipe(Settings):
    """A whole recipe."""

    name: str
    seed: int = Field(0, ge=0)
    data: AnySource
    input: InputSettings
    layers: tuple[Any, ...] = Field(min_length=1)
    output: OutputSettings = OutputSettings()
    optimizer: OptimizerSettings = AdamSettings()
    fit: FitSettings = FitSettings()
    stop: StopSettings | None = None
    augment: AugmentSettings = AugmentSettings()


def read_recipe(path: Path) -> Recipe:
    """The recipe in a file. Raises FileError naming file, key path and the mend."""
    try:
        content = tomllib.loads(path.read_text("utf-8"))
    except OSError as err:
        raise FileError(f"cannot be read: {err.strerror or err}", where=str(path), mend="name a recipe file (TOML)") from err
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as err:
        raise FileError(f"is no TOML: {err}", where=str(path), mend="mend the line") from err
    if isinstance(content.get("optimizer"), dict):
        content["optimizer"].setdefault("kind", "adam")
    try:
        recipe = Recipe.model_validate(content)
    except pydantic.ValidationError as err:
        raise _one_line(err, path, (), Recipe) from err
    for i, table in enumerate(recipe.layers):
        _layer(table, i, path)
    return recipe


def layers_of(recipe: Recipe) -> list[LayerSettings]:
    """The layers of a recipe that has been read."""
    return [_layer(table, i, Path(recipe.name)) for i, table in enumerate(recipe.layers)]


def _layer(table: Any, index: int, path: Path) -> LayerSettings:
    where = f"{path}: layers[{index}]"
    kinds = [name for name in LAYERS if name != "InputLayer"]  # the input comes from [input]
    kind = table.get("kind") if isinstance(table, dict) else None
    if kind not in kinds:
        raise FileError(f"unknown layer kind {kind!r}", where=f"{where}.kind", mend=_use(str(kind), kinds))
    try:
        adapter: pydantic.TypeAdapter[LayerSettings] = pydantic.TypeAdapter(LAYERS[kind])
        return adapter.validate_python({key: value for key, value in table.items() if key != "kind"})
    except pydantic.ValidationError as err:
        raise _one_line(err, path, ("layers", index), LAYERS[kind]) from err


def _one_line(err: pydantic.ValidationError, path: Path, prefix: Sequence[str | int], owner: Any) -> FileError:
    """The first thing wrong, an unknown key before all others, as a line."""
    first = min(err.errors(include_url=False), key=lambda error: error["type"] not in _UNKNOWN)
    at, keys = _locate(owner, first["loc"])
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in [*prefix, *at]).lstrip(".")
    where = f"{path}: {key}" if key else str(path)
    if first["type"] in _UNKNOWN:
        return FileError("unknown key", where=where, mend=_use(str(at[-1]), keys))
    if first["type"] in ("missing", "missing_argument"):
        return FileError("a key is missing", where=where, mend="add it")
    got = "" if isinstance(first["input"], dict) else f" (got {first['input']!r})"
    return FileError(f"{first['msg']}{got}", where=where, mend="change the value")


def _locate(owner: Any, loc: Sequence[str | int]) -> tuple[list[str | int], list[str]]:
    """The keys that lead to a place, without the tags that pydantic adds for a choice of tables, and the keys that table has."""
    plain: list[str | int] = []
    tables, keys = [owner], _keys([owner])
    for part in loc:
        keys = _keys(tables)
        inner = [table.model_fields[part].annotation for table in tables if part in getattr(table, "model_fields", {})]
        tagged = [table for table in tables if part in _tags(table)]
        if tagged and not inner:
            tables, keys = tagged, _keys(tagged)
            continue
        plain.append(part)
        tables = [table for annotation in inner for table in _tables(annotation)]
    return plain, keys


def _keys(tables: Sequence[Any]) -> list[str]:
    names = dict.fromkeys(
        name for table in tables for name in (*getattr(table, "model_fields", ()), *getattr(table, "__dataclass_fields__", ()))
    )
    return list(names)


def _tables(annotation: Any) -> list[Any]:
    """The settings classes within a type."""
    if isinstance(annotation, type) and issubclass(annotation, pydantic.BaseModel):
        return [annotation]
    return [table for part in get_args(annotation) for table in _tables(part)]


def _tags(table: Any) -> list[str]:
    """What a choice of tables may be told by: the literals of a table's fields."""
    fields = getattr(table, "model_fields", {})
    return [tag for name in ("source", "kind") if name in fields for tag in get_args(fields[name].annotation)]


def _use(word: str, choices: Sequence[str]) -> str:
    near = get_close_matches(word, choices, 1)
    return f"did you mean {near[0]}?" if near else f"use one of {', '.join(choices)}"
