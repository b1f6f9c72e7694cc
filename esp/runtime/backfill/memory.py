"""What the windows of a query hold of events that were before: how far back a range must be warmed up to repeat the live run."""

from esp.runtime.durations import duration_text
from esp.runtime.kinds.aggregate import AggregateSettings
from esp.runtime.kinds.copy import CopySettings
from esp.runtime.kinds.score import ScoreSettings
from esp.runtime.kinds.sequence import SequenceSettings
from esp.runtime.kinds.source import SourceSettings
from esp.runtime.query import Query


def remembering(query: Query) -> list[str]:
    """The windows whose results depend on earlier events."""
    return [name for name in query.windows if _own_ns(query, name) != 0]


def wanted_warm_up(query: Query) -> str:
    """The warm-up that is enough if the events' times are those of their records; ``all`` where only the whole past is."""
    back: dict[str, int | None] = {}
    for name, window in query.windows.items():  # each follows its input
        before = _delay_ns(query, name) if not window.settings.source else back[window.settings.source.partition(".")[0]]
        own = _own_ns(query, name)
        back[name] = None if before is None or own is None else before + own
    lengths = [length for length in back.values() if length is not None]
    return "all" if len(lengths) < len(back) else duration_text(max(lengths))


def _own_ns(query: Query, name: str) -> int | None:
    """How far back a window itself holds on to events; None = it counts events of a key, however old they are."""
    settings = query.windows[name].settings
    if isinstance(settings, AggregateSettings):
        return settings.size
    is_counting = isinstance(settings, CopySettings | SequenceSettings) or (
        isinstance(settings, ScoreSettings) and (settings.sequence is not None or settings.stateful is not None)
    )
    return None if is_counting else 0


def _delay_ns(query: Query, name: str) -> int:
    settings = query.windows[name].settings
    return settings.max_delay if isinstance(settings, SourceSettings) else 0
