"""What silver and the ledger say about keys that a job brings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from headgate.contract.model import Dataset
from headgate.contract.to_sql import duckdb_type, literal, quote
from headgate.engines.duckdb.arrays import fetch, take
from headgate.engines.duckdb.files import open_parquet
from headgate.engines.duckdb.judgement import CONTENT, KEY, content_hash
from headgate.ports.batch import OFFSET, PARTITION, VERSION
from headgate.ports.store import FileInfo

FILE_NUMBER = "_hg_file_number"
READ_ROWS = 1_000_000  # rows of silver's keys looked at together


def silver_types(dataset: Dataset, *, versioned: bool) -> dict[str, str]:
    """Silver's columns with DuckDB's types, in the order of the contract; coordinates last."""
    types = {f.name: duckdb_type(f.type) for f in dataset.fields}
    if versioned:
        types[VERSION] = "VARCHAR"
    return {**types, PARTITION: "VARCHAR", OFFSET: "BIGINT"}


class Silver:
    """Rows of the present silver table whose keys a job brings too."""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        dataset: Dataset,
        files: Sequence[FileInfo],
        key: Sequence[str],
        *,
        versioned: bool,
    ) -> None:
        self.connection, self.dataset, self.files, self.key = connection, dataset, files, key
        self.types = silver_types(dataset, versioned=versioned)

    def rows_with(
        self, hashes: np.ndarray, bounds: Mapping[str, tuple[Any, Any]], values: np.ndarray | None
    ) -> pa.Table:
        """Silver rows whose key hash is among `hashes` (sorted, distinct): key, order and coordinate columns, key
        and content hash, and the number of the file. Equal keys always have equal hashes, so no row is missed.

        `bounds` are the smallest and greatest job value of key columns where they are known; `values` are all job
        values of a one-column integer key, sorted: with both, files and row groups that cannot match are not read.
        """
        self.connection.register("hg_hashes", pa.table({KEY: hashes}))
        found: list[pa.Table] = []
        for number, info in enumerate(self.files):
            if not self._may_match(info.lower, info.upper, bounds, values):
                continue
            with open_parquet(info.path) as file:
                found.extend(self._matches(file, groups, number) for groups in self._groups(file.metadata, values))
        self.connection.unregister("hg_hashes")
        return pa.concat_tables(found) if found else self._empty()

    def _may_match(
        self,
        lower: Mapping[str, Any],
        upper: Mapping[str, Any],
        bounds: Mapping[str, tuple[Any, Any]],
        values: np.ndarray | None,
    ) -> bool:
        for name, (least, greatest) in bounds.items():
            if _less(greatest, lower.get(name)) or _less(upper.get(name), least):
                return False
        if values is not None:
            low, high = lower.get(self.key[0]), upper.get(self.key[0])
            if isinstance(low, int) and isinstance(high, int):
                first = int(np.searchsorted(values, low))
                return first < len(values) and bool(values[first] <= high)
        return True

    def _groups(self, metadata: Any, values: np.ndarray | None) -> list[list[int]]:
        """Row groups that may match, several together up to READ_ROWS rows."""
        column = next(i for i in range(metadata.num_columns) if metadata.schema.column(i).path == self.key[0])
        batches: list[list[int]] = []
        rows = READ_ROWS
        for number in range(metadata.num_row_groups):
            group = metadata.row_group(number)
            statistics = group.column(column).statistics if values is not None else None
            if statistics is not None and statistics.has_min_max:
                lower, upper = {self.key[0]: statistics.min}, {self.key[0]: statistics.max}
                if not self._may_match(lower, upper, {}, values):
                    continue
            if rows + group.num_rows > READ_ROWS:
                batches.append([])
                rows = 0
            batches[-1].append(number)
            rows += group.num_rows
        return batches

    def _matches(self, file: Any, groups: list[int], number: int) -> pa.Table:
        """First only the keys are read; then all columns, of row groups in which a key was found."""
        keys = file.read_row_groups(groups, columns=list(self.key), use_threads=True)
        keys = keys.append_column("_hg_at", pa.array(np.arange(keys.num_rows, dtype=np.int64)))
        self.connection.register("hg_keys", keys)
        typed = ", ".join(f"CAST({quote(k)} AS {self.types[k]})" for k in self.key)
        matching = f"SELECT _hg_at FROM hg_keys SEMI JOIN hg_hashes ON hash({typed}) = {KEY}"
        at = np.sort(fetch(self.connection, matching)["_hg_at"].to_numpy())
        self.connection.unregister("hg_keys")
        if not len(at):
            return self._empty()
        sizes = np.array([file.metadata.row_group(group).num_rows for group in groups])
        starts = np.cumsum(sizes) - sizes
        group_of = np.searchsorted(starts, at, side="right") - 1
        hit, which = np.unique(group_of, return_inverse=True)
        there = set(file.schema_arrow.names)
        rows = file.read_row_groups(
            [groups[g] for g in hit], columns=[c for c in self.types if c in there], use_threads=True
        )
        kept_starts = np.cumsum(sizes[hit]) - sizes[hit]
        return self._judged(take(rows, at - starts[group_of] + kept_starts[which]), number)

    def _judged(self, rows: pa.Table, number: int) -> pa.Table:
        """The columns that verdicts need, from whole silver rows."""
        self.connection.register("hg_rows", rows)
        result = fetch(self.connection, self._select("hg_rows", set(rows.column_names), number))
        self.connection.unregister("hg_rows")
        return result

    def _select(self, relation: str, there: set[str], number: int) -> str:
        typed = ", ".join(
            f"CAST({quote(n) if n in there else 'NULL'} AS {of}) AS {quote(n)}" for n, of in self.types.items()
        )
        names = ", ".join(quote(n) for n in wanted_columns(self.dataset, self.key))
        keys = ", ".join(quote(k) for k in self.key)
        return (
            f"SELECT {names}, {PARTITION}, {OFFSET}, hash({keys}) AS {KEY}, {content_hash(self.dataset)} AS {CONTENT}, "
            f"{number}::INTEGER AS {FILE_NUMBER} FROM (SELECT {typed} FROM {relation})"
        )

    def _empty(self) -> pa.Table:
        nothing = ", ".join(f"CAST(NULL AS {of}) AS {quote(n)}" for n, of in self.types.items())
        relation = f"(SELECT {nothing} WHERE false)"
        return fetch(self.connection, self._select(relation, set(self.types), 0))


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
