"""aiokafka: what a ``getmany`` gives is scored as one batch, and leaves by ``send_batch``: the pass-through's loop with a model in it."""

import asyncio

from loadtest.passthrough import run
from loadtest.peers.scoring import arguments, scorer

if __name__ == "__main__":
    args = arguments(__doc__)
    score = scorer(args.workload, args.model)
    asyncio.run(run(args.brokers, args.source, args.target, args.group, args.linger_ms, score))
