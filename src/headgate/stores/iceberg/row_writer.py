"""Rows to Parquet files: streamed, one file per partition value, memory bounded by one row group per open file."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.table.metadata import TableMetadata

from headgate.errors import FixInputError
from headgate.stores.iceberg.arrow_types import arrow_schema
from headgate.stores.iceberg.partitions import Splitter

GROUP_ROWS = 128 * 1024
GROUP_BYTES = 32 * 1024 * 1024
FILE_BYTES = 256 * 1024 * 1024
ENCODERS = 2  # row groups of different files encoded at once
OPEN_FILES = 64  # partitions written at the same time


class _OpenFile:
    """A Parquet file being written, and the rows that wait for its next row group.

    A full row group is encoded in `encoder`, one at a time for each file, while the caller reads on: both cores busy,
    and never more than two row groups of a file in memory.
    """

    def __init__(self, path: str, schema: pa.Schema, encoder: ThreadPoolExecutor) -> None:
        self.path = path
        self._encoder = encoder
        self._encoding: Future[None] | None = None
        self._schema = schema
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
        self._waiting: list[pa.RecordBatch] = []
        self._rows = 0
        self._bytes = 0

    def add(self, batch: pa.RecordBatch) -> None:
        self._waiting.append(batch)
        self._rows += batch.num_rows
        self._bytes += batch.nbytes
        if self._rows >= GROUP_ROWS or self._bytes >= GROUP_BYTES:
            self.flush()

    def flush(self) -> None:
        """Hand the waiting rows to the encoder, after the group before them."""
        self._settle()
        if self._waiting:
            table = pa.Table.from_batches(self._waiting, self._schema)
            self._encoding = self._encoder.submit(self._writer.write_table, table, row_group_size=max(self._rows, 1))
            self._waiting.clear()
            self._rows = self._bytes = 0

    def _settle(self) -> None:
        encoding, self._encoding = self._encoding, None
        if encoding is not None:
            encoding.result()

    def full(self) -> bool:
        return bool(self._sink.tell() >= FILE_BYTES)

    def close(self) -> pq.FileMetaData:
        """Write the footer; returns it."""
        try:
            self.flush()
            self._settle()
            self._writer.close()
        finally:
            self._sink.close()
        return pq.read_metadata(self.path)

    def abandon(self) -> None:
        """Close without caring for the content."""
        self._waiting.clear()
        try:
            self._settle()
            self._writer.close()
        except (OSError, pa.ArrowException):
            pass
        finally:
            self._sink.close()


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
        self._open: dict[tuple[Any, ...], _OpenFile] = {}
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
                for file in self._open.values():
                    file.abandon()
                raise

    def _add(self, key: tuple[Any, ...], batch: pa.RecordBatch) -> None:
        if batch.num_rows == 0:
            return
        file = self._open.pop(key, None)
        if file is None:
            if len(self._open) >= OPEN_FILES:
                self._close(next(iter(self._open)))  # the one that has waited longest for rows
            path = os.path.join(self._folder, f"{uuid.uuid4()}.parquet")
            file = _OpenFile(path, self._schema, self._encoder)
        self._open[key] = file
        file.add(batch)
        if file.full():
            self._close(key)

    def _close(self, key: tuple[Any, ...]) -> None:
        file = self._open.pop(key)
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
