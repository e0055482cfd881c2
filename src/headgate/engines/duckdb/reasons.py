"""Why rows are refused: every rule that a row breaks, with the rule's field and the text of the value.

Two statements for many rows together: which rules each row breaks, then the texts of those values alone that some
broken rule is about. To plan a statement costs as much as thousands of rows, and most rules are not broken.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from headgate.engines.duckdb.arrays import Array, Query, by_number, compute, distinct, fetch, whole
from headgate.engines.duckdb.decoded import REASON_TYPE
from headgate.engines.duckdb.judgement import LONGEST_VALUE, ROW, SOURCE, Judgement
from headgate.errors import DefectError


class Reasons:
    """The reasons of rows of one shape."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, judgement: Judgement) -> None:
        self._connection, self._typed, self._checks = connection, judgement.typed, judgement.checks
        marks = [f"{check.predicate} AS hg_{number}" for number, check in enumerate(self._checks)]
        self._marks = Query(connection, f"SELECT {', '.join([ROW, *marks])} FROM ({self._typed})")

    def of(self, source: pa.Table) -> Array:
        """A list of reasons, in the order of the checks, for each of these rows, which `_hg_row` numbers from 0."""
        self._connection.register(SOURCE, source)
        try:
            broken = _in_order(self._marks.fetch(), source.num_rows)
            marks = [column.to_numpy() for column in broken.columns[1:]]
            row, check = np.nonzero(np.column_stack(marks)) if marks else (np.empty(0, np.int64),) * 2
            values = self._values(source.num_rows, row, check)
        finally:
            self._connection.unregister(SOURCE)
        number: Any = pa.array(check)
        rules, fields = ([getattr(one, part) for one in self._checks] for part in ("rule", "field"))
        columns = [pa.array(rules, pa.string()).take(number), pa.array(fields, pa.string()).take(number), values]
        reasons = pa.StructArray.from_arrays(columns, fields=list(REASON_TYPE.value_type))
        edges = np.zeros(source.num_rows + 1, np.int32)
        np.cumsum(np.bincount(row, minlength=source.num_rows), out=edges[1:])
        lists: Any = pa.ListArray
        return lists.from_arrays(edges, reasons, type=REASON_TYPE)

    def _values(self, rows: int, row: np.ndarray, check: np.ndarray) -> Array:
        """The texts of these rows' values that these checks are about."""
        broken = distinct(check).tolist()
        if not broken:
            return pa.array([], pa.string())
        shown = [f"left({self._checks[n].value}, {LONGEST_VALUE}) AS hg_{n}" for n in broken]
        texts = _in_order(fetch(self._connection, f"SELECT {', '.join([ROW, *shown])} FROM ({self._typed})"), rows)
        by_check = np.argsort(check, kind="stable")
        parts = [whole(texts[f"hg_{n}"].take(pa.array(row[check == n]))).cast(pa.string()) for n in broken]
        back = np.empty(len(check), np.int64)
        back[by_check] = np.arange(len(check))
        return pa.concat_arrays(parts).take(pa.array(back))


def _in_order(found: pa.Table, rows: int) -> pa.Table:
    ordered = by_number(found, ROW, np.arange(rows))
    if ordered is None:
        raise DefectError("refused rows were lost while explaining them")
    return ordered


def rows_by_rule(reasons: Array) -> Counter[str]:
    """How many rows break each rule; one that breaks a rule twice counts once."""
    lists = whole(reasons)
    rules = compute.dictionary_encode(compute.struct_field(compute.list_flatten(lists), "rule"))
    names = rules.dictionary.to_pylist()
    row = compute.list_parent_indices(lists).to_numpy()
    once = distinct(row * len(names) + rules.indices.to_numpy()) if names else row
    counts = np.bincount(once % max(len(names), 1), minlength=len(names)).tolist()
    return Counter(dict(zip(names, counts, strict=True)))
