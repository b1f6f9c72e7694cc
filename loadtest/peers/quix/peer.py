"""Quix Streams: a streaming data frame whose one step scores an event."""

from quixstreams import Application

from loadtest.peers.scoring import arguments, scorer


def main() -> None:
    args = arguments(__doc__)
    score = scorer(args.workload, args.model)
    app = Application(
        broker_address=args.brokers, consumer_group=args.group, auto_offset_reset="earliest", auto_create_topics=False,
        commit_interval=1.0, state_dir=args.state, loglevel="WARNING",
        producer_extra_config={"linger.ms": args.linger_ms, "enable.idempotence": True},
    )  # fmt: skip
    source = app.topic(args.source, value_deserializer="bytes", key_deserializer="bytes")
    target = app.topic(args.target, value_serializer="bytes", key_serializer="bytes")
    app.dataframe(source).apply(lambda value: score([value])[0]).to_topic(target)
    print("ready", flush=True)
    app.run()


if __name__ == "__main__":
    main()
