"""Backfill: a range of a query's input worked off once more, into other outputs, beside the live query."""

from esp.runtime.backfill.asked import Asked
from esp.runtime.backfill.job import Backfill
from esp.runtime.backfill.query import redirected

__all__ = ["Asked", "Backfill", "redirected"]
