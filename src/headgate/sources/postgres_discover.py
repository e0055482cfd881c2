"""What a live database could be read as: its tables, and the fields of one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from headgate.contract.model import Field
from headgate.sources.postgres_catalog import Index, Relation, find_table, relation
from headgate.sources.postgres_session import Address, Session
from headgate.sources.postgres_types import Column

_TABLES = """
SELECT n.nspname, c.relname, coalesce(obj_description(c.oid, 'pg_class'), ''), greatest(c.reltuples, 0)::int8
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
  AND has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')
ORDER BY 1, 2
"""
# Names that people give to the time of the last change, best first; a time of creation is no watermark.
_CHANGED = (
    "updated_at",
    "modified_at",
    "last_modified",
    "last_updated",
    "last_update",
    "changed_at",
    "update_time",
    "updated_on",
    "modified_on",
    "mtime",
)
_KIND_RANK = {"zoned": 0, "naive": 1, "number": 2, "date": 3}


@dataclass(frozen=True, slots=True)
class TableName:
    """A table that may be read."""

    schema: str
    name: str
    comment: str
    rows_estimate: int  # of the last ANALYZE; 0 when never analysed


@dataclass(frozen=True, slots=True)
class Discovery:
    """A table as contract fields: key positions, types, nullability and comments included.

    `physical_types` are PostgreSQL's own spellings by field name. `watermark` is the best column to read by, None when
    no column says when a row last changed.
    """

    schema: str
    name: str
    description: str
    fields: tuple[Field, ...]
    physical_types: Mapping[str, str]
    watermark: str | None


def tables(server_options: Mapping[str, Any]) -> list[TableName]:
    """All tables that the user may read, by schema and name; partitions are not listed, their parents are."""
    session = Session(Address.parse(server_options, {}))
    try:
        return [TableName(s, n, comment, int(rows)) for s, n, comment, rows in session.query(_TABLES)]
    finally:
        session.close()


def discover(server_options: Mapping[str, Any], table: str) -> Discovery:
    """The fields of one table. Raises as `find_table` does for what is missing or forbidden."""
    session = Session(Address.parse(server_options, {}))
    try:
        found = relation(session, *find_table(session, str(server_options.get("schema") or "public"), table))
    finally:
        session.close()
    key = _key(found)
    return Discovery(
        schema=found.schema,
        name=found.name,
        description=found.comment,
        fields=tuple(_field(one, key, found) for one in found.columns),
        physical_types={one.name: one.spelling for one in found.columns},
        watermark=_watermark(found),
    )


def _key(found: Relation) -> tuple[int, ...]:
    """Column numbers of the primary key, else of the shortest unique index without NULLs."""

    def rank(index: Index) -> tuple[bool, int, tuple[int, ...]]:
        return (not index.primary, len(index.columns), index.columns)

    numbers = {one.number: one for one in found.columns}
    for index in sorted(found.indexes, key=rank):
        columns = [numbers[number] for number in index.columns if number in numbers]
        if index.unique and len(columns) == len(index.columns) and found.is_unique(columns):
            return index.columns
    return ()


def _field(column: Column, key: tuple[int, ...], found: Relation) -> Field:
    return Field(
        name=column.name,
        type=column.logical,
        required=not column.nullable,
        unique=(column.number,) != key and found.is_unique([column]),
        key_position=key.index(column.number) + 1 if column.number in key else None,
        limits=column.limits,
        enum=column.labels,
        description=column.comment,
    )


def _watermark(found: Relation) -> str | None:
    """A column with a name of change; an indexed one first, then by name and type."""
    named = [one for one in found.columns if one.watermark_kind and one.name.lower() in _CHANGED]
    if not named:
        return None

    def rank(one: Column) -> tuple[bool, int, int]:
        return (not found.has_index_on(one), _CHANGED.index(one.name.lower()), _KIND_RANK[one.watermark_kind or "date"])

    return min(named, key=rank).name
