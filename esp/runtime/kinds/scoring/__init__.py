"""The parts of the score kind: what goes into a model, what comes out of it, and the windows that run it."""
