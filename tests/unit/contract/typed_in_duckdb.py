"""Runs the SQL of `headgate.contract.to_sql` in a real DuckDB."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import duckdb
import pyarrow as pa

from headgate.contract.model import Dataset, Field, Kind, Rule, Type
from headgate.contract.to_sql import column, duckdb_type, fails, quote

INTEGER = Type(Kind.INTEGER)
INTEGER_32 = Type(Kind.INTEGER, bits=32)
NUMBER = Type(Kind.NUMBER)
NUMBER_32 = Type(Kind.NUMBER, bits=32)
STRING = Type(Kind.STRING)
BOOLEAN = Type(Kind.BOOLEAN)
DATE = Type(Kind.DATE)
TIME = Type(Kind.TIME)
BINARY = Type(Kind.BINARY)
TIMESTAMP = Type(Kind.TIMESTAMP)
INSTANT = Type(Kind.TIMESTAMP, zoned=True)


def decimal(precision: int, scale: int) -> Type:
    return Type(Kind.DECIMAL, precision=precision, scale=scale)


def array(item: Type) -> Type:
    return Type(Kind.ARRAY, item=Field("element", item))


def mapping(key: Type, item: Type) -> Type:
    return Type(Kind.MAP, key=Field("key", key), item=Field("value", item))


def record(**members: Type) -> Type:
    return Type(Kind.OBJECT, fields=tuple(Field(name, of) for name, of in members.items()))


def session() -> duckdb.DuckDBPyConnection:
    """A DuckDB in a time zone where a forgotten zone shows."""
    connection = duckdb.connect()
    connection.execute("SET threads = 1")
    connection.execute("SET TimeZone = 'America/New_York'")
    return connection


_SESSION = session()


def typed(
    field: Field | Type,
    values: Sequence[Any],
    source: pa.DataType | None = None,
    odd: Sequence[str | None] | None = None,
) -> list[tuple[Any, bool]]:
    """(value, bad) of each source value."""
    if isinstance(field, Type):
        field = Field("x", field)
    table = pa.table(
        {
            'a "b': pa.array(values, source or pa.string()),
            "odd": pa.array(odd if odd is not None else [None] * len(values), pa.string()),
        }
    )
    made = column(field, quote('a "b'), table.schema.field(0).type, None if odd is None else "odd")
    _SESSION.register("source", table)
    got = _SESSION.sql(f"SELECT {made.value} AS value, {made.bad} AS bad FROM source")
    answer = got.to_arrow_table()
    assert str(got.types[0]) == _told(duckdb_type(field.type))
    bad = answer.column("bad").to_pylist()
    assert all(one is not None for one in bad), "bad is NULL"
    value_column = answer.column("value")
    if pa.types.is_timestamp(value_column.type) and value_column.type.tz is not None:
        value_column = value_column.cast(
            pa.timestamp("us", "UTC")
        )  # Python has no year 10000, in New York or elsewhere
    return list(zip(value_column.to_pylist(), bad, strict=True))


def _told(name: str) -> str:
    return str(_SESSION.execute(f"SELECT typeof(CAST(NULL AS {name}))").fetchall()[0][0])


def dataset(**fields: Type) -> Dataset:
    return Dataset("d", tuple(Field(name, of) for name, of in fields.items()), "c", "1")


def broken(rule: Rule, of: Type, values: Sequence[Any], arrow: pa.DataType | None = None) -> list[bool]:
    """Whether each value of the column `x` breaks the rule."""
    table = pa.table({"x": pa.array(values, arrow)})
    _SESSION.register("source", table)
    condition = fails(rule, dataset(x=of))
    cast = f"SELECT CAST(x AS {duckdb_type(of)}) AS x FROM source"
    answer = [row[0] for row in _SESSION.execute(f"SELECT {condition} FROM ({cast})").fetchall()]
    assert all(one is not None for one in answer), "the rule is NULL"
    return answer


def ask(sql: str) -> Any:
    return _SESSION.execute(sql).fetchall()
