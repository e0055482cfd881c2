"""Typed bronze: every source column goes through one SQL statement to its contract type, or is a reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import duckdb
import numpy as np
import pyarrow as pa

from headgate.contract.model import Dataset, Field
from headgate.contract.to_arrow import arrow_type
from headgate.contract.to_sql import Column, column, literal, quote
from headgate.engines.duckdb.arrays import Query, by_number, fetch, pick
from headgate.engines.duckdb.decoded import (
    DROPPED_SCHEMA,
    REFUSED_SCHEMA,
    Decoded,
    take_dropped,
    warned,
    without_marks,
)
from headgate.engines.duckdb.dictionaries import plain, plain_of
from headgate.engines.duckdb.json_columns import columns_read
from headgate.engines.duckdb.judgement import REFUSED, ROW, SOURCE, Judgement, SourceColumn, build, provable_rules
from headgate.engines.duckdb.reasons import Reasons
from headgate.errors import DefectError, FixInputError
from headgate.ports.batch import INGESTED_AT, ODD, OFFSET, PARTITION, PREFIX, VERSION

WAITING_BYTES = 32 * 2**20  # of refused rows that may wait for their reasons


class TypedDecoder:
    """Decodes typed pieces of one dataset; a statement per shape of source is made once.

    Refused rows wait for their reasons until there are many.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, dataset: Dataset) -> None:
        self.connection, self.dataset = connection, dataset
        self._made: dict[tuple[str, bool], RowJudge] = {}
        self._waiting: dict[tuple[str, bool], list[pa.Table]] = {}
        self._no_rows = pa.table({})

    def decode(self, table: pa.Table) -> Decoded:
        """The rows of a bronze table, judged; the refused ones wait."""
        odd = ODD in table.column_names and table[ODD].null_count < table.num_rows
        schema = pa.schema([(one.name, plain_of(one.type)) for one in table.schema])
        shape = (str(schema), odd)
        if shape not in self._made:
            self._made[shape] = self._judge(schema, odd=odd)
        decoded, refused = self._made[shape].judge(table)
        self._no_rows = decoded.rows.schema.empty_table()
        if refused.num_rows:
            self._waiting.setdefault(shape, []).append(plain(refused))
            if sum(rows.nbytes for some in self._waiting.values() for rows in some) > WAITING_BYTES:
                decoded.refused = self._explained()
        return decoded

    @property
    def waiting(self) -> int:
        """How many rows wait."""
        return sum(rows.num_rows for some in self._waiting.values() for rows in some)

    def careful_rest(self) -> Decoded:
        """The rows that wait, with their reasons."""
        return Decoded(self._no_rows, np.empty(0, bool), self._explained(), DROPPED_SCHEMA.empty_table(), Counter())

    def _explained(self) -> pa.Table:
        waiting, self._waiting = self._waiting, {}
        return pa.concat_tables(self._made[shape].explain(pa.concat_tables(some)) for shape, some in waiting.items())

    def _judge(self, schema: pa.Schema, *, odd: bool) -> RowJudge:
        columns = source_columns(self.connection, self.dataset, schema, odd=odd)
        raw, versioned = _typed_raw(schema, odd=odd), VERSION in schema.names
        return RowJudge(self.connection, self.dataset, columns, schema, raw, versioned=versioned)


class RowJudge:
    """Judges relations of source columns of one shape."""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        dataset: Dataset,
        columns: Mapping[str, SourceColumn],
        schema: pa.Schema,
        raw_sql: str,
        *,
        versioned: bool = False,
    ) -> None:
        """`columns` are what the contract's fields are in a relation of this schema; `raw_sql` gives a refused row's
        raw form as BLOB."""
        self._connection = connection
        # Silver columns that are source columns as they stand do not go through the engine, and Arrow has counted
        # where values are missing.
        self._passed = as_they_are(dataset, columns, schema)
        needed = [(name, rule) for name in self._passed for rule in provable_rules(dataset).get(name, ())]
        needed = [(name, rule) for name, rule in needed if rule.check == "required"]
        self._needed = sorted({self._passed[name] for name, _ in needed})
        self._judgement = build(dataset, columns, versioned=versioned)
        there = build(dataset, columns, versioned=versioned, proven={rule.id for _, rule in needed})
        self._any, self._there = (self._statement(one) for one in (self._judgement, there))
        self._raw = Query(connection, f"SELECT {ROW}, {raw_sql} AS raw FROM {SOURCE}")
        self._reasons = Reasons(connection, self._judgement)

    def _statement(self, judgement: Judgement) -> Query:
        marks = ", ".join(quote(name) for name in judgement.columns if name not in self._passed)
        return Query(self._connection, f"SELECT {marks} FROM ({judgement.select})")

    def judge(self, table: pa.Table) -> tuple[Decoded, pa.Table]:
        """The rows of a relation, and apart from them those that are refused, which have no reasons yet."""
        missing = any(table[name].null_count for name in self._needed)
        judged = self._fetch(self._any if missing else self._there, table)
        keep = ~judged[REFUSED].to_numpy()
        refused = table.slice(0, 0) if keep.all() else pick(table, ~keep)
        dropped = take_dropped(judged, self._judgement, table, keep)
        counted = warned(judged, self._judgement, keep)
        for name, of in self._passed.items():
            judged = judged.append_column(name, table[of])
        return Decoded(without_marks(judged, table), keep, REFUSED_SCHEMA.empty_table(), dropped, counted), refused

    def explain(self, refused: pa.Table) -> pa.Table:
        """Refused rows whole, with every reason."""
        if not refused.num_rows:
            return REFUSED_SCHEMA.empty_table()
        raw = self._fetch(self._raw, refused)["raw"]
        reasons = self._reasons.of(_numbered(refused))
        columns = [refused[PARTITION], refused[OFFSET], refused[INGESTED_AT], raw, pa.chunked_array([reasons])]
        return pa.table(dict(zip(REFUSED_SCHEMA.names, columns, strict=True))).cast(REFUSED_SCHEMA)

    def _fetch(self, query: Query, table: pa.Table) -> pa.Table:
        """What a statement makes of each row."""
        self._connection.register(SOURCE, _numbered(table))
        try:
            found = query.fetch()
        finally:
            self._connection.unregister(SOURCE)
        ordered = by_number(found, ROW, np.arange(table.num_rows))
        if ordered is None:
            raise DefectError("the engine lost rows while typing them")
        return ordered


def _numbered(table: pa.Table) -> pa.Table:
    return table.append_column(ROW, pa.array(np.arange(table.num_rows, dtype=np.int64)))


def as_they_are(dataset: Dataset, columns: Mapping[str, SourceColumn], schema: pa.Schema) -> dict[str, str]:
    """The contract's fields that are a source's column as it stands, with the name of that column."""
    return {
        field.name: field.source_name
        for field in dataset.fields
        if columns[field.name].column.value == quote(field.source_name)
        and plain_of(schema.field(field.source_name).type) == arrow_type(field.type)
    }


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


def _typed_raw(schema: pa.Schema, *, odd: bool) -> str:
    """SQL: the source's columns as JSON text. Decimals are texts, since a reader of JSON may round numbers."""
    members = []
    for one in schema:
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
