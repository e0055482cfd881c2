"""Reads Parquet files: typed columns under the files' names, row group by row group.

Every value lands exactly or as text in `_hg_odd`. Types that Iceberg does not know are mapped to the smallest
that holds all their values (unsigned 64 bit to decimal(20,0), half floats to floats, nanoseconds to
microseconds where nothing is lost); those without such a type are refused by name. Files of one place may lack
columns (NULL) or hold narrower ones; columns that contradict each other are refused by name.

What a footer declares is held against the limits before anything is read, and texts that a dictionary could blow
up are measured before they are laid out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from headgate.errors import FixInputError, SourceUnavailable
from headgate.ports.batch import FILE, LINE, ODD, ODD_TYPE, PREFIX
from headgate.sources.files_listing import Found
from headgate.sources.files_parquet_types import land, landing_type, united
from headgate.sources.files_reading import Rows, refuse_change
from headgate.sources.files_text import Point

_BATCH_ROWS = 1 << 16
_THRIFT_BYTES = 64 << 20
_THRIFT_ITEMS = 10_000_000
_RATIO_FREE = 16 << 20


class ParquetReader:
    """Reads the Parquet files of one place, which give one schema."""

    def __init__(
        self,
        listing: Sequence[Found],
        *,
        piece_bytes: int,
        max_file_bytes: int,
        max_ratio: float,
        max_record_bytes: int,
    ) -> None:
        self._piece_bytes = piece_bytes
        self._max_file_bytes = max_file_bytes
        self._max_ratio = max_ratio
        self._max_record_bytes = max_record_bytes
        self._columns: dict[str, pa.DataType] = {}
        first: dict[str, str] = {}
        for found in listing:
            for name, landing in self._types(found).items():
                if name not in first:
                    self._columns[name], first[name] = landing, found.name
                    continue
                both = united(self._columns[name], landing)
                if both is None:
                    raise FixInputError(
                        f"column {name!r} is {landing} here and {self._columns[name]} in {first[name]}",
                        where=found.name,
                        hint="give files of different types their own server",
                        stage="extract",
                    )
                self._columns[name] = both

    def schema(self) -> pa.Schema:
        """The files' columns, what they cannot hold, file and row number."""
        own = {name: pa.string() if pa.types.is_null(of) else of for name, of in self._columns.items()}
        fields: list[pa.Field[Any]] = [pa.field(name, of) for name, of in own.items()]
        fields.append(pa.field(ODD, ODD_TYPE))
        fields.append(pa.field(FILE, pa.string(), nullable=False))
        fields.append(pa.field(LINE, pa.int64(), nullable=False))
        return pa.schema(fields)

    def read(self, found: Found, start: Point) -> Iterator[Rows]:
        """The file's rows after the first `start.line` ones.

        Raises FixInputError for a file that is corrupt or declares more than the limits allow.
        """
        with _Opened(found, self._dictionaries(found)) as file:
            self._refuse_excess(found, file.metadata)
            done = 0
            for index in range(file.metadata.num_row_groups):
                group = file.metadata.row_group(index)
                if done + group.num_rows <= start.line:
                    done += group.num_rows
                    continue
                for batch in _batches(file, index, self._batch_rows(group), found):
                    skipped = max(0, min(start.line - done, batch.num_rows))
                    line = done + skipped
                    done += batch.num_rows
                    for part in self._measured(batch.slice(skipped), found):
                        yield self._landed(part, found, line)
                        line += part.num_rows
            refuse_change(found)

    def _types(self, found: Found) -> dict[str, pa.DataType]:
        """Landing types of a file's columns. FixInputError for names and types that cannot land."""
        with _Opened(found, []) as file:
            schema = file.schema_arrow
        seen: set[str] = set()
        for name in schema.names:
            wrong = (
                "has no name"
                if not name
                else f"begins with {PREFIX}, which is ours"
                if name.lower().startswith(PREFIX)
                else "is there twice (case does not count)"
                if name.lower() in seen
                else None
            )
            if wrong:
                raise FixInputError(f"column {name!r} {wrong}", where=found.name, stage="extract")
            seen.add(name.lower())
        return {field.name: landing_type(field.type, field.name, found.name) for field in schema}

    def _dictionaries(self, found: Found) -> list[str]:
        """Text columns to read as dictionaries, so that they can be measured before they are laid out."""
        with _Opened(found, []) as file:
            texts = {pa.string(), pa.binary(), pa.large_string(), pa.large_binary()}
            return [field.name for field in file.schema_arrow if field.type in texts]

    def _refuse_excess(self, found: Found, metadata: Any) -> None:
        groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
        rows = [group.num_rows for group in groups]
        if min(rows, default=0) < 0 or sum(rows) != metadata.num_rows:
            raise _corrupt(found, "the footer contradicts itself")
        unpacked = sum(max(group.total_byte_size, 0) for group in groups)
        declared = max(unpacked, metadata.num_rows * metadata.num_columns)
        for limit, name, size in (
            (self._max_file_bytes, "max_file_bytes", declared),
            (max(_RATIO_FREE, found.size * self._max_ratio), "max_ratio", unpacked),
        ):
            if size > limit:
                raise FixInputError(
                    f"the footer declares more than {name} allows: {size:,} bytes from {found.size:,}",
                    where=found.name,
                    hint=f"if this is no decompression bomb, raise {name} in the contract's server",
                    stage="extract",
                )

    def _batch_rows(self, group: Any) -> int:
        """Rows that are about a piece, by what the footer says."""
        row = max(1, group.total_byte_size // max(1, group.num_rows), 8 * group.num_columns)
        return int(max(1, min(_BATCH_ROWS, self._piece_bytes // row)))

    def _measured(self, batch: pa.RecordBatch, found: Found) -> Iterator[pa.RecordBatch]:
        """The batch in parts whose texts, laid out, are about a piece each."""
        import pyarrow.compute as pc

        sizes = np.zeros(batch.num_rows, np.int64)
        columns: list[Any] = list(batch.columns)
        for column in columns:
            if pa.types.is_dictionary(column.type) and len(column.dictionary):
                lengths = pc.binary_length(column.dictionary).to_numpy(zero_copy_only=False)
                sizes += np.where(column.is_null(), 0, lengths[column.indices.fill_null(0).to_numpy()])
        if len(sizes) and int(sizes.max()) > self._max_record_bytes:
            raise FixInputError(
                f"a row has {int(sizes.max()):,} bytes of text, more than max_record_bytes",
                where=found.name,
                hint="if the file is sound, raise max_record_bytes in the contract's server",
                stage="extract",
            )
        ends, first = np.cumsum(sizes), 0
        while first < batch.num_rows:
            before = int(ends[first - 1]) if first else 0
            last = max(first + 1, int(np.searchsorted(ends, before + self._piece_bytes, side="right")))
            yield batch.slice(first, last - first)
            first = last

    def _landed(self, batch: pa.RecordBatch, found: Found, done: int) -> Rows:
        """The batch in our schema; its first row is the file's row `done` (from 0)."""
        count = batch.num_rows
        odd: dict[int, dict[str, str]] = {}
        columns: list[pa.Array[Any]] = []
        for field in self.schema():
            if field.name == FILE:
                columns.append(pa.repeat(found.name, count))
            elif field.name == LINE:
                columns.append(pa.array(np.arange(done + 1, done + count + 1, dtype=np.int64)))
            elif field.name == ODD:
                columns.append(_odd(odd, count))
            elif field.name in batch.schema.names:
                landed, texts = land(batch.column(field.name), field.type)
                columns.append(landed)
                for row, text in texts.items():
                    odd.setdefault(row, {})[field.name] = text
            else:
                columns.append(pa.nulls(count, field.type))
        rows = pa.RecordBatch.from_arrays(columns, schema=self.schema())
        return Rows(rows, Point(0, done + count))


class _Opened:
    """A Parquet file, closed on leaving; errors name the file."""

    def __init__(self, found: Found, dictionaries: list[str]) -> None:
        import pyarrow.parquet as pq

        self._found = found
        try:
            self._file = pq.ParquetFile(
                found.path,
                read_dictionary=dictionaries,
                thrift_string_size_limit=_THRIFT_BYTES,
                thrift_container_size_limit=_THRIFT_ITEMS,
                page_checksum_verification=True,
                pre_buffer=False,
            )
        except (OSError, pa.ArrowException) as cause:
            raise _translated(found, cause) from cause

    def __enter__(self) -> Any:
        return self._file

    def __exit__(self, *_: object) -> None:
        self._file.close()


def _batches(file: Any, group: int, rows: int, found: Found) -> Iterator[pa.RecordBatch]:
    try:
        yield from file.iter_batches(batch_size=rows, row_groups=[group], use_threads=False)
    except (OSError, pa.ArrowException) as cause:
        raise _translated(found, cause) from cause


def _odd(odd: Mapping[int, Mapping[str, str]], count: int) -> pa.Array[Any]:
    if not odd:
        return pa.nulls(count, ODD_TYPE)
    return pa.array([list(odd[row].items()) if row in odd else None for row in range(count)], ODD_TYPE)


def _translated(found: Found, cause: Exception) -> Exception:
    if isinstance(cause, FileNotFoundError):
        return SourceUnavailable("vanished before it was read", where=found.name, stage="extract")
    if isinstance(cause, PermissionError):
        return FixInputError("no right to read this file", where=found.name, stage="extract")
    if isinstance(cause, OSError) and cause.errno:
        return SourceUnavailable(f"cannot be read: {cause}", where=found.name, stage="extract")
    return _corrupt(found, str(cause))


def _corrupt(found: Found, why: str) -> FixInputError:
    return FixInputError(
        f"not a whole Parquet file: {why}",
        where=found.name,
        hint="repair or replace the file, or move it out of the folder",
        stage="extract",
    )
