"""Land full reads: what has changed since the last one comes into bronze, as a stream of changes would have brought it.

    1. write     all rows of the read become the next content of `state.X`; a read that breaks off leaves nothing
    2. compare   with the last content, by the key: keys that are new, whose rows are other ones, that are gone
    3. believe   too many keys gone: the read is refused whole
    4. land      a row with its key alone for each that is gone, then new and changed rows as they came, each with the
                 moment of the read and what changed; state and position in the same publication

A key that comes several times in one read has changed when any of its rows has; rows without a key cannot be gone.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from headgate import crash
from headgate.contract.model import DELETE, INSERT, UPDATE, Dataset, FullReads, Kind
from headgate.contract.names import fold
from headgate.contract.to_sql import column, literal, quote
from headgate.errors import BudgetExceeded, DefectError, FixInputError
from headgate.ports.batch import INGESTED_AT, INSTANT, ODD, OFFSET, PARTITION, PREFIX, RAW, Batch, Position
from headgate.ports.engine import Engine
from headgate.ports.source import FullRead, ReadsWhole, Source
from headgate.ports.store import Lake, Publication, TableSpec, TableView
from headgate.steps.land import Landed, bronze_spec, keep_end, offset_fact
from headgate.steps.part import Part
from headgate.steps.run import Run

READ_AT = "full_read_at"  # bronze's fact: the moment of the last full read
_BEFORE, _NOW, _CHANGE = "hg.before", "hg.now", "hg_change"


def state_name(dataset: Dataset) -> str:
    """The table that holds the last full read."""
    return f"state.{dataset.name}"


def land_full_reads(dataset: Dataset, source: Source, lake: Lake, engine: Engine, run: Run) -> Landed:
    """Land the changes of every full read that the source has now, each in a publication of its own.

    Raises what the source raises, BudgetExceeded for a read in which too much is gone, StalePosition and
    CommitConflict when another run was faster: nothing of that read has landed.
    """
    if not isinstance(source, ReadsWhole):
        raise FixInputError(
            "this kind of source cannot be read whole", where=dataset.name, hint="remove headgate.full_reads"
        )
    lander = _Lander(dataset, _with_changes(dataset, source.schema()), lake, engine, run)
    landed = Landed(start=lander.position, end=lander.position)
    for read in source.full_reads(lander.position):
        landed.take(lander.land(read))
        run.tell("land", dataset=dataset.name, rows=landed.rows)
    if lander.empty:  # let bronze exist, so that models can be built
        keep_end(dataset, lander.bronze, lake, run, lander.position, Position.start())
        landed.publications += 1
    return landed


def _with_changes(dataset: Dataset, schema: pa.Schema) -> pa.Schema:
    """The source's columns and the two that Headgate fills."""
    if RAW in schema.names:
        raise FixInputError(
            "headgate.full_reads needs a source with columns",
            where=dataset.name,
            hint="write the files as CSV or Parquet, or read the table from its database",
            stage="land",
        )
    there = {fold(name): name for name in schema.names}
    for name in dataset.key:
        if dataset.field(name).source_name not in schema.names:
            raise FixInputError(
                f"the source has no column {dataset.field(name).source_name!r}, by which full reads are compared",
                where=dataset.name,
                stage="land",
            )
    for name in _own(dataset):
        if fold(name) in there:
            raise FixInputError(
                f"the source has a column {there[fold(name)]!r}, which headgate.full_reads fills",
                where=dataset.name,
                hint="name another field in headgate.full_reads",
                stage="land",
            )
        schema = schema.append(pa.field(name, INSTANT if name == _own(dataset)[0] else pa.string()))
    return schema


def _own(dataset: Dataset) -> tuple[str, str]:
    reads = _reads(dataset)
    return dataset.field(reads.at).source_name, dataset.field(reads.change).source_name


def _reads(dataset: Dataset) -> FullReads:
    if dataset.full_reads is None:  # the callers have looked
        raise DefectError(f"{dataset.name} has no full reads")
    return dataset.full_reads


class _Lander:
    """One dataset, full read after full read."""

    def __init__(self, dataset: Dataset, schema: pa.Schema, lake: Lake, engine: Engine, run: Run) -> None:
        self.dataset, self.lake, self.engine, self.run = dataset, lake, engine, run
        self.bronze = bronze_spec(dataset, schema)
        at, change = _own(dataset)
        kept = [pa.field(f.name, f.type) for f in schema if f.name not in (OFFSET, at, change)]
        comment = f"The last full read of {dataset.name}."
        self.state = TableSpec(state_name(dataset), pa.schema(kept), comment=comment, grows=True)
        self.columns = [f.name for f in kept if f.name == ODD or not f.name.startswith(PREFIX)]
        self.key = [dataset.field(name).source_name for name in dataset.key]
        self.marks = [f"hg_key_{number}" for number in range(len(self.key))]
        view = lake.cut().table(self.bronze.name)
        self.empty = view is None
        self.position = view.position(dataset.name) if view else Position.start()
        self.read_at_us = int((view.facts(READ_AT) if view else None) or 0)

    def land(self, read: FullRead) -> Landed:
        """Steps 1 to 4 of one read. Where nothing has changed, only the position moves."""
        cut = self.lake.cut()
        bronze, state = cut.table(self.bronze.name), cut.table(self.state.name)
        before = state.files() if state is not None and self.position.tokens else ()
        at_us = max(_micros(read.at or self.run.at), self.read_at_us + 1)
        changes = _Changes(self.bronze.schema, bronze, _own(self.dataset), at_us, self.run.at_us)
        with self.lake.publication("land") as publication:
            publication.ensure(self.bronze)
            now = publication.ensure(self.state)
            publication.expect(self.state.name, state.version if state else None)
            publication.clear(self.state.name)
            rows = _Rows(read.batches, self.state.schema.names)
            publication.write(self.state.name, rows)  # 1
            if rows.end is None:
                raise DefectError("a full read ended without its position", where=self.bronze.name, stage="land")
            parts = {
                _BEFORE: Part(_BEFORE, now, [f.path for f in before]),
                _NOW: Part(_NOW, now, publication.added(self.state.name)),
            }
            if before:
                self._believe(parts)  # 3
            publication.write(self.bronze.name, changes.rows(self._found(parts)))  # 2, 4
            if changes.count or not before:
                self._commit(publication, changes, rows.end)
        if before and not changes.count:
            keep_end(self.dataset, self.bronze, self.lake, self.run, self.position, rows.end)
        start, self.position = self.position, self.position.advanced(rows.end)
        self.read_at_us, self.empty = at_us, False
        return Landed(changes.count, changes.size_bytes, 1, start, self.position, changes.offsets)

    def _commit(self, publication: Publication, changes: _Changes, end: Position) -> None:
        crash.point("land: rows written, position not")
        publication.move(self.bronze.name, self.dataset.name, self.position, end)
        publication.note_fact(self.bronze.name, READ_AT, str(changes.at_us))
        for partition, following in changes.offsets.items():
            publication.note_fact(self.bronze.name, offset_fact(partition), str(following))
        publication.note({"run": self.run.id, "dataset": self.dataset.name, "rows": changes.count})
        publication.commit()
        crash.point("land: published")

    def _believe(self, parts: dict[str, Part]) -> None:
        sql = f"select count(*) as held, count(*) filter (now_n is null) as gone from ({self._keys}) where before_n > 0"
        (told,) = self.engine.query(sql, parts).read_all().to_pylist()
        most = _reads(self.dataset).most_deleted
        if most.exceeded(told["gone"], told["held"]) if most else told["gone"] == told["held"]:
            allowed = f"{most.limit}{' percent' if most.percent else ''}" if most else "fewer than all"
            raise BudgetExceeded(
                f"{told['gone']:,} of {told['held']:,} keys are gone in this full read; the contract allows {allowed}. "
                "Nothing of it was landed.",
                where=self.bronze.name,
                hint="look whether the source gave all its rows; if so many really are gone, raise most_deleted of "
                "headgate.full_reads",
                stage="land",
            )

    @cached_property
    def _keys(self) -> str:
        """SQL: each key with number and sum of hashes of its rows, before and now."""
        key, content = _listed(self.marks), _listed(self.columns)
        before, now = (
            f"(select {key}, count(*) as n, sum(hash({content})::hugeint) as h from {self._marked(name)} group by all)"
            for name in (_BEFORE, _NOW)
        )
        either = ", ".join(f"coalesce(n.{k}, b.{k}) as {k}" for k in self.marks)
        return (
            f"select {either}, b.n as before_n, n.n as now_n, b.h as before_h, n.h as now_h "
            f"from {before} b full join {now} n on {self._same('b', 'n')}"
        )

    def _marked(self, rows: str) -> str:
        """SQL: the rows, each with its key as the contract reads it: of texts, several may mean one value."""
        made = []
        for name, mark in zip(self.dataset.key, self.marks, strict=True):
            field = self.dataset.field(name)
            text = quote(field.source_name)
            of = self.state.schema.field(field.source_name).type
            if pa.types.is_string(of) and field.type.kind is not Kind.STRING:
                text = f"coalesce(cast({column(field, text, of).value} as varchar), {text})"
            made.append(f"{text} as {mark}")
        return f"(select *, {', '.join(made)} from {rows})"

    def _same(self, one: str, other: str) -> str:
        return " and ".join(f"{one}.{k} is not distinct from {other}.{k}" for k in self.marks)

    def _found(self, parts: dict[str, Part]) -> Iterator[pa.RecordBatch]:
        """What is gone, then what came, with the column `hg_change`."""
        if not parts[_BEFORE].files():
            yield from self.engine.query(f"select *, {literal(INSERT)} as {_CHANGE} from {_NOW}", parts)
            return
        marks = [n for n in self.state.schema.names if n.startswith(PREFIX) and n != ODD]
        places = ", ".join(f"any_value({quote(n)}) as {quote(n)}" for n in marks)
        whole = " and ".join(f"b.{quote(k)} is not null" for k in self.key)
        keys = ", ".join(f"any_value({quote(k)}) as {quote(k)}" for k in self.key)
        by = _listed(self.marks)
        yield from self.engine.query(
            f"select {keys}, {places}, {literal(DELETE)} as {_CHANGE} from {self._marked(_BEFORE)} b anti join "
            f"(select distinct {by} from {self._marked(_NOW)}) n on {self._same('b', 'n')} "
            f"where {whole} group by {by}",
            parts,
        )
        changed = "now_n is not null and (before_n is distinct from now_n or before_h is distinct from now_h)"
        yield from self.engine.query(
            f"select r.*, case when k.before_n is null then {literal(INSERT)} else {literal(UPDATE)} end as {_CHANGE} "
            f"from {self._marked(_NOW)} r join (select * from ({self._keys}) where {changed}) k "
            f"on {self._same('r', 'k')}",
            parts,
        )


class _Rows:
    """The rows of a full read in the columns of the state, and its end once they have passed."""

    def __init__(self, batches: Iterator[Batch], names: list[str]) -> None:
        self._batches, self._names = batches, names
        self.end: Position | None = None

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        for batch in self._batches:
            if self.end is not None:
                raise DefectError("a full read went on behind its end", stage="land")
            self.end = batch.end
            yield batch.rows.select(self._names)


class _Changes:
    """Found changes as rows of bronze, numbered behind those that it holds."""

    def __init__(
        self, schema: pa.Schema, bronze: TableView | None, own: tuple[str, str], at_us: int, run_us: int
    ) -> None:
        self.schema, self.at_us = schema, at_us
        self._bronze, self._own = bronze, own
        self._moments = {own[0]: at_us, INGESTED_AT: run_us}
        self.count = self.size_bytes = 0
        self.offsets: dict[str, int] = {}  # partition -> the offset after its last row

    def rows(self, found: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """The rows; `found` has `hg_change`, and NULL stands for columns that it lacks."""
        for batch in found:
            columns = [self._column(batch, field) for field in self.schema]
            rows = pa.RecordBatch.from_arrays(columns, schema=self.schema)
            self.count += rows.num_rows
            self.size_bytes += rows.nbytes
            yield rows

    def _column(self, batch: pa.RecordBatch, field: Any) -> Any:
        if field.name == OFFSET:
            return self._numbers(batch.column(PARTITION))
        if field.name in self._moments:
            moment: Any = pa.scalar(self._moments[field.name], pa.int64()).cast(INSTANT)
            return pa.repeat(moment, batch.num_rows)
        name = _CHANGE if field.name == self._own[1] else field.name
        if name not in batch.schema.names:
            return pa.nulls(batch.num_rows, field.type)
        return batch.column(name).cast(field.type)

    def _numbers(self, partitions: Any) -> Any:
        names = np.asarray(partitions.to_pylist(), dtype=object)
        numbers = np.empty(len(names), np.int64)
        for name in dict.fromkeys(names):
            at = names == name
            told = self._bronze.facts(offset_fact(name)) if self._bronze is not None else None
            first = self.offsets.get(name, int(told or 0))
            self.offsets[name] = first + int(at.sum())
            numbers[at] = np.arange(first, self.offsets[name])
        return pa.array(numbers)


def _listed(names: list[str]) -> str:
    return ", ".join(quote(name) for name in names)


def _micros(at: datetime) -> int:
    return (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
