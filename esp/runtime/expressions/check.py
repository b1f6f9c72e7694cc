"""From a syntax tree to a typed plan: every name, type and argument is judged here, before the first event."""

import ast
import difflib
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from esp.errors import QueryError
from esp.runtime.expressions import arithmetic, nulls, operators, strings
from esp.runtime.expressions.evaluate import Apply, ApplyNulls, Expression, FieldRef, Kernel, Literal, Plan, cast
from esp.runtime.expressions.functions import FUNCTIONS, METHODS
from esp.runtime.expressions.syntax import REFUSED, Source
from esp.runtime.expressions.types import BLOB, BOOL, FLOAT, INT, NULL, STRING, common, number
from esp.runtime.schema import FieldType, Schema

_SIGNS: dict[type[ast.AST], str] = {
    ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=",
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.FloorDiv: "//", ast.Mod: "%", ast.Pow: "**",
}  # fmt: skip
_NULL_MEND = "ask with 'x is None', fill with coalesce(x, 0)"
_TENSOR_MEND = "take an element (acc[0]) or reduce it (sum, mean, norm, min, max)"


def compile(text: str, schema: Schema, where: str = "") -> Expression:
    """The expression as a plan over the columns of ``schema``; QueryError when it is not of the language, or its types do not fit.

    >>> compile("acc[0] * 9.81 if unit == 'g' else acc[0]", Schema.parse("acc:float32[3], unit:string")).type
    FieldType(base='float64', shape=(), unit='ns')
    """
    source = Source(text.strip(), where)
    tree = source.parse()
    plan = _Checker(source, schema).plan(tree)
    if plan.type == NULL:
        raise source.error(tree, "None alone has no type", "give it one, such as 'x if x > 0 else None'")
    return Expression(source.text, plan)


@dataclass(frozen=True, slots=True)
class _Checker:
    """Makes the plan of each kind of node."""

    source: Source
    schema: Schema

    def plan(self, node: ast.expr) -> Plan:
        match node:
            case ast.Constant():
                return self.constant(node)
            case ast.Name():
                return self.field(node, node.id)
            case ast.UnaryOp():
                return self.unary(node)
            case ast.BinOp():
                return self.binary(node)
            case ast.BoolOp():
                kernel = nulls.conjunction if isinstance(node.op, ast.And) else nulls.disjunction
                return ApplyNulls(BOOL, kernel, tuple(map(self.condition, node.values)))
            case ast.Compare():
                return self.compare(node)
            case ast.IfExp():
                return self.either(node)
            case ast.Call():
                return self.call(node)
            case ast.Subscript():
                return self.element(node)
        raise self.refused(node)

    def refused(self, node: ast.AST, place: ast.AST | None = None) -> QueryError:
        what, mend = REFUSED.get(type(node), (type(node).__name__, ""))
        return self.source.error(place or node, f"{what} is not of the language", mend)

    def constant(self, node: ast.Constant) -> Plan:
        value = node.value
        if isinstance(value, int) and not isinstance(value, bool) and not -(2**63) <= value < 2**63:
            raise self.source.error(node, "the number is past int64", "write it as a float, such as 1e20")
        if isinstance(value, str) and not value.isascii():
            self.check_text(node, value)
        kinds: dict[type, FieldType] = {bool: BOOL, int: INT, float: FLOAT, str: STRING, type(None): NULL}
        if type(value) not in kinds:
            raise self.source.error(
                node,
                f"a literal of type {type(value).__name__} is not of the language",
                "use a number, a string, True, False or None",
            )
        assert value is None or isinstance(value, bool | int | float | str)
        return Literal(kinds[type(value)], value)

    def check_text(self, node: ast.Constant, value: str) -> None:
        try:
            value.encode()
        except UnicodeEncodeError as err:
            raise self.source.error(node, "the string is not UTF-8 text", "leave out the lone surrogate") from err

    def field(self, node: ast.expr, name: str) -> Plan:
        if name in self.schema:
            return FieldRef(self.schema[name].type, self.schema.index(name))
        if name in FUNCTIONS:
            raise self.source.error(node, f"'{name}' is a function, and no field", f"write {FUNCTIONS[name].usage}")
        raise self.source.error(node, f"there is no field '{name}'", suggest(name, self.schema.names, "the fields are"))

    def condition(self, node: ast.expr) -> Plan:
        plan = self.plan(node)
        if plan.type == NULL:
            return cast(plan, BOOL)
        if plan.type != BOOL:
            raise self.source.error(node, f"wanted a bool, got {plan.type}", "compare it, such as x != 0 or s != ''")
        return plan

    def unary(self, node: ast.UnaryOp) -> Plan:
        if isinstance(node.op, ast.Not):
            return Apply(BOOL, np.logical_not, (self.condition(node.operand),))
        if isinstance(node.op, ast.Invert):
            raise self.refused(node.op, node)
        match node:
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int(value) | float(value))) if not isinstance(value, bool):
                return self.constant(ast.copy_location(ast.Constant(-value), node))
        plan = self.plan(node.operand)
        kind = number(plan.type)
        if kind is None:
            raise self.mismatch(node, "-" if isinstance(node.op, ast.USub) else "+", plan)
        return Apply(kind, arithmetic.negate, (cast(plan, kind),)) if isinstance(node.op, ast.USub) else cast(plan, kind)

    def binary(self, node: ast.BinOp) -> Plan:
        if type(node.op) not in _SIGNS:
            raise self.refused(node.op, node)
        sign, left, right = _SIGNS[type(node.op)], self.plan(node.left), self.plan(node.right)
        plan = operators.moments(sign, left, right) or operators.numbers(sign, left, right)
        if sign == "+" and left.type == right.type == STRING:
            plan = Apply(STRING, strings.join, (left, right))
        if plan is None:
            raise self.mismatch(node, sign, left, right)
        return plan

    def mismatch(self, node: ast.expr, sign: str, *args: Plan) -> QueryError:
        """What to say when an operator does not take its operands."""
        kinds = [arg.type for arg in args]
        if NULL in kinds:
            return self.source.error(node, f"'{sign}' with None is always null", _NULL_MEND)
        mend = "convert one of them, with int(), float() or str()"
        if any(kind.shape for kind in kinds):
            mend = _TENSOR_MEND
        elif BOOL in kinds and sign not in ("==", "!="):
            mend = "write int(flag) to compute with a bool"
        elif any(kind.base in ("stamp", "date") for kind in kinds):
            mend = "a stamp is compared with a stamp, such as stamp('2026-01-31T12:00:00Z'), a date with a date"
        return self.source.error(node, f"'{sign}' does not take {' and '.join(map(_named, kinds))}", mend)

    def compare(self, node: ast.Compare) -> Plan:
        if len(node.ops) == 1 and isinstance(node.ops[0], ast.Is | ast.IsNot):
            return self.null_test(node)
        if len(node.ops) == 1 and isinstance(node.ops[0], ast.In | ast.NotIn):
            plan = self.membership(node.left, node.comparators[0])
            return plan if isinstance(node.ops[0], ast.In) else Apply(BOOL, np.logical_not, (plan,))
        if any(type(op) not in _SIGNS for op in node.ops):
            raise self.source.error(node, "'is' and 'in' do not chain", "put parentheses around each, and 'and' between")
        signs = [_SIGNS[type(op)] for op in node.ops]
        args = [self.plan(part) for part in (node.left, *node.comparators)]
        kind = common(*(arg.type for arg in args))
        is_ordered = any(sign not in ("==", "!=") for sign in signs)
        if kind is None or kind.shape or NULL in [arg.type for arg in args] or (is_ordered and kind in (BOOL, BLOB)):
            raise self.mismatch(node, signs[0], *args)
        args = [cast(arg, kind) for arg in args]
        if len(signs) == 1:
            return Apply(BOOL, partial(operators.compare, signs[0]), tuple(args))
        return ApplyNulls(BOOL, partial(operators.chain, signs), tuple(args))

    def null_test(self, node: ast.Compare) -> Plan:
        right = node.comparators[0]
        if not isinstance(right, ast.Constant) or right.value is not None:
            raise self.source.error(node, "'is' asks for None alone", "compare values with ==")
        kernel = nulls.is_null if isinstance(node.ops[0], ast.Is) else nulls.is_not_null
        return ApplyNulls(BOOL, kernel, (self.plan(node.left),))

    def membership(self, left: ast.expr, right: ast.expr) -> Plan:
        value = self.plan(left)
        if not isinstance(right, ast.Tuple | ast.List | ast.Set):
            text = self.plan(right)
            if not value.type == text.type == STRING:
                raise self.source.error(
                    right, f"'in' does not take {value.type} and {text.type}", "write literals in parentheses, such as (1, 2, 3)"
                )
            return Apply(BOOL, strings.contains, (value, text))
        literals = [self.literal(part) for part in right.elts]
        kind = common(value.type, *(literal.type for literal in literals))
        if not literals or kind is None or not (kind == STRING or kind.is_number):
            raise self.source.error(
                right,
                f"'in' asks whether a {value.type} is one of these, of which one does not compare",
                "write one or more numbers, or one or more strings",
            )
        values: Any = tuple(literal.value for literal in literals)
        kernel: Kernel = partial(strings.is_in if kind == STRING else arithmetic.is_in, values=values)
        return Apply(BOOL, kernel, (cast(value, kind),))

    def literal(self, node: ast.expr) -> Literal:
        plan = self.plan(node)
        if not isinstance(plan, Literal) or plan.value is None:
            raise self.source.error(
                node, "right of 'in' stand literals alone, and not None", "write 'or x is None' after it, or compare with =="
            )
        return plan

    def either(self, node: ast.IfExp) -> Plan:
        condition, then, other = self.condition(node.test), self.plan(node.body), self.plan(node.orelse)
        kind = common(then.type, other.type)
        if kind is None:
            raise self.source.error(
                node, f"the two ways give {then.type} and {other.type}", "convert one of them, with int(), float() or str()"
            )
        return ApplyNulls(kind, nulls.choose, (condition, cast(then, kind), cast(other, kind)))

    def call(self, node: ast.Call) -> Plan:
        name, parts = self.callee(node)
        if node.keywords:
            raise self.source.error(
                node, f"{name} takes no arguments by name", f"write {FUNCTIONS[name].usage}" if name in FUNCTIONS else ""
            )
        if name == "field" and len(parts) == 1 and isinstance(parts[0], ast.Constant):
            return self.field(parts[0], str(parts[0].value))
        if name not in FUNCTIONS:
            raise self.source.error(node, f"there is no function '{name}'", suggest(name, tuple(FUNCTIONS), "the functions are"))
        function, args = FUNCTIONS[name], [self.plan(part) for part in parts]
        plan = function.build(*args) if function.least <= len(args) <= function.most else None
        if plan is None:
            got = ", ".join(_named(arg.type) for arg in args) or "nothing"
            raise self.source.error(node, f"{name} does not take ({got})", f"write {function.usage}")
        return plan

    def callee(self, node: ast.Call) -> tuple[str, list[ast.expr]]:
        """The name and the arguments of a call; ``s.lower()`` is read as ``lower(s)``."""
        match node.func:
            case ast.Name(id=name):
                return name, node.args
            case ast.Attribute(value=value, attr=name) if name in METHODS:
                return name, [value, *node.args]
        raise self.refused(node.func)

    def element(self, node: ast.Subscript) -> Plan:
        tensor = self.plan(node.value)
        if not tensor.type.shape:
            raise self.source.error(
                node, f"only a tensor has elements, this is {tensor.type}", "declare the field as a tensor, such as float32[3]"
            )
        parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        index, shape = tuple(map(self.index, parts)), tensor.type.shape
        if len(index) > len(shape) or any(not -size <= at < size for at, size in zip(index, shape)):
            raise self.source.error(
                node, f"the index {list(index)} lies outside {tensor.type}", f"count from 0, {len(shape)} at most"
            )
        rest = FieldType(tensor.type.base, shape[len(index) :])
        if rest == FieldType("uint8"):
            rest = INT
        return Apply(rest, lambda column: arithmetic.element(column, index=index).astype(rest.dtype, copy=False), (tensor,))

    def index(self, node: ast.expr) -> int:
        if isinstance(node, ast.Slice):
            raise self.refused(node)
        plan = self.plan(node)
        if not isinstance(plan, Literal) or plan.type != INT or not isinstance(plan.value, int):
            raise self.source.error(node, "an index is a whole number that stands in the text", "write it out, such as acc[0]")
        return plan.value


def _named(kind: FieldType) -> str:
    return "None" if kind == NULL else str(kind)


def suggest(name: str, known: tuple[str, ...], else_say: str) -> str:
    """The mend for an unknown name: the nearest of the known ones, or all of them."""
    near = difflib.get_close_matches(name, known, 1)
    return f"did you mean '{near[0]}'?" if near else f"{else_say} {', '.join(known)}"
