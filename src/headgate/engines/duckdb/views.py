"""Lake tables as DuckDB views: the table's columns and types, whatever each file was written with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import duckdb
import pyarrow as pa

from headgate.contract.to_sql import literal, quote
from headgate.ports.store import TableView

_OWN_ID = "__duckdb_field_id"


def make_views(connection: duckdb.DuckDBPyConnection, tables: Mapping[str, TableView]) -> list[str]:
    """A view `layer.table` per table; the files that they read."""
    files: list[str] = []
    for layer in sorted({name.partition(".")[0] for name in tables}):
        connection.execute(f"CREATE SCHEMA IF NOT EXISTS {quote(layer)}")
    for name, table in tables.items():
        layer, _, short = name.partition(".")
        paths = [info.path for info in table.files() if info.rows]
        files.extend(paths)
        connection.execute(f"CREATE VIEW {quote(layer)}.{quote(short)} AS {_select(connection, table, paths)}")
    return files


def _select(connection: duckdb.DuckDBPyConnection, table: TableView, paths: list[str]) -> str:
    types = duckdb_types(connection, table.schema)
    if not paths:
        nothing = ", ".join(f"CAST(NULL AS {of}) AS {quote(name)}" for name, of in types.items())
        return f"SELECT {nothing} WHERE false"
    ids = {name: _own_id(one) for name, one in table.field_ids().items()}
    if set(types) <= set(ids) and None not in ids.values():
        # By field id: a column that an older file lacks is NULL, a renamed one is found.
        fields = ", ".join(
            f"{ids[name]}: {{name: {literal(name)}, type: {literal(of)}, default_value: NULL}}"
            for name, of in types.items()
        )
        return f"SELECT * FROM read_parquet({literal(paths)}, schema = MAP {{{fields}}})"
    listed = ", ".join(f"CAST({quote(name)} AS {of}) AS {quote(name)}" for name, of in types.items())
    return f"SELECT {listed} FROM read_parquet({literal(paths)}, union_by_name = true)"


def _own_id(given: Any) -> int | None:
    found = given.get(_OWN_ID) if isinstance(given, Mapping) else given
    return int(found) if found is not None else None


def duckdb_types(connection: duckdb.DuckDBPyConnection, schema: pa.Schema) -> dict[str, str]:
    """DuckDB's names of Arrow types, as DuckDB itself chooses them."""
    connection.register("hg_schema", schema.empty_table())
    relation = connection.sql("SELECT * FROM hg_schema")
    types = {name: str(of) for name, of in zip(relation.columns, relation.types, strict=True)}
    connection.unregister("hg_schema")
    return types
