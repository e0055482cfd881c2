"""The lake: cuts, publications and the journal over one warehouse (ports.store.Lake)."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from headgate import crash
from headgate.ports.store import Cleaned, Debt, Expiry, Hold, TableView
from headgate.stores.iceberg import holds, journal
from headgate.stores.iceberg.clean import Marks, clean, look
from headgate.stores.iceberg.cut import IcebergCut, IcebergView, Storage
from headgate.stores.iceberg.expiry import past
from headgate.stores.iceberg.leases import Leases, turn
from headgate.stores.iceberg.local_io import WAREHOUSE, LocalIO
from headgate.stores.iceberg.past import as_of, history
from headgate.stores.iceberg.pointers import Pointers
from headgate.stores.iceberg.publication import IcebergPublication
from headgate.stores.iceberg.settings import Settings
from headgate.stores.iceberg.trouble import storage_errors

EXPIRED_TOGETHER = 20  # snapshots in one publication: its cost grows with their number


class IcebergLake:
    """The tables of a project. Cheap to make; nothing is written before the first publication."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.pointers = Pointers(settings)
        self._io_properties = {WAREHOUSE: str(settings.warehouse)}
        self._storage = Storage(LocalIO(self._io_properties))
        self._made = False

    def cut(self) -> IcebergCut:
        """All tables at this moment."""
        return IcebergCut(self._storage, self.pointers.read())

    @contextmanager
    def publication(self, step: str) -> Iterator[IcebergPublication]:
        """Begin a change; leaving it without `commit` discards it."""
        self._make()
        publication = IcebergPublication(
            storage=self._storage,
            io=LocalIO(self._io_properties, deferred=True, durable=self._storage.durable),
            pointers=self.pointers,
            warehouse=self.settings.warehouse,
            step=step,
            snapshots=self.settings.snapshots,
        )
        try:
            yield publication
        finally:
            publication.close()

    def _make(self) -> None:
        if not self._made:
            with storage_errors(str(self.settings.warehouse)):
                os.makedirs(self.settings.warehouse, exist_ok=True)
            self.pointers.make()
            self._made = True

    def publications(self, limit: int | None = 100) -> Sequence[Mapping[str, Any]]:
        """The newest publications' records, or all, newest first: id, step, at, tables, and what was noted."""
        return self.pointers.publications(limit)

    def expire(self, table: str, wanted: Expiry, needed: Collection[int] = ()) -> int:
        """Forget the oldest snapshots that are too many or too old, a few in each publication; how many."""
        done = 0
        while (view := self.cut().table(table)) is not None:
            spared = {*needed, *holds.held(self.pointers, table, view.metadata)}
            old = past(view.metadata, wanted, time.time() * 1000, spared)
            if not old:
                holds.drop_idle(self.pointers, table, view.metadata)
                break
            with self.publication("maintain") as publication:
                publication.expire(table, old[:EXPIRED_TOGETHER])
                publication.note({"expired": len(old[:EXPIRED_TOGETHER])})
                publication.commit()
            crash.point("expire: some snapshots expired")
            done += len(old[:EXPIRED_TOGETHER])
        return done

    def expiry_due(self, table: TableView, wanted: Expiry) -> bool:
        """Whether half as many snapshots again as may be kept have gathered, or one is too old."""
        loose = replace(wanted, snapshots=int(wanted.snapshots * 1.5))
        return isinstance(table, IcebergView) and bool(past(table.metadata, loose, time.time() * 1000))

    def hold(self, reader: str, table: str, snapshots: Collection[int], keep_s: float) -> None:
        """From now on the reader needs exactly these snapshots; see `holds`."""
        self._make()
        holds.hold(self.pointers, reader, table, snapshots, keep_s)

    def holds(self) -> Sequence[Hold]:
        """All holds that still keep a snapshot."""
        return holds.told(self.pointers, self.cut())

    def clean(self, keep_s: float, *, dry_run: bool = False) -> Sequence[Cleaned]:
        """Remove what nobody names; see `clean.clean`."""
        if not self.settings.warehouse.is_dir():
            return []
        with storage_errors(str(self.settings.warehouse)):
            return clean(self._storage, self.pointers, self.settings.warehouse, keep_s, dry_run=dry_run)

    @contextmanager
    def turn(self, name: str) -> Iterator[bool]:
        """Whether it is this one's turn at something; see `leases.turn`."""
        with storage_errors(str(self.settings.warehouse)):
            stack = ExitStack()
            mine = stack.enter_context(turn(self.settings.warehouse, name))
        with stack:
            yield mine

    def fold(self, keep_s: float, add_up: Callable[[Iterable[Mapping[str, Any]]], Mapping[str, Any]]) -> int:
        """Make one record of many old ones; see `journal.fold`."""
        if not journal.long(self.pointers):
            return 0
        cut = self.cut()
        named = {one for name in cut.names() if (view := cut.table(name)) is not None for one in view.publications()}
        return journal.fold(self.pointers, named, keep_s, add_up)

    def debts(self) -> Sequence[Debt]:
        """What each table drags along."""
        cut, debts = self.cut(), []
        for one in look(self._storage, self.pointers, self.settings.warehouse).surveys:
            view = cut.table(one.table)
            debts.append(
                Debt(
                    one.table,
                    snapshots=view.snapshots() if view else 0,
                    history_files=len(one.history),
                    history_bytes=sum(f.size_bytes for f in one.history),
                    unnamed_files=len(one.unnamed),
                    unnamed_bytes=sum(f.size_bytes for f in one.unnamed),
                    missing=one.missing,
                )
            )
        return debts

    def commits_since_rewrite(self, table: TableView) -> int:
        """Number of remembered snapshots since files were last rewritten."""
        return table.commits_since_rewrite() if isinstance(table, IcebergView) else 0

    def left_behind(self) -> bool:
        """Whether a publication has died and left its lease."""
        return bool(Leases.read(self.settings.warehouse).dead)

    def cleaned_ago_s(self) -> float | None:
        """Seconds since the last `clean`; None when there was none."""
        return Marks(self.settings.warehouse).age_s()

    def history(self, table: str, limit: int = 100) -> Sequence[Mapping[str, Any]]:
        """The newest changes of a table, newest first."""
        return history(self._storage, self.pointers, table, limit)

    def as_of(self, moment: str) -> tuple[IcebergCut, Mapping[str, str]]:
        """All tables as they were at a moment, and those that cannot be shown any more."""
        return as_of(self._storage, self.pointers, moment)

    def scan(self, table: TableView, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """Rows of a table as of its cut, in the table's present columns and types."""
        schema = table.schema if columns is None else pa.schema([table.schema.field(c) for c in columns])
        schema = schema.remove_metadata()
        for info in table.files():
            with storage_errors(info.path), pq.ParquetFile(info.path) as file:
                present = [name for name in schema.names if name in file.schema_arrow.names]
                for batch in file.iter_batches(columns=present):
                    yield _as(batch, schema)


def _as(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """The batch in the schema's columns; a column younger than the file is NULL."""
    columns = []
    for field in schema:
        at = batch.schema.get_field_index(field.name)
        columns.append(pa.nulls(batch.num_rows, field.type) if at < 0 else batch.column(at).cast(field.type))
    return pa.RecordBatch.from_arrays(columns, schema=schema)
