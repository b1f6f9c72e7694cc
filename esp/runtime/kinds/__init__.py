"""The window kinds: one plain table from the name in a query file to the settings class of the kind."""

from esp.runtime.kinds.aggregate import AggregateSettings
from esp.runtime.kinds.compute import ComputeSettings
from esp.runtime.kinds.copy import CopySettings
from esp.runtime.kinds.filter import FilterSettings
from esp.runtime.kinds.score import ScoreSettings
from esp.runtime.kinds.sequence import SequenceSettings
from esp.runtime.kinds.sink import SinkSettings
from esp.runtime.kinds.source import SourceSettings
from esp.runtime.kinds.window import Settings

KINDS: dict[str, type[Settings]] = {
    "source": SourceSettings,
    "filter": FilterSettings,
    "compute": ComputeSettings,
    "copy": CopySettings,
    "sequence": SequenceSettings,
    "score": ScoreSettings,
    "aggregate": AggregateSettings,
    "sink": SinkSettings,
}
