"""A recipe file: a TOML file that names data, input, layers and optimiser, read and checked."""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from esp.errors import FileError
from esp.settings import checked, read_toml, unknown_key
from esp.train.layers import LAYERS, LayerSettings
from esp.train.settings import AdamSettings, AugmentSettings, FitSettings, OptimizerSettings, Settings, StopSettings
from esp.train.sources import AnySource


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
    content = read_toml(path)
    if isinstance(content.get("optimizer"), dict):
        content["optimizer"].setdefault("kind", "adam")
    recipe = checked(Recipe, content, str(path), FileError)
    for i, table in enumerate(recipe.layers):
        _layer(table, f"{path}: layers[{i}]")
    return recipe


def layers_of(recipe: Recipe) -> list[LayerSettings]:
    """The layers of a recipe that has been read."""
    return [_layer(table, f"{recipe.name}: layers[{i}]") for i, table in enumerate(recipe.layers)]


def _layer(table: Any, where: str) -> LayerSettings:
    kinds = [name for name in LAYERS if name != "InputLayer"]  # the input comes from [input]
    kind = table.get("kind") if isinstance(table, dict) else None
    if not isinstance(kind, str):
        raise FileError("the layer has no kind", where=where, mend=f"set kind to one of {', '.join(kinds)}")
    if kind not in kinds:
        raise unknown_key(kind, kinds, f"{where}.kind", FileError, "layer kind")
    return checked(LAYERS[kind], {key: value for key, value in table.items() if key != "kind"}, where, FileError)
