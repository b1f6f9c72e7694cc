"""Event schemas: what the shorthand gives, and what it refuses, each with the place it stands at."""

import pytest

from esp.errors import QueryError
from esp.runtime.schema import Schema


def refusal(text: str) -> str:
    with pytest.raises(QueryError) as caught:
        Schema.parse(text, "q.toml: windows.in.schema")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_schema_is_written_as_it_is_read() -> None:
    text = "id*:int64, ts:stamp(ms), acc:float32[3], image:uint8[8,8,1], note:string"
    assert str(Schema.parse(text)) == text
    assert Schema.parse(" image : uint8 [ 8 , 8,1 ]")["image"].type.shape == (8, 8, 1)


def test_a_field_that_is_there_twice_is_told_with_its_place() -> None:
    assert refusal("a:int32, a:int64") == "q.toml: windows.in.schema: field 'a' is there twice; give every field its own name"


@pytest.mark.parametrize("shape", ["", "0", "3,", "1 2", "-1", "9" * 5000, ",".join("1" * 17)])
def test_what_is_no_shape_is_refused(shape: str) -> None:
    assert refusal(f"acc:float32[{shape}]").startswith("q.toml: windows.in.schema: ")


def test_a_tensor_past_256_mib_is_refused() -> None:
    assert "one float32[8192,8193] is past 268435456 bytes" in refusal("x:float32[8192,8193]")
    assert Schema.parse("x:float32[8192,8192]")["x"].type.shape == (8192, 8192)
    assert "past" in refusal("x:uint8[999999999,999999999,999999999]")
