"""What a lake offers: consistent cuts to read from, publications to change it with.

A publication is the only way to change anything: all its tables move together, or none does.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol, runtime_checkable

import pyarrow as pa

from headgate.ports.batch import Batch, Position


@dataclass(frozen=True, slots=True)
class TableSpec:
    """How a table should be: made when absent, evolved when it may be.

    `name` is `layer.table`. Field docs stand in the Arrow schema's field metadata under b"doc"; a field that is
    not nullable is required. `partition` is a list of (column, transform) where transform is identity, year,
    month, day, hour or bucket[N]. `sort` names columns that files are sorted by, `key` the identifier columns.
    A table that `grows` keeps columns that the schema no longer has, and requires nothing new of stored rows.
    """

    name: str
    schema: pa.Schema
    partition: tuple[tuple[str, str], ...] = ()
    sort: tuple[str, ...] = ()
    key: tuple[str, ...] = ()
    comment: str = ""
    grows: bool = False
    properties: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FileInfo:
    """A live data file. `lower` and `upper` are column bounds as Python values where known (text bounds may be
    shortened: `upper` of a text column is then absent)."""

    path: str  # local path or URL that DuckDB and PyArrow open
    rows: int
    size_bytes: int
    sequence: int  # order of commits: files of a later commit have a greater one
    lower: Mapping[str, Any]
    upper: Mapping[str, Any]
    partition: Mapping[str, Any] = field(default_factory=dict)


class TableView(Protocol):
    """One table as of one cut."""

    @property
    def name(self) -> str:
        """`layer.table`."""

    @property
    def schema(self) -> pa.Schema:
        """The table's columns, their docs in the field metadata."""

    @property
    def snapshot_id(self) -> int | None:
        """The current snapshot, None before the first."""

    @property
    def version(self) -> int | None:
        """The snapshot that brought the present rows: a rewrite of files makes a snapshot, but no new version."""

    @property
    def sort(self) -> Sequence[str]:
        """Columns that files are sorted by."""

    @property
    def table_id(self) -> str:
        """Differs from that of any other table, also of an earlier or later one of the same name."""

    @property
    def properties(self) -> Mapping[str, str]:
        """Table properties."""

    def files(self, after_sequence: int = 0) -> Sequence[FileInfo]:
        """Live data files, those of commits after `after_sequence` only, oldest commit first."""

    def rows(self) -> int:
        """Number of rows, from metadata."""

    def snapshots(self) -> int:
        """Number of snapshots that the table remembers."""

    def position(self, stream: str) -> Position:
        """The position of a stream that feeds this table: found by walking the ancestry of the snapshot.

        Position.start() when the table has never had one. Raises PositionLost when it had one and the history
        has been cut so that it cannot be found for certain.
        """

    def facts(self, name: str) -> str | None:
        """A named fact that a publication left with `note_fact`, found like a position."""

    def changes(self, since_snapshot_id: int) -> tuple[Sequence[str], Sequence[str]] | None:
        """Paths of the data files that brought and took rows since that snapshot; None when it is no longer known, or
        had columns that the table has no more.

        The rows of the added files less the rows of the removed ones, each as often as it occurs, are the change:
        rewrites of files are stepped over, so a path may be of a file that the table no longer names but still keeps.
        """

    def field_ids(self) -> Mapping[str, Any]:
        """Column name -> field id; nested ones as {"__duckdb_field_id": id, child: …}, as DuckDB's COPY wants."""


@runtime_checkable
class TellsCommits(Protocol):
    """A table that knows what its commits left."""

    def commits(self) -> Iterator[tuple[int, Mapping[str, str]]]:
        """The sequence and the facts of each commit of ours that is remembered, from the newest on back."""


class Cut(Protocol):
    """Several tables at one moment."""

    def table(self, name: str) -> TableView | None:
        """The table, None when it does not exist."""

    def names(self) -> Sequence[str]:
        """All tables of the lake, `layer.table`, sorted."""


class Publication(Protocol):
    """Changes of several tables that become visible together. Use as a context manager: leaving it without
    `commit` discards everything (files of ours that are certain not to be referenced are deleted)."""

    def ensure(self, spec: TableSpec) -> TableView:
        """The table, made or evolved in this publication when needed. BreakingChangeError when it cannot be."""

    def replace(self, spec: TableSpec) -> TableView:
        """The table as the spec wants it, whatever it was, and without its rows, positions and facts: what this
        publication adds is all that it will hold. Never refused for what it was; at commit CommitConflict when
        its rows have changed meanwhile. Old snapshots stay, with the columns that they had."""

    def folder(self, table: str) -> str:
        """An existing folder in which new data files of the table may be written (any file name)."""

    def expect(self, table: str, version: int | None) -> None:
        """Commit only if the table still has the rows of this version (None: it has none); else CommitConflict."""

    def append(self, table: str, paths: Sequence[str]) -> None:
        """Add Parquet files, written with the table's field ids, rows of one partition value each."""

    def remove(self, table: str, paths: Sequence[str]) -> None:
        """Take live data files out (they were rewritten, or replaced). CommitConflict when one is gone."""

    def clear(self, table: str) -> None:
        """Take all data files out, whichever they are at the commit: with `expect`, those of known rows, also when
        a compaction has rewritten them meanwhile."""

    def rewrite(self, table: str, removed: Sequence[str], paths: Sequence[str]) -> int:
        """Put files in the place of live ones that hold the same rows: the table gets a new snapshot, its version
        and the order of its commits stay. The bytes of the new files. CommitConflict at commit when a file to
        replace is gone."""

    def write(self, table: str, batches: Iterable[pa.RecordBatch]) -> int:
        """Write rows (any number, streamed) as new data files and add them; the number of rows."""

    def added(self, table: str) -> Sequence[str]:
        """Paths of the files that this publication has added to the table so far."""

    def move(self, table: str, stream: str, start: Position, end: Position) -> None:
        """Move the stream's position: refused at commit with StalePosition unless the table's position still
        equals `start` on the partitions that `end` names."""

    def note_fact(self, table: str, name: str, value: str) -> None:
        """Leave a named fact with the table's new snapshot (checksum, inputs of a model, contract version)."""

    def note(self, record: Mapping[str, Any]) -> None:
        """Attach JSON-safe facts to the publication's own record (run id, step, dataset, counts)."""

    def commit(self) -> None:
        """All or nothing. An unknown outcome is settled by looking before this returns.

        Raises CommitConflict (nothing landed, somebody was faster), StalePosition (another run moved the
        position), OutcomeUnknownError (could not even look), StoreUnavailable, FixInputError (no space, no rights).
        """


class Lake(Protocol):
    """The tables of a project."""

    def cut(self) -> Cut:
        """All tables at this moment."""

    def publication(self, step: str) -> AbstractContextManager[Publication]:
        """Begin a change. `step` is land, refine, derive, replay or run."""

    def publications(self, limit: int | None = 100) -> Sequence[Mapping[str, Any]]:
        """The newest publications' records, or all, newest first: id, step, at, tables, and what was noted."""

    def scan(self, table: TableView, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """Rows of a table as of its cut (small tables, tests, proofs)."""


@dataclass(slots=True)
class Debt:
    """What a table drags along: files and bytes that only its history names, and that nobody names (`missing` are
    files that it names and that are not there: the table cannot be read)."""

    table: str
    snapshots: int = 0
    history_files: int = 0
    history_bytes: int = 0
    unnamed_files: int = 0
    unnamed_bytes: int = 0
    missing: Sequence[str] = ()


@dataclass(slots=True)
class Cleaned:
    """What was removed of a table's folder, and what nobody names either but is not old enough, or still in use."""

    table: str
    files: int = 0
    bytes: int = 0
    waiting_files: int = 0
    waiting_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Expiry:
    """How much history a table keeps: at most `snapshots` (any number unless `by_count`), none older than `age_s`,
    but always `least`. A table's own properties `history.expire.max-snapshot-age-ms` and `…min-snapshots-to-keep`
    count before `age_s` and `least` when `by_count`; with it off, `age_s` is what somebody asks for now."""

    snapshots: int = 30
    least: int = 1
    age_s: float | None = None
    by_count: bool = True


@dataclass(frozen=True, slots=True)
class Hold:
    """A snapshot that a reader outside of the lake stands at. It is spared `until` then; None while it is current, or
    while nobody descends from it."""

    reader: str
    table: str
    snapshot: int
    until: datetime | None


@runtime_checkable
class Keeps(Protocol):
    """A lake that can be kept small."""

    def expire(self, table: str, wanted: Expiry, needed: Collection[int] = ()) -> int:
        """Forget the oldest snapshots that are too many or too old, but none that is needed or held; how many. A few
        at a time, each a publication of its own. Positions, facts and the version of the rows stay known."""

    def expiry_due(self, table: TableView, wanted: Expiry) -> bool:
        """Whether enough has gathered that `expire` is worth its publication; cheap to ask."""

    def hold(self, reader: str, table: str, snapshots: Collection[int], keep_s: float) -> None:
        """From now on the reader needs exactly these snapshots: each is spared until `keep_s` seconds after it has
        stopped being the current one."""

    def holds(self) -> Sequence[Hold]:
        """All holds that still keep a snapshot."""

    def clean(self, keep_s: float, *, dry_run: bool = False) -> Sequence[Cleaned]:
        """Remove files that nobody names since at least `keep_s` seconds: never one that a publication under way, or
        one whose outcome is in doubt, may own, and never another table's."""

    def fold(self, keep_s: float, add_up: Callable[[Iterable[Mapping[str, Any]]], Mapping[str, Any]]) -> int:
        """Make one record of the many that are older than `keep_s` and that no kept snapshot names; how many went.
        Does nothing while there are few. `add_up` makes one of some of a step and dataset, oldest first."""

    def debts(self) -> Sequence[Debt]:
        """What each table drags along."""

    def commits_since_rewrite(self, table: TableView) -> int:
        """Number of remembered snapshots since files were last rewritten: tells cheaply whether to look closer."""

    def left_behind(self) -> bool:
        """Whether a publication has died, so that cleaning would find something; cheap to ask."""

    def cleaned_ago_s(self) -> float | None:
        """Seconds since the last `clean`; None when there was none."""


@runtime_checkable
class TakesTurns(Protocol):
    """A lake whose processes can take turns at work that only one of them can land. A courtesy: what lands is decided
    by the commit."""

    def turn(self, name: str) -> AbstractContextManager[bool]:
        """Whether this one's turn it is: true for one at a time until the context is left, over all processes."""


@runtime_checkable
class Remembers(Protocol):
    """A lake that can tell and show its past."""

    def history(self, table: str, limit: int = 100) -> Sequence[Mapping[str, Any]]:
        """The newest changes of a table, newest first: each publication that touched it with its record, and what is
        known of its snapshot while that is kept."""

    def as_of(self, moment: str) -> tuple[Cut, Mapping[str, str]]:
        """All tables as they were right after a run (its id), at a time (ISO 8601) or at a snapshot (its number); and
        those that cannot be shown any more, with the reason. FixInputError for a moment that is not known."""


class Sink(Protocol):
    """The two verbs of a store that takes batches.

    The module `headgate.stores.<kind>` offers `open_sink(target: str, options: Mapping[str, Any], spec: TableSpec) ->
    Sink`: the target and the options as the project file gives them, every `${VAR}` resolved. The spec is the table
    that is to be held there. Its `key` tells rows apart; without one the sink only ever adds rows. A module may also
    offer `standing(target: str, options: Mapping[str, Any], table: str) -> Position`, where the stream of that table
    stands: a run that finds it up to date looks no further.
    """

    def position(self, stream: str) -> Position:
        """Where the stream stands in this store."""

    def commit(self, stream: str, batches: Iterable[Batch]) -> int:
        """All rows and the last end, or nothing; consumes the iterable as it writes. The number of rows.

        Rows go in by the spec's key when they carry `_hg_removed` (see `batch`): a row with a known key replaces it, a
        removed one takes it away. Without that column they are added.
        Raises StalePosition when the position is not where the batches start, StoreUnavailable when there is no
        answer (nothing landed), OutcomeUnknownError when even looking did not help, FixInputError for what a
        person must change: a missing right, a table of another shape, a value that the store cannot hold.
        """

    def close(self) -> None:
        """Give back connections. Called once, also after an error."""


@runtime_checkable
class Replaces(Protocol):
    """A sink that can put new rows in the place of all it holds."""

    def replace(self, stream: str, batches: Iterable[Batch]) -> int:
        """As `commit`, but every row that was there before goes, in the same transaction."""
