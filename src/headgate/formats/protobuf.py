r"""Protobuf messages as JSON that says the same: every value exactly, or ValueError.

Fields have the names of the schema. A field that can be absent and is absent is left out; one that cannot (proto3
without `optional`) has its default. Enums are their names, bytes `\x` and hex, a `google.protobuf.Timestamp` an
instant in ISO 8601, a wrapper the value that it wraps.
"""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np

from headgate.formats.avro import instant

_MAIN = "headgate_message.proto"
_TIMESTAMP = "google.protobuf.Timestamp"
_WRAPPERS = frozenset(
    f"google.protobuf.{kind}Value"
    for kind in ("Double", "Float", "Int64", "UInt64", "Int32", "UInt32", "Bool", "String", "Bytes")
)


def to_json(schema: str, references: Sequence[tuple[str, str]]) -> Callable[[bytes], bytes]:
    """What makes JSON of a message's payload, which begins with the place of its type in the schema. Both raise
    ValueError: for a schema that protoc refuses, and for bytes that are no message of it."""
    from google.protobuf import message_factory
    from google.protobuf.message import DecodeError

    file = _compiled(schema, references)
    encode = msgspec.json.Encoder().encode
    made: dict[tuple[int, ...], tuple[Any, Any]] = {}

    def convert(payload: bytes) -> bytes:
        path, at = _path(payload)
        if path not in made:
            descriptor = _type_at(file, path)
            made[path] = (message_factory.GetMessageClass(descriptor), descriptor)
        kind, _ = made[path]
        try:
            message = kind.FromString(payload[at:])
        except DecodeError as problem:
            raise ValueError(str(problem)) from problem
        return encode(_object(message))

    return convert


def first_type(schema: str, references: Sequence[tuple[str, str]]) -> Any:
    """The descriptor of the schema's first message type. ValueError as `to_json`."""
    return _type_at(_compiled(schema, references), (0,))


def _compiled(schema: str, references: Sequence[tuple[str, str]]) -> Any:
    """The schema's file, as Protobuf's own compiler understands it."""
    from google.protobuf import descriptor_pb2, descriptor_pool
    from grpc_tools import protoc

    own = os.path.join(os.path.dirname(protoc.__file__), "_proto")  # google/protobuf/*.proto
    with tempfile.TemporaryDirectory(prefix="headgate-proto-") as folder:
        for name, text in ((_MAIN, schema), *references):
            path = os.path.normpath(os.path.join(folder, name))
            if not path.startswith(folder + os.sep):
                raise ValueError(f"the schema refers to {name}")
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
        out = os.path.join(folder, "out.desc")
        if protoc.main(
            ["protoc", f"-I{folder}", f"-I{own}", "--include_imports", f"--descriptor_set_out={out}", _MAIN]
        ):
            raise ValueError("the schema cannot be used: protoc refuses it")
        with open(out, "rb") as done:
            files = descriptor_pb2.FileDescriptorSet.FromString(done.read())
    pool = descriptor_pool.DescriptorPool()
    for one in files.file:
        pool.Add(one)
    return pool.FindFileByName(_MAIN)


def _path(payload: bytes) -> tuple[tuple[int, ...], int]:
    """Which type of the schema it is (positions, outermost first), and where the message begins."""
    count, at = _varint(payload, 0)
    if count == 0:
        return (0,), at
    if not 0 < count <= 32:
        raise ValueError("no place of a type in front of it")
    path = []
    for _ in range(count):
        number, at = _varint(payload, at)
        path.append(number)
    return tuple(path), at


def _varint(payload: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(payload) or shift > 63:
            raise ValueError("no place of a type in front of it")
        byte = payload[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return (value >> 1) ^ -(value & 1), at


def _type_at(file: Any, path: Sequence[int]) -> Any:
    inner: Any = list(file.message_types_by_name.values())
    found: Any = None
    for number in path:
        if not 0 <= number < len(inner):
            raise ValueError(f"the schema has no type at {list(path)}")
        found = inner[number]
        inner = found.nested_types
    return found


def _object(message: Any) -> Any:
    from google.protobuf.unknown_fields import UnknownFieldSet

    of = message.DESCRIPTOR
    if len(UnknownFieldSet(message)):
        raise ValueError(f"fields that {of.name} does not have")
    if of.full_name == _TIMESTAMP:
        if not 0 <= message.nanos < 10**9:
            raise ValueError("no instant")
        try:
            return instant(message.seconds * 10**9 + message.nanos, 10**9) + "Z"
        except OverflowError as problem:
            raise ValueError("no instant of the years 1 to 9999") from problem
    if of.full_name in _WRAPPERS:
        return _scalar(of.fields[0], message.value)
    found = {}
    for one in of.fields:
        if one.is_repeated:
            found[one.name] = _repeated(one, getattr(message, one.name))
        elif not one.has_presence or message.HasField(one.name):
            found[one.name] = _scalar(one, getattr(message, one.name))
    return found


def _repeated(one: Any, values: Any) -> Any:
    entry = one.message_type
    if entry is not None and entry.GetOptions().map_entry:
        of = entry.fields_by_name["value"]
        return {_key(key): _scalar(of, values[key]) for key in values}
    return [_scalar(one, value) for value in values]


def _key(key: Any) -> str:
    return key if isinstance(key, str) else str(key).lower() if isinstance(key, bool) else str(key)


def _scalar(one: Any, value: Any) -> Any:
    if one.message_type is not None:
        return _object(value)
    if one.enum_type is not None:
        known = one.enum_type.values_by_number.get(value)
        return value if known is None else known.name
    if isinstance(value, bytes):
        return "\\x" + value.hex()
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{one.name}: {value} is no number")
        if one.type == one.TYPE_FLOAT:
            return msgspec.Raw(str(np.float32(value)).encode())
    return value
