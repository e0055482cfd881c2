"""Rows to Parquet files: streamed, one file per partition value, memory bounded by one row group per open file."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.table.metadata import TableMetadata

from headgate.errors import FixInputError
from headgate.stores.iceberg.arrow_types import arrow_schema
from headgate.stores.iceberg.local_io import begin_sync
from headgate.stores.iceberg.partitions import Splitter

GROUP_ROWS = 128 * 1024
GROUP_BYTES = 32 * 1024 * 1024
FILE_BYTES = 256 * 1024 * 1024
ENCODERS = 2  # row groups encoded at once, of different files
OPEN_FILES = 64  # partitions written at the same time


class _OpenFile:
    """A Parquet file being written, by one row group at a time in `encoder` while the caller reads on."""

    def __init__(self, path: str, schema: pa.Schema, encoder: ThreadPoolExecutor) -> None:
        self.path = path
        self._encoder = encoder
        self._encoding: Future[None] | None = None
        self._begun = 4  # bytes that the system has been told to write, after the format's mark
        self._sink = pa.OSFile(path, "wb")
        self._writer = pq.ParquetWriter(
            self._sink,
            schema,
            compression="zstd",
            compression_level=1,
            use_dictionary=cast("bool", [f.name for f in schema if _repeats(f)]),
            store_decimal_as_integer=True,
            store_schema=False,
        )

    def encode(self, rows: pa.Table) -> None:
        """Hand a row group to the encoder, after the one before it."""
        self._settle()
        self._encoding = self._encoder.submit(self._encode, rows)

    def _encode(self, rows: pa.Table) -> None:
        """While a row group is encoded, those before it are on their way to the disk: the commit waits for less."""
        start, self._begun = self._begun, self._sink.tell()
        begin_sync(self.path, start, self._begun)
        self._writer.write_table(rows, row_group_size=rows.num_rows)

    def idle(self) -> bool:
        """Whether no row group is being encoded."""
        return self._encoding is None or self._encoding.done()

    def _settle(self) -> None:
        encoding, self._encoding = self._encoding, None
        if encoding is not None:
            encoding.result()

    def full(self) -> bool:
        return bool(self._sink.tell() >= FILE_BYTES)

    def close(self) -> pq.FileMetaData:
        """Write the footer; returns it."""
        try:
            self._settle()
            self._writer.close()
        finally:
            self._sink.close()
        return pq.read_metadata(self.path)

    def abandon(self) -> None:
        """Close without caring for the content."""
        for end in (self._settle, self._writer.close, self._sink.close):
            with suppress(OSError, pa.ArrowException):
                end()
        self._writer.is_open = False  # else it would be closed once more when its memory is given back


class _Partition:
    """Rows of one partition value: those that wait for the next row group, and the files that take them.

    A second file is begun when a row group is there before the one before it is encoded, and an encoder has nothing to
    do: rows that come faster than one core encodes them keep both busy, and never more than three row groups of a
    partition are in memory.
    """

    def __init__(self, schema: pa.Schema, begin: Callable[[], _OpenFile], spare: Callable[[], bool]) -> None:
        self._schema, self._begin, self._spare = schema, begin, spare
        self.files: list[_OpenFile] = []  # that which was given rows last stands last
        self._waiting: list[pa.RecordBatch] = []
        self._rows = 0
        self._bytes = 0

    def add(self, batch: pa.RecordBatch) -> _OpenFile | None:
        """Take rows; the file that is full with them, if one is."""
        self._waiting.append(batch)
        self._rows += batch.num_rows
        self._bytes += batch.nbytes
        return self.flush() if self._rows >= GROUP_ROWS or self._bytes >= GROUP_BYTES else None

    def flush(self) -> _OpenFile | None:
        """The waiting rows to an encoder; the file that is full with them, if one is."""
        if not self._waiting:
            return None
        file = self._next()
        file.encode(pa.Table.from_batches(self._waiting, self._schema))
        self._waiting.clear()
        self._rows = self._bytes = 0
        self.files.append(file)
        return file if file.full() else None

    def _next(self) -> _OpenFile:
        for number, file in enumerate(self.files):
            if file.idle():
                return self.files.pop(number)
        another = not self.files or (len(self.files) < ENCODERS and self._spare())
        return self._begin() if another else self.files.pop(0)


def _repeats(field: pa.Field[Any]) -> bool:
    """Columns whose values repeat enough for a dictionary: text of any kind, but not records as they came."""
    kind = field.type
    return bool(
        pa.types.is_string(kind) or pa.types.is_nested(kind) or pa.types.is_boolean(kind) or pa.types.is_date(kind)
    )


class RowWriter:
    """Writes rows of one table as new data files into a folder."""

    def __init__(self, table: str, metadata: TableMetadata, folder: str) -> None:
        self._table = table
        self._folder = folder
        schema = metadata.schema()
        self._schema = arrow_schema(schema, ids=True)
        self._splitter = Splitter(metadata.spec(), schema)
        self._open: dict[tuple[Any, ...], _Partition] = {}
        self.written: list[tuple[str, pq.FileMetaData]] = []
        self.rows = 0

    def write(self, batches: Iterable[pa.RecordBatch]) -> None:
        """Write all rows; on an error the files begun are closed, and left to the caller to discard."""
        with ThreadPoolExecutor(ENCODERS, "headgate-encode") as self._encoder:
            try:
                for batch in batches:
                    self.rows += batch.num_rows
                    for key, part in self._splitter.split(self.fit(batch)):
                        self._add(key, part)
                for key in list(self._open):
                    self._close(key)
            except BaseException:
                for partition in self._open.values():
                    for file in partition.files:
                        file.abandon()
                raise

    def _add(self, key: tuple[Any, ...], batch: pa.RecordBatch) -> None:
        if batch.num_rows == 0:
            return
        partition = self._open.pop(key, None)
        if partition is None:
            if len(self._open) >= OPEN_FILES:
                self._close(next(iter(self._open)))  # the one that has waited longest for rows
            partition = _Partition(self._schema, self._begin, self._spare)
        self._open[key] = partition
        full = partition.add(batch)
        if full is not None:
            partition.files.remove(full)
            self._end(full)

    def _begin(self) -> _OpenFile:
        return _OpenFile(os.path.join(self._folder, f"{uuid.uuid4()}.parquet"), self._schema, self._encoder)

    def _spare(self) -> bool:
        """Whether an encoder has nothing to do."""
        return sum(not file.idle() for partition in self._open.values() for file in partition.files) < ENCODERS

    def _close(self, key: tuple[Any, ...]) -> None:
        partition = self._open[key]
        partition.flush()
        while partition.files:
            self._end(partition.files.pop(0))
        del self._open[key]

    def _end(self, file: _OpenFile) -> None:
        self.written.append((file.path, file.close()))

    def fit(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The batch in the table's columns: reordered, missing nullable ones NULL, cast where no value changes."""
        if batch.schema.equals(self._schema):
            return pa.RecordBatch.from_arrays(batch.columns, schema=self._schema)
        have = {name: i for i, name in enumerate(batch.schema.names)}
        columns = []
        for field in self._schema:
            at = have.pop(field.name, None)
            if at is None:
                if not field.nullable:
                    raise FixInputError(f"rows lack the required column {field.name!r}", where=self._table)
                columns.append(pa.nulls(batch.num_rows, field.type))
                continue
            column = batch.column(at)
            if column.type != field.type:
                try:
                    column = column.cast(field.type)
                except pa.ArrowException as error:
                    message = f"column {field.name!r}: {column.type} does not fit {field.type}: {error}"
                    raise FixInputError(message, where=self._table) from error
            if not field.nullable and column.null_count:
                raise FixInputError(f"the required column {field.name!r} has NULL", where=self._table)
            columns.append(column)
        if have:
            raise FixInputError(f"the table has no column {next(iter(have))!r}", where=self._table)
        return pa.RecordBatch.from_arrays(columns, schema=self._schema)
