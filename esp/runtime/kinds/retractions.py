"""Fields that deletes do not carry: which expressions read them, and the refusal where a delete must take its row's value back."""

import ast
from collections.abc import Iterable

from esp.errors import QueryError
from esp.runtime.expressions.syntax import Source
from esp.runtime.kinds.window import Stream


def reads_unretracted(text: str, stream: Stream) -> tuple[str, ...]:
    """The fields of ``stream.unretracted`` that an expression reads."""
    if not stream.unretracted:
        return ()
    names = {node.id for node in ast.walk(Source(text.strip(), "").parse()) if isinstance(node, ast.Name)}
    return tuple(name for name in stream.unretracted if name in names)


def refuse_unretracted(names: Iterable[str], stream: Stream, where: str) -> None:
    """QueryError when one of the fields is null in deletes, whatever its row held."""
    for name in names:
        if name in stream.unretracted:
            raise QueryError(
                f"'{name}' is made by a model from rows that are retained, and their deletes do not carry it", where=where,
                mend="aggregate before scoring, or score before the copy window",
            )  # fmt: skip
