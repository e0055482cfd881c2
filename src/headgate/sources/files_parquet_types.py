"""Arrow types of Parquet columns, as they land: exactly, or refused by name."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.types as t

from headgate.errors import FixInputError
from headgate.ports.batch import INSTANT

_TEXTS = (t.is_string, t.is_large_string, t.is_string_view)
_BYTES = (t.is_binary, t.is_large_binary, t.is_binary_view, t.is_fixed_size_binary)
_LISTS = (t.is_list, t.is_large_list, t.is_fixed_size_list)


def landing_type(of: Any, column: str, file: str) -> pa.DataType:
    """The type that holds all values of a Parquet column's type. Raises FixInputError when there is none."""
    if t.is_dictionary(of):
        return landing_type(of.value_type, column, file)
    if any(is_list(of) for is_list in _LISTS):
        return pa.list_(pa.field("element", landing_type(of.value_type, f"{column}[]", file)))
    if t.is_struct(of):
        return pa.struct([pa.field(f.name, landing_type(f.type, f"{column}.{f.name}", file)) for f in of])
    if t.is_map(of):
        key, item = landing_type(of.key_type, f"{column} keys", file), landing_type(of.item_type, f"{column}[]", file)
        return pa.map_(key, item)
    landing = _scalar(of)
    if landing is None:
        raise FixInputError(
            f"column {column!r} has type {of}, which the lake cannot hold",
            where=file,
            hint="write it as another type, for example a number or a text",
            stage="extract",
        )
    return landing


def _scalar(of: pa.DataType) -> pa.DataType | None:
    if t.is_null(of) or t.is_boolean(of) or t.is_float32(of) or t.is_float64(of):
        return of
    if t.is_signed_integer(of):
        return of if t.is_int64(of) else pa.int32()
    if t.is_unsigned_integer(of):
        return {8: pa.int32(), 16: pa.int32(), 32: pa.int64()}.get(of.bit_width, pa.decimal128(20, 0))
    if t.is_float16(of):
        return pa.float32()
    if t.is_decimal(of):
        return pa.decimal128(of.precision, of.scale) if of.precision <= 38 and 0 <= of.scale <= of.precision else None
    if any(is_text(of) for is_text in _TEXTS):
        return pa.string()
    if any(is_bytes(of) for is_bytes in _BYTES):
        return pa.binary()
    if t.is_date(of):
        return pa.date32()
    if t.is_time(of):
        return pa.time64("us")
    if t.is_timestamp(of):
        return INSTANT if of.tz else pa.timestamp("us")
    return None


def united(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    """The landing type that holds the values of both; None when there is none."""
    if one == other or t.is_null(other):
        return one
    if t.is_null(one):
        return other
    if t.is_signed_integer(one) and t.is_signed_integer(other):
        return pa.int64()
    if t.is_floating(one) and t.is_floating(other):
        return pa.float64()
    return None


def land(column: pa.Array[Any], target: pa.DataType) -> tuple[pa.Array[Any], dict[int, str]]:
    """The column in its landing type, and the text of each value that the type cannot hold (NULL there)."""
    landed = _cast(column, target)
    if landed is not None:
        return landed, {}
    import pyarrow.compute as pc

    odd = _misfits(column, target, 0)
    mask = pa.array([row not in odd for row in range(len(column))])
    whole = column.filter(mask).cast(target)
    index = pa.array([None if row in odd else 1 for row in range(len(column))], pa.int64())
    places = pc.cumulative_sum(index.fill_null(0))
    wanted = pc.if_else(index.is_valid(), pc.subtract(places, 1), None)
    return whole.take(wanted), odd


def _cast(column: pa.Array[Any], target: pa.DataType) -> pa.Array[Any] | None:
    """The whole column cast, None when a value does not fit."""
    if column.type == target:
        return column
    try:
        return column.cast(target)
    except pa.ArrowInvalid:
        return None


def _misfits(column: pa.Array[Any], target: pa.DataType, first: int) -> dict[int, str]:
    """Texts of the values that do not fit, by row number; found by halving."""
    if not len(column) or _cast(column, target) is not None:
        return {}
    if len(column) == 1:
        return {first: _text(column)}
    half = len(column) // 2
    return _misfits(column.slice(0, half), target, first) | _misfits(column.slice(half), target, first + half)


def _text(value: pa.Array[Any]) -> str:
    """One value as text: as Arrow writes it, ISO for times."""
    try:
        text = value.cast(pa.string())[0].as_py()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return str(value.to_string(skip_new_lines=True))
    return str(text)
