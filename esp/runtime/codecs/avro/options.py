"""Settings of the Avro codec."""

from pathlib import Path
from typing import Literal

import pydantic

from esp.runtime.codecs.registry.settings import RegistrySettings


class AvroOptions(pydantic.BaseModel):
    """Options of format = "avro": where its schema comes from."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    schema_file: Path | None = pydantic.Field(
        None,
        description="an .avsc, relative to the query file; a source with a registry takes aliases and defaults from it, one without reads by it; "
        "a sink writes by it",
    )
    registry: RegistrySettings | None = pydantic.Field(
        None, description="schema registry, such as { url = URL }; see esp keys options.registry"
    )
    name: str = pydantic.Field(
        "Event", pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*$", description="sink: name of the schema that is made of the fields"
    )
    tensors: Literal["array", "bytes"] = pydantic.Field(
        "array", description="sink: tensors as arrays, or as bytes of little-endian numbers"
    )
