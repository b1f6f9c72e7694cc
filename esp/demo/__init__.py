"""``esp demo``: the engine shown on real data, as a producer and a consumer outside it would see it."""
