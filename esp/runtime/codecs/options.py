"""Options of the formats, as a query file has them: the tables that ``esp keys`` shows."""

from pathlib import Path
from typing import Literal

import pydantic

from esp.runtime.codecs.registry.settings import RegistrySettings

Forms = str | dict[str, str]  # one word for all tensors, or by field


class MsgpackOptions(pydantic.BaseModel):
    """Options of format = "msgpack"."""

    layout: Literal["map", "array"] = pydantic.Field(
        "map", description="sink: records as maps by name, or arrays by place; a source reads both"
    )
    tensors: Forms = pydantic.Field("bin", description="sink: tensors as bin or array, for all or by field; a source reads both")


class JsonOptions(pydantic.BaseModel):
    """Options of format = "json"."""

    tensors: Forms = pydantic.Field(
        "array",
        description="sink: tensors as array, text (numbers with commas in one string) or base64, for all or by field; a source reads all",
    )


class CsvOptions(pydantic.BaseModel):
    """Options of format = "csv"."""

    delimiter: str = pydantic.Field(",", description="one ASCII sign between columns")
    tensors: Forms = pydantic.Field(
        "columns",
        description="tensors as columns, or in one as text (numbers with commas) or base64, for all or by field, on both sides",
    )


class SchemaOptions(pydantic.BaseModel):
    """Where the schema of records comes from, and how a sink makes one."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    schema_file: Path | None = pydantic.Field(None, description="the schema, relative to the query file")
    registry: RegistrySettings | None = pydantic.Field(
        None, description="schema registry, such as { url = URL }; see esp keys options.registry"
    )
    name: str = pydantic.Field(
        "",
        pattern=r"^([A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*)?$",
        description="full name of the record or message: a source takes no other; a sink gives it to the schema that it makes, Event if left out",
    )
    tensors: Literal["array", "bytes"] = pydantic.Field(
        "array", description="sink that makes its schema: tensors as arrays, or as bytes of little-endian numbers"
    )


class AvroOptions(SchemaOptions):
    """Options of format = "avro": where its schema comes from, and how a sink makes one."""

    schema_file: Path | None = pydantic.Field(
        None,
        description="an .avsc, relative to the query file: what a source reads by, and with a registry takes aliases and defaults from; what a sink writes by",
    )


class ProtobufOptions(SchemaOptions):
    """Options of format = "protobuf": where its schema comes from, and how a sink makes one."""

    schema_file: Path | None = pydantic.Field(
        None,
        description="a descriptor set (protoc --include_imports --descriptor_set_out=FILE) or a .proto that needs no other file, relative to the query file",
    )
