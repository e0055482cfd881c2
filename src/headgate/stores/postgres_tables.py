"""The served table in PostgreSQL: looked at, made, brought to the shape that is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from headgate.contract.to_sql import quote
from headgate.errors import BreakingChangeError, FixInputError
from headgate.ports.store import TableSpec
from headgate.stores.postgres_session import run
from headgate.stores.postgres_types import postgres_type, widens

if TYPE_CHECKING:
    from psycopg2.extensions import connection

POSITIONS = "headgate_positions"
MAX_NAME_BYTES = 63
_LOOK = """
SELECT a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attgenerated <> '' OR a.attidentity <> ''
FROM pg_attribute a WHERE a.attrelid = to_regclass(%s) AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum
"""


@dataclass(frozen=True, slots=True)
class Column:
    """A column as PostgreSQL has it. `own` when PostgreSQL gives its values itself."""

    name: str
    type: str
    required: bool
    own: bool = False


def columns_of(spec: TableSpec) -> list[Column]:
    """The columns that hold the spec's. FixInputError for a name or a type that PostgreSQL does not have."""
    found = []
    for field in spec.schema:
        if len(field.name.encode()) > MAX_NAME_BYTES:
            raise FixInputError(
                f"PostgreSQL would cut the column name {field.name!r}: it has more than {MAX_NAME_BYTES} bytes",
                where=spec.name,
                stage="serve",
            )
        asked = postgres_type(field.type, f"{spec.name} {field.name}")
        found.append(Column(field.name, asked, not field.nullable or field.name in spec.key))
    return found


def create(table: str, columns: Sequence[Column]) -> str:
    """SQL: the table, without key, indexes and comments."""
    listed = ", ".join(f"{quote(c.name)} {c.type}{' NOT NULL' if c.required else ''}" for c in columns)
    return f"CREATE TABLE {table} ({listed})"


def finish(table: str, spec: TableSpec, key: Sequence[str], indexes: Sequence[Sequence[str]]) -> list[str]:
    """SQL: primary key, indexes and comments of a new table."""
    found = [f"ALTER TABLE {table} ADD PRIMARY KEY ({names(key)})"] if key else []
    found += [f"CREATE INDEX ON {table} ({names(columns)})" for columns in indexes]
    if spec.comment:
        found.append(f"COMMENT ON TABLE {table} IS {text(spec.comment)}")
    docs = {field.name: (field.metadata or {}).get(b"doc") for field in spec.schema}
    return found + [
        f"COMMENT ON COLUMN {table}.{quote(name)} IS {text(doc.decode())}" for name, doc in docs.items() if doc
    ]


def look(opened: connection, table: str) -> list[Column] | None:
    """The columns that the table has now; None when there is no such table."""
    rows, _ = run(opened, _LOOK, [table])
    if rows:
        return [Column(*row) for row in rows]
    return [] if run(opened, "SELECT to_regclass(%s)", [table])[0][0][0] else None


def evolve(table: str, held: Sequence[Column], asked: Sequence[Column]) -> list[str]:
    """SQL that brings a table to the columns that are asked for without changing a value.

    Raises BreakingChangeError naming the column that cannot follow.
    """
    there = {c.name: c for c in held}
    changes = []
    for column in asked:
        name, present = quote(column.name), there.pop(column.name, None)
        if present is None:
            changes.append(f"ADD COLUMN {name} {column.type}")  # older rows have no value yet: it may be NULL
            continue
        if present.type != column.type:
            if not widens(present.type, column.type):
                raise _breaking(table, f"column {column.name} is {present.type} there and {column.type} here")
            changes.append(f"ALTER COLUMN {name} TYPE {column.type}")
        if present.required and not column.required:
            changes.append(f"ALTER COLUMN {name} DROP NOT NULL")
    if left := [c.name for c in there.values() if not c.own]:
        raise _breaking(table, f"column {left[0]} is there and not here")
    return [f"ALTER TABLE {table} {', '.join(changes)}"] if changes else []


def _breaking(table: str, what: str) -> BreakingChangeError:
    return BreakingChangeError(
        f"the target table cannot follow: {what}",
        where=table,
        hint=f"DROP TABLE {table} (or alter it by hand): the next run makes it anew with all rows",
        stage="serve",
    )


def name_of(schema: str, table: str) -> str:
    """The quoted name of a table. FixInputError when PostgreSQL would cut it."""
    for one in (schema, table):
        if len(one.encode()) > MAX_NAME_BYTES:
            raise FixInputError(f"PostgreSQL would cut the name {one!r}", hint="at most 63 bytes", stage="serve")
    return f"{quote(schema)}.{quote(table)}"


def names(columns: Sequence[str]) -> str:
    """Columns, quoted, with commas between."""
    return ", ".join(quote(name) for name in columns)


def text(value: str) -> str:
    """A text as SQL; a NUL, which PostgreSQL does not have, is left out."""
    return "'" + value.replace("\0", "").replace("'", "''") + "'"


def positions_sql(schema: str) -> str:
    """SQL: the table of positions, when it is missing."""
    return (
        f"CREATE TABLE IF NOT EXISTS {name_of(schema, POSITIONS)} (stream text NOT NULL, partition text NOT NULL, "
        "token text NOT NULL, moved_at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (stream, partition))"
    )


def exists(opened: connection, schema: str) -> tuple[bool, bool]:
    """Whether the schema and its table of positions are there."""
    sql = "SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = %s), to_regclass(%s) IS NOT NULL"
    row: Any = run(opened, sql, [schema, name_of(schema, POSITIONS)])[0][0]
    return bool(row[0]), bool(row[1])
