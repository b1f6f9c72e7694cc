"""The event-stream runtime: continuous queries that load astores and score live events."""
