"""Avro: records by fastavro, one at a time, their schema from a file or from a schema registry."""
