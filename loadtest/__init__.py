"""Load tests: an open-loop generator, the engine beside a bare client, and an analyser that counts every event."""
