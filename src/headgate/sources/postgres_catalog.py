"""What the database's own catalog says: the table, its columns and rights, its parts, and the moment we look."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, field

from headgate.contract.sql_names import quote
from headgate.errors import FixInputError
from headgate.sources.postgres_position import Identity, Snapshot
from headgate.sources.postgres_session import Session
from headgate.sources.postgres_types import Column

OLDEST_VERSION = 130000  # pg_current_snapshot
TID_RANGE_VERSION = 140000  # below, a page range would read the whole table each time

_KINDS = {
    "v": ("a view", "read the tables under it, one dataset each, and join them in a model"),
    "m": ("a materialized view", "read the tables under it, one dataset each, and join them in a model"),
    "f": ("a foreign table", "read it on the server where it lives"),
    "S": ("a sequence", "name a table"),
    "i": ("an index", "name a table"),
    "c": ("a composite type", "name a table"),
}
_RELATION = """
SELECT c.oid::int8, c.relkind::text, n.nspname, c.relname, has_schema_privilege(n.oid, 'USAGE'),
       has_table_privilege(c.oid, 'SELECT'), coalesce(obj_description(c.oid, 'pg_class'), '')
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %s AND c.relname = ANY(%s)
"""
_COLUMNS = """
WITH RECURSIVE plain AS (
  SELECT a.attnum, t.oid, t.typtype, t.typbasetype, a.atttypmod AS modifier, a.attnotnull AS filled
  FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
  WHERE a.attrelid = %(table)s AND a.attnum > 0 AND NOT a.attisdropped
  UNION ALL
  SELECT p.attnum, t.oid, t.typtype, t.typbasetype,
         CASE WHEN p.modifier = -1 THEN d.typtypmod ELSE p.modifier END, p.filled OR d.typnotnull
  FROM plain p JOIN pg_type d ON d.oid = p.oid JOIN pg_type t ON t.oid = d.typbasetype WHERE p.typtype = 'd')
SELECT a.attname, a.attnum, p.oid::int8, p.modifier,
       format_type(a.atttypid, a.atttypmod), format_type(p.oid, -1), NOT p.filled,
       coalesce(col_description(a.attrelid, a.attnum), ''),
       (SELECT array_agg(e.enumlabel::text ORDER BY e.enumsortorder) FROM pg_enum e WHERE e.enumtypid = p.oid)
FROM plain p JOIN pg_attribute a ON a.attrelid = %(table)s AND a.attnum = p.attnum
WHERE p.typtype <> 'd' ORDER BY a.attnum
"""
_INDEXES = """
SELECT indkey::int2[]::int4[], indnkeyatts, indisunique, indisprimary
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am m ON m.oid = c.relam
WHERE i.indrelid = %s AND indisvalid AND indpred IS NULL AND indimmediate AND m.amname = 'btree'
"""
_NAMES = """
SELECT relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE nspname = %s AND relkind IN ('r', 'p')
"""
# The tables that hold the rows: the table itself, and everything that inherits from it or is a partition of it.
_LEAVES = """
WITH RECURSIVE tree(oid) AS (
  SELECT %s::oid UNION SELECT i.inhrelid FROM pg_inherits i JOIN tree ON tree.oid = i.inhparent)
SELECT c.oid::int8, pg_relation_filenode(c.oid)::int8, c.relkind::text, n.nspname, c.relname,
       CASE WHEN c.relkind = 'r' THEN pg_relation_size(c.oid) ELSE 0 END, has_table_privilege(c.oid, 'SELECT')
FROM tree JOIN pg_class c ON c.oid = tree.oid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'f') ORDER BY c.oid
"""
_MOMENT = """
SELECT pg_current_snapshot()::text, pg_is_in_recovery(), d.datname, d.oid::int8,
       (SELECT system_identifier::text FROM pg_control_system()),
       CASE WHEN pg_is_in_recovery()
            THEN greatest((SELECT received_tli FROM pg_stat_wal_receiver),
                          (SELECT min_recovery_end_timeline FROM pg_control_recovery()),
                          (SELECT timeline_id FROM pg_control_checkpoint()))
            ELSE ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::int4 END
FROM pg_database d WHERE d.datname = current_database()
"""
# Whoever may yet commit: anything in a transaction now. Sessions of other roles are hidden from roles without
# pg_read_all_stats; prepared transactions show no start.
_ACTIVITY = """
SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::int8,
       (extract(epoch FROM min(xact_start)) * 1000000)::int8,
       count(*) FILTER (WHERE query = '<insufficient privilege>') +
       (SELECT count(*) FROM pg_prepared_xacts WHERE database = current_database())
FROM pg_stat_activity
WHERE pid <> pg_backend_pid() AND (datid IS NULL OR datname = current_database())
  AND backend_type IS DISTINCT FROM 'autovacuum worker' AND backend_type IS DISTINCT FROM 'walsender'
"""


@dataclass(frozen=True, slots=True)
class Leaf:
    """A table that holds rows."""

    oid: int
    filenode: int
    schema: str
    name: str
    size_bytes: int

    @property
    def sql(self) -> str:
        return f"{quote(self.schema)}.{quote(self.name)}"


@dataclass(frozen=True, slots=True)
class Index:
    """The column numbers of a plain, whole, valid btree index."""

    columns: tuple[int, ...]
    unique: bool
    primary: bool


@dataclass(frozen=True, slots=True)
class Relation:
    """A table as the catalog has it now."""

    oid: int
    schema: str
    name: str
    partitioned: bool
    comment: str
    columns: tuple[Column, ...]
    indexes: tuple[Index, ...]
    leaves: tuple[Leaf, ...] = field(default=())

    @property
    def sql(self) -> str:
        """The quoted name."""
        return f"{quote(self.schema)}.{quote(self.name)}"

    @property
    def label(self) -> str:
        """schema.table, for people and as the partition's name."""
        return f"{self.schema}.{self.name}"

    @property
    def size_bytes(self) -> int:
        return sum(leaf.size_bytes for leaf in self.leaves)

    @property
    def several(self) -> bool:
        """Rows may stand in more than one table, so a row's place needs the table too."""
        return self.partitioned or len(self.leaves) > 1

    def column(self, name: str) -> Column | None:
        """The column of that name."""
        return next((one for one in self.columns if one.name == name), None)

    def files(self) -> dict[int, int]:
        """Leaf oid -> filenode, which changes when the table is rewritten."""
        return {leaf.oid: leaf.filenode for leaf in self.leaves}

    def has_index_on(self, column: Column) -> bool:
        """Whether an index begins with the column."""
        return any(index.columns[:1] == (column.number,) for index in self.indexes)

    def is_unique(self, columns: Sequence[Column]) -> bool:
        """Whether no two rows have equal values in these columns, and none is NULL there."""
        numbers = {one.number for one in columns}
        filled = bool(columns) and not any(one.nullable for one in columns)
        one_index = self.partitioned or len(self.leaves) == 1  # tables that inherit have indexes of their own
        return filled and one_index and any(index.unique and set(index.columns) <= numbers for index in self.indexes)


@dataclass(frozen=True, slots=True)
class Moment:
    """What the running transaction sees."""

    snapshot: Snapshot
    standby: bool
    identity: Identity


@dataclass(frozen=True, slots=True)
class Activity:
    """Who was in a transaction just before the snapshot. `oldest_us` is None when nobody was; `hidden` counts those
    whose start cannot be known."""

    now_us: int
    oldest_us: int | None
    hidden: int


def activity(session: Session) -> Activity:
    """To be asked *before* the snapshot is taken: who starts in between starts after `now_us`."""
    now, oldest, hidden = session.query(_ACTIVITY)[0]
    return Activity(int(now), None if oldest is None else int(oldest), int(hidden))


def moment(session: Session, table: int) -> Moment:
    """Snapshot and identity, in the transaction that is to read."""
    text, standby, database, oid, system, timeline = session.query(_MOMENT)[0]
    return Moment(Snapshot.parse(text), bool(standby), Identity(str(system), int(timeline), database, int(oid), table))


def find_table(session: Session, schema: str, name: str) -> tuple[int, str, str]:
    """Oid, schema and name of a table that may be read.

    `name` may be `schema.table` when no table of exactly that name exists. Raises FixInputError with near names for
    a missing one, with the reason for something that is not a table, and with the GRANT for a missing right.
    """
    _check_version(session)
    found = session.query(_RELATION, (schema, [name]))
    if not found and "." in name:
        other, _, rest = name.partition(".")
        found = session.query(_RELATION, (other, [rest]))
        schema, name = (other, rest) if found or not _schema_exists(session, schema) else (schema, name)
    if not found:
        raise _missing(session, schema, name)
    oid, kind, schema, name, usage, select, _ = found[0]
    where = f"{schema}.{name}"
    if kind not in ("r", "p"):
        what, hint = _KINDS.get(kind, ("not a table", "name a table"))
        raise FixInputError(
            f"{where} is {what}: it has no row versions of its own, so changes cannot be told from old rows",
            hint=hint,
            where=where,
            stage="extract",
        )
    _check_rights(session, [(where, f"{quote(schema)}.{quote(name)}", bool(select))], schema, bool(usage))
    return int(oid), schema, name


def relation(session: Session, oid: int, schema: str, name: str) -> Relation:
    """Columns, indexes and leaves of a table that `find_table` found."""
    where = f"{schema}.{name}"
    found = session.query(_RELATION, (schema, [name]))
    if not found or int(found[0][0]) != oid:
        raise FixInputError(f"the table {where} was dropped a moment ago", where=where, stage="extract")
    columns = tuple(
        Column(
            n, int(number), int(type_oid), int(modifier), spelling, cast, bool(nullable), comment, tuple(labels or ())
        )
        for n, number, type_oid, modifier, spelling, cast, nullable, comment, labels in session.query(
            _COLUMNS, {"table": oid}
        )
    )
    indexes = tuple(
        Index(tuple(key[: int(count)]), bool(unique), bool(primary))
        for key, count, unique, primary in session.query(_INDEXES, (oid,))
    )
    leaves = session.query(_LEAVES, (oid,))
    for _, _, kind, leaf_schema, leaf_name, _, _ in leaves:
        if kind == "f":
            raise FixInputError(
                f"{where} has the foreign table {leaf_schema}.{leaf_name} as a partition: its changes cannot be seen",
                hint="read the partitions as datasets of their own",
                where=where,
                stage="extract",
            )
    _check_rights(
        session,
        [(f"{row[3]}.{row[4]}", f"{quote(row[3])}.{quote(row[4])}", bool(row[6])) for row in leaves],
        schema,
        True,
    )
    return Relation(
        oid,
        schema,
        name,
        found[0][1] == "p",
        found[0][6],
        columns,
        indexes,
        tuple(Leaf(int(r[0]), int(r[1] or 0), r[3], r[4], int(r[5] or 0)) for r in leaves),
    )


def near(name: str, among: Sequence[str], what: str) -> str:
    """A hint: names like this one, else some that exist."""
    close = difflib.get_close_matches(name, among, n=3, cutoff=0.5)
    folded = [one for one in among if one.lower() == name.lower() and one not in close]
    if close or folded:
        return f"did you mean {', '.join([*folded, *close])}?"
    listed = ", ".join(sorted(among)[:12])
    return f"{what}: {listed}{', …' if len(among) > 12 else ''}" if among else f"there are no {what}"


def _check_version(session: Session) -> None:
    version = session.connection.server_version
    if version < OLDEST_VERSION:
        raise FixInputError(
            f"PostgreSQL {version // 10000} is too old: reading without loss needs pg_current_snapshot()",
            hint="PostgreSQL 13 or newer",
            where=str(session.address),
            stage="extract",
        )


def _schema_exists(session: Session, schema: str) -> bool:
    return bool(session.query("SELECT 1 FROM pg_namespace WHERE nspname = %s", (schema,)))


def _missing(session: Session, schema: str, name: str) -> FixInputError:
    where = str(session.address)
    if not _schema_exists(session, schema):
        names = [str(row[0]) for row in session.query("SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_'")]
        return FixInputError(
            f"there is no schema {schema!r}", hint=near(schema, names, "schemas"), where=where, stage="extract"
        )
    names = [str(row[0]) for row in session.query(_NAMES, (schema,))]
    return FixInputError(
        f"there is no table {name!r} in schema {schema!r}",
        hint=near(name, names, "tables"),
        where=where,
        stage="extract",
    )


def _check_rights(session: Session, tables: Sequence[tuple[str, str, bool]], schema: str, usage: bool) -> None:
    user = session.query("SELECT current_user::text")[0][0] if not usage or not all(t[2] for t in tables) else ""
    if not usage:
        raise FixInputError(
            f"the user {user} may not look into schema {schema}",
            hint=f"GRANT USAGE ON SCHEMA {quote(schema)} TO {quote(user)}",
            where=str(session.address),
            stage="extract",
        )
    for where, sql, select in tables:
        if not select:
            raise FixInputError(
                f"the user {user} may not read {where}",
                hint=f"GRANT SELECT ON {sql} TO {quote(user)} (the whole table, for its system columns)",
                where=where,
                stage="extract",
            )
