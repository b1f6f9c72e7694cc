"""Products whose result is taken up by the one node that reads it: their row can do that node's work as well."""

from esp.astore.graph import Node
from esp.kernels import plan
from esp.runtime.backends.lowering.lowering import Lowering
from esp.runtime.backends.lowering.values import Buffer

NEAR = 200  # rows back that a product is looked for
OUT_STEP, COLUMNS = 8, 9  # fields of the row of a product


def product_of(made: Lowering, node: Node, name: str) -> int | None:
    """The row of a product that fills a tensor's buffer; None where there is none near, or others than ``node`` see the tensor."""
    value = made.values.get(name)
    if value is None or value.flat is not None or made.net.only_user(name) is not node:
        return None
    for at in range(len(made.rows) - 1, max(len(made.rows) - NEAR, 0) - 1, -1):
        if value.buffer in made.rows[at].buffers:
            return at if _is_whole(made, at, value.buffer) else None
    return None


def is_written_after(made: Lowering, at: int, buffer: Buffer) -> bool:
    """Whether a row from ``at`` on may write a buffer."""
    return any(row.y is buffer or any(item is buffer for item in row.fields) for row in made.rows[at:])


def _is_whole(made: Lowering, at: int, buffer: Buffer) -> bool:
    """Whether a row is a product that fills the buffer, with nothing added yet."""
    row = made.rows[at]
    if row.does is not plan.MULTIPLY or row.y is not buffer or row.c is not None or row.times != made.times or row.y_at:
        return False
    return bool(row.fields[OUT_STEP] == row.fields[COLUMNS] and buffer.size == row.fields[0] * row.fields[COLUMNS])
