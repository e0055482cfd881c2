"""The catalog's tables in SQL: which metadata file each table is at, and the journal of publications.

`iceberg_tables` and `iceberg_namespace_properties` are laid out as PyIceberg's SqlCatalog and Iceberg's JdbcCatalog
lay them out, so both open the same lake. Two tables of our own move in the same SQL transaction:
`headgate_publications`, the journal, and `headgate_states`, each table's positions and facts at a metadata file.
`headgate_holds` says which snapshots others still need (see `holds`).

Nothing here imports PyIceberg or PyArrow: a run that finds nothing to do needs no more than this.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

from headgate import crash
from headgate.errors import CommitConflict, HeadgateError, OutcomeUnknownError
from headgate.stores.iceberg.settings import Settings

LAYOUT = (
    """CREATE TABLE IF NOT EXISTS iceberg_tables (
    catalog_name VARCHAR(255) NOT NULL,
    table_namespace VARCHAR(255) NOT NULL,
    table_name VARCHAR(255) NOT NULL,
    metadata_location VARCHAR(1000),
    previous_metadata_location VARCHAR(1000),
    iceberg_type VARCHAR(5),
    PRIMARY KEY (catalog_name, table_namespace, table_name)
)""",
    """CREATE TABLE IF NOT EXISTS iceberg_namespace_properties (
    catalog_name VARCHAR(255) NOT NULL,
    namespace VARCHAR(255) NOT NULL,
    property_key VARCHAR(255) NOT NULL,
    property_value VARCHAR(1000) NOT NULL,
    PRIMARY KEY (catalog_name, namespace, property_key)
)""",
    """CREATE TABLE IF NOT EXISTS headgate_publications (
    number {serial} PRIMARY KEY,
    catalog_name VARCHAR(255) NOT NULL,
    id VARCHAR(36) NOT NULL UNIQUE,
    at VARCHAR(32) NOT NULL,
    step VARCHAR(32) NOT NULL,
    record TEXT NOT NULL,
    tables TEXT NOT NULL
)""",
    """CREATE TABLE IF NOT EXISTS headgate_states (
    catalog_name VARCHAR(255) NOT NULL,
    table_namespace VARCHAR(255) NOT NULL,
    table_name VARCHAR(255) NOT NULL,
    metadata_location VARCHAR(1000) NOT NULL,
    state TEXT NOT NULL,
    PRIMARY KEY (catalog_name, table_namespace, table_name)
)""",
    """CREATE TABLE IF NOT EXISTS headgate_holds (
    catalog_name VARCHAR(255) NOT NULL,
    reader VARCHAR(255) NOT NULL,
    table_name VARCHAR(511) NOT NULL,
    snapshot_id BIGINT NOT NULL,
    keep_s BIGINT NOT NULL,
    PRIMARY KEY (catalog_name, reader, table_name, snapshot_id)
)""",
)
IS_TABLE = "(iceberg_type = 'TABLE' OR iceberg_type IS NULL)"


class Database(Protocol):
    """What SQLite and PostgreSQL do differently."""

    mark: str
    serial: str
    where: str

    def connect(self) -> Any:
        """A connection in autocommit mode."""

    def create(self) -> None:
        """Make the database itself where that can be done."""

    def begin(self, connection: Any, name: str) -> None:
        """Begin a transaction that no other publication of this catalog can overtake."""

    def absent(self, error: Exception) -> bool:
        """True when the error says that the tables, or the whole database, have not been made."""

    def clash(self, error: Exception) -> bool:
        """True when the error says that a row with that key exists."""

    def translate(self, error: Exception) -> HeadgateError:
        """The error in our words."""


class PointerMoved(CommitConflict):
    """A table was moved, made or dropped by somebody else since it was read."""


@dataclass(frozen=True, slots=True)
class Swing:
    """One table's pointer from `base` (None: the table is made) to `new`, and the table's state there as JSON."""

    name: str
    base: str | None
    new: str
    state: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the journal. `tables` maps each changed table to its metadata file after the publication."""

    id: str
    at: str
    step: str
    record: Mapping[str, Any]
    tables: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the journal as it stands there; `number` is the order of the publications."""

    number: int
    id: str
    at: str
    step: str
    record: Mapping[str, Any]
    tables: Mapping[str, str]


class Transaction:
    """A transaction of the catalog that is open for writing."""

    def __init__(self, pointers: Pointers, connection: Any) -> None:
        self._pointers = pointers
        self._connection = connection

    def read(self) -> dict[str, str]:
        """All pointers, table to metadata file."""
        return self._pointers.select(self._connection)

    def swing(self, swings: Sequence[Swing]) -> None:
        """Move pointers, in a fixed order so that no two publications wait for each other. Raises PointerMoved."""
        run = self._pointers.run
        catalog = self._pointers.name
        for swing in sorted(swings, key=lambda s: s.name):
            namespace, table = swing.name.split(".")
            if swing.base is None:
                self._make(swing, namespace, table)
            else:
                done = run(
                    self._connection,
                    "UPDATE iceberg_tables SET metadata_location = ?, previous_metadata_location = ?"
                    " WHERE catalog_name = ? AND table_namespace = ? AND table_name = ? AND metadata_location = ?"
                    f" AND {IS_TABLE}",
                    (swing.new, swing.base, catalog, namespace, table, swing.base),
                )
                if done.rowcount != 1:
                    raise PointerMoved("another process changed the table first", where=swing.name)
            crash.point("lake: inside sql")
            run(
                self._connection,
                "INSERT INTO headgate_states (catalog_name, table_namespace, table_name, metadata_location, state)"
                " VALUES (?, ?, ?, ?, ?) ON CONFLICT (catalog_name, table_namespace, table_name)"
                " DO UPDATE SET metadata_location = excluded.metadata_location, state = excluded.state",
                (catalog, namespace, table, swing.new, swing.state),
            )

    def _make(self, swing: Swing, namespace: str, table: str) -> None:
        catalog = self._pointers.name
        self._pointers.run(
            self._connection,
            "INSERT INTO iceberg_namespace_properties (catalog_name, namespace, property_key, property_value)"
            " VALUES (?, ?, 'exists', 'true') ON CONFLICT (catalog_name, namespace, property_key) DO NOTHING",
            (catalog, namespace),
        )
        try:
            self._pointers.run(
                self._connection,
                "INSERT INTO iceberg_tables (catalog_name, table_namespace, table_name, metadata_location,"
                " previous_metadata_location, iceberg_type) VALUES (?, ?, ?, ?, NULL, 'TABLE')",
                (catalog, namespace, table, swing.new),
            )
        except Exception as error:
            if self._pointers.database.clash(error):
                raise PointerMoved("another process made the table first", where=swing.name) from error
            raise

    def journal(self, entry: Entry) -> None:
        """Write one line of the journal."""
        self._pointers.run(
            self._connection,
            "INSERT INTO headgate_publications (catalog_name, id, at, step, record, tables) VALUES (?, ?, ?, ?, ?, ?)",
            (
                self._pointers.name,
                entry.id,
                entry.at,
                entry.step,
                json.dumps(dict(entry.record), sort_keys=True, separators=(",", ":")),
                json.dumps(dict(entry.tables), sort_keys=True, separators=(",", ":")),
            ),
        )


class Pointers:
    """The catalog's SQL side; opens a connection per call, so it may be used from any thread or forked process."""

    def __init__(self, settings: Settings) -> None:
        self.name = settings.name
        self.database: Database
        if settings.catalog.startswith("sqlite:"):
            from headgate.stores.iceberg.sqlite_catalog import Sqlite

            self.database = Sqlite(settings.catalog.removeprefix("sqlite:///"), settings.busy_timeout_s)
        else:
            from headgate.stores.iceberg.postgres_catalog import Postgres

            self.database = Postgres(settings.catalog, settings.busy_timeout_s)

    def run(self, connection: Any, sql: str, values: Sequence[Any] = ()) -> Any:
        """Run one statement, written with `?` for values; its cursor."""
        cursor = connection.cursor()
        cursor.execute(sql if self.database.mark == "?" else sql.replace("?", self.database.mark), tuple(values))
        return cursor

    def select(self, connection: Any) -> dict[str, str]:
        """All pointers in one statement: every table at one moment."""
        rows = self.run(
            connection,
            "SELECT table_namespace, table_name, metadata_location FROM iceberg_tables"
            f" WHERE catalog_name = ? AND metadata_location IS NOT NULL AND {IS_TABLE}",
            (self.name,),
        )
        return {f"{namespace}.{table}": location for namespace, table, location in rows.fetchall()}

    @contextmanager
    def connection(self) -> Iterator[Any]:
        """A connection whose errors are told in our words."""
        try:
            connection = self.database.connect()
        except Exception as error:
            raise self.database.translate(error) from error
        try:
            yield connection
        except HeadgateError:
            raise
        except Exception as error:
            raise self.database.translate(error) from error
        finally:
            with suppress(Exception):  # an error of closing must not look like one of the commit before it
                connection.close()

    def query(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """The rows of one SELECT; none when the catalog has not been made yet."""
        try:
            with closing(self.database.connect()) as connection:
                return list(self.run(connection, sql, values).fetchall())
        except Exception as error:
            if self.database.absent(error):
                return []
            raise self.database.translate(error) from error

    def read(self) -> dict[str, str]:
        """All pointers, table to metadata file, in one SELECT; none when the catalog has not been made yet."""
        try:
            with closing(self.database.connect()) as connection:
                return self.select(connection)
        except Exception as error:
            if self.database.absent(error):
                return {}
            raise self.database.translate(error) from error

    def settled(self) -> dict[str, str]:
        """All pointers when no publication is between its last step and its end: none in doubt can land any more."""
        with self.connection() as connection:
            self.database.begin(connection, self.name)
            found = self.select(connection)
            self.run(connection, "ROLLBACK")
        return found

    def landed(self, publications: Collection[str]) -> set[str]:
        """Those of the publications that are in the journal."""
        found: set[str] = set()
        wanted = sorted(publications)
        for start in range(0, len(wanted), 500):
            some = wanted[start : start + 500]
            marks = ", ".join("?" for _ in some)
            rows = self.query(f"SELECT id FROM headgate_publications WHERE id IN ({marks})", some)
            found.update(row[0] for row in rows)
        return found

    def make(self) -> None:
        """Make the catalog and its tables where they are missing."""
        if self._made():
            return
        try:
            self.database.create()
        except Exception as error:
            raise self.database.translate(error) from error
        with self.connection() as connection:
            self.database.begin(connection, self.name)
            for statement in LAYOUT:
                self.run(connection, statement.replace("{serial}", self.database.serial))
            self.run(connection, "COMMIT")

    def _made(self) -> bool:
        try:
            with closing(self.database.connect()) as connection:
                self.run(connection, "SELECT 1 FROM headgate_holds LIMIT 1")
        except Exception as error:
            if self.database.absent(error):
                return False
            raise self.database.translate(error) from error
        return True

    @contextmanager
    def transaction(self, publication: str) -> Iterator[Transaction]:
        """One SQL transaction that ends with a journal line of id `publication`.

        Leaving it commits. An error inside rolls back: nothing landed. An error of the commit itself is settled by
        looking for the journal line: found, it landed and nothing is raised; not found, nothing landed and the
        error is raised in our words; OutcomeUnknownError when there is no way to look.
        """
        with self.connection() as connection:
            self.database.begin(connection, self.name)
            try:
                yield Transaction(self, connection)
            except BaseException:
                with suppress(Exception):
                    self.run(connection, "ROLLBACK")
                raise
            try:
                crash.point("lake: before sql commit")
                self.run(connection, "COMMIT")
            except Exception as error:
                # SQLite leaves a transaction open that could not end, and so does closing, while the error is known.
                with suppress(Exception):
                    self.run(connection, "ROLLBACK")
                with suppress(Exception):
                    connection.close()
                self._settle(publication, error)
        crash.point("lake: after sql")

    def _settle(self, publication: str, cause: Exception) -> None:
        try:
            with closing(self.database.connect()) as connection:
                # The transaction in doubt holds the lock until it has ended one way or the other.
                self.database.begin(connection, self.name)
                sql = "SELECT 1 FROM headgate_publications WHERE id = ?"
                landed = self.run(connection, sql, (publication,)).fetchone() is not None
                self.run(connection, "ROLLBACK")
        except Exception as error:
            raise OutcomeUnknownError(
                f"the catalog failed during a commit and cannot be asked what happened: {cause}",
                hint="when it answers again, look for the publication in the journal before running again",
                where=self.database.where,
            ) from error
        if not landed:
            raise self.database.translate(cause) from cause

    def lines(self, table: str | None = None) -> list[Line]:
        """The whole journal, or the lines that name a table, oldest first."""
        rows = self.query(
            "SELECT number, id, at, step, record, tables FROM headgate_publications"
            " WHERE catalog_name = ? ORDER BY number",
            (self.name,),
        )
        told = (Line(n, i, at, step, json.loads(record), json.loads(tables)) for n, i, at, step, record, tables in rows)
        return [line for line in told if table is None or table in line.tables]

    def publications(self, limit: int | None) -> list[dict[str, Any]]:
        """The newest journal lines, or all, newest first."""
        rows = self.query(
            "SELECT id, at, step, record, tables FROM headgate_publications"
            " WHERE catalog_name = ? ORDER BY number DESC LIMIT ?",
            (self.name, (1 << 62) if limit is None else limit),
        )
        return [
            {**json.loads(record), "id": id_, "at": at, "step": step, "tables": json.loads(tables)}
            for id_, at, step, record, tables in rows
        ]
