"""Protobuf: records by Google's library, one at a time, their schema from a file or from a schema registry."""
