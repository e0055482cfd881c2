"""A bound never lies: every value is between what is written as lower and upper."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyiceberg.conversions import from_bytes, to_bytes
from pyiceberg.types import (
    BinaryType,
    BooleanType,
    DateType,
    DecimalType,
    DoubleType,
    IntegerType,
    LongType,
    StringType,
    TimestampType,
    TimestamptzType,
    TimeType,
)

from headgate.stores.iceberg.bounds import decode, encode, raw_value

INT32 = st.integers(-(2**31), 2**31 - 1)
INT64 = st.integers(-(2**63), 2**63 - 1)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_shortened_text_stays_a_bound(value):
    lower, upper = encode(StringType(), value, upper=False), encode(StringType(), value, upper=True)
    assert lower.decode() <= value
    assert len(lower.decode()) <= 16
    if upper is None:
        assert set(value[:16]) == {chr(0x10FFFF)}
    else:
        assert value <= upper.decode()
        assert value.encode() <= upper
        assert len(upper.decode()) <= 16


@given(st.binary(max_size=40))
def test_shortened_bytes_stay_a_bound(value):
    lower, upper = encode(BinaryType(), value, upper=False), encode(BinaryType(), value, upper=True)
    assert lower <= value
    assert value <= upper if upper is not None else set(value[:16]) == {255}


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (IntegerType(), INT32),
        (LongType(), INT64),
        (DateType(), INT32),
        (TimeType(), st.integers(0, 86_399_999_999)),
        (TimestampType(), INT64),
        (TimestamptzType(), INT64),
        (BooleanType(), st.booleans()),
        (DoubleType(), st.floats(allow_nan=False)),
        (DecimalType(38, 5), st.decimals(places=5, min_value=-(10**20), max_value=10**20)),
        (DecimalType(9, 0), st.integers(-(10**8), 10**8).map(Decimal)),
    ],
    ids=str,
)
def test_bytes_are_those_of_the_specification_as_pyiceberg_reads_them(kind, values):
    @given(values)
    def check(value):
        written = encode(kind, value, upper=False)
        assert from_bytes(kind, written) == value
        if kind != DecimalType(38, 5):
            assert written == to_bytes(kind, value)

    check()


def test_bounds_are_python_values():
    at = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
    micros = int(at.timestamp()) * 10**6 + 6
    assert decode(TimestamptzType(), micros.to_bytes(8, "little")) == at
    assert decode(TimestampType(), micros.to_bytes(8, "little")) == at.replace(tzinfo=None)
    assert decode(DateType(), (20_000).to_bytes(4, "little")) == date(2024, 10, 4)
    assert decode(DecimalType(9, 2), b"\xff\x85") == Decimal("-1.23")


def test_a_bound_older_than_a_widening_is_read_as_what_it_was():
    assert decode(LongType(), (-5).to_bytes(4, "little", signed=True)) == -5
    assert decode(DoubleType(), encode(__import__("pyiceberg.types").types.FloatType(), 0.5, upper=False)) == 0.5


def test_values_without_a_python_value_or_unusable_statistics_give_no_bound():
    assert decode(TimestampType(), (2**62).to_bytes(8, "little")) is None
    assert decode(StringType(), b"\xff") is None
    assert raw_value(DoubleType(), float("nan")) is None
    assert raw_value(StringType(), b"\xff\xfe") is None
