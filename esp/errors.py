"""The one family of errors: each is a single line that says what is wrong, where, and the mend."""

MOST = 800  # characters of a part of a message: a hostile file does not fill the log


class EspError(Exception):
    """What went wrong, where it lies and how to mend it, in one line.

    ``what`` holds what was wanted and what was found; ``where`` a file and key path, a window, a topic/partition/offset
    or a byte offset; ``mend`` what the user can do. ``exit_status`` is what the command line ends with.
    """

    exit_status = 1

    def __init__(self, what: str, *, where: str = "", mend: str = "") -> None:
        self.what, self.where, self.mend = _short(what), _short(where), mend
        text = f"{self.where}: {self.what}" if where else self.what
        super().__init__(" ".join((f"{text}; {mend}" if mend else text).split()))


def _short(part: str) -> str:
    return part if len(part) <= MOST else f"{part[: MOST // 2]} ... {part[-MOST // 2 :]}"


class UsageError(EspError):
    """The command was called in a way that cannot be right."""

    exit_status = 2


class FileError(EspError):
    """A file (an astore, a recipe, a data set) cannot be read, or does not hold what it says."""

    exit_status = 2


class TrustError(FileError):
    """A file is not signed, or not by a key that is trusted here."""


class GraphError(EspError):
    """A graph is not well formed: an unknown op, a shape that does not fit, a cycle, a missing tensor."""

    exit_status = 2


class QueryError(EspError):
    """A query file cannot be run: an unknown key, a type error, a missing field or model, a cycle."""

    exit_status = 2


class BackendError(EspError):
    """A scoring backend cannot take this graph, or is not to be had on this machine."""

    exit_status = 2


class EventError(EspError):
    """An event does not fit its schema; the engine sends it to the dead-letter output."""


class StateError(EspError):
    """A checkpoint cannot be read, or belongs to another query."""

    exit_status = 3


class TransportError(EspError):
    """A connector cannot reach its peer, or the peer refused."""


class StartError(EspError):
    """The engine could not start: a broker, a port or a device is not to be had."""

    exit_status = 3


class FencedError(TransportError):
    """The task of a partition belongs to another engine now: whatever this one would write of it is refused."""
