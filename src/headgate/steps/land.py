"""Land: a source's new rows into bronze, as they came, with the position in the same publication."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from headgate import crash
from headgate.contract.model import Dataset
from headgate.contract.names import fold
from headgate.errors import DefectError, FixInputError
from headgate.ports.batch import INGESTED_AT, INSTANT, OFFSET, PARTITION, Batch, Position
from headgate.ports.source import Source
from headgate.ports.store import Lake, TableSpec
from headgate.steps.run import Run

PUBLISH_ROWS = 2_000_000
PUBLISH_BYTES = 1 << 30


@dataclass(slots=True)
class Landed:
    """What one land step did to one dataset."""

    rows: int = 0
    size_bytes: int = 0  # Arrow bytes
    publications: int = 0
    start: Position = field(default_factory=Position.start)
    end: Position = field(default_factory=Position.start)


def bronze_name(dataset: Dataset) -> str:
    """The dataset's bronze table."""
    return f"bronze.{dataset.name}"


def offset_fact(partition: str) -> str:
    """Name of bronze's fact that holds the next free offset of a partition."""
    return f"offset:{partition}"


def bronze_spec(dataset: Dataset, schema: pa.Schema) -> TableSpec:
    """Bronze as the source gives it, by day of landing.

    Raises FixInputError for columns whose names differ in case only: SQL would take one for the other.
    """
    _check_names(dataset, schema)
    ingested = pa.field(
        INGESTED_AT, INSTANT, nullable=False, metadata={b"doc": b"instant of the run that landed the row"}
    )
    return TableSpec(
        name=bronze_name(dataset),
        schema=schema.append(ingested),
        partition=((INGESTED_AT, "day"),),
        comment=f"Raw rows of {dataset.name}, as they came. Append only.",
    )


def land(dataset: Dataset, source: Source, lake: Lake, run: Run) -> Landed:
    """Read everything new and publish it in groups; each group's rows and end position are one commit.

    Raises what the source raises (rows of published groups stay), StalePosition when another run was faster.
    """
    table = bronze_name(dataset)
    view = lake.cut().table(table)
    position = view.position(dataset.name) if view else Position.start()
    landed = Landed(start=position, end=position)
    spec = bronze_spec(dataset, source.schema())
    batches = _Groups(source.read(position))
    while batches.more():
        with lake.publication("land") as publication:
            publication.ensure(spec)
            group = _Group(batches, position, run)
            publication.write(table, group.rows())
            if group.end is None:
                raise DefectError("the source ended without a position for its last rows", where=table, stage="land")
            crash.point("land: rows written, position not")
            publication.move(table, dataset.name, position, group.end)
            for partition, following in group.offsets.items():
                publication.note_fact(table, offset_fact(partition), str(following))
            publication.note({"run": run.id, "dataset": dataset.name, "rows": group.count})
            publication.commit()
        crash.point("land: published")
        position = position.advanced(group.end)
        landed.rows += group.count
        landed.size_bytes += group.size_bytes
        landed.publications += 1
        landed.end = position
        run.tell("land", dataset=dataset.name, rows=landed.rows)
    end = batches.end
    if (view is None and not landed.publications) or (end is not None and position.advanced(end) != position):
        landed.end = _move(dataset, lake, run, spec, position, end)
        landed.publications += 1
    return landed


def _move(
    dataset: Dataset, lake: Lake, run: Run, spec: TableSpec, position: Position, end: Position | None
) -> Position:
    """Keep an end that came without rows, so that what was looked through is not looked through again; and let
    bronze exist, so that models can be built on a source that is still empty."""
    with lake.publication("land") as publication:
        publication.ensure(spec)
        if end is not None:
            publication.move(spec.name, dataset.name, position, end)
        publication.note({"run": run.id, "dataset": dataset.name, "rows": 0})
        publication.commit()
    return position.advanced(end) if end is not None else position


def _check_names(dataset: Dataset, schema: pa.Schema) -> None:
    named = [one.source_name for one in dataset.fields if one.transform is None]
    for names in (schema.names, named):
        seen: dict[str, str] = {}
        for name in names:
            other = seen.setdefault(fold(name), name)
            if other != name:
                raise FixInputError(
                    f"the source's columns {other!r} and {name!r} differ in case only and would be mixed up",
                    hint="let the contract name one of them, and rename the other in the source if it is needed too",
                    where=str(dataset.place or dataset.name),
                    stage="land",
                )


class _Groups:
    """A source's batches with one batch of look-ahead; empty ones are passed over."""

    def __init__(self, batches: Iterator[Batch]) -> None:
        self._batches = batches
        self._next: Batch | None = None
        self.end: Position | None = None  # of the last batch without rows that no batch with rows followed

    def more(self) -> bool:
        """Whether a batch with rows, or the end of rows already taken, is still to come."""
        while self._next is None:
            batch = next(self._batches, None)
            if batch is None:
                return False
            if batch.rows.num_rows:
                self._next, self.end = batch, None
            elif batch.end is not None:
                self.end = batch.end
        return True

    def take(self) -> Batch | None:
        """The next batch, also an empty one."""
        if self._next is not None:
            batch, self._next = self._next, None
            return batch
        return next(self._batches, None)


class _Group:
    """The batches of one publication: up to the first end past the size that makes a publication worth it."""

    def __init__(self, batches: _Groups, start: Position, run: Run) -> None:
        self._batches = batches
        self._run = run
        self._start = start
        self.end: Position | None = None
        self.count = 0
        self.size_bytes = 0
        self.offsets: dict[str, int] = {}

    def rows(self) -> Iterator[pa.RecordBatch]:
        at: Any = pa.scalar(self._run.at_us, pa.int64()).cast(INSTANT)
        while (batch := self._batches.take()) is not None:
            self.end = batch.end
            rows = batch.rows
            if rows.num_rows:
                self.count += rows.num_rows
                self.size_bytes += rows.nbytes
                self._note_offsets(rows)
                yield rows.append_column(pa.field(INGESTED_AT, INSTANT, nullable=False), pa.repeat(at, rows.num_rows))
            if batch.end is not None and (self.count >= PUBLISH_ROWS or self.size_bytes >= PUBLISH_BYTES):
                return

    def _note_offsets(self, rows: pa.RecordBatch) -> None:
        table = pa.table({PARTITION: rows.column(PARTITION), OFFSET: rows.column(OFFSET)})
        for row in table.group_by(PARTITION).aggregate([(OFFSET, "max")]).to_pylist():
            partition, following = row[PARTITION], row[f"{OFFSET}_max"] + 1
            self.offsets[partition] = max(following, self.offsets.get(partition, 0))
