"""Bronze in pieces: row groups of Parquet files, about as much as one worker should hold at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from headgate.engines.duckdb.arrays import compute, pick
from headgate.engines.duckdb.dictionaries import fitted, kept_as_dictionary
from headgate.engines.duckdb.files import open_parquet, plain_type
from headgate.ports.batch import (
    FILE,
    HEADER,
    HEADERS,
    KEY,
    LINE,
    OFFSET,
    PARTITION,
    RAW,
    TIMESTAMP,
    TIMESTAMP_KIND,
    VERSION,
)
from headgate.ports.engine import RefineJob, Span

PIECE_BYTES = 32 * 2**20
PIECE_ROWS = 250_000
RAW_ROWS = 4096  # of JSON lines read at a time: one large array would be moved each time that it outgrows its memory


@dataclass(frozen=True, slots=True)
class Piece:
    """Row groups of one bronze file. `whole` says that every row belongs to the job; `repeating` names columns of text
    that are read as dictionaries."""

    number: int
    path: str
    row_groups: tuple[int, ...]
    rows: int
    size_bytes: int
    whole: bool
    repeating: tuple[str, ...] = ()


def wanted_offsets(only: pa.Table | None) -> dict[str, np.ndarray] | None:
    """The coordinates of a replay: partition -> sorted offsets; None when the job takes all rows of its spans."""
    if only is None:
        return None
    partitions: list[Any] = only[PARTITION].to_pylist()
    offsets = only[OFFSET].to_numpy()
    found: dict[str, list[int]] = {}
    for partition, offset in zip(partitions, offsets, strict=True):
        found.setdefault(partition, []).append(int(offset))
    return {partition: np.unique(np.array(some, np.int64)) for partition, some in found.items()}


def plan_pieces(job: RefineJob) -> list[Piece]:
    """The pieces of a job, in the order of the bronze files. Row groups outside the spans are left out."""
    wanted = wanted_offsets(job.only)
    pieces: list[Piece] = []
    for info in job.bronze:
        with open_parquet(info.path) as file:
            raw = RAW in file.schema_arrow.names
            _cut(pieces, info.path, file, job, wanted, PIECE_ROWS if not raw else 2**62)
    return pieces


def _cut(
    pieces: list[Piece],
    path: str,
    file: pq.ParquetFile,
    job: RefineJob,
    wanted: dict[str, np.ndarray] | None,
    most_rows: int,
) -> None:
    metadata = file.metadata
    columns = {metadata.schema.column(i).path: i for i in range(metadata.num_columns)}
    texts = {name: columns[name] for name in _texts(file.schema_arrow, job)}
    groups: list[int] = []
    rows = size = 0
    whole, repeating = True, set(texts)

    def close() -> None:
        nonlocal groups, rows, size, whole, repeating
        if groups:
            pieces.append(Piece(len(pieces), path, tuple(groups), rows, size, whole, tuple(sorted(repeating))))
        groups, rows, size, whole, repeating = [], 0, 0, True, set(texts)

    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        partition = _bounds(group.column(columns[PARTITION]))
        offset = _bounds(group.column(columns[OFFSET]))
        touched, inside = _relation(partition, offset, job.spans, wanted)
        if not touched or not group.num_rows:
            continue
        if groups and (rows + group.num_rows > most_rows or size + group.total_byte_size > PIECE_BYTES):
            close()
        groups.append(number)
        rows += group.num_rows
        size += group.total_byte_size
        whole = whole and inside
        repeating &= kept_as_dictionary(group, texts)
    close()


def _texts(schema: pa.Schema, job: RefineJob) -> list[str]:
    """The columns of typed rows that may be read as dictionaries: texts by which nothing is decided."""
    if RAW in schema.names:
        return []
    deciding = {*job.dataset.key, *job.dataset.order, *(name for name, _ in job.outputs["silver"].partition)}
    plain = {field.source_name for field in job.dataset.fields if field.name in deciding} | {VERSION}
    return [one.name for one in schema if pa.types.is_string(one.type) and one.name not in plain]


def _bounds(column: Any) -> tuple[Any, Any] | None:
    statistics = column.statistics
    if statistics is None or not statistics.has_min_max:
        return None
    return statistics.min, statistics.max


def _relation(
    partition: tuple[str, str] | None,
    offset: tuple[int, int] | None,
    spans: Sequence[Span],
    wanted: dict[str, np.ndarray] | None,
) -> tuple[bool, bool]:
    """Whether a row group may hold rows of the job, and whether all its rows certainly belong to it."""
    touched = False
    for span in spans:
        if partition and not partition[0] <= span.partition <= partition[1]:
            continue
        if offset and (offset[1] < span.start or offset[0] >= span.stop):
            continue
        if wanted is not None and offset:
            some = wanted.get(span.partition, np.empty(0, np.int64))
            first = int(np.searchsorted(some, offset[0]))
            if first >= len(some) or some[first] > offset[1]:
                continue
        touched = True
        one_partition = partition is not None and partition[0] == partition[1] == span.partition
        if wanted is None and one_partition and offset and span.start <= offset[0] and offset[1] < span.stop:
            return True, True
    return touched, False


def read_piece(
    piece: Piece, job: RefineJob, wanted: dict[str, np.ndarray] | None, *, threads: bool = False
) -> pa.Table:
    """The job's rows of a piece with the columns of bronze's schema (without line, and file where it is not needed).

    A column that an older file does not have is NULL.
    """
    with open_parquet(piece.path, piece.repeating) as file:
        unread = [LINE, KEY, HEADERS, TIMESTAMP, TIMESTAMP_KIND]
        if HEADER not in job.bronze_schema.names:
            unread.append(FILE)  # a CSV file's name tells its delimiter
        schema = pa.schema([f for f in job.bronze_schema if f.name not in unread])
        there = set(file.schema_arrow.names)
        groups, columns = list(piece.row_groups), [n for n in schema.names if n in there]
        if RAW in there and HEADER not in there:
            parts = file.iter_batches(RAW_ROWS, row_groups=groups, columns=columns, use_threads=False)
            table = pa.Table.from_batches(parts)
        else:
            table = file.read_row_groups(groups, columns=columns, use_threads=threads)
    types: list[Any] = [plain_type(f.type) for f in schema]
    arrays = [
        fitted(table[name], of) if name in there else pa.nulls(table.num_rows, of)
        for name, of in zip(schema.names, types, strict=True)
    ]
    table = pa.Table.from_arrays(arrays, names=schema.names).unify_dictionaries()
    if piece.whole:
        return table
    return pick(table, _inside(table, job.spans, wanted))


def read_beside(pieces: Sequence[Piece], offsets: pa.ChunkedArray[Any]) -> pa.Table:
    """Coordinates, keys and headers of messages with these offsets: what `read_piece` leaves unread."""
    names = [PARTITION, OFFSET, KEY, HEADERS]
    wanted: Any = compute.unique(offsets)
    found = []
    for piece in pieces:
        with open_parquet(piece.path) as file:
            there = set(file.schema_arrow.names)
            groups = list(piece.row_groups)
            rows = file.read_row_groups(groups, columns=[n for n in names if n in there], use_threads=False)
        found.append(rows.filter(compute.is_in(rows[OFFSET], wanted)))
    return pa.concat_tables(found, promote_options="default")


def _inside(table: pa.Table, spans: Sequence[Span], wanted: dict[str, np.ndarray] | None) -> np.ndarray:
    offsets = table[OFFSET].to_numpy()
    keep = np.zeros(table.num_rows, bool)
    for span in spans:
        mine = compute.equal(table[PARTITION], span.partition).to_numpy()
        mine &= (offsets >= span.start) & (offsets < span.stop)
        if wanted is not None:
            mine &= np.isin(offsets, wanted.get(span.partition, np.empty(0, np.int64)))
        keep |= mine
    return keep


def partition_counts(table: pa.Table) -> Iterator[tuple[str, int]]:
    """Rows per source partition."""
    counts: Any = compute.value_counts(table[PARTITION])
    for one in counts.to_pylist():
        yield one["values"], one["counts"]
