"""A streaming real-time scoring engine: train a model, write it as an astore, score live event streams with it."""

__version__ = "0.2.0"
