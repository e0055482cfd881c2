"""Land: a source's new rows into bronze, as they came, with the position in the same publication."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from math import inf
from time import monotonic
from typing import Any

import numpy as np
import pyarrow as pa

from headgate import crash
from headgate.contract.model import Dataset
from headgate.contract.names import fold
from headgate.errors import DefectError, FixInputError, SourceChanged
from headgate.formats.messages import ORIGIN_PARTITION
from headgate.ports.batch import INGESTED_AT, INSTANT, OFFSET, PARTITION, RAW, Batch, Position
from headgate.ports.source import Acknowledges, Source
from headgate.ports.store import Lake, Publication, TableSpec
from headgate.steps.run import Run

PUBLISH_ROWS = 2_000_000
PUBLISH_BYTES = 2 << 30
MUCH_BYTES = 32 << 20  # of Arrow memory: what follows will take a while


@dataclass(frozen=True, slots=True)
class Pace:
    """When rows are published: after so many rows, Arrow bytes, or seconds since the first of them came."""

    rows: int = PUBLISH_ROWS
    size_bytes: int = PUBLISH_BYTES
    seconds: float = inf


@dataclass(slots=True)
class Landed:
    """What one land step did to one dataset."""

    rows: int = 0
    size_bytes: int = 0  # Arrow bytes
    publications: int = 0
    start: Position = field(default_factory=Position.start)
    end: Position = field(default_factory=Position.start)
    offsets: dict[str, int] = field(default_factory=dict)  # partition -> the offset after its last row
    gathered_s: float = 0.0  # from the first row to the last, while nothing but reading them went on

    def take(self, group: Landed) -> None:
        """Add what a later publication did."""
        self.rows += group.rows
        self.size_bytes += group.size_bytes
        self.publications += group.publications
        self.end = group.end
        self.offsets.update(group.offsets)


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
        grows=True,
    )


def land(dataset: Dataset, source: Source, lake: Lake, run: Run, *, much: Callable[[], None] | None = None) -> Landed:
    """Read everything new and publish it in groups; each group's rows and end position are one commit. `much` is called
    once when a good deal of raw rows has come.

    Raises what the source raises (rows of published groups stay), StalePosition when another run was faster.
    """
    table = bronze_name(dataset)
    view = lake.cut().table(table)
    position = view.position(dataset.name) if view else Position.start()
    landed = Landed(start=position, end=position)
    spec = bronze_spec(dataset, source.schema())
    batches = Incoming(_watched(source.read(position), much) if much else source.read(position))
    while batches.more():
        group = land_group(dataset, spec, lake, run, batches, landed.end, Pace())
        landed.take(group)
        if isinstance(source, Acknowledges):
            source.acknowledge(landed.end)
        run.tell("land", dataset=dataset.name, rows=landed.rows)
    end = batches.end or Position.start()
    if (view is None and not landed.publications) or landed.end.advanced(end) != landed.end:
        landed.end = keep_end(dataset, spec, lake, run, landed.end, end)
        landed.publications += 1
    return landed


def _watched(batches: Iterator[Batch], much: Callable[[], None]) -> Iterator[Batch]:
    size = 0
    for batch in batches:
        before, size = size, size + batch.rows.nbytes
        if before < MUCH_BYTES <= size and RAW in batch.rows.schema.names:
            much()
        yield batch


def land_group(
    dataset: Dataset, spec: TableSpec, lake: Lake, run: Run, batches: Incoming, position: Position, pace: Pace
) -> Landed:
    """One publication: rows up to the first end at which the pace is reached. `batches.more()` must have said yes.

    Raises StalePosition when the table no longer stands at `position`.
    """
    with lake.publication("land") as publication:
        _ensure(publication, spec)
        group = _Group(batches, run, pace)
        publication.write(spec.name, group.rows())
        if group.end is None:
            raise DefectError("the source ended without a position for its last rows", where=spec.name, stage="land")
        crash.point("land: rows written, position not")
        publication.move(spec.name, dataset.name, position, group.end)
        for partition, following in group.offsets.items():
            publication.note_fact(spec.name, offset_fact(partition), str(following))
        publication.note({"run": run.id, "dataset": dataset.name, "rows": group.count})
        publication.commit()
    crash.point("land: published")
    end = position.advanced(group.end)
    return Landed(group.count, group.size_bytes, 1, position, end, group.offsets, group.seconds)


def keep_end(dataset: Dataset, spec: TableSpec, lake: Lake, run: Run, position: Position, end: Position) -> Position:
    """Keep an end that came without rows, so that what was looked through is not looked through again; and let
    bronze exist, so that models can be built on a source that is still empty."""
    with lake.publication("land") as publication:
        _ensure(publication, spec)
        if end.tokens:
            publication.move(spec.name, dataset.name, position, end)
        publication.note({"run": run.id, "dataset": dataset.name, "rows": 0})
        publication.commit()
    return position.advanced(end)


def _ensure(publication: Publication, spec: TableSpec) -> None:
    """Bronze as the source gives it. Rows that came through a transport have been read from the source already: the
    direct way would bring them again, under other coordinates."""
    view = publication.ensure(spec)
    if ORIGIN_PARTITION in view.schema.names and ORIGIN_PARTITION not in spec.schema.names:
        raise SourceChanged(
            "bronze holds rows that came through a transport, and headgate.yaml names none now",
            where=spec.name,
            hint="rows would be there twice: name the transport again, or begin with another lake",
            stage="land",
        )


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


class Incoming:
    """A source's batches with one batch of look-ahead; empty ones are passed over while nothing else is there."""

    def __init__(self, batches: Iterator[Batch], stop: Callable[[], bool] = lambda: False) -> None:
        self._batches = batches
        self._next: Batch | None = None
        self._stop = stop
        self.end: Position | None = None  # of batches without rows that no batch with rows followed
        self.over = False  # the source has ended, or somebody said stop

    def more(self, *, wait: bool = True) -> bool:
        """Whether a batch with rows is still to come. Without `wait`, an idle source's next empty batch says no."""
        while self._next is None and not self.over:
            batch = None if self._stop() else self.take()
            if batch is None:
                self.over = True
                break
            if batch.rows.num_rows:
                self._next = batch
            elif batch.end is not None:
                self.end = batch.end if self.end is None else self.end.advanced(batch.end)
            if not wait:
                break
        return self._next is not None

    def take(self) -> Batch | None:
        """The next batch, also an empty one; None at the end."""
        if self._next is not None:
            held, self._next = self._next, None
            return held
        batch = None if self.over else next(self._batches, None)
        self.over = batch is None
        return batch

    def close(self) -> None:
        """Let the source end its read."""
        close = getattr(self._batches, "close", None)
        if close is not None:
            close()


class _Group:
    """The batches of one publication: up to the first end at which the pace is reached."""

    def __init__(self, batches: Incoming, run: Run, pace: Pace) -> None:
        self._batches = batches
        self._run = run
        self._pace = pace
        self.end: Position | None = batches.end
        batches.end = None
        self.count = 0
        self.size_bytes = 0
        self.seconds = 0.0
        self.offsets: dict[str, int] = {}

    def rows(self) -> Iterator[pa.RecordBatch]:
        at: Any = pa.scalar(self._run.at_us, pa.int64()).cast(INSTANT)
        ends, whole = self.end or Position.start(), True
        begun = monotonic()
        due = begun + self._pace.seconds
        while (batch := self._batches.take()) is not None:
            rows = batch.rows
            if batch.end is not None:
                ends, whole = ends.advanced(batch.end), True
            elif rows.num_rows:
                whole = False
            self.end = ends if whole else None
            self.seconds = monotonic() - begun
            if rows.num_rows:
                self.count += rows.num_rows
                self.size_bytes += rows.nbytes
                self._note_offsets(rows)
                yield rows.append_column(pa.field(INGESTED_AT, INSTANT, nullable=False), pa.repeat(at, rows.num_rows))
            if whole and (
                self.count >= self._pace.rows or self.size_bytes >= self._pace.size_bytes or monotonic() >= due
            ):
                return

    def _note_offsets(self, rows: pa.RecordBatch) -> None:
        partitions: Any = rows.column(PARTITION).dictionary_encode()
        names: list[str] = partitions.dictionary.to_pylist()
        last = np.full(len(names), np.iinfo(np.int64).min)
        np.maximum.at(last, partitions.indices.to_numpy(), rows.column(OFFSET).to_numpy())
        for partition, offset in zip(names, last.tolist(), strict=True):
            self.offsets[partition] = max(offset + 1, self.offsets.get(partition, 0))
