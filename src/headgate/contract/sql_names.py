"""Names and values in SQL text: the only place that puts quotes around anything."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

from headgate.contract.model import Field, Kind, Type
from headgate.errors import FixInputError

_INT128 = 2**127
_SIMPLE = {
    Kind.STRING: "VARCHAR",
    Kind.BOOLEAN: "BOOLEAN",
    Kind.DATE: "DATE",
    Kind.TIME: "TIME",
    Kind.BINARY: "BLOB",
}


def quote(name: str) -> str:
    """The name as an SQL identifier, whatever it holds.

    FixInputError for an empty name, one with a NUL character or with half a surrogate pair: no database can
    hold them.
    """
    if not name:
        raise FixInputError("a name is empty")
    return '"' + _checked(name, "name").replace('"', '""') + '"'


def text_literal(value: str) -> str:
    """The text as an SQL literal. FixInputError for a NUL character or half a surrogate pair."""
    return "'" + _checked(value, "text").replace("'", "''") + "'"


def literal(value: Any) -> str:
    """A Python value as an SQL literal of the same value and the nearest type.

    None, bool, int (up to 128 bits), float (also NaN and infinities), Decimal (up to 38 digits), str, bytes, date,
    time, datetime (an aware one becomes an instant), UUID, and lists and string-keyed mappings (a struct) of these.
    Everything else and everything that SQL cannot hold exactly is a FixInputError.
    """
    match value:
        case None:
            return "NULL"
        case bool():
            return "true" if value else "false"
        case int():
            return _int_literal(value)
        case float():
            return f"CAST('{value!r}' AS DOUBLE)"
        case Decimal():
            return _decimal_literal(value)
        case str():
            return text_literal(value)
        case bytes():
            return f"from_hex('{value.hex()}')"
        case datetime() | date() | time():
            return _time_literal(value)
        case UUID():
            return f"CAST('{value}' AS UUID)"
        case list() | tuple():
            return "[" + ", ".join(literal(one) for one in value) + "]"
        case Mapping():
            return "{" + ", ".join(f"{text_literal(str(k))}: {literal(v)}" for k, v in value.items()) + "}"
        case _:
            raise FixInputError(f"a {type(value).__name__} cannot stand in SQL")


def duckdb_type(of: Type) -> str:
    """DuckDB's name of a contract type, such as `DECIMAL(12,3)` or `STRUCT("sku" VARCHAR)[]`."""
    match of.kind:
        case Kind.INTEGER:
            return "INTEGER" if of.bits == 32 else "BIGINT"
        case Kind.NUMBER:
            return "FLOAT" if of.bits == 32 else "DOUBLE"
        case Kind.DECIMAL:
            return f"DECIMAL({of.precision},{of.scale})"
        case Kind.TIMESTAMP:
            return "TIMESTAMP WITH TIME ZONE" if of.zoned else "TIMESTAMP"
        case Kind.OBJECT:
            inner = ", ".join(f"{quote(one.name)} {duckdb_type(one.type)}" for one in of.fields)
            return f"STRUCT({inner})"
        case Kind.ARRAY:
            return f"{duckdb_type(item_of(of).type)}[]"
        case Kind.MAP:
            return f"MAP({duckdb_type(key_of(of).type)}, {duckdb_type(item_of(of).type)})"
        case _:
            return _SIMPLE[of.kind]


def item_of(of: Type) -> Field:
    """The item of an array or the value of a map; text when the contract does not say."""
    return of.item or Field("item", Type(Kind.STRING))


def key_of(of: Type) -> Field:
    """The key of a map; text when the contract does not say."""
    return of.key or Field("key", Type(Kind.STRING))


def once(sql: str, name: str, body: str) -> str:
    """SQL: the body, in which the name stands for the value of the SQL: written and computed once.

    The body sees nothing else of that name. Without this, expressions that use their input several times and
    stand in each other would grow with every step.
    """
    return f"list_transform([{sql}], lambda {name}: {body})[1]"


def _checked(value: str, what: str) -> str:
    if "\0" in value:
        raise FixInputError(f"a {what} holds a NUL character")
    try:
        value.encode()
    except UnicodeEncodeError as problem:
        raise FixInputError(f"a {what} is not Unicode text") from problem
    return value


def _int_literal(value: int) -> str:
    # The minus sign is an operator in SQL and 2^63 does not fit before it: so the text is cast, and exactly.
    if -(2**31) < value < 2**63:
        return f"({value})" if value < 0 else str(value)
    if not -_INT128 <= value < _INT128:
        raise FixInputError(f"{value} has more than 128 bits")
    return f"CAST('{value}' AS HUGEINT)"


def _decimal_literal(value: Decimal) -> str:
    sign, digits, exponent = value.as_tuple()
    if not isinstance(exponent, int):
        raise FixInputError(f"{value} is not a decimal number")
    if exponent > 0:
        digits, exponent = (*digits, *(0,) * min(exponent, 39)), 0
    scale = -exponent
    precision = max(len(digits), scale, 1)
    if precision > 38:
        raise FixInputError(f"{value} has more than 38 digits")
    return f"CAST('{'-' if sign else ''}{abs(value):f}' AS DECIMAL({precision},{scale}))"


def _time_literal(value: date | time) -> str:
    match value:
        case datetime() if value.tzinfo is not None:
            return f"CAST('{value.isoformat(' ')}' AS TIMESTAMPTZ)"
        case datetime():
            return f"CAST('{value.isoformat(' ')}' AS TIMESTAMP)"
        case time():
            if value.tzinfo is not None:
                raise FixInputError("a time of day with a zone cannot stand in SQL")
            return f"CAST('{value.isoformat()}' AS TIME)"
        case _:
            return f"CAST('{value.isoformat()}' AS DATE)"
