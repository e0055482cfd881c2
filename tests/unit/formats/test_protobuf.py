"""Protobuf payloads as JSON: exact values, and ValueError for what is none. Payloads are written by hand."""

import json

import pytest

pytest.importorskip("grpc_tools")

from headgate.formats.protobuf import to_json  # noqa: E402

SCHEMA = """\
syntax = "proto3";
import "google/protobuf/wrappers.proto";
import "google/protobuf/timestamp.proto";
message M {
  enum E { NONE = 0; ONE = 1; }
  int64 a = 1;
  bytes b = 2;
  float c = 3;
  optional string d = 4;
  map<int32, string> e = 5;
  E f = 6;
  google.protobuf.Int64Value g = 7;
  google.protobuf.Timestamp h = 8;
  uint64 i = 9;
}
"""
DEFAULTS = {"a": 0, "b": "\\x", "c": 0.0, "e": {}, "f": "NONE", "i": 0}


@pytest.fixture(scope="module")
def convert():
    return to_json(SCHEMA, ())


@pytest.mark.parametrize(
    ("message", "told"),
    [
        (b"", {}),
        (b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\x7f", {"a": 2**63 - 1}),
        (b"\x12\x02\x00\xff", {"b": "\\x00ff"}),
        (b"\x1d\xcd\xcc\xcc\x3d", {"c": 0.1}),
        (b"\x22\x00", {"d": ""}),
        (b"\x2a\x05\x08\x07\x12\x01x", {"e": {"7": "x"}}),
        (b"\x30\x01", {"f": "ONE"}),
        (b"\x30\x09", {"f": 9}),
        (b"\x3a\x02\x08\x05", {"g": 5}),
        (b"\x42\x04\x08\x01\x10\x01", {"h": "1970-01-01T00:00:01.000000001Z"}),
        (b"\x48\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", {"i": 2**64 - 1}),
    ],
)
def test_every_type_is_told_exactly(convert, message, told):
    assert json.loads(convert(b"\0" + message)) == {**DEFAULTS, **told}


@pytest.mark.parametrize(
    ("payload", "why"),
    [
        (b"", "no place of a type"),
        (b"\x02\x08", r"no type at \[4\]"),
        (b"\0\x08", "[a-z]"),
        (b"\0\x78\x01", "fields that M does not have"),
        (b"\0\x1d\x00\x00\xc0\x7f", "nan is no number"),
        (b"\0\x22\x01\xff", "[a-z]"),
    ],
)
def test_bytes_that_are_no_message_are_refused(convert, payload, why):
    with pytest.raises(ValueError, match=why):
        convert(payload)


def test_a_schema_that_protoc_refuses_is_refused():
    with pytest.raises(ValueError, match="protoc refuses it"):
        to_json("message {", ())
    with pytest.raises(ValueError, match="refers to"):
        to_json(SCHEMA, [("../x.proto", "")])
