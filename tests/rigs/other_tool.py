"""PyIceberg on the lake's SQLite catalog, as any other tool would work on it: expires, rolls back, rewrites."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from pyiceberg.catalog import MetastoreCatalog
from pyiceberg.io.pyarrow import PyArrowFileIO
from pyiceberg.serializers import FromInputFile
from pyiceberg.table import CommitTableResponse, Table


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
