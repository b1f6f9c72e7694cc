"""An independent judge of expressions: plain Python on one row, where an error is null and null is contagious as in SQL."""

import ast
import math
import operator
from collections.abc import Callable, Mapping
from typing import Any

BINARY: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod, ast.Pow: operator.pow,
}  # fmt: skip
COMPARE: dict[type, Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge,
}  # fmt: skip
CALLS: dict[str, Callable[..., Any]] = {
    "abs": abs, "min": min, "max": max, "round": round, "floor": math.floor, "ceil": math.ceil, "sqrt": math.sqrt, "exp": math.exp,
    "log": math.log, "log2": math.log2, "log10": math.log10, "sin": math.sin, "cos": math.cos, "tan": math.tan, "atan2": math.atan2,
    "isnan": math.isnan, "int": int, "float": float, "bool": bool, "str": str, "len": len, "lower": str.lower, "upper": str.upper,
    "strip": str.strip, "startswith": str.startswith, "endswith": str.endswith, "sum": sum,
}  # fmt: skip


def judge(text: str, row: Mapping[str, Any]) -> Any:
    """What the expression gives for one row; None is null."""
    return _judge(ast.parse(text, mode="eval").body, row)


def _judge(node: ast.expr, row: Mapping[str, Any]) -> Any:
    match node:
        case ast.Constant(value=value):
            return value
        case ast.Name(id=name):
            return row[name]
        case ast.BoolOp(op=op, values=values):
            decides = isinstance(op, ast.Or)  # the value that decides alone
            found = [_judge(value, row) for value in values]
            return decides if decides in found else None if None in found else not decides
        case ast.UnaryOp(op=op, operand=operand):
            value = _judge(operand, row)
            return None if value is None else not value if isinstance(op, ast.Not) else _whole(-value)
        case ast.IfExp(test=test, body=body, orelse=orelse):
            return _judge(body if _judge(test, row) is True else orelse, row)
        case ast.Compare(left=left, ops=[ast.Is()]):
            return _judge(left, row) is None
        case ast.Compare(left=left, ops=[ast.IsNot()]):
            return _judge(left, row) is not None
        case ast.Compare(left=left, ops=[ast.In() | ast.NotIn() as op], comparators=[right]):
            value = _judge(left, row)
            return None if value is None else (value in ast.literal_eval(right)) == isinstance(op, ast.In)
        case ast.Compare(left=left, ops=ops, comparators=rest):
            values = [_judge(part, row) for part in (left, *rest)]
            found = [None if None in (a, b) else COMPARE[type(op)](a, b) for op, a, b in zip(ops, values, values[1:])]
            return False if False in found else None if None in found else True
        case ast.BinOp(left=left, op=op, right=right):
            return _strict(BINARY[type(op)], _judge(left, row), _judge(right, row))
        case ast.Subscript(value=value, slice=at):
            return _strict(operator.getitem, _judge(value, row), _judge(at, row))
        case ast.Call(func=ast.Name(id="coalesce"), args=args):
            return next((value for value in (_judge(arg, row) for arg in args) if value is not None), None)
        case ast.Call(func=ast.Name(id=name), args=args):
            return _strict(CALLS[name], *(_judge(arg, row) for arg in args))
    raise AssertionError(ast.dump(node))


def _strict(compute: Callable[..., Any], *args: Any) -> Any:
    if None in args:
        return None
    try:
        value = compute(*args)
    except (ZeroDivisionError, ValueError, OverflowError):
        return None
    return None if isinstance(value, complex) else _whole(value)


def _whole(value: Any) -> Any:
    """Null for a whole number beyond int64."""
    return None if type(value) is int and not -(2**63) <= value < 2**63 else value
