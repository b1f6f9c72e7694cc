"""Options of the formats whose records follow a schema of their own."""

from pathlib import Path
from typing import Literal

import pydantic

from esp.runtime.codecs.registry.settings import RegistrySettings


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
        description="a descriptor set (protoc --include_imports --descriptor_set_out=FILE) or a .proto without imports of its own, relative to the query file",
    )
