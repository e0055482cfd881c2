"""A table of the lake as a sink of batches: two verbs over one publication per commit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pyarrow as pa

from headgate.errors import FixInputError, StalePosition
from headgate.ports.batch import Batch, Position
from headgate.ports.store import TableSpec
from headgate.stores.iceberg.lake import IcebergLake


class Landing:
    """One table that takes streams of batches (ports.store.Sink).

    A table that does not exist is made by the first commit, with the columns of its first batch, or as `spec` says.
    """

    def __init__(self, lake: IcebergLake, table: str, spec: TableSpec | None = None) -> None:
        self._lake = lake
        self._table = table
        self._spec = spec

    def position(self, stream: str) -> Position:
        """Where the stream stands in this table."""
        view = self._lake.cut().table(self._table)
        return Position.start() if view is None else view.position(stream)

    def commit(self, stream: str, batches: Iterable[Batch]) -> int:
        """All rows up to the last batch that has an end, and that end, or nothing; the number of rows."""
        taken = _Taken(batches, self._table)
        first = taken.first()
        if first is None:
            return 0
        with self._lake.publication("land") as publication:
            known = self._lake.cut().table(self._table) is not None
            if self._spec is not None or not known:
                publication.ensure(self._spec or TableSpec(self._table, first.rows.schema))
            rows = publication.write(self._table, taken.rows())
            if taken.end is None:
                return 0  # leaving without a commit discards what was written
            publication.move(self._table, stream, first.start, taken.end)
            publication.commit()
            return rows


class _Taken:
    """Batches on their way, held back until one with an end covers them; remembers the last end."""

    def __init__(self, batches: Iterable[Batch], table: str) -> None:
        self._batches = iter(batches)
        self._table = table
        self._held: list[Batch] = []
        self.end: Position | None = None

    def first(self) -> Batch | None:
        """The first batch, which stays to be taken."""
        found = next(self._batches, None)
        if found is not None:
            self._held.append(found)
        return found

    def rows(self) -> Iterator[pa.RecordBatch]:
        """The rows of all batches up to the last one with an end."""
        waiting = self._held
        self._held = []
        if waiting and waiting[-1].end is not None:
            yield from self._release(waiting)
        for batch in self._batches:
            waiting.append(batch)
            if batch.end is not None:
                yield from self._release(waiting)

    def _release(self, waiting: list[Batch]) -> Iterator[pa.RecordBatch]:
        here = self.end
        for batch in waiting:
            if here is not None and any(
                batch.start.tokens.get(k) != v for k, v in here.tokens.items() if k in batch.start.tokens
            ):
                raise StalePosition("a batch does not start where the one before it ended", where=self._table)
            if batch.rows.num_columns == 0 and batch.rows.num_rows:
                raise FixInputError("a batch has rows but no columns", where=self._table)
            if batch.rows.num_rows:
                yield batch.rows
            if batch.end is not None:
                here = batch.end if here is None else here.advanced(batch.end)
        self.end = here
        waiting.clear()
