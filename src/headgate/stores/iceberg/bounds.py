"""Column bounds: from Parquet statistics to Iceberg's bytes, and from those to Python values."""

from __future__ import annotations

import math
import struct
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from pyiceberg.types import (
    BinaryType,
    BooleanType,
    DateType,
    DecimalType,
    DoubleType,
    FixedType,
    FloatType,
    IcebergType,
    IntegerType,
    LongType,
    StringType,
    TimestampType,
    TimestamptzType,
    TimeType,
)

TEXT_LENGTH = 16  # Iceberg's default: bounds of text are shortened to 16 characters, of bytes to 16 bytes
FULL_LENGTH = 256  # where a column's metrics mode is `full`
_EPOCH_UTC = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH = _EPOCH_UTC.replace(tzinfo=None)
_INTEGERS = (IntegerType, LongType, DateType, TimeType, TimestampType, TimestamptzType)


def raw_value(kind: IcebergType, raw: Any) -> Any | None:
    """A Parquet statistic (pyarrow's `min_raw`) as Iceberg's internal value, int for dates and times; or None."""
    match kind:
        case DecimalType():
            unscaled = int.from_bytes(raw, "big", signed=True) if isinstance(raw, bytes) else int(raw)
            return Decimal(unscaled).scaleb(-kind.scale)
        case FloatType() | DoubleType():
            return None if math.isnan(raw) else float(raw)
        case StringType():
            try:
                return raw.decode() if isinstance(raw, bytes) else str(raw)
            except UnicodeDecodeError:
                return None
        case BooleanType():
            return bool(raw)
        case BinaryType() | FixedType():
            return bytes(raw)
        case _ if isinstance(kind, _INTEGERS):
            return int(raw)
        case _:
            return None


def encode(kind: IcebergType, value: Any, *, upper: bool, length: int = TEXT_LENGTH) -> bytes | None:
    """An internal value as a bound; text is shortened so that it stays a bound, None when it cannot be."""
    match kind:
        case IntegerType() | DateType():
            return struct.pack("<i", value)
        case _ if isinstance(kind, _INTEGERS):
            return struct.pack("<q", value)
        case FloatType():
            return struct.pack("<f", value)
        case DoubleType():
            return struct.pack("<d", value)
        case BooleanType():
            return b"\x01" if value else b"\x00"
        case DecimalType():
            unscaled = int(value.scaleb(kind.scale))
            size = max(1, (unscaled.bit_length() + 8) // 8 if unscaled >= 0 else ((unscaled + 1).bit_length() + 8) // 8)
            return unscaled.to_bytes(size, "big", signed=True)
        case StringType():
            return _text(value, upper=upper, length=length)
        case FixedType():
            return bytes(value)
        case BinaryType():
            return _binary(value, upper=upper, length=length)
        case _:
            return None


def _text(value: str, *, upper: bool, length: int) -> bytes | None:
    if len(value) <= length:
        return value.encode()
    short = value[:length]
    if not upper:
        return short.encode()
    for at in range(length - 1, -1, -1):
        point = ord(short[at]) + 1
        if 0xD800 <= point <= 0xDFFF:
            point = 0xE000
        if point <= 0x10FFFF:
            return (short[:at] + chr(point)).encode()
    return None


def _binary(value: bytes, *, upper: bool, length: int) -> bytes | None:
    if len(value) <= length:
        return value
    short = value[:length]
    if not upper:
        return short
    for at in range(length - 1, -1, -1):
        if short[at] < 0xFF:
            return short[:at] + bytes([short[at] + 1])
    return None


def decode(kind: IcebergType, bound: bytes) -> Any | None:
    """A bound as a Python value: int, float, Decimal, bool, str, bytes, date, time, datetime (aware for instants).

    A bound written before a column was widened is shorter and is read as what it was. None when there is no
    Python value, such as a year beyond 9999.
    """
    try:
        match kind:
            case DecimalType():
                return Decimal(int.from_bytes(bound, "big", signed=True)).scaleb(-kind.scale)
            case FloatType() | DoubleType():
                return struct.unpack("<f" if len(bound) == 4 else "<d", bound)[0]
            case BooleanType():
                return bound != b"\x00"
            case StringType():
                return bound.decode()
            case BinaryType() | FixedType():
                return bound
            case _ if isinstance(kind, _INTEGERS):
                return python_value(kind, int.from_bytes(bound, "little", signed=True))
            case _:
                return None
    except (OverflowError, UnicodeDecodeError, struct.error):
        return None


def python_value(kind: IcebergType, value: Any) -> Any:
    """An internal value (a partition's, say) as a Python value; OverflowError when there is none."""
    match kind:
        case _ if value is None:
            return None
        case DateType():
            return date(1970, 1, 1) + timedelta(days=value)
        case TimeType():
            return (_EPOCH + timedelta(microseconds=value)).time() if value < 86_400_000_000 else time.max
        case TimestampType():
            return _EPOCH + timedelta(microseconds=value)
        case TimestamptzType():
            return _EPOCH_UTC + timedelta(microseconds=value)
        case _:
            return value
