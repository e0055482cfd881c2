"""New Parquet files of a lake table: right schema, field ids, one partition value per file. Who names them to a table
syncs them before that, all together."""

from __future__ import annotations

import uuid
from collections.abc import Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from headgate.engines.duckdb.arrays import Array, compute, leaves, take, whole
from headgate.engines.duckdb.dictionaries import as_in, fitted, plain_of, together, with_dictionaries
from headgate.engines.duckdb.files import file_schema, locate
from headgate.engines.duckdb.judgement import CONTENT, KEY
from headgate.engines.duckdb.key_index import IndexLayout, IndexWriter
from headgate.engines.duckdb.partitions import split
from headgate.errors import DefectError
from headgate.ports.engine import Output

ROWS_PER_GROUP = 131_072
BYTES_PER_GROUP = 64 * 2**20  # of Arrow memory
BYTES_PER_FILE = 128 * 2**20  # on disk, checked between row groups
BYTES_WAITING = 192 * 2**20  # of Arrow memory, over all partition values
MOST_OPEN = 64
_SAMPLE = 4096


@dataclass(frozen=True, slots=True)
class Written:
    """A finished file."""

    path: str
    rows: int


@dataclass(slots=True)
class _Part:
    """Rows of one partition value that wait for their row group, and the file they go to."""

    waiting: list[pa.Table] = field(default_factory=list)
    rows: int = 0
    size_bytes: int = 0
    file: DataFile | None = None


class TableWriter:
    """Writes rows of one table; `close` gives the files. Nothing is in a file for certain before that."""

    def __init__(self, output: Output, index: IndexLayout | None = None) -> None:
        """With an `index`, rows bring their key and content hashes, and each file gets an index beside it."""
        self.output, self.index = output, index
        self.schema = file_schema(output)
        self._names = [*self.schema.names, *((KEY, CONTENT) if index else ())]
        self._parts: dict[tuple[Hashable, ...], _Part] = {}
        self._done: list[Written] = []
        self._repeats = Repeats()

    def write(self, table: pa.Table, keep: np.ndarray | None = None) -> None:
        """Take rows, those where `keep` is true; the table has the output's columns, in any order, and maybe others."""
        for value, chosen in split(table.select(self._names), self.output.partition, keep):
            rows = self._shaped(chosen)
            part = self._parts.setdefault(value, _Part())
            part.waiting.append(rows)
            part.rows += rows.num_rows
            part.size_bytes += rows.nbytes
            if part.rows >= ROWS_PER_GROUP or part.size_bytes >= BYTES_PER_GROUP:
                self._flush(part)
        self._bound()

    def flush(self) -> None:
        """Let go of what waits: it becomes row groups now."""
        for part in self._parts.values():
            self._flush(part)

    def close(self, cores: int = 1) -> list[Written]:
        """Finish all files, those of different partition values on so many cores: complete, with the number of rows
        their footers state."""
        parts = list(self._parts.values())
        self._parts.clear()
        if cores > 1 and len(parts) > 1:
            with ThreadPoolExecutor(min(cores + 1, len(parts)), "headgate-write") as threads:  # one waits for the disk
                list(threads.map(self._end, parts))
        else:
            for part in parts:
                self._end(part)
        return self._done

    def _end(self, part: _Part) -> None:
        self._flush(part)
        self._finish(part)

    def _shaped(self, table: pa.Table) -> pa.Table:
        columns = []
        for one in self.schema:
            column = fitted(table[one.name], one.type)
            if not one.nullable and column.null_count:
                raise DefectError(f"{one.name} is required and has {column.null_count} rows without a value")
            columns.append(column)
        shaped = pa.Table.from_arrays(columns, schema=with_dictionaries(self.schema, columns))
        for name in self._names[len(columns) :]:
            shaped = shaped.append_column(name, table[name])
        return shaped

    def _flush(self, part: _Part) -> None:
        if not part.rows:
            return
        rows = together(part.waiting)
        part.waiting, part.rows, part.size_bytes = [], 0, 0
        rows = sort_rows(rows, self.output.sort)
        if part.file is None:
            repeats = self._repeats.of(rows.select(self.schema.names))
            schema = pa.schema([rows.schema.field(name) for name in self.schema.names])
            part.file = DataFile(self.output.folder, schema, repeats, self.index)
        part.file.write(rows)
        if part.file.size_bytes >= BYTES_PER_FILE:
            self._finish(part)

    def _finish(self, part: _Part) -> None:
        if part.file is not None:
            self._done.append(part.file.close())
            part.file = None

    def _bound(self) -> None:
        """Keep memory bounded when there are many partition values: the fullest are written first."""
        waiting = sum(part.size_bytes for part in self._parts.values())
        for part in sorted(self._parts.values(), key=lambda p: -p.size_bytes):
            if waiting <= BYTES_WAITING:
                break
            waiting -= part.size_bytes
            self._flush(part)
        opened = sorted((p for p in self._parts.values() if p.file), key=lambda p: -p.file.size_bytes if p.file else 0)
        for part in opened[: max(len(opened) - MOST_OPEN, 0)]:
            self._finish(part)


class DataFile:
    """One Parquet file being written, and its index."""

    def __init__(self, folder: str, schema: pa.Schema, repeats: Any, index: IndexLayout | None) -> None:
        """`repeats`: columns to write with a dictionary; see `Repeats`."""
        self.path = f"{folder.rstrip('/')}/{uuid.uuid4()}.parquet"
        self.rows = 0
        self._schema = schema
        self._index = IndexWriter(index) if index and index.folder else None
        filesystem, inner = locate(self.path)
        self._sink = open(inner, "wb") if filesystem is None else filesystem.open_output_stream(inner)  # noqa: SIM115
        self._writer = pq.ParquetWriter(
            self._sink,
            schema,
            compression="zstd",
            compression_level=1,
            use_dictionary=repeats,
            store_schema=False,
            store_decimal_as_integer=True,
        )

    @property
    def size_bytes(self) -> int:
        """Bytes written so far."""
        return int(self._sink.tell())

    def write(self, rows: pa.Table) -> None:
        """Append one row group."""
        group = as_in(rows, self._schema)
        self._writer.write_table(group, row_group_size=max(rows.num_rows, 1))
        if self._index is not None:
            self._index.add(rows, self.rows)
        self.rows += rows.num_rows

    def close(self) -> Written:
        """Write the footer."""
        self._writer.close()
        self._sink.close()
        if self._index is not None:
            self._index.close(self.path)
        return Written(self.path, self.rows)


def sort_rows(rows: pa.Table, by: Sequence[str]) -> pa.Table:
    """The rows in order, where order helps a reader: by numbers and times, whose bounds then say something.

    A table sorted by a text such as a random identifier would cost much and have the same wide bounds.
    """
    if not by or not (pa.types.is_primitive(rows[by[0]].type) or pa.types.is_decimal(rows[by[0]].type)):
        return rows
    at = compute.sort_indices(rows, sort_keys=[(name, "ascending") for name in by])
    if np.array_equal(at.to_numpy(), np.arange(rows.num_rows, dtype=np.uint64)):
        return rows
    return take(rows, at.to_numpy())


class Repeats:
    """The Parquet paths of columns whose values repeat: only there a dictionary saves anything. What repeats in enough
    rows of a table is taken to repeat in all files that are written of it."""

    def __init__(self) -> None:
        self._known: Any = None

    def of(self, rows: pa.Table) -> Any:
        """For a file that begins with these rows."""
        if self._known is not None:
            return self._known
        found = _repeating(rows)
        if rows.num_rows >= _SAMPLE:
            self._known = found
        return found


def _repeating(sample: pa.Table) -> Any:
    head = sample.slice(0, _SAMPLE)
    found = [path for name in head.column_names for path, leaf in leaves(name, whole(head[name])) if _repeats(leaf)]
    return found or False


def _repeats(leaf: Array) -> bool:
    leaf = leaf.cast(plain_of(leaf.type))
    if pa.types.is_boolean(leaf.type) or not len(leaf):
        return False
    return int(compute.count_distinct(leaf).as_py()) * 4 <= len(leaf)
