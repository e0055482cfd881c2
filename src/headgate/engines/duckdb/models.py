"""Gold models: a query's columns in types that every reader of the lake has, and its rows as files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing

import duckdb
import pyarrow as pa

from headgate.contract.to_sql import quote
from headgate.engines.duckdb.arrays import fetch
from headgate.engines.duckdb.connection import Settings
from headgate.engines.duckdb.mistakes import in_sql
from headgate.engines.duckdb.output import ROWS_PER_GROUP, TableWriter
from headgate.engines.duckdb.query import check_reading, sandbox
from headgate.errors import FixInputError
from headgate.ports.engine import Output
from headgate.ports.store import TableView

# What Iceberg has no type for, and the type that holds the same values.
_KEPT_AS = {
    "TINYINT": "INTEGER",
    "SMALLINT": "INTEGER",
    "UTINYINT": "INTEGER",
    "USMALLINT": "INTEGER",
    "UINTEGER": "BIGINT",
    "UBIGINT": "DECIMAL(20,0)",
    "HUGEINT": "DECIMAL(38,0)",
    "UHUGEINT": "DECIMAL(38,0)",
    "TIMESTAMP_S": "TIMESTAMP",
    "TIMESTAMP_MS": "TIMESTAMP",
    "UUID": "VARCHAR",
    "JSON": "VARCHAR",
    '"NULL"': "VARCHAR",
    "NULL": "VARCHAR",
}
_FINE = (
    "BOOLEAN",
    "INTEGER",
    "BIGINT",
    "FLOAT",
    "DOUBLE",
    "VARCHAR",
    "BLOB",
    "DATE",
    "TIME",
    "TIMESTAMP",
    "TIMESTAMP WITH TIME ZONE",
)


def describe(settings: Settings, sql: str, tables: Mapping[str, TableView]) -> pa.Schema:
    """The columns of the model's table, without running the query."""
    connection = _open(settings, sql, tables)
    with closing(connection), in_sql(sql, connection):
        return fetch(connection, f"SELECT * FROM ({_kept(connection, sql)}) LIMIT 0").schema


def derive(settings: Settings, sql: str, tables: Mapping[str, TableView], output: Output) -> Sequence[str]:
    """Run the query and write its rows as files of the output, synced; no file for no rows."""
    writer = TableWriter(output)
    connection = _open(settings, sql, tables)
    with closing(connection), in_sql(sql, connection):
        for batch in connection.sql(_kept(connection, sql)).to_arrow_reader(ROWS_PER_GROUP):
            writer.write(pa.Table.from_batches([batch]))
    written = writer.close()
    return [one.path for one in written]


def _open(settings: Settings, sql: str, tables: Mapping[str, TableView]) -> duckdb.DuckDBPyConnection:
    check_reading(sql)
    return sandbox(settings, sql, tables)


def _kept(connection: duckdb.DuckDBPyConnection, sql: str) -> str:
    """The query with its columns in types that the lake has."""
    relation = connection.sql(sql)
    columns = []
    for name, of in zip(relation.columns, relation.types, strict=True):
        columns.append(_column(name, str(of)))
    names = [n.lower() for n in relation.columns]
    if twice := sorted({n for n in names if names.count(n) > 1}):
        raise FixInputError(f"the model has two columns named {twice[0]}", hint="name them apart with AS")
    inner = sql.strip().rstrip(";")
    return f"SELECT {', '.join(columns)} FROM (\n{inner}\n)"


def _column(name: str, of: str) -> str:
    if of in _KEPT_AS:
        return f"CAST({quote(name)} AS {_KEPT_AS[of]}) AS {quote(name)}"
    if of.startswith("ENUM"):
        return f"CAST({quote(name)} AS VARCHAR) AS {quote(name)}"
    if of in _FINE or of.startswith(("DECIMAL", "STRUCT", "MAP")) or of.endswith("]"):
        return quote(name)
    raise FixInputError(
        f"column {name} has the type {of}, which the lake does not have",
        hint="cast it, for example to VARCHAR, BIGINT or TIMESTAMP",
    )
