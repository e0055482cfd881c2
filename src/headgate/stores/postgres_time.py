"""A table divided in time: a TimescaleDB hypertable where the extension is there, native range partitions where not.

Pure functions that give SQL; `postgres_load` runs it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from headgate.contract.to_sql import quote
from headgate.errors import FixInputError
from headgate.ports.store import TableSpec

CHUNKS = ("day", "month", "year")
_AGE = re.compile(r"([1-9][0-9]{0,4}) (day|week|month|year)s?")
_ROOM = 50  # bytes of a table's name that its partitions' names repeat

HAS_TIMESCALE = "SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb')"


@dataclass(frozen=True, slots=True)
class Division:
    """By which column, in pieces of a day, a month or a year; ages as PostgreSQL's intervals, empty for never.

    Rows older than `drop_after` leave the target with their piece, though the lake keeps them.
    """

    column: str
    chunk: str
    compress_after: str = ""
    drop_after: str = ""

    @classmethod
    def of(cls, given: Mapping[str, Any], spec: TableSpec) -> Division | None:
        """The division that the settings ask for; None without `time`. FixInputError for what cannot be."""
        column = given.get("time")
        ages = {name: str(given.get(name) or "") for name in ("compress_after", "drop_after")}
        if not column:
            if any(ages.values()) or given.get("chunk"):
                raise _wrong(spec, "chunk, compress_after and drop_after need `time`", "time: the column of the moment")
            return None
        declared = {name: transform for name, transform in spec.partition if transform in CHUNKS}
        chunk = str(given.get("chunk") or declared.get(str(column)) or "month")
        if chunk not in CHUNKS:
            raise _wrong(spec, f"chunk is {chunk!r}", f"one of {', '.join(CHUNKS)}")
        for name, age in ages.items():
            if age and not _AGE.fullmatch(age):
                raise _wrong(spec, f"{name} is {age!r}", "write it like 7 days or 6 months")
        if column not in spec.schema.names:
            raise _wrong(spec, f"time names {column!r}, which is no column", f"columns: {', '.join(spec.schema.names)}")
        field = spec.schema.field(str(column))
        if not (str(field.type).startswith("timestamp") or str(field.type).startswith("date")) or field.nullable:
            raise _wrong(
                spec, f"time names {column!r}, which is no required date or timestamp", "require it in the contract"
            )
        return cls(str(column), chunk, **ages)

    def key(self, key: Sequence[str]) -> tuple[str, ...]:
        """The columns of the primary key: it must hold the column of time."""
        return (*key, self.column) if self.column not in key else tuple(key)


def _wrong(spec: TableSpec, message: str, hint: str) -> FixInputError:
    return FixInputError(message, where=spec.name, hint=hint, stage="serve")


def hypertable(table: str, division: Division) -> list[str]:
    """SQL (TimescaleDB 2.13 or later): make an empty table a hypertable, with compression and retention."""
    literal = "'" + table.replace("'", "''") + "'"
    column = "'" + division.column.replace("'", "''") + "'"
    made = [f"SELECT public.create_hypertable({literal}, public.by_range({column}, INTERVAL '1 {division.chunk}'))"]
    if division.compress_after:
        made.append(f"ALTER TABLE {table} SET (timescaledb.compress)")
        made.append(f"SELECT public.add_compression_policy({literal}, INTERVAL '{division.compress_after}')")
    if division.drop_after:
        made.append(f"SELECT public.add_retention_policy({literal}, INTERVAL '{division.drop_after}')")
    return made


def partitioned(division: Division) -> str:
    """SQL behind CREATE TABLE (…)."""
    return f" PARTITION BY RANGE ({quote(division.column)})"


def pieces_needed(rows: str, division: Division) -> str:
    """SQL: the beginnings of the pieces that some rows need, as ISO dates."""
    return (
        f"SELECT DISTINCT date_trunc('{division.chunk}', {quote(division.column)})::date::text FROM {rows} ORDER BY 1"
    )


def partition(schema: str, table: str, division: Division, begin: date) -> str:
    """SQL: one partition, when it is missing. Bounds of instants are in UTC, as the session is."""
    first, last = begin.isoformat(), following(begin, division.chunk).isoformat()
    name = partition_name(table, division, begin)
    return (
        f"CREATE TABLE IF NOT EXISTS {quote(schema)}.{quote(name)} PARTITION OF {quote(schema)}.{quote(table)} "
        f"FOR VALUES FROM ('{first}') TO ('{last}')"
    )


def partition_name(table: str, division: Division, begin: date) -> str:
    """`orders_2026_01`; a long table name is cut and told apart by a hash."""
    parts = {"day": 3, "month": 2, "year": 1}[division.chunk]
    short = table
    if len(table.encode()) > _ROOM:
        short = (
            table.encode()[: _ROOM - 9].decode(errors="ignore") + "_" + hashlib.sha256(table.encode()).hexdigest()[:8]
        )
    return "_".join([short, *begin.isoformat().split("-")[:parts]])


def following(begin: date, chunk: str) -> date:
    """Where the next piece begins."""
    if chunk == "day":
        return begin + timedelta(days=1)
    if chunk == "month":
        return date(begin.year + begin.month // 12, begin.month % 12 + 1, 1)
    return date(begin.year + 1, 1, 1)


def too_old(names: Sequence[str], table: str, division: Division, limit: datetime) -> list[str]:
    """Names among these partitions whose rows are all older than a moment."""
    old = []
    for name in names:
        begin = _begin(name, division)
        if (
            begin
            and name == partition_name(table, division, begin)
            and following(begin, division.chunk) <= limit.date()
        ):
            old.append(name)
    return old


def _begin(name: str, division: Division) -> date | None:
    parts = {"day": 3, "month": 2, "year": 1}[division.chunk]
    numbers = name.split("_")[-parts:]
    if not all(n.isdigit() for n in numbers):
        return None
    year, month, day = ([int(n) for n in numbers] + [1, 1])[:3]
    try:
        return date(year, month, day)
    except ValueError:
        return None
