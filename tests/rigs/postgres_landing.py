"""A lake in memory for one PostgreSQL table: keeps what was committed and the position with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from headgate.contract.model import Dataset, Server
from headgate.ports.batch import Batch, Position
from headgate.sources.postgres import PostgresSource, connect, discover
from rigs.postgres import Database


class Landing:
    """Reads a table as a run does: a fresh connection each time, rows and position kept together.

    Without `key` the primary key counts; `key=()` makes a dataset in which every row counts.
    """

    def __init__(self, database: Database, table: str = "t", key: Sequence[str] | None = None, **read: Any) -> None:
        self.database = database
        self.read = read
        found = discover(database.options, table)
        by_place = sorted((f for f in found.fields if f.key_position), key=lambda f: f.key_position)
        self.dataset = Dataset(
            name="t",
            fields=found.fields,
            contract_id="c",
            contract_version="1.0.0",
            physical_name=table,
            key=tuple(f.name for f in by_place) if key is None else tuple(key),
            history="append" if key == () else "latest",
        )
        self.position = Position.start()
        self.rows: list[dict[str, Any]] = []

    def source(self, **read: Any) -> PostgresSource:
        """A fresh connection."""
        return connect(self.dataset, Server("s", "postgres", self.database.options), {**self.read, **read})

    def run(self, ends: int | None = None, **read: Any) -> int:
        """Lands everything new, or stops as a killed process does after that many ends; the number of rows landed."""
        source = self.source(**read)
        before = len(self.rows)
        waiting: list[Batch] = []
        try:
            batches = source.read(self.position)
            for batch in batches:
                waiting.append(batch)
                if batch.end is None:
                    continue
                for one in waiting:
                    self.rows += one.rows.to_pylist()
                waiting.clear()
                self.position = batch.end
                if ends is not None:
                    ends -= 1
                    if ends == 0:
                        batches.close()
                        break
            assert not waiting, "the last rows have no end"
        finally:
            source.close()
        return len(self.rows) - before

    def idle(self, **read: Any) -> bool:
        source = self.source(**read)
        try:
            return source.idle(self.position)
        finally:
            source.close()

    def versions(self, *columns: str) -> list[tuple[Any, ...]]:
        """What was landed, as tuples of these columns, in order."""
        return [tuple(row[name] for name in columns) for row in self.rows]

    def offsets_are_whole(self) -> bool:
        """Offsets run from 0 without a gap or a repeat."""
        return [row["_hg_offset"] for row in self.rows] == list(range(len(self.rows)))
