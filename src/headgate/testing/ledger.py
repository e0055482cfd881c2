"""An independent account of rows: how many, and the sum of their 128-bit hashes modulo 2**128.

A sum does not depend on the order of rows and notices a row that is missing, doubled or changed (an XOR would
let a row that stands three times pass for one). The same tally comes from two engines that share no code:
`tally_batches` hashes in plain Python over Arrow batches, `tally_parquet` in DuckDB's SQL over Parquet files.
Both hash one canonical text per row, written below for every type, so their numbers are equal by construction.

    row     the named columns in order of their names, each as <length in bytes>:<text>, or `-` for NULL
    text    integers, booleans: as written · decimals: all digits of the scale · floats: %.17e, `nan`
            strings: themselves · binary: upper-case hex · dates: days since 1970 · times: microseconds
            timestamps: microseconds since 1970 (UTC when zoned)
            lists, structs, maps: number of parts and `(`, each part as in a row, `)`
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

MODULUS = 1 << 128


@dataclass(frozen=True, slots=True)
class Tally:
    """Number of rows and the sum of their hashes; tallies of disjoint sets add up."""

    rows: int = 0
    total: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(self.rows + other.rows, (self.total + other.total) % MODULUS)

    def __str__(self) -> str:
        return f"{self.rows} rows, {self.total:032x}"


def tally_batches(batches: Iterable[pa.RecordBatch], columns: Sequence[str]) -> Tally:
    """The tally of the named columns, hashed in Python. Columns may come in any order."""
    rows = total = 0
    names = sorted(columns)
    for batch in batches:
        for text in row_texts(batch, names):
            total += int.from_bytes(hashlib.md5(text, usedforsecurity=False).digest(), "little")
        rows += batch.num_rows
    return Tally(rows, total % MODULUS)


def tally_rows(rows: Iterable[Mapping[str, Any]], schema: pa.Schema) -> Tally:
    """The tally of rows given as Python values: what a rig or a generator knows to be true."""
    batch = pa.RecordBatch.from_pylist([dict(row) for row in rows], schema=schema)
    return tally_batches([batch], schema.names)


def tally_parquet(paths: Sequence[str], columns: Sequence[str], schema: pa.Schema) -> Tally:
    """The tally of the named columns of Parquet files, hashed by DuckDB. `schema` tells the columns' types."""
    import duckdb

    if not paths:
        return Tally()
    with duckdb.connect() as connection:
        found = connection.execute(
            f"SELECT count(*), sum((hash >> 64)::UBIGINT), sum((hash & {(1 << 64) - 1})::UBIGINT)"
            f" FROM (SELECT md5_number({row_sql(schema, columns)}) AS hash"
            " FROM read_parquet(?, union_by_name => true))",
            [list(paths)],
        ).fetchone()
    rows, high, low = found or (0, 0, 0)
    return Tally(rows, ((int(high or 0) << 64) + int(low or 0)) % MODULUS)


# --- in Python


def row_texts(batch: pa.RecordBatch, names: Sequence[str]) -> list[bytes]:
    """The canonical text of every row of the batch; `names` must be sorted."""
    parts = [_texts(batch.column(name)) for name in names]
    if not parts:
        return [b""] * batch.num_rows
    return [b"".join(row) for row in zip(*parts, strict=True)]


def _texts(column: Any) -> list[bytes]:
    kind = column.type
    text = _writer(kind)
    if pa.types.is_timestamp(kind):
        column = column.cast(pa.timestamp("us", kind.tz)).cast(pa.int64())
    elif pa.types.is_time(kind):
        column = column.cast(pa.time64("us")).cast(pa.int64())
    elif pa.types.is_date(kind):
        column = column.cast(pa.date32()).cast(pa.int32())
    elif pa.types.is_nested(kind):
        return _nested_texts(column, kind)
    return [_framed(None if value is None else text(value)) for value in column.to_pylist()]


def _nested_texts(column: Any, kind: Any) -> list[bytes]:
    if pa.types.is_struct(kind):
        children = [_texts(column.field(index)) for index in range(kind.num_fields)]
        rows = zip(*children, strict=True) if children else [()] * len(column)
        return [
            _framed(_parts(row) if valid else None)
            for row, valid in zip(rows, column.is_valid().to_pylist(), strict=True)
        ]
    if pa.types.is_map(kind):
        keys, items = _texts(column.keys), _texts(column.items)
        flat = [_framed(_parts(pair)) for pair in zip(keys, items, strict=True)]
    else:
        column = column.cast(pa.list_(kind.value_type)) if not pa.types.is_list(kind) else column
        flat = _texts(column.values)
    edges = column.offsets.to_pylist()
    return [
        _framed(_parts(flat[edges[row] : edges[row + 1]]) if valid else None)
        for row, valid in enumerate(column.is_valid().to_pylist())
    ]


def _framed(text: bytes | None) -> bytes:
    return b"-" if text is None else b"%d:%b" % (len(text), text)


def _parts(parts: Sequence[bytes]) -> bytes:
    return b"%d(%b)" % (len(parts), b"".join(parts))


def _writer(kind: Any) -> Callable[[Any], bytes]:
    if pa.types.is_floating(kind):
        return lambda value: b"nan" if math.isnan(value) else b"%.17e" % float(value)
    if pa.types.is_boolean(kind):
        return lambda value: b"true" if value else b"false"
    if pa.types.is_decimal(kind):
        if kind.precision == kind.scale:  # DuckDB writes .5 where the type leaves no digit before the point
            return lambda value: format(value, "f").replace("0.", ".", 1).encode()
        return lambda value: format(value, "f").encode()
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
        return lambda value: value.hex().upper().encode()
    return lambda value: str(value).encode()


# --- in DuckDB's SQL


def row_sql(schema: pa.Schema, columns: Sequence[str]) -> str:
    """An SQL expression that gives the canonical text of a row."""
    framed = [_framed_sql(_quoted(name), schema.field(name).type) for name in sorted(columns)]
    return " || ".join(framed) or "''"


def _framed_sql(value: str, kind: pa.DataType) -> str:
    text = _text_sql(value, kind)
    return f"CASE WHEN ({value}) IS NULL THEN '-' ELSE strlen({text})::VARCHAR || ':' || {text} END"


def _text_sql(value: str, kind: Any) -> str:
    if pa.types.is_floating(kind):
        return f"CASE WHEN isnan({value}) THEN 'nan' ELSE format('{{:.17e}}', ({value})::DOUBLE) END"
    if pa.types.is_timestamp(kind) or pa.types.is_time(kind):
        return f"epoch_us({value})::VARCHAR"
    if pa.types.is_date(kind):
        return f"(({value}) - DATE '1970-01-01')::VARCHAR"
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
        return f"hex({value})"
    if pa.types.is_struct(kind):
        children = [kind.field(index) for index in range(kind.num_fields)]
        fields = [_framed_sql(f"({value}).{_quoted(child.name)}", child.type) for child in children]
        return f"('{len(fields)}(' || {' || '.join(fields)} || ')')"
    if pa.types.is_map(kind):
        entry = pa.struct([("key", kind.key_type), ("value", kind.item_type)])
        return _list_sql(f"map_entries({value})", entry)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return _list_sql(value, kind.value_type)
    return f"({value})::VARCHAR"


def _list_sql(value: str, kind: pa.DataType) -> str:
    part = _framed_sql("part", kind)
    joined = f"coalesce(array_to_string(list_transform({value}, lambda part: {part}), ''), '')"
    return f"(len({value})::VARCHAR || '(' || {joined} || ')')"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
