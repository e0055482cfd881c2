"""Files of history that change are written again: without the rows they lose, with new ends of validity. Their
indexes follow without being made anew."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from headgate.contract.to_arrow import IS_CURRENT, VALID_TO
from headgate.contract.to_sql import quote
from headgate.engines.duckdb.arrays import fetch, pick, take, whole
from headgate.engines.duckdb.connection import Settings, connect
from headgate.engines.duckdb.files import file_schema, open_parquet
from headgate.engines.duckdb.history import silver_types
from headgate.engines.duckdb.judgement import CONTENT
from headgate.engines.duckdb.key_index import ROW, IndexWriter, KeyIndex, closed
from headgate.engines.duckdb.output import BYTES_PER_GROUP, DataFile, Repeats, Written
from headgate.errors import DefectError
from headgate.ports.batch import OFFSET, PARTITION, VERSION
from headgate.ports.engine import RefineJob

GROUP_ROWS = 100_000  # rows that are enough for a row group
SHARE_BYTES = 32 * 2**20  # a file is shared among idle cores in pieces no smaller than this


@dataclass(frozen=True, slots=True)
class Rewrite:
    """A file of silver or the ledger that changes: the rows it loses and those whose validity ends, with their
    coordinates, content hashes and numbers in the file; and its index."""

    table: str
    path: str
    rows: int
    lost: pa.Table
    closes: pa.Table
    index: KeyIndex


@dataclass(slots=True)
class RewriteReport:
    """The files that replace a file, and what went."""

    table: str
    path: str
    files: list[Written]
    lost: int
    checksum: int  # of the rows that went


@dataclass(frozen=True, slots=True)
class Range:
    """Row groups of one file that one core writes again, and their rows' numbers."""

    task: Rewrite
    groups: tuple[int, ...]
    start: int
    stop: int


def hash_sum(hashes: np.ndarray) -> int:
    """The exact sum of 64-bit hashes."""
    return (int((hashes >> np.uint64(32)).sum()) << 32) + int((hashes & np.uint64(0xFFFFFFFF)).sum())


def rewrite(settings: Settings, job: RefineJob, tasks: Sequence[Rewrite]) -> list[RewriteReport]:
    """Every file of the tasks written again, on all cores. DefectError when a row to lose is not where it should be."""
    if not tasks:
        return []
    ranges = _ranges(tasks, settings.cores)
    rewriter = _Rewriter(settings, job)
    with ThreadPoolExecutor(min(settings.cores, len(ranges))) as threads:
        written = list(threads.map(rewriter.write, ranges))
    reports = {task.path: RewriteReport(task.table, task.path, [], 0, 0) for task in tasks}
    for one, file in zip(ranges, written, strict=True):
        report = reports[one.task.path]
        report.lost += one.stop - one.start - (file.rows if file else 0)
        report.files.extend([file] if file else [])
    for task in tasks:
        reports[task.path].checksum = hash_sum(task.lost[CONTENT].to_numpy())
    return list(reports.values())


def _ranges(tasks: Sequence[Rewrite], cores: int) -> list[Range]:
    """All files, the greatest first; one that is more than a core's share of the work in several ranges."""
    sizes: dict[str, int] = {}
    rows: dict[str, list[int]] = {}
    for task in tasks:
        with open_parquet(task.path) as file:
            told = [file.metadata.row_group(n) for n in range(file.metadata.num_row_groups)]
        sizes[task.path] = sum(group.total_byte_size for group in told)
        rows[task.path] = [group.num_rows for group in told]
    fair = max(sum(sizes.values()) / cores, SHARE_BYTES)
    ranges = []
    for task in sorted(tasks, key=lambda one: -sizes[one.path]):
        counts = rows[task.path]
        parts = max(1, min(round(sizes[task.path] / fair), len(counts)))
        start = 0
        for groups in np.array_split(np.arange(len(counts)), parts):
            stop = start + sum(counts[n] for n in groups)
            ranges.append(Range(task, tuple(int(n) for n in groups), start, stop))
            start = stop
    return ranges


def _inside(rows: pa.Table, one: Range) -> pa.Table:
    """Those of the rows that are in the range, in its order."""
    there = [name for name in (PARTITION, OFFSET, ROW, VALID_TO) if name in rows.column_names]
    numbers = rows[ROW].to_numpy()
    at = np.flatnonzero((numbers >= one.start) & (numbers < one.stop))
    return take(rows.select(there), at[np.argsort(numbers[at])])


class _Rewriter:
    """Writes ranges of files again. Safe for several threads."""

    def __init__(self, settings: Settings, job: RefineJob) -> None:
        self.settings, self.job = settings, job
        self.schemas = {table: file_schema(job.outputs[table]) for table in ("silver", "ledger")}
        self.types = silver_types(job.dataset, versioned=VERSION in job.bronze_schema.names)
        self.repeats = {table: Repeats() for table in self.schemas}

    def write(self, one: Range) -> Written | None:
        """The range without its lost rows; None when nothing is left."""
        lost, closes = _inside(one.task.lost, one), _inside(one.task.closes, one)
        gone = np.zeros(one.task.rows, bool)
        gone[lost[ROW].to_numpy()] = True
        target: DataFile | None = None
        table = one.task.table
        for rows in self._kept(one, lost, closes, gone):
            if target is None:
                folder, repeats = self.job.outputs[table].folder, self.repeats[table].of(rows)
                target = DataFile(folder, self.schemas[table], repeats, None)
            target.write(rows)
        if target is None:
            return None
        written = target.close()
        if one.task.index.layout.folder:
            gone[: one.start] = gone[one.stop :] = True
            index = IndexWriter(one.task.index.layout)
            for rows in one.task.index.without(gone, closes):
                index.add_part(rows)
            index.close(written.path)
        return written

    def _kept(self, one: Range, lost: pa.Table, closes: pa.Table, gone: np.ndarray) -> Iterator[pa.Table]:
        """What stays, in row groups of a sensible size."""
        waiting: list[pa.Table] = []
        at = one.start
        with open_parquet(one.task.path) as file:
            names = [name for name in self.schemas[one.task.table].names if name in set(file.schema_arrow.names)]
            for number in one.groups:
                numbers = np.arange(at, at + file.metadata.row_group(number).num_rows)
                mask = gone[numbers]
                at += len(numbers)
                here, lost = lost.slice(0, int(mask.sum())), lost.slice(int(mask.sum()))
                if here.num_rows == len(numbers):  # nothing stays: only its places are looked at
                    self._check(self._places(one.task.table, file, number), here)
                    continue
                group = self._as_now(one.task.table, file.read_row_group(number, columns=names, use_threads=False))
                if closes.num_rows:
                    group = self._closed(group, numbers, closes)
                if here.num_rows:
                    self._check(pick(group.select([PARTITION, OFFSET]), mask), here)
                    group = pick(group, ~mask)
                waiting.append(group)
                rows, size = sum(t.num_rows for t in waiting), sum(t.nbytes for t in waiting)
                if rows >= GROUP_ROWS or size >= BYTES_PER_GROUP:
                    yield pa.concat_tables(waiting)
                    waiting = []
        if any(t.num_rows for t in waiting):
            yield pa.concat_tables(waiting)

    def _closed(self, rows: pa.Table, numbers: np.ndarray, closes: pa.Table) -> pa.Table:
        """The rows with new ends of validity."""
        which = closes[ROW].to_numpy()
        mine = (which >= numbers[0]) & (which <= numbers[-1])
        places = rows.select([PARTITION, OFFSET])
        self._check(take(places, which[mine] - numbers[0]), pick(closes, mine))
        rows = closed(rows, numbers, closes)
        at = rows.schema.get_field_index(IS_CURRENT)
        return rows.set_column(at, rows.schema.field(at), whole(rows[VALID_TO]).is_null())

    def _check(self, gone: pa.Table, lost: pa.Table) -> None:
        """The rows to lose stand where the index says: it is only a cache."""
        for name in (PARTITION, OFFSET):
            if not whole(gone[name]).equals(whole(lost[name])):
                raise DefectError(
                    "silver rows that lost were not found again",
                    where=f"silver.{self.job.dataset.name}",
                    stage="refine",
                )

    def _places(self, table: str, file: pq.ParquetFile, number: int) -> pa.Table:
        """Coordinates of a row group's rows."""
        schema = pa.schema([self.schemas[table].field(name) for name in (PARTITION, OFFSET)])
        rows: pa.Table = file.read_row_group(number, columns=schema.names, use_threads=False)
        return rows.select(schema.names).cast(schema)

    def _as_now(self, table: str, rows: pa.Table) -> pa.Table:
        """Rows of a file in today's schema: columns that came later are NULL, narrower types are widened."""
        schema = self.schemas[table]
        if table == "ledger" or (rows.schema.names == schema.names and rows.schema.types == schema.types):
            return rows.cast(schema)
        there = set(rows.column_names)
        typed = ", ".join(
            f"CAST({quote(n) if n in there else 'NULL'} AS {self.types[n]}) AS {quote(n)}" for n in schema.names
        )
        with connect(self.settings, threads=1, share=self.settings.cores + 1) as connection:
            connection.register("hg_rows", rows)
            return fetch(connection, f"SELECT {typed} FROM hg_rows").cast(schema)
