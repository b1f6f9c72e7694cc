"""State tables and their checkpoints."""
