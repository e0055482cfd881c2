"""Rigs of the Iceberg store: a lake in a local folder with its SQLite catalog, kept up by PyIceberg as another tool."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path

import pyarrow.parquet as pq

from headgate.stores import iceberg
from headgate.testing import SINK_SCHEMA, LakeSink
from rigs.other_tool import OtherTool


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

    holds_nul = True
    cannot = {"unholdable": "every text can be held"}

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
