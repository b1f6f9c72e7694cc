"""Expressions over the fields of an event: a strict part of Python with SQL's null rules, a plan over columns (EXPRESSIONS.md)."""

from esp.runtime.expressions.check import compile, suggest
from esp.runtime.expressions.evaluate import Expression

__all__ = ["Expression", "compile", "suggest"]
