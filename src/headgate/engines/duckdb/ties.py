"""Rows of one key and one order whose content differs: the greatest position wins.

    1. place     a row of history stands at the greatest position of its own and of the ledger's duplicates of it
    2. accepted  the winner's content since a different one last stood there: the row of history if it is among them,
                 else the earliest copy

Step 2 makes the outcome independent of how the rows were cut into jobs: content A, then B, then A again with
one order ends with the last A whether the three come together or one by one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import duckdb
import numpy as np
import pyarrow as pa

from headgate.engines.duckdb.arrays import fetch, take
from headgate.engines.duckdb.history import FILE_NUMBER
from headgate.engines.duckdb.judgement import CONTENT
from headgate.ports.batch import OFFSET, PARTITION

LastPositions = Callable[[pa.Table, tuple[str, int]], pa.Table]

_LAST_PARTITION, _LAST_OFFSET = "_hg_last_partition", "_hg_last_offset"


@dataclass(frozen=True, slots=True)
class Tied:
    """Rows that tie: `hg_n` is the row, `hg_group` what it ties in; coordinates, content and file number."""

    rows: pa.Table

    @classmethod
    def of(cls, rows: pa.Table, at: np.ndarray, group: np.ndarray) -> Tied:
        """These of the rows, each with its group."""
        some = take(rows.select([PARTITION, OFFSET, CONTENT, FILE_NUMBER]), at)
        return cls(some.append_column("hg_n", pa.array(at)).append_column("hg_group", pa.array(group)))


@dataclass(frozen=True, slots=True)
class Broken:
    """The accepted row of each group."""

    groups: np.ndarray
    winners: np.ndarray


def break_ties(connection: duckdb.DuckDBPyConnection, tied: Tied, last_positions: LastPositions) -> Broken:
    """The accepted row of each group. `last_positions` looks up step 1 in the ledger."""
    connection.register("hg_rows", tied.rows)
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE hg_tied AS "
        f"SELECT *, {PARTITION} AS {_LAST_PARTITION}, {OFFSET} AS {_LAST_OFFSET} FROM hg_rows"
    )
    connection.unregister("hg_rows")
    _raise_positions(connection, last_positions)
    found = fetch(connection, _winners())
    connection.execute("DROP TABLE hg_tied")
    return Broken(found["hg_group"].to_numpy(), found["hg_n"].to_numpy())


def _raise_positions(connection: duckdb.DuckDBPyConnection, last_positions: LastPositions) -> None:
    """Step 1: where the last copies of rows of history stand."""
    held = fetch(connection, f"SELECT {PARTITION}, {OFFSET} FROM hg_tied WHERE {FILE_NUMBER} >= 0")
    if not held.num_rows:
        return
    first = connection.sql(
        f"SELECT {PARTITION}, {OFFSET} FROM hg_tied WHERE {FILE_NUMBER} < 0 ORDER BY ALL LIMIT 1"
    ).fetchall()
    if not first:
        return
    found = last_positions(held, first[0])
    connection.register("hg_found", found)
    connection.execute(
        f"UPDATE hg_tied SET {_LAST_PARTITION} = f.{PARTITION}, {_LAST_OFFSET} = f.{OFFSET} FROM hg_found f "
        f"WHERE {FILE_NUMBER} >= 0 AND hg_tied.{PARTITION} = f.by_partition AND hg_tied.{OFFSET} = f.by_offset "
        f"AND row(f.{PARTITION}, f.{OFFSET}) > row(hg_tied.{_LAST_PARTITION}, hg_tied.{_LAST_OFFSET})"
    )
    connection.unregister("hg_found")


def _winners() -> str:
    """Step 2."""
    place = f"row({_LAST_PARTITION}, {_LAST_OFFSET})"
    return f"""
        WITH won AS (
            SELECT *, {place} AS place, arg_max({CONTENT}, {place}) OVER (PARTITION BY hg_group) AS won FROM hg_tied
        ), since AS (
            SELECT *, max(place) FILTER ({CONTENT} <> won) OVER (PARTITION BY hg_group) AS other FROM won
        )
        SELECT hg_group, hg_n FROM since WHERE {CONTENT} = won AND (other IS NULL OR place > other)
        QUALIFY row_number() OVER (PARTITION BY hg_group ORDER BY {FILE_NUMBER} < 0, {PARTITION}, {OFFSET}) = 1
    """
