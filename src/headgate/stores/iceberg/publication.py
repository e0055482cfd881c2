"""Changes of several tables that become visible together, by one SQL transaction."""

from __future__ import annotations

import os
import random
import shutil
import time
import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyiceberg.manifest import DataFile

from headgate import crash
from headgate.errors import DefectError, FixInputError, HeadgateError, OutcomeUnknownError
from headgate.ports.batch import Position
from headgate.ports.store import FileInfo, TableSpec
from headgate.stores.iceberg.cut import IcebergCut, IcebergView, Storage
from headgate.stores.iceberg.datafiles import data_file
from headgate.stores.iceberg.draft import Draft, Staged
from headgate.stores.iceberg.evolution import replacement
from headgate.stores.iceberg.holds import held
from headgate.stores.iceberg.layout import check_name, new_table
from headgate.stores.iceberg.leases import Lease
from headgate.stores.iceberg.local_io import LocalIO, local_path
from headgate.stores.iceberg.pointers import Entry, PointerMoved, Pointers, Transaction
from headgate.stores.iceberg.positions import STATE, Move
from headgate.stores.iceberg.row_writer import RowWriter
from headgate.stores.iceberg.snapshots import Rewrite
from headgate.stores.iceberg.trouble import storage_errors

TRIES = 8
_FIRST_PAUSE_S = 0.02


@dataclass(slots=True)
class IcebergPublication:
    """One change in the making (ports.store.Publication).

    Data files are written at once, manifests and metadata at `commit`, which goes through these steps:

    1. sync the data files, beside 2;
    2. read all pointers and stage each table on what it is now: check positions, write manifests and metadata; sync;
       wait for 1;
    3. in one SQL transaction move each pointer that still is what was read, and write the journal line.

    When another process has moved a pointer in between, steps 2 and 3 run again inside the transaction, where
    no other publication can overtake: a change that has become impossible is refused there, any other lands.
    """

    storage: Storage
    io: LocalIO
    pointers: Pointers
    warehouse: Path
    step: str
    snapshots: int
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    _cut: IcebergCut | None = None
    _drafts: dict[str, Draft] = field(default_factory=dict)
    _record: dict[str, Any] = field(default_factory=dict)
    _staged: list[Staged] = field(default_factory=list)
    _metadata: list[str] = field(default_factory=list)
    _folders: dict[str, str] = field(default_factory=dict)
    _closed: bool = False
    _in_doubt: bool = False
    _lease: Lease = field(init=False)

    def __post_init__(self) -> None:
        with storage_errors(str(self.warehouse)):
            self._lease = Lease(self.warehouse, self.id)

    def ensure(self, spec: TableSpec) -> IcebergView:
        """The table, made or evolved in this publication when needed."""
        self._check_open()
        check_name(spec.name)
        draft = self._draft(spec.name)
        if draft is None:
            draft = Draft.created(spec.name, new_table(spec, self.warehouse))
            self._drafts[spec.name] = draft
            with storage_errors(spec.name):
                self._lease.name(local_path(draft.metadata.location))
        elif updates := self.storage.followed.evolution(draft.metadata, spec):
            draft.evolve(updates)
        return IcebergView(self.storage, spec.name, draft.location, draft.metadata)

    def replace(self, spec: TableSpec) -> IcebergView:
        """The table as the spec wants it, whatever it was, and without its rows, positions and facts."""
        self._check_open()
        draft = self._draft(spec.name)
        if draft is None or draft.base is None:
            return self.ensure(spec)
        draft.replace(replacement(draft.metadata, spec))
        return IcebergView(self.storage, spec.name, draft.location, draft.metadata)

    def expect(self, table: str, version: int | None) -> None:
        """Refuse the commit with CommitConflict unless the table still has the rows of that version."""
        self._existing(table).expected = (version,)

    def folder(self, table: str) -> str:
        """An existing folder in which new data files of the table may be written (any file name).

        It is this publication's own, so that a discarded one can remove all of it, also what was never appended.
        """
        location = self._existing(table).metadata.location.rstrip("/")
        folder = self.io.path(f"{location}/data/{self.id}")
        with storage_errors(table):
            self.io.durable.make(folder)
        self._folders[table] = folder
        return folder

    def append(self, table: str, paths: Sequence[str]) -> None:
        """Add Parquet files, written with the table's field ids, rows of one partition value each."""
        self._existing(table).added.extend(self._data_files(table, paths))

    def _data_files(self, table: str, paths: Sequence[str]) -> list[DataFile]:
        draft, files = self._existing(table), []
        own = self._folders.get(table, self.id) + os.sep
        for path in map(self.io.path, paths):
            if not path.startswith(own):
                raise DefectError(
                    f"a file to append is not in the publication's folder of the table: {path}", where=table
                )
            with storage_errors(table):
                found = data_file(path, draft.metadata)
            if found is None:
                self.io.discard([path])  # no rows: nothing to point to
                continue
            self.io.wrote(path)
            files.append(found)
        return files

    def rewrite(self, table: str, removed: Sequence[str], paths: Sequence[str]) -> int:
        """Put Parquet files in the place of live ones that hold the same rows; the bytes of the new ones.

        CommitConflict at commit when one to replace is gone, DefectError here when the new ones hold other rows.
        """
        draft = self._existing(table)
        wanted = frozenset(str(local_path(path)) for path in removed)
        files = self._data_files(table, paths)
        before = sum(info.rows for info in self._live(table) if info.path in wanted)
        if before != sum(file.record_count for file in files):
            raise DefectError(f"{before} rows were rewritten as {sum(f.record_count for f in files)}", where=table)
        draft.rewrites.append(Rewrite(wanted, tuple(files)))
        return sum(file.file_size_in_bytes for file in files)

    def _live(self, table: str) -> Sequence[FileInfo]:
        view = self._cut.table(table) if self._cut is not None else None
        return view.files() if view is not None else ()

    def expire(self, table: str, snapshots: Collection[int]) -> None:
        """Forget snapshots, those that may go at the commit; see `expiry.expirable`."""
        self._existing(table).expired.update(snapshots)

    def clear(self, table: str) -> None:
        """Take all live data files out, whichever they are at the commit; with `expect`, those of known rows."""
        self._existing(table).cleared = True

    def remove(self, table: str, paths: Sequence[str]) -> None:
        """Take live data files out. CommitConflict at commit when one is gone."""
        self._existing(table).removed.update(str(local_path(path)) for path in paths)

    def write(self, table: str, batches: Iterable[pa.RecordBatch]) -> int:
        """Write rows (any number, streamed) as new data files and add them; the number of rows."""
        draft = self._existing(table)
        writer = RowWriter(table, draft.metadata, self.folder(table))
        with storage_errors(table):
            writer.write(batches)
        for path, footer in writer.written:
            with storage_errors(table):
                found = data_file(path, draft.metadata, footer)
            if found is not None:
                self.io.wrote(path)
                draft.added.append(found)
        return writer.rows

    def added(self, table: str) -> Sequence[str]:
        """Paths of the files added so far."""
        return [str(local_path(file.file_path)) for file in self._existing(table).added]

    def move(self, table: str, stream: str, start: Position, end: Position) -> None:
        """Move the stream's position on the partitions that `end` names; StalePosition unless it is at `start`."""
        self._existing(table).moves.append(Move(stream, start, end))

    def note_fact(self, table: str, name: str, value: str) -> None:
        """Leave a named fact with the table's new snapshot."""
        self._existing(table).facts[name] = value

    def note(self, record: Mapping[str, Any]) -> None:
        """Attach JSON-safe facts to the publication's own record."""
        self._check_open()
        self._record.update(record)

    def commit(self) -> None:
        """All or nothing; see the port. A publication that changes nothing and notes nothing leaves no trace."""
        self._check_open()
        with storage_errors(str(self.warehouse)):
            self.io.begin_sync()  # (1)
            crash.point("lake: data files written")
            for number in range(TRIES):
                try:
                    self._try(inside=number > 0)
                    break
                except PointerMoved:
                    self._in_doubt = False
                    self._unstage()
                    if number == TRIES - 1:
                        raise
                except OutcomeUnknownError:
                    raise
                except HeadgateError:
                    self._in_doubt = False
                    raise
                time.sleep(_FIRST_PAUSE_S * 2**number * random.random())  # noqa: S311
        self._closed = True
        self._in_doubt = False
        for one in self._staged:
            self.io.discard(one.outdated)
        for folder in self._folders.values():
            with suppress(OSError):
                os.rmdir(folder)  # only one in which nothing was written

    def close(self) -> None:
        """End the publication; without a commit, remove its files, which for certain nobody points to."""
        try:
            self._discard()
        finally:
            self._lease.release()

    def _discard(self) -> None:
        if self._closed:
            return
        self._closed = True
        if self._in_doubt:
            return  # the outcome is not known: delete nothing
        self._unstage()
        for folder in self._folders.values():
            shutil.rmtree(folder, ignore_errors=True)
        for draft in self._drafts.values():
            draft.discard_folder()

    def _try(self, *, inside: bool) -> None:
        """Steps 2 and 3; with `inside`, step 2 within the SQL transaction."""
        if inside:
            with self.pointers.transaction(self.id) as sql:
                self._stage(sql.read())
                self._swing(sql)
            return
        self._stage(self.pointers.read())
        if not self._staged and not self._record:
            return
        with self.pointers.transaction(self.id) as sql:
            self._swing(sql)

    def _stage(self, at: Mapping[str, str]) -> None:  # (2)
        for name in sorted(self._drafts):
            spared = partial(held, self.pointers, name)
            draft = self._drafts[name]
            one = draft.stage(self.io, self.storage, at.get(name), self.id, keep=self.snapshots, held=spared)
            if one is not None:
                self._staged.append(one)
        self._metadata += self.io.sync()
        crash.point("lake: metadata written")

    def _unstage(self) -> None:
        """Remove what was staged; for certain nobody points to it."""
        self.io.discard([*self.io.forget(), *self._metadata])
        self._metadata.clear()
        self._staged.clear()

    def _swing(self, sql: Transaction) -> None:  # (3)
        sql.swing([s.swing for s in self._staged])
        tables = {s.swing.name: s.swing.new for s in self._staged}
        at = datetime.now(UTC).isoformat(timespec="microseconds")
        sql.journal(Entry(self.id, at, self.step, self._record, tables))
        self._in_doubt = True  # from here on only an answer of the catalog can tell

    def _check_open(self) -> None:
        if self._closed:
            raise DefectError("the publication has ended")

    def _draft(self, name: str) -> Draft | None:
        if name not in self._drafts:
            if self._cut is None:
                self._cut = IcebergCut(self.storage, self.pointers.read())
            view = self._cut.table(name)
            if view is None:
                return None
            self._drafts[name] = Draft.of(view)
            self._know_durable(view)
        return self._drafts[name]

    def _know_durable(self, view: IcebergView) -> None:
        """A table that a publication has made is named up to the warehouse, or no pointer would lead to it."""
        if STATE in view.properties and view.location:
            folder = os.path.dirname(self.io.path(view.location))
            self.io.durable.add([folder, os.path.dirname(folder), os.path.dirname(os.path.dirname(folder))])

    def _existing(self, name: str) -> Draft:
        self._check_open()
        draft = self._draft(name)
        if draft is None:
            raise FixInputError("no such table", where=name, hint="`ensure` makes it")
        return draft
