"""Protobuf schemas as descriptors: from a descriptor set, a .proto text, or what a registry gives; nothing is compiled for them."""

import base64
import binascii
import importlib
from dataclasses import dataclass, field

from google.protobuf.descriptor import Descriptor
from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorProto, FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError

from esp.runtime.codecs.protobuf.text import file_of
from esp.runtime.codecs.registry.client import SchemaText
from esp.runtime.codecs.schema_error import SchemaError

KIND, MAIN = "PROTOBUF", "schema.proto"
WELL_KNOWN = (
    "any",
    "api",
    "descriptor",
    "duration",
    "empty",
    "field_mask",
    "source_context",
    "struct",
    "timestamp",
    "type",
    "wrappers",
)
_FAULTS = (TypeError, ValueError, KeyError)  # of a descriptor pool


def text_of_set(data: bytes) -> SchemaText:
    """The last file of a descriptor set (protoc puts it behind what it imports), which the others are references of. SchemaError."""
    try:
        files = FileDescriptorSet.FromString(data).file
    except DecodeError as err:
        raise SchemaError("it is no descriptor set (protoc --include_imports --descriptor_set_out=FILE makes one)") from err
    if not files:
        raise SchemaError("the descriptor set is empty")
    others = tuple((file.name, SchemaText(0, KIND, _coded(file))) for file in files[:-1])
    return SchemaText(0, KIND, _coded(files[-1]), others)


def _coded(file: FileDescriptorProto) -> str:
    return base64.b64encode(file.SerializeToString()).decode()


def file_in(text: str, name: str) -> FileDescriptorProto:
    """The file that a text of a registry stands for: base64 of a descriptor, or .proto text. SchemaError when it is neither."""
    try:
        file = FileDescriptorProto.FromString(base64.b64decode(text, validate=True))
    except (binascii.Error, DecodeError, ValueError):
        return file_of(text, name)
    file.name = name
    return file


def messages_of(text: SchemaText) -> tuple[DescriptorPool, FileDescriptorProto]:
    """A pool with all that a schema needs, and its own file. SchemaError when something is wrong or missing."""
    main = file_in(text.text, MAIN)
    files = [file_in(other.text, name) for name, other in text.named_references().items()]
    filling = _Filling({file.name: file for file in files} | {MAIN: main})
    filling.add(MAIN)
    return filling.pool, main


@dataclass(frozen=True, slots=True)
class _Filling:
    """A pool that files are put into, each after what it imports. What is not there is empty: often only options are meant by it."""

    files: dict[str, FileDescriptorProto]
    pool: DescriptorPool = field(default_factory=DescriptorPool)
    there: set[str] = field(default_factory=set)
    missing: list[str] = field(default_factory=list)

    def add(self, name: str) -> None:
        if name in self.there:
            return
        self.there.add(name)  # of files that import each other the pool says so
        file = self.files.get(name) or self._known(name)
        for other in file.dependency:
            if not isinstance(other, str):  # what is no UTF-8 comes as bytes
                raise SchemaError("the name of an import is no text")
            self.add(other)
        try:
            self.pool.Add(file)
        except _FAULTS as err:
            lacks = f"; it imports {', '.join(self.missing)[:80]}, not to be had here" if self.missing else ""
            raise SchemaError(f"it is no Protobuf schema ({' '.join(str(err).split())[-160:]}){lacks}") from err

    def _known(self, name: str) -> FileDescriptorProto:
        """A file that comes with the library, else an empty one."""
        stem = name.removeprefix("google/protobuf/").removesuffix(".proto")
        file = FileDescriptorProto(name=name)
        if name == f"google/protobuf/{stem}.proto" and stem in WELL_KNOWN:
            importlib.import_module(f"google.protobuf.{stem}_pb2").DESCRIPTOR.CopyToProto(file)
        else:
            self.missing.append(name)
        return file


def paths_of(file: FileDescriptorProto) -> dict[tuple[int, ...], str]:
    """The full names of the messages of a file, by the index on each level; entries of maps are none."""
    found: dict[tuple[int, ...], str] = {}

    def visit(messages: "list[DescriptorProto]", path: tuple[int, ...], space: str) -> None:
        for index, message in enumerate(messages):
            if not message.options.map_entry:
                found[(*path, index)] = space + message.name
                visit(list(message.nested_type), (*path, index), f"{space}{message.name}.")

    visit(list(file.message_type), (), f"{file.package}." if file.package else "")
    return found


def message_in(pool: DescriptorPool, name: str) -> Descriptor:
    found: Descriptor = pool.FindMessageTypeByName(name)
    return found
