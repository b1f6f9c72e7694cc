"""Where a codec works: what it may know beside its schema and its options."""

from dataclasses import dataclass, field
from pathlib import Path

from esp.runtime.codecs.registry.registries import Registries


@dataclass(frozen=True, slots=True)
class Place:
    """``where`` begins errors, ``folder`` relative paths; ``topic`` is the window's own; ``registries`` are those of its query."""

    where: str = ""
    folder: Path = Path()
    topic: str = ""
    registries: Registries = field(default_factory=Registries)
    is_sink: bool = False
