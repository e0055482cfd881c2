"""The same rows in fewer files: read in order, sorted in runs, written again. Values are never converted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from headgate.engines.duckdb.carried_index import common_layout, hashes_of, kept_indexes
from headgate.engines.duckdb.connection import Settings
from headgate.engines.duckdb.files import FIELD_ID, file_schema, open_parquet
from headgate.engines.duckdb.judgement import CONTENT, KEY
from headgate.engines.duckdb.key_index import FILTER, ROW
from headgate.engines.duckdb.output import TableWriter, sort_rows
from headgate.errors import DefectError
from headgate.ports.engine import Output
from headgate.ports.store import FileInfo

RUN_BYTES = 32 * 2**20  # of Arrow memory, sorted together by each thread; 128 MiB are slower and held by each of them
WIDENS = 4  # times that Arrow takes more than what a file has encoded, at most about: dictionaries become values


def rewrite(
    settings: Settings, groups: Sequence[Sequence[FileInfo]], output: Output, *, beside: bool = False
) -> list[list[str]]:
    """New files for each group of files of one partition value; see `headgate.ports.engine.Rewrites`.

    Where all files of a group have an index of their keys, the new ones get theirs.
    """
    threads = 1 if beside else min(settings.cores, len(groups)) or 1
    run_bytes = min(RUN_BYTES // 2 if beside else RUN_BYTES, max(settings.memory_bytes // (8 * threads), 2**20))
    indexes = kept_indexes(settings.cache_directory, output.keys_of)
    with ThreadPoolExecutor(threads, "headgate-rewrite") as pool:
        return list(pool.map(partial(_rewrite, output=output, run_bytes=run_bytes, indexes=indexes), groups))


def _rewrite(
    files: Sequence[FileInfo], *, output: Output, run_bytes: int, indexes: Mapping[str, Sequence[str]]
) -> list[str]:
    layout = common_layout(files, indexes)
    if layout is not None and not set(layout.schema.names) - {KEY, CONTENT, ROW, FILTER} <= set(output.schema.names):
        layout = None  # of columns that the table has no more
    hashes = {info.path: hashes_of(info, layout) for info in files} if layout is not None else {}
    if not all(found is not None for found in hashes.values()):
        layout, hashes = None, {}
    writer = TableWriter(replace(output, partition=(), sort=()), layout)
    rows = 0
    for run in _runs(_ordered(files, output.sort), file_schema(output), run_bytes, hashes):
        writer.write(sort_rows(run, output.sort))
        writer.flush()
        rows += run.num_rows
    written = writer.close()
    expected = sum(info.rows for info in files)
    if not expected == rows == sum(one.rows for one in written):
        raise DefectError(f"{expected} rows were to be rewritten; {rows} were read", where=output.folder)
    return [one.path for one in written]


def _ordered(files: Sequence[FileInfo], sort: Sequence[str]) -> list[FileInfo]:
    """By where the files begin in the table's order, as far as bounds tell; else, and among equals, oldest first."""
    if sort and all(sort[0] in info.lower for info in files):
        return sorted(files, key=lambda info: (info.lower[sort[0]], info.sequence))
    return sorted(files, key=lambda info: info.sequence)


def _runs(
    files: Sequence[FileInfo], schema: pa.Schema, run_bytes: int, hashes: Mapping[str, pa.Table | None]
) -> Iterator[pa.Table]:
    """The rows of the files, as tables of about `run_bytes`; beside them their `hashes`, if there are any."""
    waiting: list[pa.Table] = []
    size = 0
    for info in files:
        beside, start = hashes.get(info.path), 0
        with open_parquet(info.path) as file:
            for groups in _portions(file.metadata, run_bytes // WIDENS):
                table = _fitted(file, groups, schema)
                if beside is not None:
                    part = beside.slice(start, table.num_rows)
                    start += table.num_rows
                    for name in part.column_names:
                        table = table.append_column(part.schema.field(name), part[name])
                waiting.append(table)
                size += table.nbytes
                if size >= run_bytes:
                    yield pa.concat_tables(waiting)
                    waiting, size = [], 0
    if waiting:
        yield pa.concat_tables(waiting)


def _portions(metadata: pq.FileMetaData, most_bytes: int) -> Iterator[list[int]]:
    """Row groups that are read together: so many encoded bytes."""
    portion: list[int] = []
    size = 0
    for number in range(metadata.num_row_groups):
        portion.append(number)
        size += metadata.row_group(number).total_byte_size
        if size >= most_bytes:
            yield portion
            portion, size = [], 0
    if portion:
        yield portion


def _fitted(file: pq.ParquetFile, groups: list[int], schema: pa.Schema) -> pa.Table:
    """Row groups in the table's present columns, found by field id; one that is younger than the file is NULL."""
    ids = {(f.metadata or {}).get(FIELD_ID): f.name for f in file.schema_arrow}
    names = [ids.get((field.metadata or {}).get(FIELD_ID)) for field in schema]
    table = file.read_row_groups(groups, columns=[n for n in names if n is not None], use_threads=False)
    columns: list[Any] = []
    for field, name in zip(schema, names, strict=True):
        columns.append(pa.nulls(table.num_rows, field.type) if name is None else table[name].cast(field.type))
    return pa.Table.from_arrays(columns, schema=schema)
