"""Typed bronze: every source column goes through one SQL statement to its contract type, or is a reason."""

from __future__ import annotations

from collections.abc import Mapping

import duckdb
import numpy as np
import pyarrow as pa

from headgate.contract.model import Dataset, Field
from headgate.contract.to_sql import Column, column, literal, quote
from headgate.engines.duckdb.arrays import fetch, pick
from headgate.engines.duckdb.decoded import REFUSED_SCHEMA, Decoded, take_dropped, warned, without_marks
from headgate.engines.duckdb.json_columns import columns_read
from headgate.engines.duckdb.judgement import REFUSED, ROW, SOURCE, Judgement, SourceColumn, build
from headgate.errors import DefectError, FixInputError
from headgate.ports.batch import INGESTED_AT, ODD, OFFSET, PARTITION, PREFIX, VERSION


class TypedDecoder:
    """Decodes typed pieces of one dataset; a statement per shape of source is made once."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, dataset: Dataset) -> None:
        self.connection, self.dataset = connection, dataset
        self._made: dict[tuple[str, bool], Judgement] = {}

    def decode(self, table: pa.Table) -> Decoded:
        """The rows of a bronze table, judged."""
        odd = ODD in table.column_names and table[ODD].null_count < table.num_rows
        judgement = self._judgement(table, odd=odd)
        numbered = table.append_column(ROW, pa.array(np.arange(table.num_rows, dtype=np.int64)))
        return judge_table(self.connection, numbered, judgement, _typed_raw(table, odd=odd))

    def _judgement(self, table: pa.Table, *, odd: bool) -> Judgement:
        shape = (str(table.schema), odd)
        if shape not in self._made:
            columns = source_columns(self.connection, self.dataset, table.schema, odd=odd)
            self._made[shape] = build(self.dataset, columns, versioned=VERSION in table.column_names)
        return self._made[shape]


def judge_table(connection: duckdb.DuckDBPyConnection, table: pa.Table, judgement: Judgement, raw_sql: str) -> Decoded:
    """Judge a relation of source columns. `raw_sql` gives a refused row's raw form as BLOB."""
    connection.register(SOURCE, table)
    judged = fetch(connection, judgement.select)
    connection.unregister(SOURCE)
    if judged.num_rows != table.num_rows or not judged[ROW].equals(table[ROW]):
        raise DefectError("the engine lost the order of rows while typing them")
    keep = ~judged[REFUSED].to_numpy()
    refused = explain(connection, pick(table, ~keep), judgement, raw_sql)
    dropped = take_dropped(judged, judgement, table, keep)
    return Decoded(without_marks(judged, table), keep, refused, dropped, warned(judged, judgement, keep))


def explain(connection: duckdb.DuckDBPyConnection, table: pa.Table, judgement: Judgement, raw_sql: str) -> pa.Table:
    """The refused rows whole, with every reason."""
    if not table.num_rows:
        return REFUSED_SCHEMA.empty_table()
    connection.register(SOURCE, table)
    coordinates = f"s.{PARTITION}, s.{OFFSET}, s.{INGESTED_AT}"
    found = fetch(
        connection,
        f"SELECT {coordinates}, raw, reasons FROM (SELECT *, {raw_sql} AS raw FROM {SOURCE}) s "
        f"JOIN ({judgement.explain}) e USING ({ROW}) ORDER BY {ROW}",
    )
    connection.unregister(SOURCE)
    if found.num_rows != table.num_rows:
        raise DefectError("refused rows were lost while explaining them")
    return found.cast(REFUSED_SCHEMA)


def source_columns(
    connection: duckdb.DuckDBPyConnection, dataset: Dataset, schema: pa.Schema, *, odd: bool
) -> Mapping[str, SourceColumn]:
    """The typed value of every contract field from a relation with this Arrow schema."""
    columns = {}
    for field in dataset.fields:
        if field.transform is not None:
            columns[field.name] = _transformed(connection, dataset, field, schema, odd=odd)
            continue
        name = field.source_name
        there = name in schema.names
        sql, of = (quote(name), schema.field(name).type) if there else ("NULL", pa.null())
        odd_sql = f"{ODD}[{literal(name)}]" if odd and there else None
        text = f"CAST({sql} AS VARCHAR)" if odd_sql is None else f"coalesce({odd_sql}, CAST({sql} AS VARCHAR))"
        columns[field.name] = SourceColumn(column(field, sql, of, odd_sql), text)
    return columns


def _transformed(
    connection: duckdb.DuckDBPyConnection, dataset: Dataset, field: Field, schema: pa.Schema, *, odd: bool
) -> SourceColumn:
    """What a transform gives. Where a column that it reads is odd it has seen a NULL instead of a value: bad."""
    sql = f"({field.transform}\n)"
    typed = column(field, sql, transform_type(connection, schema, field, dataset), None)
    text = f"CAST({sql} AS VARCHAR)"
    if odd:
        folded = {name.casefold(): name for name in schema.names}
        read = [folded.get(name.casefold(), name) for name in columns_read(connection, str(field.transform))]
        if seen := ", ".join(f"{ODD}[{literal(name)}]" for name in read):
            typed = Column(typed.value, f"(coalesce({seen}, NULL) IS NOT NULL OR {typed.bad})")
            text = f"coalesce({seen}, {text})"
    return SourceColumn(typed, text)


def transform_type(
    connection: duckdb.DuckDBPyConnection, schema: pa.Schema, field: Field, dataset: Dataset
) -> pa.DataType:
    """The Arrow type that the field's transform has over source columns of this schema. FixInputError, naming the
    columns there are, when it does not fit them."""
    connection.register(SOURCE, schema.empty_table())
    try:
        found = fetch(connection, f"SELECT ({field.transform}\n) AS value FROM {SOURCE}")
    except duckdb.Error as cause:
        raise FixInputError(
            f"transformLogic of {dataset.name}.{field.name} does not fit its source: {cause}",
            where=str(field.place) if field.place else None,
            hint=f"source columns: {', '.join(n for n in schema.names if not n.startswith(PREFIX))}",
            stage="refine",
        ) from cause
    finally:
        connection.unregister(SOURCE)
    of: pa.DataType = found.schema.field(0).type
    return of


def _typed_raw(table: pa.Table, *, odd: bool) -> str:
    """SQL: the source's columns as JSON text. Decimals are texts, since a reader of JSON may round numbers."""
    members = []
    for one in table.schema:
        if one.name.startswith(PREFIX):
            continue
        exact = f"CAST({quote(one.name)} AS VARCHAR)" if _as_text(one.type) else quote(one.name)
        members.append(f"{literal(one.name)}: {exact}")
    whole = f"CAST(to_json({{{', '.join(members)}}}) AS VARCHAR)"
    if odd:
        whole = (
            f"CAST(CASE WHEN {ODD} IS NULL THEN {whole} ELSE json_merge_patch({whole}, to_json({ODD})) END AS VARCHAR)"
        )
    return f"encode({whole})"


def _as_text(of: pa.DataType) -> bool:
    return bool(pa.types.is_decimal(of) or pa.types.is_floating(of))
