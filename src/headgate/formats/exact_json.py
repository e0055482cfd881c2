"""Values as JSON that loses nothing, made and read by DuckDB.

| Arrow type | in JSON |
|---|---|
| whole numbers, booleans, texts | as they are |
| float | a number; `"nan"`, `"inf"`, `"-inf"` |
| decimal | its digits as text, `"1.50"` |
| date, time | text: `"2026-01-31"`, `"09:30:00.000001"` |
| timestamp | text: `"2026-01-31 09:30:00.000001"`, an instant `"2026-01-31 09:30:00.000001+00"`, always UTC |
| binary | Base64 |
| list, struct | array, object, of the same |
| map | array of `{"key": …, "value": …}`; with text keys an object |

The session's time zone must be UTC.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pyarrow as pa

from headgate.contract.sql_names import literal, quote
from headgate.errors import FixInputError

_Of = Callable[[Any], bool]
_AS_IT_IS: tuple[_Of, ...] = (pa.types.is_integer, pa.types.is_boolean, pa.types.is_string, pa.types.is_large_string)
_AS_TEXT: tuple[_Of, ...] = (pa.types.is_decimal, pa.types.is_date, pa.types.is_time, pa.types.is_timestamp)
_WHOLE = {8: "TINYINT", 16: "SMALLINT", 32: "INTEGER", 64: "BIGINT"}


def object_sql(columns: list[tuple[str, str, pa.DataType]]) -> str:
    """SQL: the JSON text of one object per row. `columns` are (member, SQL of the value, its Arrow type)."""
    members = ", ".join(f"{literal(name)}: {written(sql, of)}" for name, sql, of in columns)
    return f"CAST(to_json({{{members}}}) AS VARCHAR)"


def written(sql: str, of: Any, depth: int = 0) -> str:
    """SQL: a value that `to_json` writes as the table above says."""
    if _any(of, _AS_IT_IS) or pa.types.is_null(of):
        return sql
    if pa.types.is_floating(of):
        return f"CASE WHEN isfinite({sql}) THEN to_json(CAST({sql} AS DOUBLE)) ELSE to_json(CAST({sql} AS VARCHAR)) END"
    if _any(of, _AS_TEXT):
        return f"CAST({sql} AS VARCHAR)"
    if _is_binary(of):
        return f"to_base64({sql})"
    one = f"e{depth}"
    if pa.types.is_struct(of):
        members = [(f.name, f"struct_extract({sql}, {literal(f.name)})", f.type) for f in of]
        made = ", ".join(f"{literal(n)}: {written(s, t, depth)}" for n, s, t in members)
        return f"CASE WHEN {sql} IS NULL THEN NULL ELSE {{{made}}} END"
    if _is_list(of):
        return f"list_transform({sql}, lambda {one}: {written(one, of.value_type, depth + 1)})"
    if _is_dictionary(of):
        return sql
    if pa.types.is_map(of):
        entry = f"{{'key': {written(f'{one}.key', of.key_type, depth + 1)}, "
        entry += f"'value': {written(f'{one}.value', of.item_type, depth + 1)}}}"
        return f"list_transform(map_entries({sql}), lambda {one}: {entry})"
    raise FixInputError(f"values of type {of} cannot travel as JSON", hint="leave the column out of the contract")


def shape(columns: list[tuple[str, pa.DataType]]) -> str:
    """What DuckDB's `json_transform` must look for."""
    return json.dumps({name: _shape(of) for name, of in columns})


def _shape(of: Any) -> Any:
    if pa.types.is_boolean(of):
        return "BOOLEAN"
    if pa.types.is_integer(of):
        return ("U" if pa.types.is_unsigned_integer(of) else "") + _WHOLE[of.bit_width]
    if pa.types.is_floating(of):
        return "DOUBLE"
    if pa.types.is_struct(of):
        return {f.name: _shape(f.type) for f in of}
    if _is_list(of):
        return [_shape(of.value_type)]
    if _is_dictionary(of):
        return "MAP(VARCHAR, VARCHAR)"
    if pa.types.is_map(of):
        return [{"key": _shape(of.key_type), "value": _shape(of.item_type)}]
    return "VARCHAR"


def read(sql: str, of: Any, depth: int = 0) -> str:
    """SQL: the typed value from what `json_transform` found under `shape`."""
    if _any(of, (*_AS_IT_IS, _is_dictionary)):
        return sql
    if pa.types.is_floating(of) and of.bit_width < 64:
        return f"CAST({sql} AS FLOAT)"
    if pa.types.is_floating(of):
        return sql
    if _is_binary(of):
        return f"from_base64({sql})"
    one = f"e{depth}"
    if pa.types.is_struct(of):
        made = ", ".join(
            f"{literal(f.name)}: {read(f'struct_extract({sql}, {literal(f.name)})', f.type, depth)}" for f in of
        )
        return f"CASE WHEN {sql} IS NULL THEN NULL ELSE {{{made}}} END"
    if _is_list(of):
        return f"list_transform({sql}, lambda {one}: {read(one, of.value_type, depth + 1)})"
    if pa.types.is_map(of):
        entry = f"{{'key': {read(f'{one}.key', of.key_type, depth + 1)}, "
        entry += f"'value': {read(f'{one}.value', of.item_type, depth + 1)}}}"
        return f"map_from_entries(list_transform({sql}, lambda {one}: {entry}))"
    return f"CAST({sql} AS {_sql_type(of)})"


def _sql_type(of: Any) -> str:
    if pa.types.is_decimal(of):
        return f"DECIMAL({of.precision}, {of.scale})"
    if pa.types.is_timestamp(of):
        return "TIMESTAMPTZ" if of.tz else "TIMESTAMP"
    if pa.types.is_date(of):
        return "DATE"
    if pa.types.is_time(of):
        return "TIME"
    return "VARCHAR"


def _is_binary(of: Any) -> bool:
    return bool(pa.types.is_binary(of) or pa.types.is_large_binary(of) or pa.types.is_fixed_size_binary(of))


def _is_list(of: Any) -> bool:
    return bool(pa.types.is_list(of) or pa.types.is_large_list(of) or pa.types.is_fixed_size_list(of))


def _is_dictionary(of: Any) -> bool:
    """A map from text to text."""
    return bool(pa.types.is_map(of) and pa.types.is_string(of.key_type) and pa.types.is_string(of.item_type))


def _any(of: Any, kinds: tuple[_Of, ...]) -> bool:
    return any(kind(of) for kind in kinds)


def column(name: str) -> str:
    """A column as SQL."""
    return quote(name)
