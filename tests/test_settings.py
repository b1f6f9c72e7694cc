"""Settings files: every fault is one line with file, key path, what was found and the mend, and no secret in it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import pydantic
import pytest

from esp.errors import EspError, FileError, QueryError
from esp.settings import checked, read_toml, unknown_key


class Inner(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")
    size: int = pydantic.Field(1, ge=1)
    user: str = ""
    password_file: str | None = None

    @pydantic.model_validator(mode="after")
    def _check(self) -> "Inner":
        if self.user and not self.password_file:
            raise ValueError(f"{'SSL' if self.user == 'SSL' else 'a user'} needs a password")
        return self


class Round(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")
    form: Literal["round"]
    radius: float
    holes: tuple[Inner, ...] = ()


class Square(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")
    form: Literal["square"]
    side: float
    look: Literal["round", "sharp"] = "sharp"


@dataclass(frozen=True)
class Corner:
    __pydantic_config__: ClassVar[pydantic.ConfigDict] = pydantic.ConfigDict(extra="forbid")
    angle: int
    inner: Inner | None = None


class Outer(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")
    name: str
    origin: str = pydantic.Field("", alias="from")
    inner: Inner = Inner()
    others: dict[str, Inner] = {}
    shape: Annotated[Round | Square, pydantic.Field(discriminator="form")] | None = None
    corners: list[Corner] = []
    width: float | tuple[float, ...] = 0.0
    start: Literal["first", "last"] | int = 0


def line(data: object) -> str:
    with pytest.raises(QueryError) as caught:
        checked(Outer, data, "q.toml", QueryError)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_is_right_becomes_the_model() -> None:
    assert checked(Outer, {"name": "a", "from": "b"}, "q.toml", QueryError).origin == "b"


@pytest.mark.parametrize(
    ("data", "wanted"),
    [
        ({"nam": "a"}, "q.toml: unknown key 'nam'; did you mean 'name'?"),
        ({"name": "a", "form": "b"}, "q.toml: unknown key 'form'; did you mean 'from'?"),
        ({"name": "a", "inner": {"siez": 1}}, "q.toml: inner: unknown key 'siez'; did you mean 'size'?"),
        ({"name": "a", "inner": {"zzz": 1}}, "q.toml: inner: unknown key 'zzz'; known keys: size, user, password_file"),
        ({}, "q.toml: name: field required; set what is wanted there"),
        ({"name": "a", "inner": {"size": 0}}, "q.toml: inner.size: input should be greater than or equal to 1, got 0; set what is wanted there"),
        ({"name": 5}, "q.toml: name: input should be a valid string, got 5; set what is wanted there"),
        ({"name": "a", "inner": {"user": "SSL"}}, "q.toml: inner: SSL needs a password; set what is wanted there"),
        ({"name": 5, "inner": {"size": "x"}}, "q.toml: name: input should be a valid string, got 5 (and 1 more); set what is wanted there"),
    ],
)  # fmt: skip
def test_a_fault_is_told_with_its_place_and_its_mend(data: object, wanted: str) -> None:
    assert line(data) == wanted


def test_a_table_is_never_shown_for_it_may_hold_a_secret() -> None:
    told = line({"name": "a", "inner": {"user": "s3cret"}})
    assert told == "q.toml: inner: a user needs a password; set what is wanted there"


def test_a_key_in_a_table_of_tables_is_named_too() -> None:
    assert line({"name": "a", "others": {"size": {"siez": 1}}}) == "q.toml: others.size: unknown key 'siez'; did you mean 'size'?"


@pytest.mark.parametrize(
    ("data", "wanted"),
    [
        ({"shape": {"form": "square", "sied": 1}}, "shape: unknown key 'sied'; did you mean 'side'?"),
        ({"shape": {"form": "square", "zzz": 1}}, "shape: unknown key 'zzz'; known keys: form, side, look"),
        ({"shape": {"form": "square"}}, "shape.side: field required; set what is wanted there"),
        ({"shape": {"side": 1}}, "shape.form: field required; set what is wanted there"),
        ({"shape": {"form": "squaer"}}, "shape.form: input should be one of 'round', 'square', got 'squaer'; set what is wanted there"),
        ({"shape": {"form": "round", "radius": 1, "holes": [{}, {"size": 0}]}}, "shape.holes[1].size: input should be greater than or equal to 1, got 0; set what is wanted there"),
        ({"corners": [{"angle": 1}, {"angel": 1}]}, "corners[1]: unknown key 'angel'; did you mean 'angle'?"),
        ({"corners": [{"angle": 1, "inner": {"siez": 1}}]}, "corners[0].inner: unknown key 'siez'; did you mean 'size'?"),
        ({"corners": [{}]}, "corners[0].angle: field required; set what is wanted there"),
        ({"start": "soon"}, "start: input should be 'first' or 'last', or a valid integer, unable to parse string as an integer, got 'soon'; set what is wanted there"),
        ({"width": "x"}, "width: input should be a valid number, unable to parse string as a number, or a list, got 'x'; set what is wanted there"),
    ],
)  # fmt: skip
def test_a_place_is_told_by_keys_and_indices_alone(data: dict[str, object], wanted: str) -> None:
    assert line({"name": "a", **data}) == f"q.toml: {wanted}"


@pytest.mark.parametrize(
    "data",
    [
        {"name": {"password": "s3cret"}},
        {"name": ["s3cret"]},
        {"shape": {"form": {"password": "s3cret"}}},
        {"shape": {"password": "s3cret"}},
        {"corners": [{"angle": {"password": "s3cret"}}]},
        {"width": {"password": "s3cret"}},
        {"inner": {"password": "s3cret"}},
    ],
)
def test_neither_a_table_nor_a_list_is_shown_wherever_it_stands(data: dict[str, object]) -> None:
    assert "s3cret" not in line({"name": "a", **data})


def test_a_dataclass_is_checked_as_a_model_is() -> None:
    assert checked(Corner, {"angle": 3}, "c.toml", QueryError) == Corner(3)
    with pytest.raises(QueryError, match=r"^c.toml: corner.inner.size: input should be greater .*, got 0;"):
        checked(Corner, {"angle": 3, "inner": {"size": 0}}, "c.toml: corner", QueryError)


def test_an_unknown_key_without_neighbours_is_taken_out() -> None:
    assert str(unknown_key("a", [], "here", QueryError)) == "here: unknown key 'a'; take the key out"


def test_other_names_than_keys_are_told_the_same_way() -> None:
    assert str(unknown_key("a", ["x", "y"], "", QueryError, "layer kind")) == "unknown layer kind 'a'; known layer kinds: x, y"


@pytest.mark.parametrize(
    ("content", "wanted"),
    [(b"[a", "this is not TOML"), (b"\xff\xfe", "cannot be read"), (None, "there is no such file; check the path")],
)
def test_a_file_that_cannot_be_read_is_told(tmp_path: Path, content: bytes | None, wanted: str) -> None:
    path = tmp_path / "q.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(FileError, match=wanted) as caught:
        read_toml(path)
    assert str(caught.value).startswith(str(path))


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(EspError, match="cannot be read"):
        read_toml(tmp_path)
