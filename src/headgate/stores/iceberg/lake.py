"""The lake: cuts, publications and the journal over one warehouse (ports.store.Lake)."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from headgate.ports.store import TableView
from headgate.stores.iceberg.cut import IcebergCut, Storage
from headgate.stores.iceberg.local_io import WAREHOUSE, LocalIO
from headgate.stores.iceberg.pointers import Pointers
from headgate.stores.iceberg.publication import IcebergPublication
from headgate.stores.iceberg.settings import Settings
from headgate.stores.iceberg.trouble import storage_errors


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
        if not self._made:
            with storage_errors(str(self.settings.warehouse)):
                os.makedirs(self.settings.warehouse, exist_ok=True)
            self.pointers.make()
            self._made = True
        publication = IcebergPublication(
            storage=self._storage,
            io=LocalIO(self._io_properties, deferred=True),
            pointers=self.pointers,
            warehouse=self.settings.warehouse,
            step=step,
            snapshots=self.settings.snapshots,
        )
        try:
            yield publication
        finally:
            publication.close()

    def publications(self, limit: int = 100) -> Sequence[Mapping[str, Any]]:
        """The newest publications' records, newest first: id, step, at, tables, and what was noted."""
        return self.pointers.publications(limit)

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
