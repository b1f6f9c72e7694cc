"""Several engine processes of one consumer group behind one port: ``esp run --workers N``."""
