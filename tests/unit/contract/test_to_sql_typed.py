"""Typed source columns: carried over bare, converted exactly, or bad."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, time
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typed_in_duckdb import (
    BINARY,
    BOOLEAN,
    DATE,
    INSTANT,
    INTEGER,
    INTEGER_32,
    NUMBER,
    NUMBER_32,
    STRING,
    TIME,
    TIMESTAMP,
    array,
    decimal,
    mapping,
    record,
    typed,
)

from headgate.contract.model import Field, Standardise, Type
from headgate.contract.to_sql import column

SAME = [
    (INTEGER, pa.int64()), (INTEGER_32, pa.int32()), (NUMBER, pa.float64()), (NUMBER_32, pa.float32()),
    (decimal(12, 3), pa.decimal128(12, 3)), (STRING, pa.string()), (STRING, pa.large_string()), (BOOLEAN, pa.bool_()),
    (DATE, pa.date32()), (TIME, pa.time64("us")), (TIMESTAMP, pa.timestamp("us")), (INSTANT, pa.timestamp("us", "UTC")),
    (BINARY, pa.binary()), (array(INTEGER), pa.list_(pa.int64())), (mapping(STRING, DATE), pa.map_(pa.string(), pa.date32())),
    (record(a=STRING, b=array(NUMBER)), pa.struct([("a", pa.string()), ("b", pa.list_(pa.float64()))])),
]  # fmt: skip


@pytest.mark.parametrize(("of", "source"), SAME, ids=[str(source) for _, source in SAME])
def test_a_column_of_the_contracts_type_costs_nothing(of: Type, source: pa.DataType) -> None:
    made = column(Field("x", of), '"x"', source, None)
    assert (made.value, made.bad) == ('"x"', "false")


@pytest.mark.parametrize("of", [one for one, _ in SAME], ids=[str(source) for _, source in SAME])
def test_an_absent_column_is_null(of: Type) -> None:
    assert typed(of, [None, None], pa.null()) == [(None, False)] * 2


INTS = [pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()]
NUMERIC_TARGETS = [
    INTEGER,
    INTEGER_32,
    NUMBER,
    NUMBER_32,
    decimal(12, 3),
    decimal(38, 20),
    decimal(3, 0),
    decimal(20, 0),
]


def held(of: Type, value: Any) -> Any:
    """The number as the type holds it exactly, None when it does not: the slow model."""
    exact = Fraction(value)
    if of in (INTEGER, INTEGER_32):
        return int(exact) if exact.denominator == 1 and -(2 ** (of.bits - 1)) <= exact < 2 ** (of.bits - 1) else None
    if of in (NUMBER, NUMBER_32):
        with np.errstate(over="ignore"):
            near = float(np.float32(float(value)) if of.bits == 32 else float(value))
        return near if math.isfinite(near) and Fraction(near) == exact else None
    scaled = exact * 10**of.scale
    return value if scaled.denominator == 1 and abs(scaled) < 10**of.precision else None


def bounds(source: pa.DataType) -> tuple[int, int]:
    signed = pa.types.is_signed_integer(source)
    return (-(2 ** (source.bit_width - 1)) if signed else 0), 2 ** (source.bit_width - signed) - 1


@pytest.mark.parametrize("source", INTS, ids=str)
@pytest.mark.parametrize("of", NUMERIC_TARGETS, ids=[f"{one}-{one.bits}" for one in NUMERIC_TARGETS])
@settings(max_examples=10, deadline=None)
@given(data=st.data())
def test_integers_are_exact_or_bad(of: Type, source: pa.DataType, data: st.DataObject) -> None:
    low, high = bounds(source)
    edges = [low, high, 0, *(one for one in (2**24 + 1, 2**53 + 1, 999, 1000, 2**31, -(2**31)) if low <= one <= high)]
    values = data.draw(st.lists(st.integers(low, high), max_size=20)) + edges
    for value, (got, bad) in zip(values, typed(of, values, source), strict=True):
        wanted = held(of, value)
        assert (got, bad) == (wanted, wanted is None), value


DECIMALS = [
    pa.decimal128(12, 3),
    pa.decimal128(38, 10),
    pa.decimal128(38, 0),
    pa.decimal128(5, 5),
    pa.decimal128(38, 38),
]


@pytest.mark.parametrize("source", DECIMALS, ids=str)
@pytest.mark.parametrize("of", NUMERIC_TARGETS[:2] + NUMERIC_TARGETS[4:], ids=str)
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_decimals_are_exact_or_bad(of: Type, source: pa.DataType, data: st.DataObject) -> None:
    most = 10**source.precision - 1
    units = data.draw(st.lists(st.integers(-most, most) | st.integers(-2000, 2000), max_size=20)) + [
        most,
        -most,
        0,
        500,
    ]
    values = [_scaled(unit, source.scale) for unit in units]
    for value, (got, bad) in zip(values, typed(of, values, source), strict=True):
        wanted = held(of, value)
        assert (got, bad) == (wanted, wanted is None), value


def _scaled(unit: int, scale: int) -> Decimal:
    return Decimal((unit < 0, tuple(int(one) for one in str(abs(unit))), -scale))


@pytest.mark.parametrize("of", [INTEGER, INTEGER_32, NUMBER_32], ids=["int64", "int32", "float32"])
@settings(max_examples=50, deadline=None)
@given(
    values=st.lists(
        st.floats() | st.integers(-(2**40), 2**40).map(float) | st.floats(width=32), min_size=1, max_size=40
    )
)
def test_floats_are_exact_or_bad(of: Type, values: list[float]) -> None:
    for value, (got, bad) in zip(values, typed(of, values, pa.float64()), strict=True):
        if not math.isfinite(value):
            kept = of is NUMBER_32
            assert bad is not kept
            assert (got is not None) is kept
        else:
            wanted = held(of, value)
            assert (got, bad) == (wanted, wanted is None), value


def test_a_float_becomes_the_decimal_it_is_written_as() -> None:
    got = typed(decimal(12, 3), [0.1, 19.99, 1.0005, 1e9, -0.0, math.nan, math.inf, 1e-21], pa.float64())
    assert [one for one, _ in got] == [Decimal("0.1"), Decimal("19.99"), None, None, Decimal(0), None, None, None]
    assert [bad for _, bad in got] == [False, False, True, True, False, True, True, True]


def test_a_decimal_becomes_the_float_that_is_written_so() -> None:
    values = [Decimal("19.99"), Decimal("12345678901234567.89"), Decimal("0.1")]
    assert typed(NUMBER, values, pa.decimal128(38, 10)) == [(19.99, False), (None, True), (0.1, False)]


def test_numbers_and_days_become_their_text() -> None:
    assert typed(STRING, [7], pa.int32()) == [("7", False)]
    assert typed(STRING, [Decimal("1.50")], pa.decimal128(5, 2)) == [("1.50", False)]
    assert typed(STRING, [True], pa.bool_()) == [("true", False)]
    assert typed(STRING, [date(2026, 1, 2)], pa.date32()) == [("2026-01-02", False)]
    instant = datetime(2026, 1, 2, 3, 4, 5, 600, tzinfo=UTC)
    assert typed(STRING, [instant], pa.timestamp("us", "UTC")) == [("2026-01-02T03:04:05.000600Z", False)]


NEVER = [
    (INTEGER, pa.bool_(), True), (BOOLEAN, pa.int64(), 1), (NUMBER, pa.bool_(), True), (DATE, pa.timestamp("us"), datetime(2026, 1, 1)),
    (TIMESTAMP, pa.date32(), date(2026, 1, 1)), (INSTANT, pa.timestamp("us"), datetime(2026, 1, 1)),
    (TIMESTAMP, pa.timestamp("us", "UTC"), datetime(2026, 1, 1, tzinfo=UTC)), (STRING, pa.binary(), b"a"),
    (BINARY, pa.int64(), 1), (INTEGER, pa.date32(), date(2026, 1, 1)), (TIME, pa.timestamp("us"), datetime(2026, 1, 1)),
    (STRING, pa.list_(pa.string()), ["a"]), (array(STRING), pa.int64(), 1), (record(a=STRING), pa.int64(), 1),
    (INTEGER, pa.list_(pa.int64()), [1]), (array(array(INTEGER)), pa.list_(pa.int64()), [1]),
]  # fmt: skip


@pytest.mark.parametrize(("of", "source", "value"), NEVER, ids=[f"{source}-{of}" for of, source, _ in NEVER])
def test_types_that_never_mean_the_same_are_bad(of: Type, source: pa.DataType, value: Any) -> None:
    assert typed(of, [value, None], source) == [(None, True), (None, False)]


def test_coarser_and_finer_times() -> None:
    assert typed(TIMESTAMP, [datetime(2026, 1, 1)], pa.timestamp("s")) == [(datetime(2026, 1, 1), False)]
    fine = pa.array([1_000, 1_001], pa.timestamp("ns"))
    assert typed(TIMESTAMP, fine, pa.timestamp("ns")) == [(datetime(1970, 1, 1, 0, 0, 0, 1), False), (None, True)]
    assert typed(TIME, [time(1, 2, 3)], pa.time32("s")) == [(time(1, 2, 3), False)]


def test_an_odd_text_is_the_value() -> None:
    price = [Decimal("1.5"), None, None, None, None]
    odd = [None, "NaN", "1e-21", "19.990", None]
    got = typed(decimal(12, 3), price, pa.decimal128(12, 3), odd)
    assert got == [(Decimal("1.5"), False), (None, True), (None, True), (Decimal("19.99"), False), (None, False)]
    assert typed(DATE, [None, None], pa.date32(), ["infinity", "0044-03-15 BC"]) == [(None, True)] * 2
    assert typed(STRING, [None], pa.int64(), ["anything"]) == [("anything", False)]


def test_an_odd_text_is_standardised_like_any_text() -> None:
    field = Field("x", STRING, standardise=(Standardise("lower"),))
    assert typed(field, [None, "B"], pa.string(), ["NaN", None]) == [("nan", False), ("b", False)]


def test_a_transform_replaces_the_column() -> None:
    field = Field("x", decimal(12, 3), transform='"a ""b" * 2 -- doubled')
    assert typed(field, [1, None], pa.int64()) == [(Decimal(2), False), (None, False)]


def test_a_transform_cannot_see_an_odd_text_and_says_so() -> None:
    field = Field("x", decimal(12, 3), transform='coalesce("a ""b", 0)')
    assert typed(field, [1, None], pa.int64(), [None, "NaN"]) == [(Decimal(1), False), (None, True)]


def test_members_and_items_are_exact_or_the_whole_is_bad() -> None:
    of = record(a=INTEGER, b=array(decimal(5, 1)))
    source = pa.struct([("b", pa.list_(pa.string())), ("a", pa.string()), ("unused", pa.int64())])
    rows = [{"a": "1", "b": ["1.5", None]}, {"a": "x", "b": []}, {"a": None, "b": ["1.55"]}, None]
    got = typed(of, rows, source)
    assert got == [({"a": 1, "b": [Decimal("1.5"), None]}, False), (None, True), (None, True), (None, False)]


def test_a_member_that_the_source_lacks_is_null() -> None:
    assert typed(record(a=INTEGER, b=STRING), [{"a": 1}], pa.struct([("a", pa.int64())])) == [
        ({"a": 1, "b": None}, False)
    ]


def test_lists_of_lists_and_of_objects() -> None:
    assert typed(array(array(INTEGER)), [[[1], None, []], [[2**40]]], pa.list_(pa.list_(pa.int64()))) == [
        ([[1], None, []], False),
        ([[2**40]], False),
    ]
    nested = array(record(a=array(INTEGER_32)))
    source = pa.list_(pa.struct([("a", pa.list_(pa.int64()))]))
    assert typed(nested, [[{"a": [1, None]}, None], [{"a": [2**40]}]], source) == [
        ([{"a": [1, None]}, None], False),
        (None, True),
    ]


def test_two_keys_that_become_one_are_bad() -> None:
    source = pa.map_(pa.string(), pa.string())
    got = typed(mapping(INTEGER, STRING), [[("1", "a"), ("01", "b")], [("1", "a")], [("x", "a")], None], source)
    assert got == [(None, True), ([(1, "a")], False), (None, True), (None, False)]


def test_a_dictionary_column_counts_as_its_values() -> None:
    assert typed(INTEGER, pa.array(["1", "x"]).dictionary_encode(), pa.dictionary(pa.int32(), pa.string())) == [
        (1, False),
        (None, True),
    ]
