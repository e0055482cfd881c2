"""Rows as JSON lines.

Rows that hold a raw record (`_hg_raw`) are written as that record, byte for byte. A record that cannot stand on a line
(it is missing, has a line break in it, or is no UTF-8) is written as an object with its bytes in base64, under the
names below, so that nothing is lost and a reader can tell.

Other rows are one object each: numbers and texts as themselves; decimals as texts with all their digits, since readers
take JSON numbers for floats; bytes in base64; dates and times in ISO 8601, instants in UTC with a `Z`; NaN and infinity
as texts.
"""

from __future__ import annotations

import base64
import json
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from headgate.contract.to_sql import literal, quote
from headgate.ports.batch import OFFSET, PARTITION, RAW

BYTES_BASE64 = "_hg_raw_base64"  # of a record that cannot stand on a line; null: the record was missing


def encode(rows: pa.RecordBatch) -> Any:
    """The rows as an Arrow array of binary lines, each with its line end."""
    lines = _raw(rows) if RAW in rows.schema.names else _objects(rows)
    compute: Any = pc
    return compute.binary_join_element_wise(lines, pa.scalar(b"", lines.type), pa.scalar(b"\n", lines.type))


def _raw(rows: pa.RecordBatch) -> Any:
    compute: Any = pc
    raw: Any = rows.column(RAW).cast(pa.large_binary())
    unfit = compute.or_(compute.match_substring(raw, b"\n"), compute.match_substring(raw, b"\r"))
    bad = set(compute.indices_nonzero(compute.fill_null(unfit, True)).to_pylist())
    try:
        raw.cast(pa.large_string())  # proves that all of it is UTF-8
    except pa.ArrowInvalid:
        bad |= {n for n, value in enumerate(raw.to_pylist()) if value is not None and not _is_text(value)}
    if not bad:
        return raw
    wrapped = [_wrapped(rows, n) if n in bad else raw[n].as_py() for n in range(rows.num_rows)]
    return pa.array(wrapped, pa.large_binary())


def _is_text(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def _wrapped(rows: pa.RecordBatch, number: int) -> bytes:
    value = rows.column(RAW)[number].as_py()
    document = {
        PARTITION: rows.column(PARTITION)[number].as_py(),
        OFFSET: rows.column(OFFSET)[number].as_py(),
        BYTES_BASE64: None if value is None else base64.b64encode(value).decode(),
    }
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def _objects(rows: pa.RecordBatch) -> Any:
    import duckdb

    members = ", ".join(f"{literal(f.name)}: {_json(f.type, quote(f.name), 0)}" for f in rows.schema)
    with duckdb.connect(config={"threads": 1}) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("hg_rows", pa.Table.from_batches([rows]))
        found = connection.sql(f"SELECT CAST(to_json({{{members}}}) AS VARCHAR) AS line FROM hg_rows")
        lines: Any = found.to_arrow_table()["line"].combine_chunks()
    return lines.cast(pa.large_string()).cast(pa.large_binary())


def _json(of: Any, sql: str, depth: int) -> str:
    """SQL: a value that `to_json` writes without loss."""
    each = f"hg_x{depth}"
    if pa.types.is_decimal(of):
        return f"CAST({sql} AS VARCHAR)"
    if pa.types.is_floating(of):
        return f"CASE WHEN isfinite({sql}) THEN to_json({sql}) ELSE to_json(CAST({sql} AS VARCHAR)) END"
    if pa.types.is_binary(of) or pa.types.is_large_binary(of) or pa.types.is_fixed_size_binary(of):
        return f"base64({sql})"
    if pa.types.is_timestamp(of):
        moment = f"make_timestamp(epoch_us({sql}))" if of.tz else sql
        return f"replace(CAST({moment} AS VARCHAR), ' ', 'T') || '{'Z' if of.tz else ''}'"
    if pa.types.is_temporal(of):
        return f"CAST({sql} AS VARCHAR)"
    if pa.types.is_struct(of):
        members = ", ".join(
            f"{literal(f.name)}: {_json(f.type, f'struct_extract({sql}, {literal(f.name)})', depth)}" for f in of
        )
        return f"CASE WHEN {sql} IS NULL THEN NULL ELSE {{{members}}} END"
    if pa.types.is_map(of):
        pair = f"{{'key': {_json(of.key_type, f'{each}.key', depth + 1)}, 'value': "
        pair += f"{_json(of.item_type, f'{each}.value', depth + 1)}}}"
        return f"list_transform(map_entries({sql}), lambda {each}: {pair})"
    if pa.types.is_list(of) or pa.types.is_large_list(of):
        return f"list_transform({sql}, lambda {each}: {_json(of.value_type, each, depth + 1)})"
    return sql
