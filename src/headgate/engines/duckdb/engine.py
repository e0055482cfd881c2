"""The engine's door."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa

from headgate.engines.duckdb.compact import rewrite
from headgate.engines.duckdb.connection import Settings
from headgate.engines.duckdb.files import disk_errors, missing_files
from headgate.engines.duckdb.history import Indexes
from headgate.engines.duckdb.idle import Idle
from headgate.engines.duckdb.key_index import settle
from headgate.engines.duckdb.models import derive, describe
from headgate.engines.duckdb.query import query, references
from headgate.engines.duckdb.refine import refine
from headgate.ports.engine import Output, Refined, RefineJob
from headgate.ports.store import FileInfo, TableView


class DuckDBEngine:
    """DuckDB as `headgate.ports.engine.Engine`. Each call has its own databases, so calls do not see each other;
    between them only indexes of silver's keys stay open, and what the next small job of a dataset can use again."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._indexes = Indexes()
        self._idle = Idle()

    def refine(self, job: RefineJob) -> Refined:
        """See the port. DefectError when the account of rows does not balance."""
        with disk_errors(job.outputs["silver"].folder, "refine"), missing_files():
            return refine(self.settings, job, self._indexes, self._idle)

    def prepare(self, *, many: bool = True) -> None:
        """See the port (`Prepares`): a large job's processes begin to load, a small one's database."""
        if many:
            self._idle.start_children(self.settings.cores)
        else:
            self._idle.start_database(self.settings)

    def derive(self, sql: str, tables: Mapping[str, TableView], output: Output) -> Sequence[str]:
        """See the port. FixInputError with line and column for a mistake in the model."""
        with disk_errors(output.folder, "derive"), missing_files():
            return derive(self.settings, sql, tables, output)

    def describe(self, sql: str, tables: Mapping[str, TableView]) -> pa.Schema:
        """See the port."""
        return describe(self.settings, sql, tables)

    def query(self, sql: str, tables: Mapping[str, TableView]) -> pa.RecordBatchReader:
        """See the port. FixInputError for anything but a reading statement."""
        with missing_files():
            return query(self.settings, sql, tables)

    def references(self, sql: str) -> Sequence[str]:
        """See the port."""
        return references(sql)

    def rewrite(
        self, groups: Sequence[Sequence[FileInfo]], output: Output, *, beside: bool = False
    ) -> Sequence[Sequence[str]]:
        """See the port (`Rewrites`). DefectError when rows would be lost or doubled."""
        with disk_errors(output.folder, "maintain"):
            return rewrite(self.settings, groups, output, beside=beside)

    def close(self) -> None:
        """Give back what rests between jobs, once what was put aside is done."""
        self._idle.close()
        settle()
