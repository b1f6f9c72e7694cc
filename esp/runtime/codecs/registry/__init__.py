"""Schema registries: where a record's bytes name their schema by a number, and a service knows it (Confluent's REST API)."""
