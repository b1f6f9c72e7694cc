"""The text of a .proto file as a FileDescriptorProto: what messages and enums need, without a compiler.

Options, services and extensions are passed over; names of types stay as they are written, for the descriptor pool resolves them.
"""

import re
from collections.abc import Callable

from google.protobuf.descriptor_pb2 import DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto

from esp.runtime.codecs.schema_error import SchemaError

MOST_DEPTH = 32  # messages within messages
_TOKEN = re.compile(
    r"""\s+|//[^\n]*|/\*.*?\*/|(?P<word>\.?[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)|(?P<number>[+-]?(?:0[xX][0-9a-fA-F]+|[\d.][\w.]*(?:[eE][+-]\d+)?))
    |(?P<string>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')|(?P<sign>[-{}\[\]()<>=;,:/+])""",
    re.ASCII | re.DOTALL | re.VERBOSE,
)
_SCALARS = (
    "double", "float", "int64", "uint64", "int32", "fixed64", "fixed32", "bool", "string", "group", "message", "bytes", "uint32", "enum",
    "sfixed32", "sfixed64", "sint32", "sint64",
)  # fmt: skip
_TYPES = {name: number for number, name in enumerate(_SCALARS, 1) if name not in ("group", "message", "enum")}
_LABELS = {"optional": 1, "required": 2, "repeated": 3}


def file_of(text: str, name: str) -> FileDescriptorProto:
    """The file that a text describes. SchemaError when it cannot be read."""
    try:
        return _Reader(text, name).file()
    except ValueError as err:  # a number that is too large, letters that are none
        raise SchemaError(f"this is no .proto text ({str(err)[:80]})") from err


class _Reader:
    """Goes over the tokens of a text once, from the front."""

    def __init__(self, text: str, name: str) -> None:
        self._tokens, self._at = _tokens(text), 0
        self._made = FileDescriptorProto(name=name)

    # ---- tokens ---------------------------------------------------------------------------------------------------

    def _peek(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def _next(self) -> str:
        if self._at >= len(self._tokens):
            raise SchemaError("the .proto text ends too early")
        self._at += 1
        return self._tokens[self._at - 1]

    def _want(self, *tokens: str) -> None:
        for token in tokens:
            found = self._next()
            if found != token:
                raise SchemaError(f"the .proto text has {found[:40]!r} where {token!r} is wanted")

    def _word(self) -> str:
        found = self._next()
        if not re.fullmatch(r"\.?[A-Za-z_][\w.]*", found, re.ASCII):
            raise SchemaError(f"the .proto text has {found[:40]!r} where a name is wanted")
        return found

    def _number(self) -> int:
        found = self._next()
        found = found + self._next() if found in "+-" else found
        try:
            return int(found, 8) if re.fullmatch(r"[+-]?0[0-7]+", found) else int(found, 0)
        except ValueError as err:
            raise SchemaError(f"the .proto text has {found[:40]!r} where a number is wanted") from err

    def _text(self) -> str:
        found = self._next()
        if found[0] not in "\"'":
            raise SchemaError(f"the .proto text has {found[:40]!r} where a text in quotes is wanted")
        return found[1:-1]

    def _pass_over(self) -> None:
        """To behind the next semicolon, or the next block in braces, whichever ends first."""
        depth = 0
        while True:
            token = self._next()
            depth += (token == "{") - (token == "}")
            if depth == 0 and token in (";", "}"):
                return

    # ---- the file -------------------------------------------------------------------------------------------------

    def file(self) -> FileDescriptorProto:
        while self._peek():
            word = self._next()
            if word == "syntax":
                self._want("=")
                self._made.syntax = self._text()
                self._want(";")
            elif word == "package":
                self._made.package = self._word()
                self._want(";")
            elif word == "import":
                self._import()
            elif word == "message":
                self._message(self._made.message_type.add(), 0)
            elif word == "enum":
                self._enum(self._made.enum_type.add())
            elif word == "edition":
                raise SchemaError("editions of Protobuf are not read as text; give a descriptor set")
            elif word in ("option", "service", "extend"):
                self._pass_over()
            elif word != ";":
                raise SchemaError(f"the .proto text has {word[:40]!r} where a message is wanted")
        if self._made.syntax not in ("", "proto2", "proto3"):
            raise SchemaError(f"there is no syntax {self._made.syntax[:40]!r}")
        return self._made

    def _import(self) -> None:
        is_public = self._peek() == "public"
        if self._peek() in ("public", "weak"):
            self._next()
        self._made.dependency.append(self._text())
        if is_public:
            self._made.public_dependency.append(len(self._made.dependency) - 1)
        self._want(";")

    def _block(self, statement: Callable[[str], None]) -> None:
        """Calls for the first word of each statement of a block in braces."""
        self._want("{")
        while (word := self._next()) != "}":
            if word in ("option", "reserved", "extensions", "extend"):
                self._pass_over()
            elif word != ";":
                statement(word)

    def _message(self, made: DescriptorProto, depth: int) -> None:
        if depth > MOST_DEPTH:
            raise SchemaError(f"messages are nested deeper than {MOST_DEPTH}")
        made.name = self._word()

        def statement(word: str) -> None:
            if word == "message":
                self._message(made.nested_type.add(), depth + 1)
            elif word == "enum":
                self._enum(made.enum_type.add())
            elif word == "oneof":
                self._oneof(made)
            elif word == "map" and self._peek() == "<":
                self._map(made)
            else:
                self._field(made, word)

        self._block(statement)
        _add_presence(made)

    def _enum(self, made: EnumDescriptorProto) -> None:
        made.name = self._word()

        def statement(word: str) -> None:
            self._want("=")
            made.value.add(name=word, number=self._number())
            self._options()
            self._want(";")

        aliased = self._at
        self._block(statement)
        if any(self._tokens[at : at + 3] == ["allow_alias", "=", "true"] for at in range(aliased, self._at)):
            made.options.allow_alias = True

    def _oneof(self, made: DescriptorProto) -> None:
        made.oneof_decl.add(name=self._word())
        number = len(made.oneof_decl) - 1
        self._block(lambda word: setattr(self._typed(made, word, 1), "oneof_index", number))

    def _field(self, made: DescriptorProto, word: str) -> None:
        label = _LABELS.get(word)
        if label is None and self._made.syntax != "proto3":
            raise SchemaError(f"a field of {made.name} is neither optional, required nor repeated")
        field = self._typed(made, self._next() if label else word, label or 1)
        if word == "optional" and self._made.syntax == "proto3":
            field.proto3_optional = True

    def _typed(self, made: DescriptorProto, kind: str, label: int) -> FieldDescriptorProto:
        if kind == "group":
            raise SchemaError("groups are not read as text; give a descriptor set")
        field = made.field.add(name=self._word(), label=label)
        if kind in _TYPES:
            field.type = _TYPES[kind]
        else:
            field.type_name = kind
        self._want("=")
        field.number = self._number_of(field)
        default = self._options()
        if default is not None:
            field.default_value = default
        self._want(";")
        return field

    def _number_of(self, field: FieldDescriptorProto) -> int:
        number = self._number()
        if not 0 < number < 1 << 29:
            raise SchemaError(f"field {field.name} has the number {number}")
        return number

    def _map(self, made: DescriptorProto) -> None:
        self._want("<")
        key = self._word()
        self._want(",")
        value = self._word()
        self._want(">")
        field = made.field.add(name=self._word(), label=3)
        self._want("=")
        field.number = self._number_of(field)
        self._options()
        self._want(";")
        entry = made.nested_type.add(name=_camel(field.name) + "Entry")
        entry.options.map_entry = True
        for number, (name, kind) in enumerate((("key", key), ("value", value)), 1):
            part = entry.field.add(name=name, number=number, label=1)
            if kind in _TYPES:
                part.type = _TYPES[kind]
            else:
                part.type_name = kind
        field.type_name = entry.name

    def _options(self) -> str | None:
        """Passes over options in brackets; gives the default among them, as a descriptor has it."""
        if self._peek() != "[":
            return None
        default, depth = None, 0
        while True:
            token = self._next()
            depth += (token in ("[", "{")) - (token in ("]", "}"))
            if depth == 0:
                return default
            if depth == 1 and token == "default" and self._peek() == "=":
                self._next()
                sign = self._next() if self._peek() in "+-" else ""
                value = self._next()
                default = (sign if sign == "-" else "") + (_unquoted(value) if value[0] in "\"'" else value)


def _tokens(text: str) -> list[str]:
    found, at = [], 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None or (match.group() == "/" and text.startswith("/*", at)):
            raise SchemaError(f"this is no .proto text (at letter {at}: {text[at : at + 20]!r})")
        if match.lastgroup is not None:
            found.append(match.group())
        at = match.end()
    return found


def _add_presence(made: DescriptorProto) -> None:
    """The oneofs behind the others that stand for ``optional`` of proto3."""
    for field in made.field:
        if field.proto3_optional:
            field.oneof_index = len(made.oneof_decl)
            made.oneof_decl.add(name=f"_{field.name}")


def _camel(name: str) -> str:
    return "".join(part[:1].upper() + part[1:] for part in name.split("_"))


def _unquoted(token: str) -> str:
    """The default of a string; of bytes it stays escaped, which only tells in what nobody reads here."""
    return re.sub(r"\\(.)", lambda match: {"n": "\n", "t": "\t", "r": "\r"}.get(match[1], match[1]), token[1:-1])


def text_of(package: str, message: str, fields: list[tuple[str, str, str]], imports: list[str]) -> str:
    """A .proto text of one message of proto3; each field is (label, type, name), numbered from 1."""
    lines = ['syntax = "proto3";', *([f"package {package};"] if package else []), *(f'import "{name}";' for name in imports)]
    body = [f"  {label} {kind} {name} = {number};" for number, (label, kind, name) in enumerate(fields, 1)]
    return "\n".join([*lines, f"message {message} {{", *body, "}", ""])
