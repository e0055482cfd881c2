"""Arrow types beside contract types: which are the same, and which always hold the other's values."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from headgate.contract.model import Kind, Type
from headgate.contract.sql_names import item_of, key_of

# Digits of the largest value, and bits a float needs to hold every value.
_INT_DIGITS = {8: 3, 16: 5, 32: 10, 64: 20}
_FLOAT_BITS = {32: 24, 64: 53}
_INT_NAMES = {8: "TINYINT", 16: "SMALLINT", 32: "INTEGER", 64: "BIGINT"}
_TIMESTAMPS = {"s": "TIMESTAMP_S", "ms": "TIMESTAMP_MS", "us": "TIMESTAMP", "ns": "TIMESTAMP_NS"}


def is_text(source: pa.DataType) -> bool:
    """True for Arrow's kinds of text."""
    return bool(pa.types.is_string(source) or pa.types.is_large_string(source) or pa.types.is_string_view(source))


def is_bytes(source: pa.DataType) -> bool:
    """True for Arrow's kinds of bytes."""
    t = pa.types
    return bool(t.is_binary(source) or t.is_large_binary(source) or t.is_binary_view(source))


def is_list(source: pa.DataType) -> bool:
    """True for Arrow's lists without a fixed size."""
    return bool(pa.types.is_list(source) or pa.types.is_large_list(source))


def same(of: Type, source: Any) -> bool:
    """True when DuckDB reads the Arrow type as exactly the contract's type: nothing to convert, nothing to check."""
    t = pa.types
    match of.kind:
        case Kind.STRING:
            return is_text(source)
        case Kind.INTEGER:
            return bool(t.is_signed_integer(source) and source.bit_width == of.bits)
        case Kind.NUMBER:
            return bool(t.is_floating(source) and source.bit_width == of.bits)
        case Kind.DECIMAL:
            return bool(t.is_decimal128(source) and (source.precision, source.scale) == (of.precision, of.scale))
        case Kind.BOOLEAN:
            return bool(t.is_boolean(source))
        case Kind.DATE:
            return bool(t.is_date32(source))
        case Kind.TIMESTAMP:
            return bool(t.is_timestamp(source) and source.unit == "us" and (source.tz is not None) == of.zoned)
        case Kind.TIME:
            return bool(t.is_time64(source) and source.unit == "us")
        case Kind.BINARY:
            return is_bytes(source)
        case _:
            return _same_nested(of, source)


def _same_nested(of: Type, source: pa.DataType) -> bool:
    if of.kind is Kind.OBJECT and isinstance(source, pa.StructType):
        if source.num_fields != len(of.fields):
            return False
        for one, theirs in zip(of.fields, source, strict=True):
            plain = one.name == one.source_name == theirs.name and not one.standardise and one.transform is None
            if not plain or not same(one.type, theirs.type):
                return False
        return True
    inner = item_of(of)
    if inner.standardise or inner.transform is not None:
        return False
    if of.kind is Kind.ARRAY and is_list(source):
        listed: Any = source
        return same(inner.type, listed.value_type)
    if of.kind is Kind.MAP and isinstance(source, pa.MapType):
        key = key_of(of)
        return not key.standardise and same(key.type, source.key_type) and same(inner.type, source.item_type)
    return False


def fits(of: Type, source: pa.DataType) -> bool:
    """True when the contract's scalar type holds every value of the Arrow type exactly, by a plain cast."""
    t = pa.types
    if of.kind is Kind.STRING:
        # A zoned time is left out: its text depends on the session. So is binary: bytes are no text.
        plain = t.is_integer(source) or t.is_decimal128(source) or t.is_floating(source) or t.is_boolean(source)
        return bool(plain or t.is_date(source) or t.is_time(source) or (t.is_timestamp(source) and source.tz is None))
    if t.is_integer(source):
        signed, bits = t.is_signed_integer(source), source.bit_width
        if of.kind is Kind.INTEGER:
            return bool(bits < of.bits)
        if of.kind is Kind.DECIMAL:
            return bool(_INT_DIGITS[bits] - (bits == 64 and signed) <= of.precision - of.scale)
        return of.kind is Kind.NUMBER and bits - signed <= _FLOAT_BITS[of.bits]
    if t.is_decimal128(source) and of.kind is Kind.DECIMAL:
        return bool(source.scale <= of.scale and source.precision - source.scale <= of.precision - of.scale)
    if t.is_floating(source) and of.kind is Kind.NUMBER:
        return bool(source.bit_width < of.bits)
    return False


def arrow_to_duckdb(source: pa.DataType) -> str:
    """DuckDB's name of a scalar Arrow type, as its Arrow reader chooses it."""
    t = pa.types
    if t.is_integer(source):
        return ("" if t.is_signed_integer(source) else "U") + _INT_NAMES[source.bit_width]
    if t.is_decimal(source):
        return f"DECIMAL({source.precision},{source.scale})"
    if t.is_floating(source):
        return "DOUBLE" if source.bit_width == 64 else "FLOAT"
    if t.is_timestamp(source):
        return "TIMESTAMPTZ" if source.tz is not None else _TIMESTAMPS[source.unit]
    if t.is_time(source):
        return "TIME_NS" if source.unit == "ns" else "TIME"
    raise AssertionError(source)
