"""The rows of one commit on their way into a table: copied first, without holding anybody up, then put into effect."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

import pyarrow as pa

from headgate.contract.to_sql import quote
from headgate.errors import BreakingChangeError, FixInputError
from headgate.ports.batch import REMOVED
from headgate.ports.store import TableSpec
from headgate.stores import postgres_tables as tables
from headgate.stores import postgres_time as pieces
from headgate.stores.postgres_binary import HEAD, TAIL, RowEncoder
from headgate.stores.postgres_copy import copy_in
from headgate.stores.postgres_session import run
from headgate.stores.postgres_time import Division

if TYPE_CHECKING:
    from psycopg2.extensions import connection

_ROWS = "headgate_rows"
_STAGED = f"pg_temp.{_ROWS}"
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d")


@dataclass(frozen=True, slots=True)
class Place:
    """The table that is served to, as it should be. `keyed`: the spec's key is a primary key there."""

    schema: str
    short: str
    spec: TableSpec
    columns: tuple[tables.Column, ...]
    keyed: bool
    division: Division | None = None
    indexes: tuple[tuple[str, ...], ...] = ()
    replace_nul: bool = False

    @property
    def name(self) -> str:
        """The table's quoted name."""
        return tables.name_of(self.schema, self.short)

    def primary_key(self) -> tuple[str, ...]:
        """Columns of the primary key; empty when rows are only added."""
        if not self.keyed:
            return ()
        return self.division.key(self.spec.key) if self.division else self.spec.key


class Load:
    """One commit's rows. First `copy`, then, when the position has moved, `take_effect`."""

    def __init__(self, place: Place, opened: connection, *, whole: bool) -> None:
        self.place, self.opened, self.whole = place, opened, whole
        self.new = False  # the table does not exist yet
        self.into = ""
        self.removals = False

    def copy(self, batches: Iterator[pa.RecordBatch]) -> int:
        """Send all rows; their number."""
        first = next(batches, None)
        if first is None:
            return 0
        self._begin(first.schema)
        encoder = RowEncoder(first.schema, self.place.spec.name, replace_nul=self.place.replace_nul)
        count = 0

        def chunks() -> Iterator[bytes]:
            nonlocal count
            yield HEAD
            batch: pa.RecordBatch | None = first
            while batch is not None:
                count += batch.num_rows
                yield from encoder.encode(batch)
                batch = next(batches, None)
            yield TAIL

        freeze = ", FREEZE" if self.into not in (_STAGED, self.place.name) else ""  # a table of this transaction
        sql = f"COPY {self.into} ({tables.names(first.schema.names)}) FROM STDIN (FORMAT binary{freeze})"
        copy_in(self.opened, sql, chunks())
        return count

    def _begin(self, schema: pa.Schema) -> None:
        """Choose where the rows are copied to, and make it."""
        place = self.place
        self.removals = REMOVED in schema.names
        self.new = tables.look(self.opened, place.name) is None
        if not self.new and not self.removals and not place.keyed and not place.division and not self.whole:
            self.into = place.name  # nothing to compare with
        elif self.new and not place.division:
            self.into = tables.name_of(place.schema, f"headgate_{secrets.token_hex(8)}")
            run(self.opened, tables.create(self.into, place.columns))
        else:
            self.into = _STAGED
            removed = f", {quote(REMOVED)} boolean NOT NULL" if self.removals else ""
            listed = ", ".join(f"{quote(c.name)} {c.type}" for c in place.columns)
            run(self.opened, f"CREATE TEMP TABLE {_ROWS} ({listed}{removed}) ON COMMIT DROP")

    def take_effect(self) -> None:
        """What was copied becomes what the table holds."""
        place = self.place
        if self.new and self.into != _STAGED:
            run(self.opened, f"ALTER TABLE {self.into} RENAME TO {quote(place.short)}")
        elif self.new:
            self._make_divided()
        if self.new:
            self._run(tables.finish(place.name, place.spec, place.primary_key(), place.indexes))
        if self.into == _STAGED:
            self._merge()

    def _merge(self) -> None:
        """Staged rows into the table: by key, or all that it holds."""
        place, key = self.place, self.place.spec.key
        if place.division:
            self._make_pieces(place.division)
        same = " AND ".join(f"t.{quote(k)} = s.{quote(k)}" for k in key)
        listed = tables.names([c.name for c in place.columns])
        sql = f"INSERT INTO {place.name} ({listed}) SELECT {listed} FROM {_STAGED}"
        sql += f" WHERE NOT {quote(REMOVED)}" if self.removals else ""
        if self.whole:
            run(self.opened, f"DELETE FROM {place.name}")
        elif place.keyed and place.division:
            # The key alone is not unique there: a row may have moved to another piece.
            run(self.opened, f"DELETE FROM {place.name} t USING {_STAGED} s WHERE {same}")
        else:
            if self.removals:
                run(self.opened, f"DELETE FROM {place.name} t USING {_STAGED} s WHERE s.{quote(REMOVED)} AND {same}")
            sql += _on_conflict(place) if place.keyed else ""
        run(self.opened, sql)
        if place.division and place.division.drop_after:
            self._drop_old(place.division)

    def _make_divided(self) -> None:
        """The empty table: divided by TimescaleDB where it is there, else by PostgreSQL itself."""
        place, division = self.place, self.place.division
        assert division is not None
        create = tables.create(place.name, place.columns)
        if self._timescale():
            self._run([create, *pieces.hypertable(place.name, division)])
        else:
            run(self.opened, create + pieces.partitioned(division))

    def _make_pieces(self, division: Division) -> None:
        place = self.place
        kind = run(self.opened, "SELECT relkind FROM pg_class WHERE oid = to_regclass(%s)", [place.name])[0][0][0]
        if kind != "p":
            if self._timescale():
                return  # a hypertable makes its own
            raise BreakingChangeError(
                f"the target table is not divided by {division.column}",
                where=place.name,
                hint=f"DROP TABLE {place.name}: the next run makes it anew with all rows",
                stage="serve",
            )
        for (begin,) in run(self.opened, pieces.pieces_needed(_STAGED, division))[0]:
            if not _MOMENT.fullmatch(begin) or begin >= "9999":
                raise FixInputError(
                    f"column {division.column}: {begin} is no moment to divide a table by",
                    where=place.spec.name,
                    hint="let a rule of the contract bound the column",
                    stage="serve",
                )
            run(self.opened, pieces.partition(place.schema, place.short, division, date.fromisoformat(begin)))

    def _drop_old(self, division: Division) -> None:
        if self._timescale():
            return  # its own policy does that
        sql = "SELECT relname FROM pg_inherits JOIN pg_class c ON c.oid = inhrelid WHERE inhparent = to_regclass(%s)"
        names = [name for (name,) in run(self.opened, sql, [self.place.name])[0]]
        (limit,) = run(self.opened, f"SELECT (now() - INTERVAL '{division.drop_after}')::timestamptz")[0][0]
        assert isinstance(limit, datetime)
        for name in pieces.too_old(names, self.place.short, division, limit.astimezone(UTC)):
            run(self.opened, f"DROP TABLE {tables.name_of(self.place.schema, name)}")

    def _timescale(self) -> bool:
        return bool(run(self.opened, pieces.HAS_TIMESCALE)[0][0][0])

    def _run(self, statements: list[str]) -> None:
        for sql in statements:
            run(self.opened, sql)


def _on_conflict(place: Place) -> str:
    """SQL: a row with a known key replaces it."""
    key = place.spec.key
    set_ = ", ".join(f"{quote(c.name)} = excluded.{quote(c.name)}" for c in place.columns if c.name not in key)
    return f" ON CONFLICT ({tables.names(key)}) DO " + (f"UPDATE SET {set_}" if set_ else "NOTHING")
