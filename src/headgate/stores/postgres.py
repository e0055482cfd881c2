"""PostgreSQL as a place to serve tables to: rows by binary COPY, rows and position in one transaction."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from headgate import crash
from headgate.contract.to_sql import quote
from headgate.errors import FixInputError, HeadgateError, OutcomeUnknownError, StalePosition
from headgate.ports.batch import Batch, Position, Stretch
from headgate.ports.store import TableSpec
from headgate.stores import postgres_tables as tables
from headgate.stores.postgres_load import Load, Place
from headgate.stores.postgres_session import Target, end, run
from headgate.stores.postgres_time import Division

if TYPE_CHECKING:
    from psycopg2.extensions import connection

_LOCK = 7_236_071_003_417_655_296  # of the advisory lock under which tables are made and altered
_CLAIM = 1_684_762  # of those, one a table, under which its rows take effect
_SETTLE_S = 30.0  # how long to ask for the outcome of a commit whose answer was lost


@dataclass(frozen=True, slots=True)
class Settings:
    """How a table is served.

    `mode` append, upsert or replace. `schema` of the target table, by default the layer's name. `nul` says what becomes
    of a NUL character in a text, which PostgreSQL cannot hold: refuse, or replace (by U+2400); quarantine, which keeps
    the bytes as well, replaces by default. `time` names the column that divides the table (see postgres_time), in
    pieces of a `chunk` (day, month, year); `compress_after` and `drop_after` are ages such as `7 days`. `indexes` lists
    columns, or lists of them, besides the key. `lock_timeout` and `connect_timeout` in seconds.
    """

    mode: str = "append"
    schema: str = ""
    nul: str = ""
    time: str = ""
    chunk: str = ""
    compress_after: str = ""
    drop_after: str = ""
    indexes: tuple[tuple[str, ...], ...] = ()
    lock_timeout: float = 60.0
    connect_timeout: int = 10

    @classmethod
    def of(cls, options: Mapping[str, Any], table: str) -> Settings:
        """The settings of an entry of `serve:`. FixInputError for an unknown name or a wrong value."""
        known = {one.name for one in fields(cls)}
        given = {name: value for name, value in options.items() if not name.startswith("_")}
        for name in given:
            if name not in known:
                raise FixInputError(
                    f"unknown setting {name!r} of postgres", hint=f"settings: {', '.join(sorted(known))}", stage="serve"
                )
        layer, _, _ = table.partition(".")
        nul = given.get("nul") or ("replace" if layer == "quarantine" else "refuse")
        if nul not in ("refuse", "replace"):
            raise FixInputError(f"nul is {nul!r}", where=table, hint="refuse or replace", stage="serve")
        try:
            lock, wait = float(given.get("lock_timeout", 60)), int(given.get("connect_timeout", 10))
        except (TypeError, ValueError) as cause:
            raise FixInputError("a timeout is no number of seconds", where=table, stage="serve") from cause
        indexes = tuple((one,) if isinstance(one, str) else tuple(map(str, one)) for one in given.get("indexes") or ())
        ours = {"mode": str(given.get("mode") or "append"), "schema": str(given.get("schema") or layer), "nul": nul}
        return cls(**{**given, **ours, "lock_timeout": lock, "connect_timeout": wait, "indexes": indexes})

    def place(self, spec: TableSpec) -> Place:
        """The table as it should be there. FixInputError for what PostgreSQL cannot be asked for."""
        short = spec.name.partition(".")[2] or spec.name
        if short == tables.POSITIONS:
            raise FixInputError(f"no table can be served as {short}", where=spec.name, stage="serve")
        for name in (name for columns in self.indexes for name in columns):
            if name not in spec.schema.names:
                known = ", ".join(spec.schema.names)
                raise FixInputError(
                    f"indexes names {name!r}, which is no column",
                    where=spec.name,
                    hint=f"columns: {known}",
                    stage="serve",
                )
        return Place(
            schema=self.schema,
            short=short,
            spec=spec,
            columns=tuple(tables.columns_of(spec)),
            keyed=bool(spec.key) and self.mode != "append",
            division=Division.of(
                {f: getattr(self, f) for f in ("time", "chunk", "compress_after", "drop_after")}, spec
            ),
            indexes=self.indexes,
            replace_nul=self.nul == "replace",
        )


def open_sink(target: str, options: Mapping[str, Any], spec: TableSpec) -> PostgresSink:
    """A table in the PostgreSQL at this URL. Connects at the first question."""
    settings = Settings.of(options, spec.name)
    return PostgresSink(Target(target, settings.connect_timeout), settings.place(spec), settings.lock_timeout)


def standing(target: str, options: Mapping[str, Any], table: str) -> Position:
    """Where the stream of a served table stands, whatever its columns are."""
    settings, short = Settings.of(options, table), table.partition(".")[2]
    place = Place(settings.schema, short, TableSpec(table, pa.schema([])), columns=(), keyed=False)
    sink = PostgresSink(Target(target, settings.connect_timeout), place, settings.lock_timeout)
    try:
        return sink.position(table)
    finally:
        sink.close()


class PostgresSink:
    """One table (ports.store.Sink). Its positions are rows of `headgate_positions` in the same schema."""

    def __init__(self, target: Target, place: Place, lock_timeout_s: float) -> None:
        self.target, self.place, self.lock_timeout_s = target, place, lock_timeout_s
        self.table = place.name
        self.positions = tables.name_of(place.schema, tables.POSITIONS)
        self._connection: connection | None = None

    def position(self, stream: str) -> Position:
        """Where the stream stands; the start when the table is not there (any more)."""
        opened = self._open()
        with self.target.translated(self.table):
            there = run(
                opened,
                "SELECT to_regclass(%s) IS NOT NULL AND to_regclass(%s) IS NOT NULL",
                [self.table, self.positions],
            )
            tokens = self._tokens(opened, stream) if there[0][0][0] else {}
            opened.rollback()
        return Position(tokens)

    def commit(self, stream: str, batches: Iterable[Batch]) -> int:
        """Add the rows, by key where they say so, and move the position: one transaction."""
        return self._load(stream, batches, whole=False)

    def replace(self, stream: str, batches: Iterable[Batch]) -> int:
        """The rows take the place of all that the table holds: one transaction. Readers never see it empty."""
        return self._load(stream, batches, whole=True)

    def close(self) -> None:
        """End the connection."""
        end(self._connection)
        self._connection = None

    def _open(self) -> connection:
        if self._connection is None or self._connection.closed:
            self._connection = self.target.connect()
            with self.target.translated():
                run(self._connection, f"SET lock_timeout = {max(1, int(self.lock_timeout_s * 1000))}")
                self._connection.commit()
        return self._connection

    def _tokens(self, opened: connection, stream: str) -> dict[str, str]:
        rows, _ = run(opened, f"SELECT partition, token FROM {self.positions} WHERE stream = %s", [stream])
        return dict(rows)

    def _load(self, stream: str, batches: Iterable[Batch], *, whole: bool) -> int:
        """The critical section.

        1. Tables are made or altered, in a transaction of its own: no row moves.
        2. Rows are copied: into a new table, into the table itself, or beside it.
        3. No other stream has come into the table meanwhile, and the position moves from where the batches start; or
           everything is refused. From here on a rival waits.
        4. What was copied beside takes effect; a new table gets its key and its name.
        5. COMMIT. When its answer is lost, the server is asked what became of the transaction.
        """
        opened = self._open()
        stretch = Stretch(batches)
        try:
            self._prepare(opened, stream)  # 1
            load = Load(self.place, opened, whole=whole)
            with self.target.translated(self.table):
                rows = load.copy(stretch.rows())  # 2
            if stretch.start is None or stretch.end is None:
                opened.rollback()
                return 0
            crash.point("postgres store: rows copied, position not moved")
            with self.target.translated(self.table):
                run(opened, "SELECT pg_advisory_xact_lock(%s, hashtext(%s))", [_CLAIM, self.table])
                self._refuse_others(opened, stream)
                self._move(opened, stream, stretch.start, stretch.end)  # 3
                load.take_effect()  # 4
                transaction = str(run(opened, "SELECT txid_current()")[0][0][0])
            crash.point("postgres store: before COMMIT")
            self._commit(opened, transaction)  # 5
        except BaseException:
            self.close()  # rolls back
            raise
        crash.point("postgres store: after COMMIT")
        return rows

    def _prepare(self, opened: connection, stream: str) -> None:
        with self.target.translated(self.table):
            self._refuse_others(opened, stream)
            if self._shaping(opened):
                opened.rollback()
                run(
                    opened, "SELECT pg_advisory_xact_lock(%s)", [_LOCK]
                )  # of two that are here, the second finds it done
                for sql in self._shaping(opened):
                    run(opened, sql)
            opened.commit()
            there = tables.look(opened, self.table) is not None
            if there and not self._tokens(opened, stream) and self._has_rows(opened):
                raise FixInputError(
                    f"{self.table} holds rows that Headgate did not put there",
                    where=str(self.target),
                    hint="name another `schema`, or empty or drop the table",
                    stage="serve",
                )
            opened.rollback()

    def _refuse_others(self, opened: connection, stream: str) -> None:
        """FixInputError when rows of another stream stand in this table."""
        _, positions = tables.exists(opened, self.place.schema)
        if not positions or tables.look(opened, self.table) is None:
            return
        sql = f"SELECT DISTINCT stream FROM {self.positions} WHERE stream <> %s ORDER BY stream"
        for (other,) in run(opened, sql, [stream])[0]:
            if (other.partition(".")[2] or other) == self.place.short:
                raise FixInputError(
                    f"{self.table} is where {other} is served",
                    where=str(self.target),
                    hint=f"name another `schema` for {stream}",
                    stage="serve",
                )

    def _shaping(self, opened: connection) -> list[str]:
        """SQL that makes what is missing around the rows."""
        schema, positions = tables.exists(opened, self.place.schema)
        held = tables.look(opened, self.table)
        found = [] if schema else [f"CREATE SCHEMA {quote(self.place.schema)}"]
        found += [] if positions else [tables.positions_sql(self.place.schema)]
        return found + ([] if held is None else tables.evolve(self.table, held, self.place.columns))

    def _has_rows(self, opened: connection) -> bool:
        return bool(run(opened, f"SELECT EXISTS (SELECT FROM {self.table})")[0][0][0])

    def _move(self, opened: connection, stream: str, start: Position, after: Position) -> None:
        """Compare and swap, partition by partition in one order. A rival that does the same waits here."""
        stale = f"DELETE FROM {self.positions} WHERE stream = %s AND to_regclass(%s) IS NULL"
        run(opened, stale, [stream, self.table])  # of a table that somebody dropped
        for partition, token in sorted(after.tokens.items()):
            expected = start.tokens.get(partition)
            if expected is None:
                sql = f"INSERT INTO {self.positions} VALUES (%s, %s, %s) ON CONFLICT DO NOTHING"
                _, moved = run(opened, sql, [stream, partition, token])
            else:
                sql = (
                    f"UPDATE {self.positions} SET token = %s, moved_at = now() "
                    "WHERE stream = %s AND partition = %s AND token = %s"
                )
                _, moved = run(opened, sql, [token, stream, partition, expected])
            if not moved:
                raise StalePosition(
                    f"the position of {stream!r} is no longer where these rows start",
                    where=f"{self.target} {self.table}",
                    hint="another run moved it; run again and it continues from there",
                    stage="serve",
                )

    def _commit(self, opened: connection, transaction: str) -> None:
        import psycopg2

        try:
            opened.commit()
        except psycopg2.Error as cause:
            if getattr(cause, "pgcode", None) and not opened.closed:
                raise self.target.error(cause, self.table) from None  # the server said no
            end(opened)
            self._settle(transaction)

    def _settle(self, transaction: str) -> None:
        """Ask what became of a transaction: returns when it was committed, raises StoreUnavailable when it was not."""
        until, state = time.monotonic() + _SETTLE_S, None
        while time.monotonic() < until:
            try:
                opened = self._open()
                with self.target.translated():
                    state = run(opened, "SELECT txid_status(%s)", [transaction])[0][0][0]
                    opened.rollback()
            except HeadgateError:
                end(self._connection)
                state = None
            if state == "committed":
                return
            if state == "aborted":
                raise self.target.unavailable("PostgreSQL hung up at the commit, which it then undid")
            time.sleep(0.1)
        raise OutcomeUnknownError(
            "PostgreSQL hung up at the commit and does not say what became of it",
            where=f"{self.target} {self.table}",
            hint="run again when it answers: the position there tells whether the rows have landed",
            stage="serve",
        )
