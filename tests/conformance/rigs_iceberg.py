"""Rigs of the Iceberg store: a lake in a local folder with its SQLite catalog, kept up by PyIceberg as another tool."""

from __future__ import annotations

import sqlite3
from contextlib import closing, contextmanager
from pathlib import Path

import pyarrow.parquet as pq
from pyiceberg.catalog import MetastoreCatalog
from pyiceberg.io.pyarrow import PyArrowFileIO
from pyiceberg.serializers import FromInputFile
from pyiceberg.table import CommitTableResponse, Table

from headgate.stores import iceberg
from headgate.testing import SINK_SCHEMA, LakeSink


class OtherTool(MetastoreCatalog):
    """PyIceberg on the same SQLite catalog, as its own SqlCatalog does it (that one needs a package we do not)."""

    def __init__(self, database: Path) -> None:
        super().__init__("other")
        self.database = database

    def load_table(self, identifier):
        namespace, name = identifier.split(".") if isinstance(identifier, str) else identifier
        with closing(sqlite3.connect(self.database)) as connection:
            sql = "SELECT metadata_location FROM iceberg_tables WHERE table_namespace = ? AND table_name = ?"
            (location,) = connection.execute(sql, (namespace, name)).fetchone()
        io = PyArrowFileIO()
        metadata = FromInputFile.table_metadata(io.new_input(location))
        return Table((namespace, name), metadata, location, io, self)

    def commit_table(self, table, requirements, updates):
        now = self.load_table(table.name())
        staged = self._update_and_stage_table(now, table.name(), requirements, updates)
        self._write_metadata(staged.metadata, staged.io, staged.metadata_location)
        with closing(sqlite3.connect(self.database)) as connection, connection:
            connection.execute(
                "UPDATE iceberg_tables SET metadata_location = ?, previous_metadata_location = ?"
                " WHERE table_namespace = ? AND table_name = ? AND metadata_location = ?",
                (staged.metadata_location, now.metadata_location, *table.name(), now.metadata_location),
            )
        return CommitTableResponse(metadata=staged.metadata, metadata_location=staged.metadata_location)


OtherTool.__abstractmethods__ = frozenset()  # what is not needed here is not written here


class IcebergLakeRig:
    """An empty lake."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "lake"

    @classmethod
    @contextmanager
    def made(cls, folder, _request):
        yield cls(folder)

    def open(self):
        return iceberg.open_lake({"warehouse": str(self.folder)})

    def stored(self):
        return [str(path) for path in self.folder.rglob("*.parquet")]

    def _by_pyiceberg(self, table: str):
        return OtherTool(self.folder / "catalog.db").load_table(table)

    def expire(self, table: str) -> None:
        found = self._by_pyiceberg(table)
        old = [one.snapshot_id for one in found.snapshots() if one != found.current_snapshot()]
        found.maintenance.expire_snapshots().by_ids(old).commit()

    def roll_back(self, table: str, snapshots: int) -> None:
        found = self._by_pyiceberg(table)
        snapshot = found.current_snapshot()
        for _ in range(snapshots):
            snapshot = found.snapshot_by_id(snapshot.parent_snapshot_id)
        found.manage_snapshots().rollback_to_snapshot(snapshot.snapshot_id).commit()

    def compact(self, table: str) -> None:
        found = self._by_pyiceberg(table)
        found.overwrite(found.scan().to_arrow())


class IcebergSinkRig:
    """A lake seen as a sink."""

    def __init__(self, folder: Path) -> None:
        self.lake = IcebergLakeRig(folder)

    @classmethod
    @contextmanager
    def made(cls, folder, _request):
        yield cls(folder)

    def open(self):
        return LakeSink(self.lake.open(), SINK_SCHEMA)

    def rows(self, stream: str):
        view = self.lake.open().cut().table(f"bronze.{stream}")
        for file in view.files() if view else ():
            yield from pq.ParquetFile(file.path).iter_batches()
