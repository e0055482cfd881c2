"""A lake seen as a sink, so that the sink behaviours hold it to its promises."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa

from headgate.ports.batch import Batch, Position, Stretch
from headgate.ports.store import Lake, TableSpec


class LakeSink:
    """One table per stream; one publication per commit."""

    def __init__(self, lake: Lake, schema: pa.Schema) -> None:
        self._lake = lake
        self._schema = schema

    def position(self, stream: str) -> Position:
        """Where the stream stands, by the newest cut."""
        table = self._lake.cut().table(f"bronze.{stream}")
        return Position.start() if table is None else table.position(stream)

    def commit(self, stream: str, batches: Iterable[Batch]) -> int:
        """Rows up to the last end, and that end, in one publication. StalePosition when the batches do not chain."""
        name = f"bronze.{stream}"
        stretch = Stretch(batches)
        with self._lake.publication("land") as publication:
            publication.ensure(TableSpec(name, self._schema))
            written = publication.write(name, stretch.rows())
            if stretch.end is None or stretch.start is None:
                return 0
            publication.move(name, stream, stretch.start, stretch.end)
            publication.commit()
        return written

    def close(self) -> None:
        """Nothing is held open."""
