"""confluent-kafka: take up to 500 records, score them as one batch, produce; offsets are committed each second."""

import signal
import sys
import time
from typing import Any

from confluent_kafka import Consumer, KafkaException, Producer

from loadtest.peers.scoring import Score, arguments, scorer

TAKE, WAIT_S, COMMIT_S = 500, 0.1, 1.0


class Loop:
    """Runs until SIGTERM; what was produced is acknowledged before its offsets are committed."""

    def __init__(self, args: Any, score: Score) -> None:
        self.target, self.score, self.is_stopping = args.target, score, False
        self.gather_s = args.linger_ms / 1e3
        client = {"bootstrap.servers": args.brokers}
        self.consumer = Consumer(
            {
                **client, "group.id": args.group, "auto.offset.reset": "earliest", "enable.auto.commit": False, "fetch.wait.max.ms": 100,
                "queued.min.messages": 100_000, "fetch.queue.backoff.ms": 5, "max.partition.fetch.bytes": 4 << 20,
            }
        )  # fmt: skip
        self.producer = Producer(
            {
                **client, "linger.ms": args.linger_ms, "enable.idempotence": True, "batch.size": 1 << 20,
                "queue.buffering.max.messages": 1_000_000, "delivery.report.only.error": True, "on_delivery": _refuse,
            }
        )  # fmt: skip

    def run(self, source: str) -> None:
        self.consumer.subscribe([source], on_assign=lambda *_: print("ready", flush=True))
        committed_s = time.monotonic()
        while not self.is_stopping:
            self._pass_on()
            if time.monotonic() - committed_s > COMMIT_S:
                self._commit()
                committed_s = time.monotonic()
        self._commit()
        self.consumer.close()

    def _pass_on(self) -> None:
        """Waits for one record, then gathers others for as long as the producer lingers."""
        first = self.consumer.poll(WAIT_S)
        if first is None:
            return
        messages = [first, *self.consumer.consume(TAKE - 1, self.gather_s)]
        for message in messages:
            if message.error():
                raise KafkaException(message.error())
        for message, output in zip(messages, self.score([message.value() for message in messages])):
            if output is not None:
                self._produce(output, message)
        self.producer.poll(0)

    def _produce(self, output: bytes, message: Any) -> None:
        while True:
            try:
                return self.producer.produce(self.target, output, message.key(), message.partition())
            except BufferError:
                self.producer.poll(0.01)

    def _commit(self) -> None:
        self.producer.flush()
        try:
            self.consumer.commit(asynchronous=False)
        except KafkaException as err:
            if err.args[0].name() != "_NO_OFFSET":
                raise


def _refuse(error: Any, message: Any) -> None:
    raise KafkaException(error)


def main() -> None:
    args = arguments(__doc__)
    loop = Loop(args, scorer(args.workload, args.model))

    def stop(*_: object) -> None:
        loop.is_stopping = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    loop.run(args.source)


if __name__ == "__main__":
    sys.exit(main())
