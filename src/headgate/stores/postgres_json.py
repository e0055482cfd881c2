"""Nested Arrow columns as JSON text, by the contract's one spelling of a value (see contract.sql_canonical)."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute

from headgate.contract.model import Field, Kind, Type
from headgate.contract.sql_canonical import canonical

compute: Any = pyarrow.compute
_NUL = r"((?:^|[^\\])(?:\\\\)*)\\u0000"  # an escaped NUL; the backslash before it is not itself escaped


class JsonTexts:
    """Writes JSON with a database in memory of its own."""

    def __init__(self) -> None:
        import duckdb

        self._connection = duckdb.connect(":memory:", config={"threads": 1, "autoload_known_extensions": False})
        self._connection.execute("SET TimeZone = 'UTC'")

    def texts(self, column: Any) -> Any:
        """The column as JSON text; NULL stays NULL."""
        self._connection.register("hg_rows", pa.table({"v": column}))
        sql = f"SELECT {canonical(contract_type(column.type), 'v')} AS v FROM hg_rows"
        texts: Any = self._connection.sql(sql).to_arrow_table().column("v").cast(pa.string())
        return pa.concat_arrays(texts.chunks) if texts.num_chunks != 1 else texts.chunk(0)


def with_nul(texts: Any) -> Any:
    """Which JSON texts hold an escaped NUL; None when none does."""
    if not compute.any(compute.match_substring(texts, "\\u0000")).as_py():
        return None
    found = compute.match_substring_regex(texts, _NUL)
    return found if compute.any(found).as_py() else None


def without_nul(texts: Any) -> Any:
    """The JSON texts with U+2400 for every escaped NUL."""
    while with_nul(texts) is not None:
        texts = compute.replace_substring_regex(texts, _NUL, r"\1\\u2400")
    return texts


def contract_type(of: Any) -> Type:
    """The contract type that becomes this Arrow type."""
    t = pa.types
    if t.is_struct(of):
        return Type(Kind.OBJECT, fields=tuple(_field(of.field(i)) for i in range(of.num_fields)))
    if t.is_map(of):
        return Type(Kind.MAP, key=_field(of.key_field), item=_field(of.item_field))
    if t.is_list(of) or t.is_large_list(of):
        return Type(Kind.ARRAY, item=_field(of.value_field))
    if t.is_decimal(of):
        return Type(Kind.DECIMAL, precision=of.precision, scale=of.scale)
    if t.is_timestamp(of):
        return Type(Kind.TIMESTAMP, zoned=of.tz is not None)
    if t.is_integer(of):
        return Type(Kind.INTEGER, bits=of.bit_width)
    if t.is_floating(of):
        return Type(Kind.NUMBER, bits=of.bit_width)
    for test, kind in (
        (t.is_boolean, Kind.BOOLEAN),
        (t.is_date, Kind.DATE),
        (t.is_time, Kind.TIME),
        (t.is_binary, Kind.BINARY),
    ):
        if test(of):
            return Type(kind)
    return Type(Kind.STRING)


def _field(of: Any) -> Field:
    return Field(of.name, contract_type(of.type))
