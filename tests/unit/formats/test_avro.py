"""Avro payloads as JSON: exact values, and ValueError for what is none."""

import io
import json
from decimal import Decimal

import pytest

fastavro = pytest.importorskip("fastavro")

from headgate.formats.avro import to_json  # noqa: E402


def record(*fields, name="r"):
    return {"type": "record", "name": name, "fields": [{"name": f"f{n}", "type": of} for n, of in enumerate(fields)]}


def written(schema, value, known=()):
    names: dict = {}
    for one in known:
        fastavro.parse_schema(one, named_schemas=names)
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, fastavro.parse_schema(schema, named_schemas=names), value)
    return stream.getvalue()


def told(of, value):
    """The JSON text of one value of a type; what is written stands beneath its logical type."""
    beneath = {k: v for k, v in of.items() if k != "logicalType"} if isinstance(of, dict) else of
    text = to_json(json.dumps(record(of)), ())(written(record(beneath), {"f0": value}))
    assert text.startswith(b'{"f0":')
    return text[6:-1].decode()


LONG = {"type": "long"}
CASES = [
    ("int", -(2**31), "-2147483648"),
    ("long", 2**63 - 1, "9223372036854775807"),
    ("double", 0.1, "0.1"),
    ("float", 0.1, "0.1"),
    ("boolean", True, "true"),
    ("string", 'ü"\n', '"ü\\"\\n"'),
    ("bytes", b"\x00\xff", '"\\\\x00ff"'),
    ({"type": "fixed", "name": "x", "size": 2}, b"ab", '"\\\\x6162"'),
    ({"type": "enum", "name": "e", "symbols": ["A", "B"]}, "B", '"B"'),
    (["null", "string"], None, "null"),
    (["null", "string"], "x", '"x"'),
    ({"type": "array", "items": "int"}, [1, 2], "[1,2]"),
    ({"type": "map", "values": "bytes"}, {"k": b"\x01"}, '{"k":"\\\\x01"}'),
    ({"type": "bytes", "logicalType": "decimal", "precision": 38, "scale": 2}, b"\x04\xd2", "12.34"),
    ({"type": "bytes", "logicalType": "decimal", "precision": 5, "scale": 5}, b"\xff", "-0.00001"),
    ({"type": "bytes", "logicalType": "decimal", "precision": 4}, b"", "0"),
    (
        {"type": "bytes", "logicalType": "decimal", "precision": 5, "scale": 3},
        (12345678901234567890123456789012345678).to_bytes(16, "big"),
        "12345678901234567890123456789012345.678",
    ),  # more digits than declared: all of them, for the contract to judge
    (
        {"type": "fixed", "name": "d", "size": 2, "logicalType": "decimal", "precision": 4, "scale": 1},
        b"\x00\x0f",
        "1.5",
    ),
    ({"type": "int", "logicalType": "date"}, -1, '"1969-12-31"'),
    ({"type": "int", "logicalType": "time-millis"}, 86_399_999, '"23:59:59.999"'),
    ({"type": "long", "logicalType": "time-micros"}, 0, '"00:00:00"'),
    ({**LONG, "logicalType": "timestamp-millis"}, -1, '"1969-12-31T23:59:59.999Z"'),
    ({**LONG, "logicalType": "timestamp-micros"}, 1_700_000_000_000_001, '"2023-11-14T22:13:20.000001Z"'),
    ({**LONG, "logicalType": "timestamp-nanos"}, 1, '"1970-01-01T00:00:00.000000001Z"'),
    ({**LONG, "logicalType": "local-timestamp-micros"}, 10**6, '"1970-01-01T00:00:01"'),
    ({"type": "string", "logicalType": "uuid"}, "not one", '"not one"'),
    ({**LONG, "logicalType": "of another"}, 7, "7"),
]


@pytest.mark.parametrize(("of", "value", "text"), CASES)
def test_every_type_is_told_exactly(of, value, text):
    assert told(of, value) == text


def test_a_named_type_that_is_used_twice_and_one_of_another_schema():
    money = {"type": "fixed", "name": "shop.money", "size": 4, "logicalType": "decimal", "precision": 9, "scale": 2}
    inner = record("shop.money", ["null", "shop.money"], name="shop.inner")
    plain = {k: v for k, v in money.items() if k != "logicalType"}
    outer = record("shop.inner", {"type": "array", "items": "shop.inner"})
    convert = to_json(json.dumps(outer), [("money", json.dumps(money)), ("inner", json.dumps(inner))])
    one = {"f0": (150).to_bytes(4, "big"), "f1": (-1).to_bytes(4, "big", signed=True)}
    text = convert(written(outer, {"f0": one, "f1": [one]}, known=[plain, inner]))
    wanted = {"f0": Decimal("1.50"), "f1": Decimal("-0.01")}
    assert json.loads(text, parse_float=Decimal) == {"f0": wanted, "f1": [wanted]}


GOOD = written(record("string", "double"), {"f0": "abc", "f1": 1.5})


@pytest.mark.parametrize(
    ("payload", "why"),
    [
        (b"", "ends too early"),
        (GOOD[:-1], "ends too early"),
        (GOOD + b"\0", "1 bytes are left behind it"),
        (b"\xff" * 30, "[a-z]"),
        (b"\x06\xff\xfe\xfd" + GOOD[4:], "UnicodeDecodeError"),
        (written(record("string", "double"), {"f0": "", "f1": float("nan")}), "nan is no number"),
        (b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01", "[a-z]"),
    ],
)
def test_bytes_that_are_no_message_are_refused(payload, why):
    convert = to_json(json.dumps(record("string", "double")), ())
    with pytest.raises(ValueError, match=why):
        convert(payload)


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        ("{", "cannot be used"),
        ('"no.such"', "cannot be used"),
        (json.dumps(record("null", ["null", "r"])), "holds itself"),
        (json.dumps(record({"type": "array", "items": "null"})), "take no bytes"),
    ],
)
def test_schemas_that_cannot_be_read_safely_are_refused(schema, why):
    with pytest.raises(ValueError, match=why):
        to_json(schema, ())


@pytest.mark.parametrize("payload", [b"\x01", b"\x04"])
def test_a_symbol_that_an_enum_does_not_have_is_refused(payload):
    enum = {"type": "enum", "name": "e", "symbols": ["A", "B"]}
    convert = to_json(json.dumps(record(enum, "e")), ())
    assert convert(b"\x02\0") == b'{"f0":"B","f1":"A"}'
    with pytest.raises(ValueError, match="an enum of 2 symbols"):
        convert(payload + b"\0")


def test_an_instant_that_no_calendar_has_is_refused():
    of = {"type": "long", "logicalType": "timestamp-micros"}
    with pytest.raises(ValueError, match="OverflowError"):
        told(of, 2**62)
