"""Sliding windows over layers along time: each window computes only what its new events change, with the bits of scoring it whole."""

from esp.runtime.backends.sliding.sliding import Sliding, slide

__all__ = ["Sliding", "slide"]
