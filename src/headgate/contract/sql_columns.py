"""From a source's column to the contract's: standardise, then the exact value or `bad`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from headgate.contract import sql_json, sql_reading, sql_standardise
from headgate.contract.model import Field, Kind, Type
from headgate.contract.sql_arrow import arrow_to_duckdb, fits, is_text, same
from headgate.contract.sql_names import duckdb_type, item_of, key_of, text_literal

FALSE = "false"
_TEXT = Type(Kind.STRING)
# An element of PostgreSQL's array literal; and the whole literal, one dimension, the usual lower bound.
_ELEMENT = r'"(?:[^"\\]|\\.)*"|[^,"{}\\\s]+'
_LITERAL = rf"(?s)\{{(?:(?:{_ELEMENT})(?:,(?:{_ELEMENT}))*)?\}}"
_NESTED = (Kind.OBJECT, Kind.ARRAY, Kind.MAP)


@dataclass(frozen=True, slots=True)
class Column:
    """Two SQL expressions over one row.

    `value` has the contract's type, and is NULL when the source is NULL or cannot be held exactly. `bad` is a
    boolean, never NULL: there is something, and the contract's type cannot hold exactly that. It is the text
    `false` when the types alone say that nothing can be bad.
    """

    value: str
    bad: str


def column(field: Field, source_sql: str, source_type: pa.DataType, odd_sql: str | None = None) -> Column:
    """The field's typed value from its source column: standardised as the contract declares, then exact or bad.

    `source_sql` is an SQL expression, `source_type` the Arrow type that it has (pa.null() when the source has no
    such column). A field with a transform replaces the expression; `source_type` must then be the type of the
    transform's result, which the engine asks its database for.

    `odd_sql`, when given, is the source's own text where the typed column could not hold the value, else NULL:
    where it is not NULL it is the value. A transform sees only typed columns, which are NULL there; so for a field
    with a transform give an expression that is not NULL when any column of the row is odd: the value is then bad.
    """
    return _column(field, source_sql, source_type, odd_sql, 0)


def _column(field: Field, source_sql: str, source_type: pa.DataType, odd_sql: str | None, depth: int) -> Column:
    if field.transform is not None:
        typed = _standardised(field, f"({field.transform}\n)", source_type, depth)
        if odd_sql is None:
            return typed
        odd = Column(f"CAST(NULL AS {duckdb_type(field.type)})", "true")
    else:
        typed = _standardised(field, source_sql, source_type, depth)
        if odd_sql is None:
            return typed
        odd = _standardised(field, odd_sql, pa.string(), depth)
    return Column(
        f"CASE WHEN {odd_sql} IS NULL THEN {typed.value} ELSE {odd.value} END",
        f"CASE WHEN {odd_sql} IS NULL THEN {typed.bad} ELSE {odd.bad} END",
    )


def _standardised(field: Field, sql: str, source: pa.DataType, depth: int) -> Column:
    if not field.standardise or pa.types.is_null(source):
        return exact(field.type, sql, source, depth)
    as_text = exact(_TEXT, sql, source, depth)
    text, refusals = sql_standardise.apply(field.standardise, as_text.value)
    typed = exact(field.type, text, pa.string(), depth)
    return Column(typed.value, _any([as_text.bad, *refusals, typed.bad]))


def exact(of: Type, sql: str, source: pa.DataType, depth: int = 0) -> Column:
    """The SQL value of an Arrow type as the contract's type: held exactly, or bad.

    `depth` numbers the lambda variables of nested types, so that an inner one does not hide an outer one.
    """
    if isinstance(source, pa.DictionaryType):
        source = source.value_type
    if pa.types.is_null(source):
        return Column(f"CAST(NULL AS {duckdb_type(of)})", FALSE)
    if same(of, source):
        return Column(sql, FALSE)
    if of.kind in _NESTED:
        return _nested(of, sql, source, depth)
    if is_text(source):
        return _checked(sql, sql_reading.scalar(of, sql))
    if fits(of, source):
        return Column(f"CAST({sql} AS {duckdb_type(of)})", FALSE)
    value = _converted(of, sql, source)
    if value is None:
        return Column(f"CAST(NULL AS {duckdb_type(of)})", f"({sql} IS NOT NULL)")
    return _checked(sql, value)


def _checked(sql: str, value: str) -> Column:
    return Column(value, f"({sql} IS NOT NULL AND {value} IS NULL)")


def _any(conditions: list[str]) -> str:
    real = [one for one in conditions if one != FALSE]
    return " OR ".join(real).join("()") if real else FALSE


def _converted(of: Type, sql: str, source: pa.DataType) -> str | None:
    """SQL: the scalar as another scalar type, NULL when not exactly; None when the two types never mean the same."""
    target = duckdb_type(of)
    t = pa.types
    number_in = t.is_integer(source) or t.is_decimal(source) or t.is_floating(source)
    if of.kind is Kind.STRING and t.is_timestamp(source) and source.tz is not None:
        # The text of an instant must not depend on the session's time zone.
        return f"strftime(make_timestamp(epoch_us({sql})), '%Y-%m-%dT%H:%M:%S.%fZ')"
    if number_in and of.kind in (Kind.NUMBER, Kind.DECIMAL) and t.is_floating(source) != (of.kind is Kind.NUMBER):
        if t.is_integer(source) and of.kind is Kind.DECIMAL:
            return f"TRY_CAST({sql} AS {target})"
        if not t.is_integer(source):
            # A float means what it prints as, so between floats and decimals the text decides.
            return sql_reading.scalar(of, f"CAST({sql} AS VARCHAR)")
    if number_in and of.kind in (Kind.INTEGER, Kind.NUMBER, Kind.DECIMAL):
        return _there_and_back(sql, target, arrow_to_duckdb(source))
    naive = t.is_timestamp(source) and source.tz is None and of.kind is Kind.TIMESTAMP and not of.zoned
    if naive or (t.is_time(source) and of.kind is Kind.TIME):
        return _there_and_back(sql, target, arrow_to_duckdb(source))
    return None


def _there_and_back(sql: str, target: str, source: str) -> str:
    there = f"TRY_CAST({sql} AS {target})"
    return f"CASE WHEN TRY_CAST({there} AS {source}) = {sql} THEN {there} END"


def _nested(of: Type, sql: str, source: pa.DataType, depth: int) -> Column:
    if is_text(source):
        return _nested_text(of, sql, depth)
    t = pa.types
    if of.kind is Kind.OBJECT and t.is_struct(source):
        return _object(of, sql, source, depth)
    is_list = t.is_list(source) or t.is_large_list(source) or t.is_fixed_size_list(source)
    if of.kind is Kind.ARRAY and is_list:
        return _array(of, sql, source, depth)
    if of.kind is Kind.MAP and t.is_map(source):
        return _map(of, sql, source, depth)
    return Column(f"CAST(NULL AS {duckdb_type(of)})", f"({sql} IS NOT NULL)")


def _object(of: Type, sql: str, source: pa.StructType, depth: int) -> Column:
    """Member by member; a member that the source lacks is NULL, one that the contract lacks is left out."""
    members, bads = [], []
    for one in of.fields:
        index = source.get_field_index(one.source_name)
        member_type = source.field(index).type if index >= 0 else pa.null()
        member = f"struct_extract({sql}, {text_literal(one.source_name)})" if index >= 0 else "NULL"
        inner = _column(one, member, member_type, None, depth)
        members.append(f"{text_literal(one.name)}: {inner.value}")
        bads.append(inner.bad)
    return _built(sql, "{" + ", ".join(members) + "}", _any(bads))


def _array(of: Type, sql: str, source: Any, depth: int) -> Column:
    each = f"hg_x{depth}"
    inner = _column(item_of(of), each, source.value_type, None, depth + 1)
    bad = FALSE if inner.bad == FALSE else _some(f"list_transform({sql}, lambda {each}: {inner.bad})")
    return _built(sql, f"list_transform({sql}, lambda {each}: {inner.value})", bad)


def _map(of: Type, sql: str, source: Any, depth: int) -> Column:
    each = f"hg_x{depth}"
    key = _column(key_of(of), f"{each}.key", source.key_type, None, depth + 1)
    item = _column(item_of(of), f"{each}.value", source.item_type, None, depth + 1)
    inner = _any([key.bad, item.bad])
    entries = f"map_entries({sql})"
    bads = [] if inner == FALSE else [_some(f"list_transform({entries}, lambda {each}: {inner})")]
    if key.value != f"{each}.key":
        # Two keys that are one in the contract's type: a map cannot hold both.
        keys = f"list_transform({entries}, lambda {each}: {key.value})"
        bads.append(f"coalesce(list_unique({keys}) <> len({keys}), false)")
    pairs = f"list_transform({entries}, lambda {each}: {{'k': {key.value}, 'v': {item.value}}})"
    return _built(sql, f"map_from_entries({pairs})", _any(bads))


def _nested_text(of: Type, sql: str, depth: int) -> Column:
    """JSON text; for an array also PostgreSQL's literal of one dimension, such as {1,NULL,"two words"}."""
    value, bad = sql_json.read(of, sql, depth)
    if of.kind is not Kind.ARRAY or item_of(of).type.kind in _NESTED:
        return Column(value, bad)
    each = f"hg_x{depth}"
    tokens = f"regexp_extract_all(substr({sql}, 2, length({sql}) - 2), {text_literal('(?s)' + _ELEMENT)})"
    # Unquoted NULL is an absent element, quoted it is a text; a backslash keeps the next character as it is.
    unquoted = rf"regexp_replace(substr({each}, 2, length({each}) - 2), '(?s)\\(.)', '\1', 'g')"
    plain = f"CASE WHEN lower({each}) = 'null' THEN NULL WHEN starts_with({each}, '\"') THEN {unquoted} ELSE {each} END"
    listed = f"list_transform({tokens}, lambda {each}: {plain})"
    elements = exact(of, listed, pa.list_(pa.string()), depth)
    literal_value = f"CASE WHEN {sql_reading.matches(sql, _LITERAL)} AND NOT {elements.bad} THEN {elements.value} END"
    both = f"CASE WHEN starts_with({sql}, '[') THEN {value} ELSE {literal_value} END"
    return Column(both, f"({sql} IS NOT NULL AND {both} IS NULL)")


def _some(list_sql: str) -> str:
    return f"coalesce(list_bool_or({list_sql}), false)"


def _built(sql: str, built: str, bad: str) -> Column:
    guard = f"{sql} IS NULL" if bad == FALSE else f"{sql} IS NULL OR {bad}"
    return Column(f"CASE WHEN {guard} THEN NULL ELSE {built} END", bad)
