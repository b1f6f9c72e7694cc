"""The Protobuf codec: messages by Google's library, and what our fields look like in a .proto text."""

from esp.runtime.codecs.by_schema import SchemaCodec
from esp.runtime.codecs.options import ProtobufOptions
from esp.runtime.codecs.protobuf.files import KIND, message_in, messages_of, paths_of, text_of_set
from esp.runtime.codecs.protobuf.reading import MessageReader, Reader, misfit
from esp.runtime.codecs.protobuf.writing import Writer, proto_of
from esp.runtime.codecs.registry.client import SchemaText
from esp.runtime.codecs.registry.framing import path_prefix
from esp.runtime.codecs.schema_error import SchemaError

DEFAULT_NAME = "Event"


class ProtobufCodec(SchemaCodec):
    """A field that the message has not, or that has presence and is not set, is null; so is a repeated field without numbers.

    Numbers pass as in the other formats; times are Timestamp, numbers in the field's unit or ISO text; enums pass as their names (or
    numbers), wrappers as what they hold; repeated numbers and bytes are tensors.
    """

    name, kind, options_kind = "protobuf", KIND, ProtobufOptions
    asks = "format=serialized"

    def read_file(self, data: bytes) -> SchemaText:
        if self.options.schema_file is not None and self.options.schema_file.suffix == ".proto":
            try:
                text = SchemaText(0, KIND, data.decode())
            except UnicodeDecodeError as err:
                raise SchemaError("it is no text") from err
        else:
            text = text_of_set(data)
        messages_of(text)
        return text

    def make_text(self) -> SchemaText:
        return SchemaText(0, KIND, proto_of(self.schema, self.options.name or DEFAULT_NAME, self.options.tensors))

    def reader(self, text: SchemaText) -> Reader:
        pool, main = messages_of(text)
        if self.client is None:
            return Reader({}, MessageReader.of(message_in(pool, self._chosen(paths_of(main))[1]), self.schema))
        found: dict[tuple[int, ...], MessageReader | str] = {}
        for path, name in paths_of(main).items():
            if self.options.name in ("", name):
                found[path] = MessageReader.of(message_in(pool, name), self.schema)
            else:
                found[path] = f"it is a message {name}, not {self.options.name}"
        return Reader(found, None)

    def writer(self, text: SchemaText) -> Writer:
        pool, main = messages_of(text)
        path, name = self._chosen(paths_of(main))
        return Writer.of(message_in(pool, name), path_prefix(path), self.schema)

    def misfits(self, text: SchemaText, *, is_whole: bool) -> str:
        pool, main = messages_of(text)
        paths = paths_of(main)
        if not is_whole and not self.options.name and len(paths) > 1:
            return ""  # which of them comes, each record says
        message = message_in(pool, self._chosen(paths)[1])
        for field in self.schema:
            if is_whole and field.default is None and field.name not in message.fields_by_name:
                return f"its message {message.full_name} has no field '{field.name}', but {', '.join(message.fields_by_name)}"
            if why := misfit(field, message):
                return why
        return ""

    def _chosen(self, paths: dict[tuple[int, ...], str]) -> tuple[tuple[int, ...], str]:
        """The message that the options name, or the only one outside others. SchemaError."""
        tops = {path: name for path, name in paths.items() if len(path) == 1}
        chosen = (
            [(path, name) for path, name in paths.items() if name == self.options.name] if self.options.name else list(tops.items())
        )
        if len(chosen) != 1:
            known = ", ".join(paths.values())[:200] or "none"
            raise SchemaError(f"it is not clear which message is meant; its messages are {known}: say name = ..." if not self.options.name
                              else f"there is no message {self.options.name}; its messages are {known}")  # fmt: skip
        return chosen[0]
