"""Every value of every type comes back from a message as it went in, to the bit; and others can read it on the way."""

from __future__ import annotations

import base64
import json
import math
from decimal import Decimal

import pyarrow as pa
import pytest

from headgate.errors import FixInputError
from headgate.formats.messages import Decoder, Encoder, Form, fingerprints
from headgate.ports.batch import ODD_TYPE

D = Decimal
TOP = 2**63 - 1
MICROS = [0, 1, -1, None, 253402300799999999, -62135596800000000, -62135596800000001, -210866803200000000, TOP, TOP - 1]
CASES = {
    "decimal(38,18)": (pa.decimal128(38, 18), [D("12345678901234567890.012345678901234567"), None, D("-9E-18"), D(0)]),
    "decimal(38,38)": (pa.decimal128(38, 38), [D("1E-38"), D("-1E-38"), None]),
    "decimal(5,0)": (pa.decimal128(5, 0), [D(99999), D(-1), None]),
    "double": (
        pa.float64(),
        [0.1, -0.0, 5e-324, 1.7976931348623157e308, math.inf, -math.inf, math.nan, None, 0.30000000000000004, 1e22],
    ),
    "float": (pa.float32(), [0.1, -0.0, 1e-45, 3.4028235e38, math.inf, -math.inf, math.nan, None]),
    "long": (pa.int64(), [TOP, -TOP - 1, 2**53 + 1, None]),
    "int": (pa.int32(), [2**31 - 1, -(2**31), None]),
    "unsigned": (pa.uint64(), [2**64 - 1, 0, None]),
    "timestamp": (pa.timestamp("us"), MICROS),
    "instant": (pa.timestamp("us", tz="UTC"), MICROS),
    "date": (pa.date32(), [0, -1, None, 2932896, -719162, -719163, 2147483647, -2147483646]),
    "time": (pa.time64("us"), [0, 1, 86399999999, 86400000000, None]),
    "binary": (pa.binary(), [b"", b"\x00\xff", None, bytes(range(256)) * 400]),
    "text": (pa.string(), ["", None, 'é\u0000\n\r\t"\\', "\U0001d54f", "\ufeff", "null", '{"a":1}', "x" * 400_000]),
    "boolean": (pa.bool_(), [True, False, None]),
    "_hg_odd": (ODD_TYPE, [[("a", "NaN"), ('b"', "x"), ("é", "")], None, []]),
    "map": (pa.map_(pa.int64(), pa.decimal128(5, 2)), [[(1, D("1.50")), (2, None)], None, []]),
    "list": (pa.list_(pa.decimal128(5, 2)), [[D("1.50"), None], None, []]),
    "struct": (
        pa.struct([("a", pa.decimal128(5, 2)), ("l", pa.list_(pa.struct([("z", pa.binary())])))]),
        [{"a": D("1.50"), "l": [{"z": b"\xff"}, None]}, None, {"a": None, "l": None}],
    ),
    "na'me\" %s é": (pa.string(), ["x"]),
}


def array(of: pa.DataType, values: list) -> pa.Array:
    if pa.types.is_timestamp(of) or pa.types.is_time(of):
        return pa.array(values, pa.int64()).cast(of)
    return pa.array(values, pa.int32()).cast(of) if pa.types.is_date(of) else pa.array(values, of)


def bits(one: pa.Array) -> list:
    """Values that are equal only when they are the same to the bit."""
    if pa.types.is_floating(one.type):
        return [None if v is None else v.hex() if not math.isnan(v) else "nan" for v in one.to_pylist()]
    if pa.types.is_temporal(one.type):
        return one.cast(pa.int32() if pa.types.is_date(one.type) else pa.int64()).to_pylist()
    return one.to_pylist()


def sent(rows: pa.RecordBatch, key=()):
    encoder = Encoder(Form.of("s", rows.schema), key)
    try:
        return encoder.form, encoder.encode(rows)
    finally:
        encoder.close()


def back(form: Form, values, headers) -> pa.RecordBatch:
    decoder = Decoder(Form.understood(form.described()))
    try:
        return decoder.decode(pa.array(values, pa.binary()), pa.array(headers, pa.binary()))
    finally:
        decoder.close()


def with_coordinates(**columns: pa.Array) -> pa.RecordBatch:
    rows = len(next(iter(columns.values())))
    own = {"_hg_partition": pa.array(["p"] * rows), "_hg_offset": pa.array(range(rows), pa.int64())}
    return pa.RecordBatch.from_pydict({**own, **columns})


@pytest.mark.parametrize("name", CASES)
def test_every_value_comes_back(name):
    values = array(*CASES[name])
    form, messages = sent(with_coordinates(**{name: values}))
    got = back(form, messages.values, messages.headers)
    assert got.schema.field(name).type == values.type
    assert bits(got.column(name)) == bits(values)
    assert got.column("_hg_origin_offset").to_pylist() == list(range(len(values)))
    assert got.column("_hg_origin_partition").to_pylist() == ["p"] * len(values)
    for text in messages.values:
        json.loads(text, parse_constant=lambda constant: pytest.fail(f"{constant} is not JSON"))


def test_a_message_can_be_read_without_us():
    rows = with_coordinates(
        id=pa.array([7]),
        amount=pa.array([D("1.50")], pa.decimal128(10, 2)),
        at=array(pa.timestamp("us", tz="UTC"), [1]),
        picture=pa.array([b"\x00\xff"]),
        ok=pa.array([True]),
        note=pa.array([None], pa.string()),
    )
    form, messages = sent(rows, ["id"])
    assert messages.keys == [b"7"]
    assert json.loads(messages.values[0]) == {
        "id": 7,
        "amount": "1.50",
        "at": "1970-01-01 00:00:00.000001+00",
        "picture": base64.b64encode(b"\x00\xff").decode(),
        "ok": True,
        "note": None,
    }
    assert json.loads(messages.headers[0]) == {"schema": form.fingerprint, "partition": "p", "offset": 0}
    assert fingerprints(pa.array(messages.headers, pa.binary())) == [form.fingerprint]


def test_several_key_columns_make_one_key_that_nothing_else_makes():
    rows = with_coordinates(a=pa.array(["1,2", "1"]), b=pa.array(["3", "2,3"]))
    assert sent(rows, ["a", "b"])[1].keys == [b'["1,2","3"]', b'["1","2,3"]']


def test_a_record_that_came_as_bytes_is_the_value():
    raws = [b'{"a":1}', b"\xff\x00", b""]
    rows = with_coordinates(_hg_raw=pa.array(raws), _hg_format=pa.array(["json"] * 3), _hg_line=pa.array([1, 2, 3]))
    form, messages = sent(rows)
    assert messages.values == raws
    assert messages.keys == [None] * 3
    got = back(form, messages.values, messages.headers)
    assert got.schema.names == ["_hg_origin_partition", "_hg_origin_offset", "_hg_raw", "_hg_format", "_hg_line"]
    assert got.column("_hg_raw").to_pylist() == raws
    assert got.column("_hg_line").to_pylist() == [1, 2, 3]


def test_a_removed_row_is_a_tombstone():
    rows = with_coordinates(id=pa.array([1, 2]), _hg_removed=pa.array([True, False]))
    _, messages = sent(rows, ["id"])
    assert messages.keys == [b"1", b"2"]
    assert messages.values == [None, b'{"id":2}']


def test_forms_differ_when_a_type_does():
    narrow, wide = (Form.of("s", pa.schema([("a", of)])) for of in (pa.int32(), pa.int64()))
    assert narrow.fingerprint != wide.fingerprint
    assert Form.of("s", narrow.schema).fingerprint == narrow.fingerprint


@pytest.mark.parametrize("value", [b"", b"not JSON", b'{"id":"x"}', b"[1]", b"1"])
def test_a_foreign_value_is_refused(value):
    form, messages = sent(with_coordinates(id=pa.array([1])))
    with pytest.raises(ValueError, match=r".+"):
        back(form, [value], messages.headers)


def test_a_key_that_is_no_column_is_refused():
    with pytest.raises(FixInputError, match="nope"):
        sent(with_coordinates(id=pa.array([1])), ["nope"])
