"""Who wins among rows of one key: exact, over the job's rows and the silver rows that share a key with them.

    1. rank      per key, the rows with the greatest order (NULL is the lowest) are on top
    2. ties      among top rows of different content the greatest position wins; a silver row stands at the
                 greatest position of its own and of the ledger's duplicates of it
    3. accepted  the winner's content since a different one last stood there: the silver row if it is among them,
                 else the earliest copy
    4. verdicts  top rows of the winner's content are duplicates of the accepted row, all others superseded by it

Step 3 makes the outcome independent of how the rows were cut into jobs: content A, then B, then A again with
one order ends with the last A whether the three come together or one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import duckdb
import numpy as np
import pyarrow as pa

from headgate.contract.to_sql import quote
from headgate.engines.duckdb.arrays import compute, distinct, fetch, take
from headgate.engines.duckdb.history import FILE_NUMBER
from headgate.engines.duckdb.judgement import CONTENT
from headgate.engines.duckdb.key_index import ROW
from headgate.engines.duckdb.worker import AT, PIECE
from headgate.ports.batch import OFFSET, PARTITION
from headgate.ports.engine import DUPLICATE, SUPERSEDED

LastPositions = Callable[[pa.Table, tuple[str, int]], pa.Table]

_RANK = "_hg_rank"
_GROUP = "_hg_group"
_LAST_PARTITION, _LAST_OFFSET = "_hg_last_partition", "_hg_last_offset"


@dataclass(frozen=True, slots=True)
class Lost:
    """Rows that are not accepted: coordinates, content hash, `verdict`, `by_partition`, `by_offset`,
    `_hg_file_number` (-1 for a row of the job) and `_hg_row` in it, and `_hg_piece`, `_hg_at` of the job's rows."""

    rows: pa.Table

    def of_job(self) -> pa.Table:
        """The rows of the job."""
        return self.rows.filter(compute.less(self.rows[FILE_NUMBER], 0))

    def in_pieces(self) -> dict[int, np.ndarray]:
        """Rows of the job: piece -> row numbers."""
        mine = self.of_job()
        return _grouped(mine[PIECE].to_numpy(), mine[AT].to_numpy())

    def in_files(self) -> dict[int, pa.Table]:
        """Rows of silver: file number -> coordinates, content hashes and row numbers."""
        theirs = self.rows.filter(compute.greater_equal(self.rows[FILE_NUMBER], 0))
        at = _grouped(theirs[FILE_NUMBER].to_numpy(), np.arange(theirs.num_rows))
        return {number: take(theirs.select([PARTITION, OFFSET, CONTENT, ROW]), rows) for number, rows in at.items()}


def _grouped(group: np.ndarray, values: np.ndarray) -> dict[int, np.ndarray]:
    if not len(group):
        return {}
    order = np.argsort(group, kind="stable")
    numbers, starts = np.unique(group[order], return_index=True)
    parts = np.split(values[order], starts[1:])
    return {int(n): part for n, part in zip(numbers, parts, strict=True)}


def repeated(hashes: np.ndarray) -> np.ndarray:
    """The values that occur more than once."""
    ordered = np.sort(hashes)
    return distinct(ordered[1:][ordered[1:] == ordered[:-1]])


def decide(
    connection: duckdb.DuckDBPyConnection,
    rows: pa.Table,
    silver: pa.Table,
    key: Sequence[str],
    order: Sequence[str],
    last_positions: LastPositions,
) -> Lost:
    """The rows that lose. `rows` are the job's, `silver` the present rows of the same keys; rows that are alone
    with their key may be among them or left out. `last_positions` looks up step 2 in the ledger."""
    _candidates(connection, rows, silver, key, order)
    _rank(connection, key, order)
    _raise_positions(connection, last_positions)
    lost = fetch(connection, _losers())
    connection.execute("DROP TABLE hg_ranked")
    return Lost(lost)


def _candidates(
    connection: duckdb.DuckDBPyConnection, rows: pa.Table, silver: pa.Table, key: Sequence[str], order: Sequence[str]
) -> None:
    """All rows in question as one table, numbered."""
    names = ", ".join(quote(n) for n in dict.fromkeys([*key, *order]))
    shared = f"{names}, {PARTITION}, {OFFSET}, {CONTENT}"
    connection.register("hg_rows", rows)
    connection.register("hg_silver", silver)
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE hg_candidates AS SELECT row_number() OVER () AS hg_n, * FROM ("
        f"SELECT {shared}, -1 AS {FILE_NUMBER}, 0 AS {ROW}, {PIECE}, {AT} FROM hg_rows UNION ALL "
        f"SELECT {shared}, {FILE_NUMBER}, {ROW}, -1, -1 FROM hg_silver)"
    )
    connection.unregister("hg_rows")
    connection.unregister("hg_silver")


def _rank(connection: duckdb.DuckDBPyConnection, key: Sequence[str], order: Sequence[str]) -> None:
    """Step 1. `_hg_group` is one number per key."""
    keys = ", ".join(quote(n) for n in key)
    ranked = "1"
    if order:
        newest = ", ".join(f"{quote(n)} DESC NULLS LAST" for n in order)
        ranked = f"rank() OVER (PARTITION BY {keys} ORDER BY {newest})"
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE hg_ranked AS "
        f"SELECT {PARTITION}, {OFFSET}, {CONTENT}, {FILE_NUMBER}, {ROW}, {PIECE}, {AT}, "
        f"{PARTITION} AS {_LAST_PARTITION}, {OFFSET} AS {_LAST_OFFSET}, {ranked} AS {_RANK}, "
        f"min(hg_n) OVER (PARTITION BY {keys}) AS {_GROUP} FROM hg_candidates"
    )
    connection.execute("DROP TABLE hg_candidates")


def _raise_positions(connection: duckdb.DuckDBPyConnection, last_positions: LastPositions) -> None:
    """Step 2 for silver rows that tie with different content: where their last copy stands."""
    tied = (
        f"SELECT {_GROUP} FROM hg_ranked WHERE {_RANK} = 1 GROUP BY {_GROUP} "
        f"HAVING count(DISTINCT {CONTENT}) > 1 AND max({FILE_NUMBER}) >= 0"
    )
    winners = fetch(
        connection,
        f"SELECT {PARTITION}, {OFFSET} FROM hg_ranked "
        f"WHERE {_RANK} = 1 AND {FILE_NUMBER} >= 0 AND {_GROUP} IN ({tied})",
    )
    if not winners.num_rows:
        return
    first = connection.sql(
        f"SELECT {PARTITION}, {OFFSET} FROM hg_ranked WHERE {_RANK} = 1 AND {_GROUP} IN ({tied}) "
        f"AND {FILE_NUMBER} < 0 ORDER BY ALL LIMIT 1"
    ).fetchall()
    if not first:
        return
    found = last_positions(winners, first[0])
    connection.register("hg_found", found)
    connection.execute(
        f"UPDATE hg_ranked SET {_LAST_PARTITION} = f.{PARTITION}, {_LAST_OFFSET} = f.{OFFSET} FROM hg_found f "
        f"WHERE {FILE_NUMBER} >= 0 AND hg_ranked.{PARTITION} = f.by_partition AND hg_ranked.{OFFSET} = f.by_offset "
        f"AND row(f.{PARTITION}, f.{OFFSET}) > row(hg_ranked.{_LAST_PARTITION}, hg_ranked.{_LAST_OFFSET})"
    )
    connection.unregister("hg_found")


def _losers() -> str:
    """Steps 3 and 4."""
    place = f"row({_LAST_PARTITION}, {_LAST_OFFSET})"
    return f"""
        WITH top AS (
            SELECT *, {place} AS place, arg_max({CONTENT}, {place}) OVER (PARTITION BY {_GROUP}) AS won
            FROM hg_ranked WHERE {_RANK} = 1
        ), since AS (
            SELECT *, max(place) FILTER ({CONTENT} <> won) OVER (PARTITION BY {_GROUP}) AS other FROM top
        ), accepted AS (
            SELECT {_GROUP}, won, {PARTITION} AS by_partition, {OFFSET} AS by_offset FROM since
            WHERE {CONTENT} = won AND (other IS NULL OR place > other)
            QUALIFY row_number() OVER (PARTITION BY {_GROUP} ORDER BY {FILE_NUMBER} < 0, {PARTITION}, {OFFSET}) = 1
        )
        SELECT {PARTITION}, {OFFSET}, {CONTENT}, {FILE_NUMBER}, {ROW}, {PIECE}, {AT}, by_partition, by_offset,
            CASE WHEN {_RANK} = 1 AND {CONTENT} = won THEN '{DUPLICATE}' ELSE '{SUPERSEDED}' END AS verdict
        FROM hg_ranked JOIN accepted USING ({_GROUP})
        WHERE {PARTITION} <> by_partition OR {OFFSET} <> by_offset
    """
