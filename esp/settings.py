"""Settings files: TOML read and checked against pydantic models, every fault one line with file, key path and mend."""

import difflib
import tomllib
from pathlib import Path
from typing import Any, TypeVar, get_args

import pydantic

from esp.errors import EspError, FileError

M = TypeVar("M", bound=pydantic.BaseModel)


def read_toml(path: Path, error: type[EspError] = FileError) -> dict[str, Any]:
    """The tables of a TOML file; ``error`` when it is not there or is no TOML."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as err:
        raise error("there is no such file", where=str(path), mend="check the path") from err
    except tomllib.TOMLDecodeError as err:
        raise error(f"this is not TOML: {err}", where=str(path), mend="mend the line that it names") from err
    except (OSError, ValueError) as err:  # ValueError: no UTF-8, or a NUL in the path
        reason = getattr(err, "strerror", None) or err
        raise error(f"the file cannot be read ({reason})", where=str(path), mend="give a text file that can be read") from err


def checked(model: type[M], data: Any, where: str, error: type[EspError]) -> M:
    """``data`` as a model instance; ``error`` for the first thing that is wrong, saying how many more there are."""
    try:
        return model.model_validate(data)
    except pydantic.ValidationError as err:
        raise _one_line(model, err, where, error) from err


def unknown_key(key: str, known: list[str], where: str, error: type[EspError]) -> EspError:
    """The error for a key that nobody knows, with the nearest one that somebody does."""
    near = difflib.get_close_matches(key, known, 1)
    mend = f"did you mean '{near[0]}'?" if near else f"known keys: {', '.join(known)}" if known else "take the key out"
    return error(f"unknown key '{key}'", where=where, mend=mend)


def _one_line(model: type[pydantic.BaseModel], err: pydantic.ValidationError, where: str, error: type[EspError]) -> EspError:
    faults = err.errors(include_url=False)
    # an unknown key is most often the misspelling of the one that is missing: name it first
    fault = next((fault for fault in faults if fault["type"] == "extra_forbidden"), faults[0])
    path = [str(part) for part in fault["loc"]]
    if fault["type"] == "extra_forbidden":
        return unknown_key(path[-1], _known_keys(model, path[:-1]), _place(where, path[:-1]), error)
    more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    is_told = fault["type"] != "missing" and isinstance(fault["input"], str | int | float)  # a table may hold a secret
    got = f", got {fault['input']!r:.80}" if is_told else ""
    message = fault["msg"].removeprefix("Value error, ")
    return error(f"{message[0].lower()}{message[1:]}{got}{more}", where=_place(where, path), mend="set what is wanted there")


def _place(where: str, path: list[str]) -> str:
    return where if not path else f"{where}{'.' if ': ' in where else ': '}{'.'.join(path)}"


def _known_keys(model: type[pydantic.BaseModel], path: list[str]) -> list[str]:
    """The keys of the table at ``path``; none where it is no table of one model."""
    for part in path:
        field = model.model_fields.get(part)
        inner = [kind for kind in (field.annotation, *get_args(field.annotation)) if _is_model(kind)] if field else []
        if len(inner) != 1:
            return []
        model = inner[0]
    return [field.alias or name for name, field in model.model_fields.items()]


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, pydantic.BaseModel)
