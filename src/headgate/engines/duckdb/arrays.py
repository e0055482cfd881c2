"""The few things done to Arrow data everywhere here, typed once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute

Array: TypeAlias = Any  # a pa.Array of some type; its stubs know too many kinds to be told apart here
compute: Any = pyarrow.compute


def fetch(connection: duckdb.DuckDBPyConnection, sql: str) -> pa.Table:
    """The rows of a query."""
    return Query(connection, sql).fetch()


class Query:
    """A query that is run again and again, each time over what its names then mean.

    Looking at it first costs DuckDB as much as a few thousand rows, so that is done once.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, sql: str) -> None:
        self._connection, self._sql = connection, sql
        self._relation: Any = None

    def fetch(self) -> pa.Table:
        """The rows."""
        if self._relation is None:
            self._relation = self._connection.sql(self._sql)
        table: pa.Table = self._relation.to_arrow_table()
        return table


def pick(rows: pa.Table, mask: np.ndarray) -> pa.Table:
    """The rows where the mask is true."""
    return rows.filter(pa.array(mask))


def take(rows: pa.Table, at: np.ndarray) -> pa.Table:
    """The rows with these numbers, in this order."""
    numbers: Any = pa.array(at)
    return rows.take(numbers)


def by_number(rows: pa.Table, name: str, wanted: np.ndarray) -> pa.Table | None:
    """The rows by their numbers in this column, which are the wanted ones, ascending; None when one is missing, doubled
    or another.

    With one thread DuckDB 2.0 gives the last rows of a chunk, fewer than 64, at the very end where a statement joins,
    as it does for IN with several values.
    """
    numbers = rows[name].to_numpy()
    if np.array_equal(numbers, wanted):
        return rows
    at = np.argsort(numbers)
    return take(rows, at) if np.array_equal(numbers[at], wanted) else None


def whole(column: Array) -> Array:
    """A column as one array."""
    joined = column.combine_chunks()
    return pa.concat_arrays(joined.chunks) if isinstance(joined, pa.ChunkedArray) else joined


def leaves(path: str, array: Array) -> Iterator[tuple[str, Array]]:
    """The flat arrays that a nested one is made of, by their Parquet paths."""
    if pa.types.is_struct(array.type):
        for number, member in enumerate(array.flatten()):
            yield from leaves(f"{path}.{array.type.field(number).name}", member)
    elif pa.types.is_map(array.type):
        yield from leaves(f"{path}.key_value.key", array.keys)
        yield from leaves(f"{path}.key_value.value", array.items)
    elif pa.types.is_list(array.type):
        yield from leaves(f"{path}.list.element", array.flatten())
    else:
        yield path, array


def distinct(values: np.ndarray) -> np.ndarray:
    """The different values, sorted. By sorting: for many different values NumPy's own way by hashing costs thrice."""
    return without_repeats(np.sort(values))


def order_of_pairs(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The numbers of pairs of integers in their order. Those of which most that could be are there need no sorting."""
    if not len(first):
        return np.empty(0, np.int64)
    least, span = int(second.min()), int(second.max()) - int(second.min()) + 1
    if (int(first.max()) + 1) * span <= 8 * len(first):
        places = np.full((int(first.max()) + 1) * span, -1, np.int64)
        places[first * span + (second - least)] = np.arange(len(first))
        at: np.ndarray = places[places >= 0]
        if len(at) == len(first):  # no pair twice
            return at
    return np.lexsort((second, first))


def without_repeats(ordered: np.ndarray) -> np.ndarray:
    """The different ones of sorted values."""
    if not len(ordered):
        return ordered
    first = np.empty(len(ordered), bool)
    first[0] = True
    np.not_equal(ordered[1:], ordered[:-1], out=first[1:])
    return ordered[first]
