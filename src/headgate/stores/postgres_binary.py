"""Arrow rows as PostgreSQL's binary COPY format, column by column.

A row is: int16 number of fields, then for each field its int32 length (-1 for NULL) and its bytes, big-endian. What
has a fixed width is laid out as one NumPy structure; texts and values that may be NULL stand between such stretches;
Arrow joins the pieces row by row. So no Python object is made for a row. Binary because it is exact: floats, instants
and bytes need no spelling; and because server and client spend less on it than on text (see bench/hops/serve.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

from headgate.errors import FixInputError
from headgate.ports.batch import OFFSET, PARTITION
from headgate.stores.postgres_json import JsonTexts, with_nul, without_nul
from headgate.stores.postgres_numeric import numeric
from headgate.stores.postgres_types import nested

compute: Any = pyarrow.compute
Array = Any  # a pa.Array of some type

HEAD = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TAIL = b"\xff\xff"
ROWS = 1 << 16  # encoded together
FIRST_ROWS = 1 << 13  # so that the server has something to do soon
BYTES = 32 << 20
EPOCH_US, EPOCH_DAYS = 946_684_800_000_000, 10_957  # 2000-01-01
FIRST_US = -210_866_803_200_000_000  # 4714-11-24 BC, where PostgreSQL's calendar begins
FIRST_DAY, LAST_DAY = -2_440_588, 2_145_042_905
NUL_SIGN = "\u2400"  # what stands for NUL where that is asked for


class RowEncoder:
    """Encodes rows of one schema. With `replace_nul` a NUL in a text becomes U+2400, else it is refused."""

    def __init__(self, schema: pa.Schema, table: str, *, replace_nul: bool) -> None:
        self.schema, self.table, self.replace_nul = schema, table, replace_nul
        self._json = JsonTexts() if any(nested(f.type) for f in schema) else None
        self._most = FIRST_ROWS

    def encode(self, rows: pa.RecordBatch) -> Iterator[bytes]:
        """The rows in chunks. FixInputError for a value that PostgreSQL cannot hold, with its row's coordinates."""
        each = max(1, min(ROWS, BYTES * rows.num_rows // max(rows.nbytes, 1)))
        start = 0
        while start < rows.num_rows:
            size = min(each, self._most)
            yield self._chunk(rows.slice(start, size))
            start, self._most = start + size, ROWS

    def _chunk(self, rows: pa.RecordBatch) -> bytes:
        pieces = _Pieces(rows.num_rows)
        pieces.fixed(np.full(rows.num_rows, len(self.schema), ">i2"))
        for position, field in enumerate(self.schema):
            column: Array = rows.column(position)
            if nested(field.type):
                pieces.text(self._json_texts(column, field.name, rows), b"\1")
            elif pa.types.is_string(field.type):
                pieces.text(self._texts(column, field.name, rows))
            elif pa.types.is_binary(field.type):
                pieces.text(column)
            else:
                pieces.value(column, self._values(column, field.name, rows))
        return pieces.joined()

    def _json_texts(self, column: Array, name: str, rows: pa.RecordBatch) -> Array:
        assert self._json is not None
        texts = self._json.texts(column)
        found = with_nul(texts)
        if found is None:
            return texts
        if not self.replace_nul:
            self._refuse(found, name, rows, "PostgreSQL's jsonb cannot hold a NUL character")
        return without_nul(texts)

    def _texts(self, column: Array, name: str, rows: pa.RecordBatch) -> Array:
        if not _has_zero_byte(column):
            return column
        if self.replace_nul:
            return compute.replace_substring(column, "\0", NUL_SIGN)
        self._refuse(compute.match_substring(column, "\0"), name, rows, "PostgreSQL's text cannot hold a NUL character")
        return column

    def _values(self, column: Array, name: str, rows: pa.RecordBatch) -> np.ndarray:
        """The column's values, big-endian; anything where it is NULL."""
        of = column.type
        if pa.types.is_decimal(of):
            return numeric(column)
        if pa.types.is_boolean(of):
            return _numpy(compute.fill_null(column, False)).astype("u1")
        if pa.types.is_timestamp(of):
            moments = _plain(column, pa.int64(), 0)
            self._within(column, moments, FIRST_US, 2**63 - 1, name, rows)
            return (moments - EPOCH_US).astype(">i8")
        if pa.types.is_date32(of):
            days = _plain(column, pa.int32(), 0)
            self._within(column, days, FIRST_DAY, LAST_DAY, name, rows)
            return (days.astype("i8") - EPOCH_DAYS).astype(">i4")
        if pa.types.is_time64(of):
            return _plain(column, pa.int64(), 0).astype(">i8")
        values = _numpy(compute.fill_null(column, pa.scalar(0, of)))
        return values.astype(values.dtype.newbyteorder(">"))

    def _within(
        self, column: Array, values: np.ndarray, first: int, last: int, name: str, rows: pa.RecordBatch
    ) -> None:
        if len(values) and (values.min() < first or values.max() > last):
            outside = compute.and_kleene(pa.array((values < first) | (values > last)), compute.is_valid(column))
            self._refuse(outside, name, rows, "PostgreSQL's calendar does not reach this moment")

    def _refuse(self, mask: Array, name: str, rows: pa.RecordBatch, why: str) -> None:
        """FixInputError naming the first row of the mask; nothing when there is none."""
        at = compute.index(mask, True).as_py()
        if at < 0:
            return
        row = ""
        if {PARTITION, OFFSET} <= set(rows.schema.names):
            found: Any = rows.select([PARTITION, OFFSET]).slice(at, 1).to_pylist()[0]
            row = f" (row {found[PARTITION]} {found[OFFSET]})"
        raise FixInputError(
            f"column {name}: {why}{row}",
            where=self.table,
            hint="let a rule of the contract reject such values"
            + (", or say `nul: replace` beside the target" if "NUL" in why else ""),
            stage="serve",
        )


class _Pieces:
    """The pieces of some rows, joined at the end."""

    def __init__(self, rows: int) -> None:
        self.rows = rows
        self._run: list[np.ndarray] = []
        self._pieces: list[Array] = []

    def fixed(self, values: np.ndarray) -> None:
        """Bytes of one width in each row."""
        self._run.append(values)

    def text(self, column: Array, prefix: bytes = b"") -> None:
        """A length and as many bytes; the prefix stands before them in each row that has a value."""
        lengths = _numpy(compute.fill_null(compute.binary_length(column), -1))
        content = column.cast(pa.binary())
        if prefix:
            lengths = np.where(lengths < 0, lengths, lengths + len(prefix))
            content = compute.binary_join_element_wise(pa.scalar(prefix, pa.binary()), content, b"")
        self.fixed(lengths.astype(">i4"))
        self._flush()
        self._pieces.append(compute.fill_null(content, b"") if content.null_count else content)

    def value(self, column: Array, values: np.ndarray) -> None:
        """A length and a value of fixed width; no value where the column is NULL."""
        width = values.dtype.itemsize
        if not column.null_count:
            self.fixed(np.full(self.rows, width, ">i4"))
            self.fixed(values)
            return
        valid = _numpy(compute.is_valid(column))
        self.fixed(np.where(valid, width, -1).astype(">i4"))
        self._flush()
        ends = np.zeros(self.rows + 1, "i4")
        np.cumsum(valid * np.int32(width), out=ends[1:])
        self._pieces.append(_array(pa.binary(), self.rows, [None, _buffer(ends), _buffer(values[valid])]))

    def _flush(self) -> None:
        if not self._run:
            return
        layout = np.dtype([(f"f{i}", part.dtype) for i, part in enumerate(self._run)])
        laid = np.empty(self.rows, layout)
        for i, part in enumerate(self._run):
            laid[f"f{i}"] = part
        self._run.clear()
        fixed = _array(pa.binary(layout.itemsize), self.rows, [None, _buffer(laid)])
        self._pieces.append(fixed.cast(pa.binary()))

    def joined(self) -> bytes:
        self._flush()
        whole = compute.binary_join_element_wise(*self._pieces, b"")
        ends = np.frombuffer(whole.buffers()[1], "i4")
        content: bytes = whole.buffers()[2].slice(0, int(ends[self.rows])).to_pybytes()
        return content


_array: Callable[..., Array] = pa.Array.from_buffers
_buffer: Callable[..., pa.Buffer] = pa.py_buffer


def _numpy(column: Array) -> np.ndarray:
    values: np.ndarray = column.to_numpy(zero_copy_only=False)
    return values


def _plain(column: Array, of: Any, null: int) -> np.ndarray:
    """A column of moments as the integers that it is made of."""
    return _numpy(compute.fill_null(column.view(of), pa.scalar(null, of)))


def _has_zero_byte(column: Array) -> bool:
    """Whether the bytes behind a text column hold a zero."""
    content = column.buffers()[2]
    if content is None or not len(column):
        return False
    ends = np.frombuffer(column.buffers()[1], "i4")[column.offset : column.offset + len(column) + 1]
    used = np.frombuffer(content, "u1")[ends[0] : ends[-1]]
    return bool(len(used)) and used.min() == 0
