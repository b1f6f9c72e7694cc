"""Settings files: TOML read and checked against models and dataclasses, every fault one line with file, key path and mend."""

import dataclasses
import difflib
import tomllib
from collections.abc import Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints

import pydantic

from esp.errors import EspError, FileError

M = TypeVar("M")
_A_TABLE, _A_LIST = "Input should be a table", "Input should be a list"  # in the words of TOML, not of Python
_A_TIME = "Input should be a time, such as 2026-11-22T09:00Z"
_WORDS = {
    "model_type": _A_TABLE, "dict_type": _A_TABLE, "dataclass_type": _A_TABLE, "tuple_type": _A_LIST, "list_type": _A_LIST,
    "datetime_type": _A_TIME, "datetime_parsing": _A_TIME, "datetime_from_date_parsing": _A_TIME,
}  # fmt: skip
_SHOULD_BE = "Input should be "
_UNKNOWN = ("extra_forbidden", "unexpected_keyword_argument")  # of a model, of a dataclass


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


def checked(kind: type[M], data: Any, where: str, error: type[EspError]) -> M:
    """``data`` as a model or dataclass; ``error`` for the first thing that is wrong, saying how many more there are."""
    try:
        return pydantic.TypeAdapter(kind).validate_python(data)
    except pydantic.ValidationError as err:
        raise _one_line(kind, err, where, error) from err


def unknown_key(key: str, known: Sequence[str], where: str, error: type[EspError], what: str = "key") -> EspError:
    """The error for a key (or ``what`` else is named) that nobody knows, with the nearest one that somebody does."""
    near = difflib.get_close_matches(key, known, 1)
    mend = f"did you mean '{near[0]}'?" if near else f"known {what}s: {', '.join(known)}" if known else f"take the {what} out"
    return error(f"unknown {what} '{key}'", where=where, mend=mend)


def _one_line(kind: Any, err: pydantic.ValidationError, where: str, error: type[EspError]) -> EspError:
    faults = err.errors(include_url=False)
    # an unknown key is most often the misspelling of the one that is missing: name it first
    fault = next((fault for fault in faults if fault["type"] in _UNKNOWN), faults[0])
    path, tables = _locate(kind, fault["loc"][:-1] if fault["type"] in _UNKNOWN else fault["loc"])
    message, value = _said(fault), fault["input"]
    if fault["type"] in _UNKNOWN:
        return unknown_key(str(fault["loc"][-1]), [key for table in tables for key in _fields(table)], _place(where, path), error)
    if fault["type"].startswith("union_tag_"):  # the message would show the tag, whatever that is
        tag, choices = fault["ctx"]["discriminator"].strip("'"), fault["ctx"].get("expected_tags")
        path, value = f"{path}.{tag}", value.get(tag)
        message = f"input should be one of {choices}" if choices else "field required"
    also = [other for other in faults if other is not fault and _is_other_choice(kind, other, fault)]
    message += "".join(f", or {_said(other).removeprefix(_SHOULD_BE)}" for other in also)
    rest = len(faults) - 1 - len(also)
    more = f" (and {rest} more)" if rest else ""
    got = f", got {value!r:.80}" if isinstance(value, str | int | float) else ""  # a table may hold a secret
    begin = message[0] if message[:2].isupper() else message[0].lower()  # SASL stays
    return error(f"{begin}{message[1:]}{got}{more}", where=_place(where, path), mend="set what is wanted there")


def _said(fault: Any) -> str:
    said: str = _WORDS.get(fault["type"], fault["msg"])
    return said.removeprefix("Value error, ")


def _is_other_choice(kind: Any, other: Any, fault: Any) -> bool:
    """Whether a fault says what else might stand where the first one is: pydantic tells of each type of a choice by itself."""
    return _said(other).startswith(_SHOULD_BE) and _locate(kind, other["loc"])[0] == _locate(kind, fault["loc"])[0]


def _place(where: str, path: str) -> str:
    return f"{where}{path}" if ": " in where or not path else f"{where}: {path.removeprefix('.')}"


def _locate(kind: Any, loc: Sequence[str | int]) -> tuple[str, list[Any]]:
    """The path of keys to a place, without the choices that pydantic names in it, and the types that may stand there."""
    path, kinds = "", _options(kind)
    for part in loc:
        if len(kinds) > 1:  # the part is no key: it names which of them was tried, by tag or by type
            tried = [option for option in kinds if part == getattr(option, "__name__", "") or part in _tags(option)]
            kinds = tried if len(tried) == 1 else []
            continue
        path += f"[{part}]" if isinstance(part, int) else f".{part}"
        kinds = [inner for outer in kinds for inner in _options(_step(outer, part))]
    return path, kinds


def _step(kind: Any, part: str | int) -> Any:
    """The type of what lies at a key or index; None where none can be told."""
    if get_origin(kind) is None:
        return _fields(kind).get(str(part))
    items = [item for item in get_args(kind) if item is not Ellipsis] or [None]
    return items[part] if isinstance(part, int) and part < len(items) else items[-1]


def _options(kind: Any) -> list[Any]:
    """The types that a type lets one choose from, None aside."""
    if get_origin(kind) is Annotated:
        return _options(get_args(kind)[0])
    if get_origin(kind) in (Union, UnionType):
        return [option for part in get_args(kind) for option in _options(part)]
    return [] if kind in (None, NoneType) else [kind]


def _fields(kind: Any) -> dict[str, Any]:
    """The keys of a table and their types."""
    if isinstance(kind, type) and issubclass(kind, pydantic.BaseModel):
        return {field.alias or name: field.annotation for name, field in kind.model_fields.items()}
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        hints = get_type_hints(kind)
        return {field.name: hints[field.name] for field in dataclasses.fields(kind) if field.init}
    return {}


def _tags(kind: Any) -> list[Any]:
    """What a table may be told by among others: the literals of its fields."""
    return [tag for inner in _fields(kind).values() for tag in get_args(inner)]
