"""Source `postgres` (a contract may also spell it `postgresql`; the caller knows that alias): tables by watermark.

Reads whole row versions with plain SELECT rights, no slot, no trigger, no extra table. The first read goes through
the table by page ranges and can be resumed at each; later reads take exactly the row versions that the last complete
read could not see, told by transaction ids (see `postgres_position`). The watermark column only makes that cheap.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from headgate.contract.model import Dataset, Server
from headgate.contract.sql_names import quote
from headgate.errors import FixInputError, SourceUnavailable
from headgate.ports.batch import Batch, Position
from headgate.ports.source import FullRead
from headgate.sources.postgres_catalog import Activity, Moment, activity, find_table, moment, near, relation
from headgate.sources.postgres_columns import choose_columns, limitations
from headgate.sources.postgres_discover import Discovery, discover, tables
from headgate.sources.postgres_query import Reading
from headgate.sources.postgres_scan import Scan
from headgate.sources.postgres_session import PASSED, Address, Session, seconds, size

__all__ = ["Discovery", "Settings", "connect", "discover", "tables"]

_WHOLE = "Each run reads the whole table, unless nobody has written anything in the cluster since."


@dataclass(frozen=True, slots=True)
class Settings:
    """How one table is read: the dataset's `read` in the project file. Durations and sizes may carry a unit."""

    watermark: str | None = None  # column that grows with each change; without it every read looks at the whole table
    slack_s: int | None = None  # how far behind the clock a row's watermark may lie; 600; for a number: its own units
    sweep_every_s: int = 86_400  # a read without a bound at least so often; 0: each
    sweep_below_bytes: int = 64 << 20  # smaller tables are read without a bound each time
    range_bytes: int = 128 << 20  # of the table's file: the first read can be resumed at each such step
    block_bytes: int = 8 << 20  # of text: what is parsed at once; later reads can be resumed at each

    @classmethod
    def parse(cls, read: Mapping[str, Any]) -> Settings:
        """From the project file. FixInputError for an unknown name or an impossible value."""
        names = ["watermark", "slack", "sweep_every", "sweep_below", "range", "block"]
        known = [*names, "connect_timeout", "lock_timeout", *PASSED]
        for name in read:
            if name not in known:
                raise FixInputError(
                    f"read: {name!r} is not a setting of postgres", hint=near(name, known, "settings"), stage="extract"
                )
        mark = read.get("watermark")
        if mark is not None and (not isinstance(mark, str) or not mark):
            raise FixInputError(f"read: watermark {mark!r} is not a column name", stage="extract")
        return cls(
            watermark=mark,
            slack_s=seconds(read["slack"], "slack") if "slack" in read else None,
            sweep_every_s=seconds(read.get("sweep_every", 86_400), "sweep_every"),
            sweep_below_bytes=size(read.get("sweep_below", 64 << 20), "sweep_below"),
            range_bytes=max(size(read.get("range", 128 << 20), "range"), 8192),
            block_bytes=max(size(read.get("block", 8 << 20), "block"), 1024),
        )


def connect(dataset: Dataset, server: Server, read: Mapping[str, Any]) -> PostgresSource:
    """The source of one dataset. Opens nothing yet. FixInputError for an impossible setting."""
    return PostgresSource(dataset, server, Address.parse(server.options, read), Settings.parse(read))


class PostgresSource:
    """One table; see `headgate.ports.source`."""

    def __init__(self, dataset: Dataset, server: Server, address: Address, settings: Settings) -> None:
        self._dataset = dataset
        self._schema = str(server.options.get("schema") or "public")
        self._table = dataset.physical_name or dataset.name
        self._address = address
        self._settings = settings
        self._session: Session | None = None
        self._told: pa.Schema | None = None

    def schema(self) -> pa.Schema:
        """The columns of the batches, from the catalog."""
        session = self._open()
        self._told = self._reading(session, find_table(session, self._schema, self._table)).schema
        return self._told

    def read(self, after: Position) -> Iterator[Batch]:
        """Every row version that was not yet read, in one repeatable-read transaction; see ports.source.

        A first read can be resumed after each page range, a later one after each block. Nothing new: no batch at all.
        """
        with self._transaction() as (reading, seen, at):
            self._check_told(reading)
            yield from Scan(self._open(), self._settings, reading, seen, at, after).batches()

    def full_reads(self, after: Position) -> Iterator[FullRead]:
        """The table as it is now, unless nobody has written anything since the last time; see ports.source."""
        with self._transaction() as (reading, seen, at):
            scan = Scan(self._open(), self._settings, reading, seen, at, after)
            if not scan.untouched():
                self._check_told(reading)
                yield FullRead(None, scan.whole())

    def idle(self, after: Position) -> bool:
        """Whether a read would give nothing: no transaction wrote since, or none of this table's rows is new."""
        with self._transaction() as (reading, seen, at):
            if self._dataset.full_reads is not None:
                return Scan(self._open(), self._settings, reading, seen, at, after).untouched()
            return Scan(self._open(), self._settings, reading, seen, at, after).nothing_new()

    def tell(self) -> Mapping[str, Any]:
        """Identity, whether this is a standby, and what this way of reading cannot see."""
        with self._transaction() as (reading, seen, at):
            return {
                "identity": {"server": str(self._address), **seen.identity.as_json()},
                "table": reading.relation.label,
                "standby": seen.standby,
                "size_bytes": reading.relation.size_bytes,
                "limitations": [_WHOLE]
                if self._dataset.full_reads is not None
                else limitations(
                    reading,
                    seen,
                    at,
                    self._settings.sweep_below_bytes,
                    self._settings.sweep_every_s,
                    self._open().connection.server_version,
                ),
            }

    def close(self) -> None:
        """Closes the connection; a running read ends with SourceUnavailable."""
        session, self._session = self._session, None
        if session is not None:
            session.close()

    def _check_told(self, reading: Reading) -> None:
        if self._told is not None and not self._told.equals(reading.schema, check_metadata=False):
            raise SourceUnavailable(
                f"the columns of {reading.relation.label} changed a moment ago; trying again helps",
                where=reading.relation.label,
                stage="extract",
            )

    def _open(self) -> Session:
        if self._session is None:
            self._session = Session(self._address)
        return self._session

    def _reading(self, session: Session, found: tuple[int, str, str]) -> Reading:
        settings = self._settings
        return choose_columns(self._dataset, relation(session, *found), settings.watermark, settings.slack_s)

    @contextmanager
    def _transaction(self) -> Iterator[tuple[Reading, Moment, Activity]]:
        """One snapshot for everything inside. Left by an error or before its end, the connection is given up.

        1. Who is in a transaction is asked before the snapshot is taken, so nobody is missed.
        2. The table is locked against rewriting (ALTER, TRUNCATE, VACUUM FULL), still before the snapshot.
        3. The snapshot is taken by the first query; the catalog is read under it.
        """
        session = self._open()
        clean = False
        try:
            found = find_table(session, self._schema, self._table)
            at = activity(session)  # 1
            session.query("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            session.query(f"LOCK TABLE {quote(found[1])}.{quote(found[2])} IN ACCESS SHARE MODE")  # 2
            seen = moment(session, found[0])  # 3
            yield self._reading(session, found), seen, at
            session.query("COMMIT")
            clean = True
        finally:
            if not clean:
                self.close()
