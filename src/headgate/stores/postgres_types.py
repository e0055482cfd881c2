"""Which PostgreSQL type holds which Arrow type, and which change of type keeps every value."""

from __future__ import annotations

import re
from typing import Any

import pyarrow as pa

from headgate.errors import FixInputError

_SIMPLE: dict[Any, str] = {
    pa.string(): "text",
    pa.int32(): "integer",
    pa.int64(): "bigint",
    pa.float32(): "real",
    pa.float64(): "double precision",
    pa.bool_(): "boolean",
    pa.date32(): "date",
    pa.time64("us"): "time without time zone",
    pa.timestamp("us"): "timestamp without time zone",
    pa.timestamp("us", tz="UTC"): "timestamp with time zone",
    pa.binary(): "bytea",
}
_WIDER = {("integer", "bigint"), ("real", "double precision")}
_NUMERIC = re.compile(r"numeric\((\d+),(\d+)\)")


def nested(of: Any) -> bool:
    """Whether values of this type become jsonb."""
    return bool(pa.types.is_nested(of))


def postgres_type(of: Any, where: str) -> str:
    """PostgreSQL's own name of the type that holds every value of the Arrow type, or nearly every one (see `binary`).

    FixInputError for a type that has none.
    """
    if nested(of):
        return "jsonb"
    if pa.types.is_decimal(of) and of.scale >= 0:
        return f"numeric({of.precision},{of.scale})"
    if of not in _SIMPLE:
        raise FixInputError(f"PostgreSQL has no type for {of}", where=where, stage="serve")
    return _SIMPLE[of]


def widens(held: str, asked: str) -> bool:
    """Whether a column may change from one type to the other without any value changing."""
    old, new = _NUMERIC.fullmatch(held), _NUMERIC.fullmatch(asked)
    if old and new:
        return old[2] == new[2] and int(new[1]) >= int(old[1])
    return (held, asked) in _WIDER
