"""Queries over the lake: only reading, only the lake's own files."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import duckdb
import pyarrow as pa

from headgate.contract.to_sql import literal
from headgate.engines.duckdb.connection import Settings, connect
from headgate.engines.duckdb.mistakes import in_sql
from headgate.engines.duckdb.views import make_views
from headgate.errors import FixInputError
from headgate.ports.store import TableView

_READING = (duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN)
_HINT = "reading statements are SELECT, WITH, FROM, VALUES, DESCRIBE, SUMMARIZE, SHOW and EXPLAIN of these"


def query(settings: Settings, sql: str, tables: Mapping[str, TableView]) -> pa.RecordBatchReader:
    """The rows of a reading statement, streamed. FixInputError for any other statement, and for mistakes."""
    check_reading(sql)
    connection = sandbox(settings, sql, tables)
    try:
        with in_sql(sql, connection):
            reader = connection.sql(sql).to_arrow_reader()
    except BaseException:
        connection.close()
        raise
    return pa.RecordBatchReader.from_batches(reader.schema, _held(reader, connection, sql))


def _held(reader: pa.RecordBatchReader, connection: duckdb.DuckDBPyConnection, sql: str) -> Iterator[pa.RecordBatch]:
    """The batches; the database lives until the last one."""
    try:
        with in_sql(sql, connection):
            yield from reader
    finally:
        connection.close()


def sandbox(settings: Settings, sql: str, tables: Mapping[str, TableView]) -> duckdb.DuckDBPyConnection:
    """A database in which the tables that the statement names are views, and nothing else can be reached: no other
    file, no network, no extension, no setting."""
    connection = connect(settings, threads=settings.cores)
    try:
        named = _named(sql, tables)
        files = make_views(connection, named)
        connection.execute(f"SET allowed_paths = {literal(files) if files else '[]'}")
        connection.execute(
            "SET search_path = 'gold,main'" if any(n.startswith("gold.") for n in named) else "RESET search_path"
        )
        connection.execute("SET enable_external_access = false")
        connection.execute("SET lock_configuration = true")
    except BaseException:
        connection.close()
        raise
    return connection


def _named(sql: str, tables: Mapping[str, TableView]) -> dict[str, TableView]:
    """The tables that a statement may mean; all of them when that cannot be told."""
    try:
        names = set(references(sql))
    except FixInputError:
        return dict(tables)
    found = {n: v for n, v in tables.items() if n in names or n.lower() in {m.lower() for m in names}}
    for name in names:
        if "." not in name and f"gold.{name}" in tables:
            found[f"gold.{name}"] = tables[f"gold.{name}"]
    return found if len(found) >= len(names) else dict(tables)


def check_reading(sql: str) -> None:
    """FixInputError unless the text is one statement that only reads."""
    with in_sql(sql):
        statements = duckdb.extract_statements(sql)
    if len(statements) != 1:
        what = "nothing" if not statements else f"{len(statements)} statements"
        raise FixInputError(f"a query is one statement, not {what}", hint=_HINT)
    kind = statements[0].type
    if kind not in _READING:
        raise FixInputError(f"a query only reads; this is {kind.name}", hint=_HINT)
    if kind is duckdb.StatementType.EXPLAIN:
        check_reading(_explained(statements[0].query))
        return
    with in_sql(sql):
        parsed = _parsed(sql)
    if _writes(parsed):
        raise FixInputError("a query only reads; this one writes inside WITH", hint=_HINT)


def _explained(sql: str) -> str:
    """What an EXPLAIN statement explains: EXPLAIN ANALYZE runs it."""
    words = duckdb.tokenize(sql)
    for start, kind in words[1:]:
        rest = sql[start:]
        if kind == duckdb.token_type.comment or rest[:7].lower() == "analyze":
            continue
        if rest.startswith("("):
            raise FixInputError("EXPLAIN takes no options here", hint=_HINT)
        return rest
    raise FixInputError("EXPLAIN of nothing", hint=_HINT)


@lru_cache(maxsize=256)
def _parsed(sql: str) -> Mapping[str, Any]:
    """DuckDB's own syntax tree."""
    with duckdb.connect(":memory:") as connection:
        rows = connection.execute("SELECT json_serialize_sql(?)", [sql]).fetchall()
    tree: dict[str, Any] = json.loads(rows[0][0])
    if tree.get("error"):
        raise _refused(tree, sql)
    return tree


def _refused(tree: Mapping[str, Any], sql: str) -> FixInputError:
    message = str(tree.get("error_message"))
    if tree.get("error_type") == "not implemented":
        return FixInputError(f"a query only reads: {message}", hint=_HINT)
    position = tree.get("position")
    where = _place(sql, int(position)) if position is not None else None
    return FixInputError(message, where=where, hint="see the SQL text at this line and column")


def _place(sql: str, position: int) -> str:
    """`line:column` of a byte position, both from 1."""
    before = sql.encode()[:position].decode(errors="ignore")
    return f"{before.count(chr(10)) + 1}:{len(before) - (before.rfind(chr(10)) + 1) + 1}"


def _writes(node: Any) -> bool:
    return any(
        isinstance(part.get("type"), str)
        and part["type"] in {"INSERT_QUERY_NODE", "UPDATE_QUERY_NODE", "DELETE_QUERY_NODE", "MERGE_QUERY_NODE"}
        for part in _objects(node)
    )


def _objects(node: Any) -> Iterator[dict[str, Any]]:
    waiting = [node]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            yield one
            waiting.extend(one.values())
        elif isinstance(one, list):
            waiting.extend(one)


def references(sql: str) -> Sequence[str]:
    """Tables that a query reads, as written, sorted; names of WITH parts are none."""
    check_reading(sql)
    statement = sql
    if duckdb.extract_statements(sql)[0].type is duckdb.StatementType.EXPLAIN:
        statement = _explained(sql)
    found: set[str] = set()
    for one in _parsed(statement)["statements"]:
        _collect(one, frozenset(), found)
    return sorted(found)


def _collect(node: Any, hidden: frozenset[str], found: set[str]) -> None:
    """Table names below a node, outside the WITH names that hide them there."""
    if isinstance(node, list):
        for one in node:
            _collect(one, hidden, found)
        return
    if not isinstance(node, dict):
        return
    for entry in (node.get("cte_map") or {}).get("map", []) if isinstance(node.get("cte_map"), dict) else []:
        # A WITH part sees the parts before it, and itself when recursive: not itself otherwise.
        name = str(entry["key"]).lower()
        recursive = "RECURSIVE" in json.dumps(entry["value"])
        _collect(entry["value"], hidden | {name} if recursive else hidden, found)
        hidden = hidden | {name}
    if node.get("type") == "BASE_TABLE":
        parts = [p for p in (node.get("catalog_name"), node.get("schema_name"), node.get("table_name")) if p]
        if len(parts) > 1 or parts[0].lower() not in hidden:
            found.add(".".join(parts))
    for key, value in node.items():
        if key != "cte_map":
            _collect(value, hidden, found)
