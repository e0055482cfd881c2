"""Rows as messages of a log, and back.

One row is one message:

- **value**: the row's own columns as one JSON object (see `exact_json`); of a row that came as text or bytes, just
  those; nothing at all when the row was removed (a tombstone)
- **key**: the values of the table's key as text, several as a JSON array; none without a key
- **header `headgate`**: a JSON object with `schema` (a fingerprint) and Headgate's columns, without their prefix
- **other headers**, before that: those that the row's own message came with

The schema behind a fingerprint travels once, beside the messages: `describe` and `understand` are its two ends.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from headgate.contract.sql_names import literal, quote
from headgate.errors import FixInputError
from headgate.formats.exact_json import object_sql, read, shape, written
from headgate.ports.batch import HEADERS, OFFSET, PARTITION, PREFIX, RAW, REMOVED

HEADER = "headgate"
ORIGIN_PARTITION = "_hg_origin_partition"
ORIGIN_OFFSET = "_hg_origin_offset"
_BODIES = (RAW, "raw")  # columns that are a record as it came: of bronze, of quarantine
_ORIGINS = {PARTITION: ORIGIN_PARTITION, OFFSET: ORIGIN_OFFSET}


@dataclass(frozen=True, slots=True)
class Form:
    """How rows of one schema become messages: which column is the value as it is (None: the value is JSON)."""

    stream: str
    schema: pa.Schema
    body: str | None

    @classmethod
    def of(cls, stream: str, schema: pa.Schema) -> Form:
        """The form that rows of this schema take."""
        body = next((name for name in _BODIES if name in schema.names and _bytes(schema.field(name).type)), None)
        return cls(stream, pa.schema([f for f in schema if f.name != REMOVED]).remove_metadata(), body)

    def described(self) -> str:
        """The form as JSON text: for people, and for `understood`."""
        columns = [{"name": f.name, "type": str(f.type), "nullable": f.nullable} for f in self.schema]
        arrow = base64.b64encode(self.schema.serialize().to_pybytes()).decode()
        return json.dumps({"stream": self.stream, "body": self.body, "columns": columns, "arrow": arrow})

    @classmethod
    def understood(cls, text: str | bytes) -> Form:
        """The form that was described so. ValueError or KeyError when it was not."""
        told = json.loads(text)
        schema = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(told["arrow"])))
        return cls(told["stream"], schema, told["body"])

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits that stand for the form."""
        return hashlib.sha256(self.described().encode()).hexdigest()[:16]

    @property
    def value(self) -> list[pa.Field[Any]]:
        """Columns that the value's JSON object holds."""
        return [] if self.body else [f for f in self.schema if not f.name.startswith(PREFIX)]

    @property
    def header(self) -> list[pa.Field[Any]]:
        """Columns that travel in the header."""
        here = {f.name for f in self.value} | {self.body}
        return [f for f in self.schema if f.name not in here]

    @property
    def arrived(self) -> pa.Schema:
        """The columns that `Decoder` gives: the coordinates under other names, since messages have their own."""
        return pa.schema([pa.field(_ORIGINS.get(f.name, f.name), f.type, f.nullable) for f in self.schema])


@dataclass(frozen=True, slots=True)
class Messages:
    """Keys, values and headers of some rows, in their order; `others` are the headers that they came with, if any."""

    keys: list[bytes | None]
    values: list[bytes | None]
    headers: list[bytes]
    others: list[list[tuple[str, bytes | None]]] | None = None


class Encoder:
    """Makes messages from rows of one form, with `_hg_removed` or without. Not for several threads at once."""

    def __init__(self, form: Form, key: Sequence[str]) -> None:
        self.form = form
        self._connection = _connection()
        members = [(f.name.removeprefix(PREFIX), quote(f.name), f.type) for f in form.header]
        header = object_sql([("schema", literal(form.fingerprint), pa.string()), *members])
        if form.body:
            value = f"CAST({quote(form.body)} AS BLOB)"
        else:
            value = f"encode({object_sql([(f.name, quote(f.name), f.type) for f in form.value])})"
        unless = f"CASE WHEN {quote(REMOVED)} THEN NULL ELSE {value} END"
        self._select, self._removing = (
            f"SELECT {_key(form.schema, key)} AS k, {one} AS v, encode({header}) AS h FROM hg_rows"
            for one in (value, unless)
        )

    def encode(self, rows: pa.RecordBatch) -> Messages:
        """One message for each row, in order."""
        self._connection.register("hg_rows", rows)
        try:
            select = self._removing if REMOVED in rows.schema.names else self._select
            found = self._connection.sql(select).to_arrow_table()
        finally:
            self._connection.unregister("hg_rows")
        others = None
        if HEADERS in self.form.schema.names:
            came: Any = rows.column(HEADERS).to_pylist()
            others = [[(h["name"], h["value"]) for h in one or () if h["name"] is not None] for one in came]
        return Messages(found["k"].to_pylist(), found["v"].to_pylist(), found["h"].to_pylist(), others)

    def close(self) -> None:
        """Give back memory."""
        self._connection.close()


class Decoder:
    """Makes rows from messages of one form."""

    def __init__(self, form: Form) -> None:
        self.form = form
        self._connection = _connection()
        header = [(f.name.removeprefix(PREFIX), f.type) for f in form.header]
        value = [(f.name, f.type) for f in form.value]
        listed = []
        for one in form.schema:
            if one.name == form.body:
                sql = "v"
            elif one in form.value:
                sql = read(f"value.{quote(one.name)}", one.type)
            else:
                sql = read(f"header.{quote(one.name.removeprefix(PREFIX))}", one.type)
            listed.append(f"{sql} AS {quote(_ORIGINS.get(one.name, one.name))}")
        parsed = f"json_transform_strict(decode(h), {literal(shape(header))}) AS header"
        if value:
            parsed += f", json_transform_strict(decode(v), {literal(shape(value))}) AS value"
        self._select = f"SELECT {', '.join(listed)} FROM (SELECT v, {parsed} FROM hg_messages)"

    def decode(self, values: pa.Array[Any], headers: pa.Array[Any]) -> pa.RecordBatch:
        """The rows of these values and headers (binary arrays). ValueError when a message is not of this form."""
        import duckdb

        self._connection.register("hg_messages", pa.table({"v": values, "h": headers}))
        try:
            found = self._connection.sql(self._select).to_arrow_table()
        except duckdb.Error as cause:
            raise ValueError(str(cause)) from cause
        finally:
            self._connection.unregister("hg_messages")
        rows: pa.RecordBatch = pa.RecordBatch.from_arrays(
            [column.combine_chunks() for column in found.cast(self.form.arrived).columns], schema=self.form.arrived
        )
        return rows

    def close(self) -> None:
        """Give back memory."""
        self._connection.close()


def fingerprints(headers: pa.Array[Any]) -> list[str | None]:
    """The fingerprint in each header."""
    import duckdb

    connection = _connection()
    try:
        connection.register("hg_messages", pa.table({"h": headers}))
        found = connection.sql("SELECT json_extract_string(decode(h), '$.schema') AS f FROM hg_messages")
        listed: list[str | None] = found.to_arrow_table()["f"].to_pylist()
    except duckdb.Error as cause:
        raise ValueError(str(cause)) from cause
    else:
        return listed
    finally:
        connection.close()


def _key(schema: pa.Schema, key: Sequence[str]) -> str:
    missing = [name for name in key if name not in schema.names]
    if missing:
        raise FixInputError(f"the key's columns {', '.join(missing)} are not in the rows")
    if not key:
        return "CAST(NULL AS BLOB)"
    columns = [schema.field(name) for name in key]
    if len(columns) == 1:
        (one,) = columns
        return quote(one.name) if _bytes(one.type) else f"encode(CAST({written(quote(one.name), one.type)} AS VARCHAR))"
    return f"encode(CAST(json_array({', '.join(written(quote(f.name), f.type) for f in columns)}) AS VARCHAR))"


def _bytes(of: Any) -> bool:
    return bool(pa.types.is_binary(of) or pa.types.is_large_binary(of))


def _connection() -> Any:
    import duckdb

    connection = duckdb.connect(config={"threads": 1, "autoinstall_known_extensions": False})
    connection.execute("SET timezone = 'UTC'")
    return connection
