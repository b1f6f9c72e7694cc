"""What the client library says, kept apart by client: its lines repeat themselves at every try, so the log gets them at debug level alone."""

import logging
from contextvars import ContextVar
from dataclasses import dataclass

log = logging.getLogger(__name__)
CONSEQUENCE = "Unable to update metadata"  # follows the line that says why


@dataclass(slots=True)
class Heard:
    """What the library complained of in one client: its last complaint, and how many there were, most of them a try that failed."""

    fault: str = ""
    count: int = 0


_HEARD: ContextVar[Heard | None] = ContextVar("heard", default=None)


class ClientLog(logging.Handler):
    """Takes the library's lines aside; those of a client's tasks are its own, for tasks inherit the context they are made in."""

    def emit(self, record: logging.LogRecord) -> None:
        is_bug = record.exc_info is not None and record.levelno >= logging.ERROR
        heard = _HEARD.get()
        if heard is not None and record.levelno >= logging.WARNING:
            if not record.getMessage().startswith(CONSEQUENCE):
                heard.fault = record.getMessage()
            heard.count += 1
        log.log(logging.ERROR if is_bug else logging.DEBUG, "%s", record.getMessage(), exc_info=record.exc_info)


CLIENT_LOG = ClientLog()


def listen(heard: Heard | None = None) -> Heard:
    """From here on what clients say that are made in this context is heard, by who listened before if that is given."""
    logger = logging.getLogger("aiokafka")
    if CLIENT_LOG not in logger.handlers:
        logger.addHandler(CLIENT_LOG)
        logger.propagate = False
    logger.setLevel(logging.WARNING)
    heard = heard or Heard()
    _HEARD.set(heard)
    return heard
