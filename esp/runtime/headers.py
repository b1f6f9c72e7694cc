"""Adds headers to those of a record, in the layout of a Kafka record."""
