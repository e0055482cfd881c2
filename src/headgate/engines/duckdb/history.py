"""What silver and the ledger say about keys that a job brings."""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from headgate.contract.model import Dataset
from headgate.contract.to_arrow import IS_CURRENT, VALID_FROM, VALID_TO
from headgate.contract.to_sql import duckdb_type, literal, quote
from headgate.engines.duckdb.arrays import compute, fetch, whole
from headgate.engines.duckdb.connection import Database, Settings
from headgate.engines.duckdb.files import open_parquet, plain_type
from headgate.engines.duckdb.judgement import CONTENT, DELETES, KEY, content_hash, key_columns
from headgate.engines.duckdb.key_index import (
    FILTER,
    ROW,
    IndexLayout,
    IndexWriter,
    KeyIndex,
    Wanted,
    aside,
    open_index,
)
from headgate.engines.duckdb.lateness import Cutoff
from headgate.errors import DefectError
from headgate.ports.batch import OFFSET, PARTITION, VERSION
from headgate.ports.engine import DELETED, RefineJob
from headgate.ports.store import FileInfo

FILE_NUMBER = "_hg_file_number"
READ_ROWS = 250_000  # rows of silver looked at together
MOST_OPEN = 256  # indexes kept open between jobs
ABANDONED_S = 86_400  # an index that nobody went on writing for so long is a killed run's


def silver_types(dataset: Dataset, *, versioned: bool) -> dict[str, str]:
    """Silver's columns with DuckDB's types, in the order of the contract; coordinates last."""
    types = {f.name: duckdb_type(f.type) for f in dataset.fields}
    if dataset.history == "scd2":
        moment = duckdb_type(dataset.field(dataset.order[0]).type)
        types |= {VALID_FROM: moment, VALID_TO: moment, IS_CURRENT: "BOOLEAN"}
    if versioned:
        types[VERSION] = "VARCHAR"
    return {**types, PARTITION: "VARCHAR", OFFSET: "BIGINT"}


def index_layout(settings: Settings, job: RefineJob) -> IndexLayout | None:
    """How silver's files are indexed; None for data without a key."""
    versioned = VERSION in job.bronze_schema.names
    key = key_columns(job.dataset, versioned=versioned)
    if not key:
        return None
    silver = job.outputs["silver"].schema
    columns = pa.schema([
        pa.field(name, plain_type(silver.field(name).type))
        for name in (*held_columns(job.dataset, key), PARTITION, OFFSET)
    ])  # fmt: skip
    folder = os.path.join(settings.cache_directory, job.dataset.name) if settings.cache_directory else ""
    types = silver_types(job.dataset, versioned=versioned)
    return IndexLayout.of(folder, columns, f"{key} of {list(types.items())}")


class Indexes:
    """Indexes that stay open between the jobs of one engine. Safe for several threads."""

    def __init__(self) -> None:
        self._open: OrderedDict[str, KeyIndex] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, path: str) -> KeyIndex | None:
        """The index that was put under this path, if it is still open."""
        with self._lock:
            found = self._open.get(path)
            if found is not None:
                self._open.move_to_end(path)
            return found

    def put(self, path: str, index: KeyIndex) -> None:
        """Keep an index open; the one that was not asked for the longest goes."""
        with self._lock:
            self._open[path] = index
            if len(self._open) > MOST_OPEN:
                self._open.popitem(last=False)

    def keep(self, folder: str, wanted: Collection[str]) -> None:
        """Let go of what is open below a folder but not wanted: a mapped file takes memory, also without a name."""
        with self._lock:
            for path in [p for p in self._open if os.path.dirname(p) == folder and p not in wanted]:
                del self._open[path]


class Silver:
    """Rows of the present silver table whose keys a job brings too; and rows of the ledger that deleted such keys.

    Files are numbered: silver's first, then the ledger's.
    """

    def __init__(
        self,
        database: Database,
        job: RefineJob,
        layout: IndexLayout,
        indexes: Indexes,
        cutoff: Cutoff | None = None,
    ) -> None:
        self.cutoff = cutoff
        self.database, self.dataset = database, job.dataset
        deletions = (
            [info for info in job.ledger if info.lower.get("verdict") == DELETED] if job.dataset.operation else []
        )
        self.files, self.in_silver = [*job.silver, *deletions], len(job.silver)
        self.layout, self.indexes = layout, indexes
        versioned = VERSION in job.bronze_schema.names
        self.key = key_columns(job.dataset, versioned=versioned)
        self.types = silver_types(job.dataset, versioned=versioned)

    def rows_with(
        self, hashes: np.ndarray, bounds: Mapping[str, tuple[Any, Any]], values: np.ndarray | None
    ) -> pa.Table:
        """Rows whose key hash is among `hashes` (sorted, distinct): key, order and coordinate columns, key and content
        hash, whether the row deletes, its number in its file, and the number of the file. Equal keys always have
        equal hashes, so no row is missed.

        `bounds` are the smallest and greatest job value of key columns where they are known; `values` are all job
        values of a one-column integer key, sorted: with either, files that cannot match are not looked at.
        """
        wanted = Wanted(hashes)
        found: list[pa.Table] = []
        numbers = [
            number
            for number, info in enumerate(self.files)
            if number >= self.in_silver or self._may_match(info, bounds, values)
        ]
        for number in numbers:  # all are told first: the disk works ahead
            self.index(number).expect(len(hashes))
        for number in numbers:
            deletes = number >= self.in_silver
            for matches in self.index(number).find(wanted):
                rows = matches if deletes else self._counting(matches)
                file = pa.array(np.full(rows.num_rows, number, np.int32))
                flag = pa.array(np.full(rows.num_rows, deletes))
                found.append(rows.append_column(FILE_NUMBER, file).append_column(DELETES, flag))
        return pa.concat_tables(found) if found else self._empty()

    def _counting(self, rows: pa.Table) -> pa.Table:
        """The rows that are not older than the window; all without one."""
        if self.cutoff is None:
            return rows
        column = whole(rows[self.cutoff.field])
        inside = compute.greater_equal(column, pa.scalar(self.cutoff.value, column.type))
        return rows.filter(compute.fill_null(inside, fill_value=True))

    def index(self, number: int) -> KeyIndex:
        """The index of a file: open, kept, or made anew."""
        info, deletes = self.files[number], number >= self.in_silver
        name = self.layout.path(info.path)
        index = self.indexes.get(name)
        if index is None:
            index = open_index(self.layout, info.path, None if deletes else info.rows)
            if index is None:
                index = self._indexed_deletions(info) if deletes else self._indexed(info)
            self.indexes.put(name, index)
        return index

    def _indexed_deletions(self, info: FileInfo) -> KeyIndex:
        writer = IndexWriter(self.layout)
        with open_parquet(info.path) as file:
            rows = file.read(columns=[PARTITION, OFFSET, "verdict", "deleted"])
        rows = rows.append_column(ROW, pa.array(np.arange(rows.num_rows, dtype=np.uint32)))
        rows = rows.filter(compute.equal(rows["verdict"], DELETED))
        members = ", ".join(f"deleted.{quote(n)} AS {quote(n)}" for n in wanted_columns(self.dataset, self.key))
        mine = wanted_columns(self.dataset, self.key)
        others = [n for n in held_columns(self.dataset, self.key) if n not in mine]
        ends = ", ".join(f"CAST(NULL AS {self.types[n]}) AS {quote(n)}" for n in others)
        keys = ", ".join(f"CAST({quote(k)} AS {self.types[k]})" for k in self.key)
        connection = self.database()
        connection.register("hg_rows", rows)
        hashed = fetch(
            connection,
            f"SELECT *, hash({keys}) AS {KEY}, {KEY} AS {CONTENT}{', ' if ends else ''}{ends} "
            f"FROM (SELECT {members}, {PARTITION}, {OFFSET}, {ROW} FROM hg_rows)",
        )
        connection.unregister("hg_rows")
        writer.add(hashed)
        return self._closed(writer, info, rows.num_rows)

    def _closed(self, writer: IndexWriter, info: FileInfo, rows: int) -> KeyIndex:
        kept = writer.close(info.path) or open_index(self.layout, info.path, rows)
        if kept is None or kept.rows != rows:
            raise DefectError(f"{info.path} could not be indexed", stage="refine")
        return kept

    def _indexed(self, info: FileInfo) -> KeyIndex:
        writer, start = IndexWriter(self.layout), 0
        with open_parquet(info.path) as file:
            names = [name for name in self.types if name in set(file.schema_arrow.names)]
            for batch in file.iter_batches(READ_ROWS, columns=names, use_threads=True):
                writer.add(self._hashed(pa.Table.from_batches([batch]), start))
                start += batch.num_rows
        return self._closed(writer, info, info.rows)

    def _hashed(self, rows: pa.Table, start: int) -> pa.Table:
        """What an index keeps of whole silver rows."""
        there = set(rows.column_names)
        rows = rows.append_column(ROW, pa.array(np.arange(start, start + rows.num_rows, dtype=np.uint32)))
        typed = ", ".join(
            f"CAST({quote(n) if n in there else 'NULL'} AS {of}) AS {quote(n)}" for n, of in self.types.items()
        )
        names = ", ".join(quote(n) for n in held_columns(self.dataset, self.key))
        keys = ", ".join(quote(k) for k in self.key)
        connection = self.database()
        connection.register("hg_rows", rows)
        result = fetch(
            connection,
            f"SELECT {names}, {PARTITION}, {OFFSET}, hash({keys}) AS {KEY}, {content_hash(self.dataset)} AS {CONTENT}, "
            f"{ROW} FROM (SELECT {typed}, {ROW} FROM hg_rows)",
        )
        connection.unregister("hg_rows")
        return result

    def _may_match(self, info: FileInfo, bounds: Mapping[str, tuple[Any, Any]], values: np.ndarray | None) -> bool:
        if self.cutoff is not None and not self.cutoff.may_hold(info):
            return False
        for name, (least, greatest) in bounds.items():
            if _less(greatest, info.lower.get(name)) or _less(info.upper.get(name), least):
                return False
        if values is not None:
            low, high = info.lower.get(self.key[0]), info.upper.get(self.key[0])
            if isinstance(low, int) and isinstance(high, int):
                first = int(np.searchsorted(values, low))
                return first < len(values) and bool(values[first] <= high)
        return True

    def _empty(self) -> pa.Table:
        schema = self.layout.schema
        columns = [f for f in schema if f.name != FILTER]
        columns += [pa.field(FILE_NUMBER, pa.int32()), pa.field(DELETES, pa.bool_())]
        return pa.schema(columns).empty_table()


def forget_others(layout: IndexLayout, indexes: Indexes, files: Sequence[FileInfo], new: Sequence[str]) -> None:
    """Remove kept indexes of files that are neither silver's nor new. Losing one that somebody still wants only costs
    the time to make it again."""
    paths = {layout.path(path) for path in [*(info.path for info in files), *new]}
    indexes.keep(layout.folder, paths)
    if layout.folder:
        aside(layout.folder, lambda: _unlink_others(layout.folder, {os.path.basename(path) for path in paths}))


def _unlink_others(folder: str, wanted: Collection[str]) -> None:
    with suppress(OSError):  # without indexes there is no folder
        for name in os.listdir(folder):
            path = os.path.join(folder, name)
            if name not in wanted:
                with suppress(OSError):
                    if not name.endswith(".part") or os.path.getmtime(path) < time.time() - ABANDONED_S:
                        os.unlink(path)


def _less(one: Any, other: Any) -> bool:
    """One < other, for certain: false where one is not known or the two do not compare."""
    if one is None or other is None:
        return False
    try:
        return bool(one < other)
    except TypeError:
        return False


def wanted_columns(dataset: Dataset, key: Sequence[str]) -> list[str]:
    """Key and order columns, each once."""
    return list(dict.fromkeys([*key, *dataset.order]))


def held_columns(dataset: Dataset, key: Sequence[str]) -> list[str]:
    """What an index keeps of a row beside its place and hashes."""
    ends = (VALID_TO,) if dataset.history == "scd2" else ()
    times = (dataset.window.field,) if dataset.window else ()
    return list(dict.fromkeys([*wanted_columns(dataset, key), *ends, *times]))


def last_positions(
    connection: duckdb.DuckDBPyConnection, ledger: Sequence[FileInfo], winners: pa.Table, after: tuple[str, int]
) -> pa.Table:
    """For silver rows (`_hg_partition`, `_hg_offset`): the greatest position among the ledger's duplicates of
    each, with columns by_partition, by_offset, _hg_partition, _hg_offset. Only positions greater than `after`
    matter, and ledger files that cannot hold any are not opened.
    """
    names = ["by_partition", "by_offset", PARTITION, OFFSET]
    files = [info.path for info in ledger if _reaches(info, after)]
    if not files:
        return pa.table({n: pa.array([], pa.int64() if n.endswith("offset") else pa.string()) for n in names})
    connection.register("hg_winners", winners)
    at = fetch(
        connection,
        f"SELECT by_partition, by_offset, place[1] AS {PARTITION}, place[2] AS {OFFSET} FROM ("
        f"SELECT l.by_partition, l.by_offset, max(row(l.{PARTITION}, l.{OFFSET})) AS place "
        f"FROM read_parquet({literal(files)}) l "
        f"SEMI JOIN hg_winners w ON l.by_partition = w.{PARTITION} AND l.by_offset = w.{OFFSET} "
        f"WHERE l.verdict = 'duplicate' GROUP BY ALL)",
    )
    connection.unregister("hg_winners")
    return at


def _reaches(info: FileInfo, after: tuple[str, int]) -> bool:
    first, last = info.lower.get(PARTITION), info.upper.get(PARTITION)
    if last is not None and last < after[0]:
        return False
    greatest = info.upper.get(OFFSET)
    one_partition = first is not None and first == last == after[0]
    return not (one_partition and greatest is not None and greatest <= after[1])
