"""Messages in the wire format of schema registries: a zero byte, the schema's number in four bytes, the payload."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence

from headgate.errors import MissingExtraError

KINDS = {"avro": "AVRO", "protobuf": "PROTOBUF", "json-schema": "JSON"}  # as settings say it -> as registries do
_NEEDS = {"avro": "fastavro", "protobuf": "grpc_tools"}
HEAD = 5  # bytes in front of the payload


def require(text_format: str) -> None:
    """MissingExtraError when what reads the format is not installed."""
    try:
        if text_format in _NEEDS:
            importlib.import_module(_NEEDS[text_format])
    except ModuleNotFoundError as cause:
        raise MissingExtraError(
            f"what reads {text_format} is not installed", hint="pip install 'headgate[schema-registry]'"
        ) from cause


def number_of(message: bytes) -> int:
    """The number of the schema that a message was written with. ValueError for what does not begin like one."""
    if len(message) < HEAD:
        raise ValueError(f"no message of a schema registry: {len(message)} bytes")
    if message[0]:
        raise ValueError(f"no message of a schema registry: it begins with byte {message[0]:#04x}, not 0x00")
    return int.from_bytes(message[1:HEAD], "big")


def converter(text_format: str, schema: str, references: Sequence[tuple[str, str]]) -> Callable[[bytes], bytes]:
    """What makes JSON of a payload. It, and this, raise ValueError; MissingExtraError as `require`."""
    require(text_format)
    if text_format == "avro":
        from headgate.formats.avro import to_json

        return to_json(schema, references)
    if text_format == "protobuf":
        from headgate.formats.protobuf import to_json as protobuf_json

        return protobuf_json(schema, references)
    return bytes  # is JSON, and the contract says what of it fits
