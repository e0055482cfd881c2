"""Some files of a table, seen as a table: what an engine reads to answer about just these. And files looked up late."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import pyarrow as pa

from headgate.ports.batch import Position
from headgate.ports.store import FileInfo, TableView


class Part:
    """The files at these paths, which the table has now or has had, in the table's present columns."""

    def __init__(self, name: str, of: TableView, paths: Sequence[str]) -> None:
        self.name, self._of, self._paths = name, of, paths
        self.schema: pa.Schema = of.schema
        self.snapshot_id: int | None = None
        self.version: int | None = None
        self.sort: Sequence[str] = ()
        self.table_id = ""
        self.properties: Mapping[str, str] = {}

    def files(self, after_sequence: int = 0) -> Sequence[FileInfo]:  # noqa: ARG002
        return [file_info(path) for path in self._paths]

    def rows(self) -> int:
        return sum(f.rows for f in self.files())

    def snapshots(self) -> int:
        return 0

    def position(self, stream: str) -> Position:  # noqa: ARG002
        return Position.start()

    def facts(self, name: str) -> str | None:  # noqa: ARG002
        return None

    def changes(self, since_snapshot_id: int) -> tuple[Sequence[str], Sequence[str]] | None:  # noqa: ARG002
        return None

    def field_ids(self) -> Mapping[str, Any]:
        return self._of.field_ids()


class Later(Sequence[FileInfo]):
    """A table's files, looked up when they are asked for, by whichever thread: few jobs need the
    ledger's, and every run adds one."""

    def __init__(self, view: TableView) -> None:
        self._view = view

    @cached_property
    def _files(self) -> Sequence[FileInfo]:
        return self._view.files()

    def __getitem__(self, index: Any) -> Any:
        return self._files[index]

    def __len__(self) -> int:
        return len(self._files)

    def __reduce__(self) -> tuple[Any, ...]:
        return list, (list(self._files),)


def file_info(path: str) -> FileInfo:
    """What a file's own footer tells."""
    import pyarrow.parquet as pq

    footer = pq.read_metadata(path)
    return FileInfo(path, footer.num_rows, footer.serialized_size, 0, {}, {})
