"""From text to Python's own syntax tree, with bounds on its size; every refusal names the expression and the place in it."""

import ast
import keyword
import warnings
from dataclasses import dataclass

from esp.errors import QueryError

MAX_LETTERS = 4000
MAX_DEPTH = 100
_SHOWN = 60  # letters of an expression that a message repeats

# What Python has and the language has not: the word for it and the mend.
REFUSED: dict[type[ast.AST], tuple[str, str]] = {
    ast.Attribute: ("attribute access", "write a field by its bare name"),
    ast.Await: ("await", "an expression only computes"),
    ast.Dict: ("a dict", "use 'a if condition else b'"),
    ast.DictComp: ("a comprehension", "use sum, mean, norm, min or max of a tensor"),
    ast.FormattedValue: ("an f-string", "join strings with +, numbers with str(x)"),
    ast.GeneratorExp: ("a comprehension", "use sum, mean, norm, min or max of a tensor"),
    ast.JoinedStr: ("an f-string", "join strings with +, numbers with str(x)"),
    ast.Lambda: ("a lambda", "write what it computes in place"),
    ast.List: ("a list", "a list of literals stands only right of 'in'"),
    ast.ListComp: ("a comprehension", "use sum, mean, norm, min or max of a tensor"),
    ast.NamedExpr: ("an assignment", "give a part a name in a compute window before this one"),
    ast.Set: ("a set", "a set of literals stands only right of 'in'"),
    ast.SetComp: ("a comprehension", "use sum, mean, norm, min or max of a tensor"),
    ast.Slice: ("a slice", "index a tensor with whole numbers, such as acc[0]"),
    ast.Starred: ("a starred value", "write the arguments out"),
    ast.Tuple: ("a tuple", "a tuple of literals stands only right of 'in'"),
    ast.Yield: ("yield", "an expression only computes"),
    ast.YieldFrom: ("yield", "an expression only computes"),
    ast.BitAnd: ("the operator &", "write 'and'"),
    ast.BitOr: ("the operator |", "write 'or'"),
    ast.BitXor: ("the operator ^", "write ** for powers, != for either-or"),
    ast.Invert: ("the operator ~", "write 'not'"),
    ast.LShift: ("the operator <<", "multiply by a power of two"),
    ast.RShift: ("the operator >>", "divide by a power of two with //"),
    ast.MatMult: ("the operator @", "use a score window for matrices"),
}


@dataclass(frozen=True, slots=True)
class Source:
    """The text of an expression and where it stands in the query."""

    text: str
    where: str

    def error(self, node: ast.AST | None, what: str, mend: str = "") -> QueryError:
        """The error for one part of the expression, ready to raise."""
        if not isinstance(node, ast.expr):
            return QueryError(f"expression '{self._shown()}': {what}", where=self.where, mend=mend)
        line = self.text.splitlines()[node.lineno - 1]
        return self._at(node.lineno, len(line.encode()[: node.col_offset].decode(errors="ignore")) + 1, what, mend)

    def parse(self) -> ast.expr:
        """The syntax tree; QueryError when the text is no Python expression or past the bounds."""
        if len(self.text) > MAX_LETTERS:
            raise self.error(None, f"{len(self.text)} letters, at most {MAX_LETTERS} are taken", "cut it into several fields")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                tree = ast.parse(self.text, mode="eval").body
        except SyntaxError as err:
            raise self._at(err.lineno or 1, err.offset or 1, f"not a Python expression: {err.msg}", self._syntax_mend()) from err
        except ValueError as err:
            raise self.error(None, f"Python cannot read it: {err}", "make it simpler") from err
        except (RecursionError, MemoryError) as err:  # which depth the parser itself bears differs between versions
            raise self._too_deep() from err
        self._check_depth(tree)
        return tree

    def _at(self, line: int, column: int, what: str, mend: str) -> QueryError:
        place = f"line {line}, column {column}" if "\n" in self.text else f"column {column}"
        return QueryError(f"expression '{self._shown()}', {place}: {what}", where=self.where, mend=mend)

    def _shown(self) -> str:
        text = " ".join(self.text.split())
        return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."

    def _syntax_mend(self) -> str:
        words = [word for word in keyword.kwlist if word.islower() and word in self.text.split()]
        named = [word for word in words if word not in ("and", "or", "not", "in", "is", "if", "else")]
        return (
            f'write a field of that name as field("{named[0]}")'
            if named
            else "write it as in Python, such as x > 3 and y is not None"
        )

    def _check_depth(self, tree: ast.expr) -> None:
        level: list[ast.AST] = [tree]
        for _ in range(MAX_DEPTH):
            level = [child for node in level for child in ast.iter_child_nodes(node)]
            if not level:
                return
        raise self._too_deep()

    def _too_deep(self) -> QueryError:
        return self.error(None, f"nested deeper than {MAX_DEPTH}", "cut it into several fields")
