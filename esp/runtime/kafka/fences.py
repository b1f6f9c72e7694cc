"""What a broker says of a task that another engine has taken over, or whose transaction it has given up."""

from typing import Any

from aiokafka.errors import InvalidProducerEpoch, InvalidProducerIdMapping, InvalidTxnState, ProducerFenced

from esp.errors import FencedError

_FENCES = (ProducerFenced, InvalidProducerEpoch, InvalidTxnState, InvalidProducerIdMapping)


def is_fence(err: BaseException, producer: Any) -> bool:
    """Whether a failure means that the producer's transactions have ended for good; aiokafka hides some in its sender's end."""
    sender = producer._sender.sender_task
    ended = sender.exception() if sender is not None and sender.done() and not sender.cancelled() else None
    return any(isinstance(each, _FENCES) for each in (err, err.__cause__, ended, ended and ended.__cause__))


def fenced(place: str, producer: Any) -> FencedError:
    """What is said of a task that is lost."""
    return FencedError(
        f"another engine has started '{producer._txn_manager.transactional_id}', or a transaction took longer than it may",
        where=place,
        mend="engines of one group share its partitions; for long transactions say transaction_timeout",
    )
