"""JSON lines that surely fit, read by a compiled decoder in one pass: from bytes to typed, checked Arrow columns.

What it takes equals what careful reading makes of the same line, and holds the rules that its layout has proven. What
it does not take goes the slower way, so neither values nor reasons depend on it.
"""

from __future__ import annotations

from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from headgate import native
from headgate.contract.model import Dataset
from headgate.contract.to_arrow import arrow_type
from headgate.contract.to_sql import quote
from headgate.engines.duckdb.arrays import Array, Query, by_number
from headgate.engines.duckdb.json_columns import own, own_columns
from headgate.engines.duckdb.json_layout import Layout, layout_of
from headgate.engines.duckdb.judgement import ROW, SOURCE, build
from headgate.errors import DefectError

_TEXTUAL = {"TEXT", "BYTES"}


def native_rows(connection: duckdb.DuckDBPyConnection, dataset: Dataset, *, unknown: str) -> NativeRows | None:
    """The compiled decoder for lines of a dataset; None where it was not built, or the contract has what it does not
    read."""
    decoder = native.load("json_rows")
    layout = decoder and layout_of(decoder, dataset, unknown=unknown)
    return NativeRows(connection, dataset, layout) if layout else None


class NativeRows:
    """Reads lines of one dataset into judged columns."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, dataset: Dataset, layout: Layout) -> None:
        self._connection, self._layout = connection, layout
        self._fields = [own(f) for f in dataset.fields]
        self.judgement = build(dataset, own_columns(dataset, {}), versioned=False, proven=layout.proven)
        types: list[Any] = [pa.string() if f.standardise else arrow_type(f.type) for f in dataset.fields]
        whole = self._judged(Query(connection, self.judgement.select), [pa.array([], of) for of in types], 0).schema
        self._names = whole.names
        self._plain = {f.name: n for n, f in enumerate(dataset.fields) if not f.standardise}
        # Items of lists have another name in DuckDB's types: what does not go through it must be called the same.
        self._types = [
            whole.field(f.name).type if f.name in self._plain else of
            for f, of in zip(dataset.fields, types, strict=True)
        ]
        marks = ", ".join(quote(name) for name in self._names if name not in self._plain)
        self._marks = Query(connection, f"SELECT {marks} FROM ({self.judgement.select})")

    def read(self, raw: Array) -> tuple[pa.Table, np.ndarray]:
        """The lines taken, judged, `_hg_row` counting them from 0; and for every line whether it is one of these.

        `raw` has plain binary chunks. SQL adds hashes, what is standardised, and the verdicts of rules that are not
        proven; the other columns are as they were read."""
        values, taken = self.typed(raw)
        count = int(np.count_nonzero(taken))
        judged = by_number(self._judged(self._marks, values, count), ROW, np.arange(count))
        if judged is None:
            raise DefectError("the engine lost rows while judging them")
        columns = [values[self._plain[n]] if n in self._plain else judged[n] for n in self._names]
        return pa.Table.from_arrays(columns, names=self._names), taken

    def typed(self, raw: Array) -> tuple[list[Array], np.ndarray]:
        """The lines taken as a column for each field, of text where it is standardised; and which lines these are."""
        marks, found = self._layout.compiled.read([_chunk(chunk) for chunk in raw.chunks])
        first = self._layout.nodes[0].first
        return [self._array(first + n, of, found) for n, of in enumerate(self._types)], np.frombuffer(marks, np.bool_)

    def _judged(self, query: Query, values: list[Array], count: int) -> pa.Table:
        """What SQL makes of columns that were read."""
        rows = pa.array(np.arange(count, dtype=np.int64))
        self._connection.register(SOURCE, pa.Table.from_arrays([rows, *values], names=[ROW, *self._fields]))
        try:
            return query.fetch()
        finally:
            self._connection.unregister(SOURCE)

    def _array(self, number: int, of: Any, found: list[Any]) -> Array:
        """A node's column and those below it as an array, without copying."""
        node, (length, validity, main, texts) = self._layout.nodes[number], found[number]
        buffers = [None if validity is None else pa.py_buffer(validity)]
        children: list[Array] = []
        if node.kind == "OBJECT":
            children = [self._array(node.first + n, of.field(n).type, found) for n in range(node.count)]
        else:
            buffers.append(pa.py_buffer(main))
        if node.kind == "ARRAY":
            children = [self._array(node.first, of.value_type, found)]
        if node.kind in _TEXTUAL:
            buffers.append(pa.py_buffer(texts))
        return pa.Array.from_buffers(of, length, buffers, 0 if validity is None else -1, children=children or None)


def _chunk(chunk: Array) -> tuple[Any, Any, int, int]:
    """A binary array as the decoder wants it, without copying."""
    _, edges, data = chunk.buffers()
    return data, edges, chunk.offset, len(chunk)
