"""Types of PostgreSQL: which Arrow type holds them exactly, and how a contract names them."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from headgate.contract.model import Kind, Limits, Type

# pg_type.oid of the built-in types that have an exact Arrow type. Everything else is text as PostgreSQL prints it.
_PLAIN: dict[int, pa.DataType] = {
    16: pa.bool_(),
    17: pa.binary(),
    20: pa.int64(),
    21: pa.int32(),
    23: pa.int32(),
    700: pa.float32(),
    701: pa.float64(),
    1082: pa.date32(),
    1083: pa.time64("us"),
    1114: pa.timestamp("us"),
    1184: pa.timestamp("us", tz="UTC"),
}
_NUMERIC = 1700
_BYTEA = 17
_BPCHAR, _VARCHAR, _UUID = 1042, 1043, 2950
_WATERMARKS = {
    20: "number",
    21: "number",
    23: "number",
    700: "number",
    701: "number",
    1700: "number",
    1082: "date",
    1114: "naive",
    1184: "zoned",
}


@dataclass(frozen=True, slots=True)
class Column:
    """A column as the catalog has it; domains are resolved to the type under them."""

    name: str
    number: int  # pg_attribute.attnum
    type_oid: int
    modifier: int  # atttypmod, -1 when none
    spelling: str  # as format_type gives it, such as numeric(10,2)
    cast: str  # the type under all domains, without modifier, as SQL
    nullable: bool
    comment: str = ""
    labels: tuple[str, ...] = ()  # of an enum

    @property
    def arrow(self) -> pa.DataType:
        """The Arrow type of the column in bronze."""
        if self.type_oid == _NUMERIC:
            size = numeric_size(self.modifier)
            if size is not None and 1 <= size[0] <= 38 and 0 <= size[1] <= size[0]:
                return pa.decimal128(*size)
            return pa.string()
        return _PLAIN.get(self.type_oid, pa.string())

    @property
    def is_bytes(self) -> bool:
        """Sent as hexadecimal digits."""
        return self.type_oid == _BYTEA

    @property
    def watermark_kind(self) -> str | None:
        """number, date, naive (a timestamp without zone) or zoned; None when it cannot order reads."""
        return _WATERMARKS.get(self.type_oid)

    @property
    def logical(self) -> Type:
        """The contract's type for the column."""
        return logical_type(self.arrow)

    @property
    def limits(self) -> Limits:
        """What the column's type says about its values: lengths, formats."""
        if self.type_oid == _VARCHAR and self.modifier > 4:
            return Limits(max_length=self.modifier - 4)
        if self.type_oid == _BPCHAR and self.modifier > 4:
            return Limits(min_length=self.modifier - 4, max_length=self.modifier - 4)
        if self.type_oid == _UUID:
            return Limits(format="uuid")
        return Limits()


def numeric_size(modifier: int) -> tuple[int, int] | None:
    """Precision and scale of a numeric's type modifier (scale is an 11-bit signed number); None when unbounded."""
    if modifier < 4:
        return None
    packed = modifier - 4
    return (packed >> 16) & 0xFFFF, ((packed & 0x7FF) ^ 1024) - 1024


def logical_type(of: pa.DataType) -> Type:
    """The contract type that holds an Arrow type of ours."""
    if pa.types.is_integer(of):
        return Type(Kind.INTEGER, bits=of.bit_width)
    if pa.types.is_floating(of):
        return Type(Kind.NUMBER, bits=of.bit_width)
    if pa.types.is_decimal(of):
        return Type(Kind.DECIMAL, precision=of.precision, scale=of.scale)
    if pa.types.is_timestamp(of):
        return Type(Kind.TIMESTAMP, zoned=of.tz is not None)
    simple = {
        pa.bool_(): Kind.BOOLEAN,
        pa.binary(): Kind.BINARY,
        pa.date32(): Kind.DATE,
        pa.time64("us"): Kind.TIME,
    }
    return Type(simple.get(of, Kind.STRING))
