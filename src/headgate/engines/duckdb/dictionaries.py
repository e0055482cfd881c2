"""Texts that repeat stay what they are in Parquet: numbers into a dictionary. To read, pick and hold them so costs a
fraction of moving the texts. Columns by which rows are decided, merged or indexed are plain.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from headgate.engines.duckdb.arrays import Array

_PAGE_BYTES = 2**20  # of a dictionary; a writer goes on without one where it is full
_NUMBER_BYTES = 2


def kept_as_dictionary(group: Any, texts: Mapping[str, int]) -> set[str]:
    """Which of these text columns (name -> number) a row group of a Parquet file most likely holds by a dictionary
    alone. A wrong guess costs time only."""
    found = set()
    for name, number in texts.items():
        column = group.column(number)
        small = column.total_uncompressed_size <= _PAGE_BYTES + _NUMBER_BYTES * group.num_rows
        if small and not {"RLE_DICTIONARY", "PLAIN_DICTIONARY"}.isdisjoint(column.encodings):
            found.add(name)
    return found


def plain_of(of: pa.DataType) -> pa.DataType:
    """The type of the values."""
    return of.value_type if isinstance(of, pa.DictionaryType) else of


def plain(rows: pa.Table) -> pa.Table:
    """The rows without dictionaries."""
    return as_in(rows, pa.schema([one.with_type(plain_of(one.type)) for one in rows.schema]))


def as_in(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """The rows with the columns of a schema, which may have dictionaries where they have none, and the other way."""
    if rows.schema.equals(schema, check_metadata=True):
        return rows
    columns = []
    for one in schema:
        column = rows[one.name]
        if column.type != one.type:
            plainly = column.cast(plain_of(one.type))
            column = plainly.dictionary_encode() if isinstance(one.type, pa.DictionaryType) else plainly
        columns.append(column)
    return pa.Table.from_arrays(columns, schema=schema)


def fitted(column: Array, of: pa.DataType) -> Array:
    """The column cast to a plain type; one of that type's dictionaries stays, unless few rows would carry many values
    along."""
    if isinstance(column.type, pa.DictionaryType) and column.type.value_type == of:
        values = sum(len(chunk.dictionary) for chunk in column.chunks)
        if values * 2 <= len(column):
            return column
    return column.cast(of)


def together(tables: Sequence[pa.Table]) -> pa.Table:
    """All rows of tables that may differ in dictionaries; a column is plain as soon as it is so in one of them."""
    if len(tables) == 1:
        return tables[0]
    schema = _common(tables)
    return pa.concat_tables([as_in(one, schema) for one in tables]).unify_dictionaries()


def _common(tables: Sequence[pa.Table]) -> pa.Schema:
    schemas = [one.schema for one in tables]
    return pa.schema([
        one if all(other.field(number).type == one.type for other in schemas) else one.with_type(plain_of(one.type))
        for number, one in enumerate(schemas[0])
    ])  # fmt: skip


def with_dictionaries(schema: pa.Schema, columns: Sequence[Array]) -> pa.Schema:
    """The schema, with dictionaries where these columns have them."""
    return pa.schema([
        one.with_type(column.type) if isinstance(column.type, pa.DictionaryType) else one
        for one, column in zip(schema, columns, strict=True)
    ])  # fmt: skip
