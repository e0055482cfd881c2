"""Arrow types as Iceberg types and back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pyarrow as pa
from pyiceberg.schema import Schema
from pyiceberg.types import (
    BinaryType,
    BooleanType,
    DateType,
    DecimalType,
    DoubleType,
    FixedType,
    FloatType,
    IcebergType,
    IntegerType,
    ListType,
    LongType,
    MapType,
    NestedField,
    StringType,
    StructType,
    TimestampType,
    TimestamptzType,
    TimeType,
    UUIDType,
)

from headgate.errors import FixInputError

DOC = b"doc"
FIELD_ID = b"PARQUET:field_id"

_EXACT: dict[pa.DataType, IcebergType] = {
    pa.bool_(): BooleanType(),
    pa.int8(): IntegerType(),
    pa.int16(): IntegerType(),
    pa.int32(): IntegerType(),
    pa.uint8(): IntegerType(),
    pa.uint16(): IntegerType(),
    pa.uint32(): LongType(),
    pa.int64(): LongType(),
    pa.float16(): FloatType(),
    pa.float32(): FloatType(),
    pa.float64(): DoubleType(),
    pa.date32(): DateType(),
    pa.time64("us"): TimeType(),
    pa.string(): StringType(),
    pa.large_string(): StringType(),
    pa.string_view(): StringType(),
    pa.binary(): BinaryType(),
    pa.large_binary(): BinaryType(),
    pa.binary_view(): BinaryType(),
    pa.timestamp("us"): TimestampType(),
}
_TO_ARROW: dict[type[IcebergType], pa.DataType] = {
    BooleanType: pa.bool_(),
    IntegerType: pa.int32(),
    LongType: pa.int64(),
    FloatType: pa.float32(),
    DoubleType: pa.float64(),
    DateType: pa.date32(),
    TimeType: pa.time64("us"),
    TimestampType: pa.timestamp("us"),
    TimestamptzType: pa.timestamp("us", tz="UTC"),
    StringType: pa.string(),
    BinaryType: pa.binary(),
    UUIDType: pa.binary(16),
}


def _doc(field: pa.Field[Any]) -> str | None:
    text = (field.metadata or {}).get(DOC)
    return text.decode() if text else None


def iceberg_type(kind: pa.DataType, where: str, next_id: Callable[[], int]) -> IcebergType:
    """The Iceberg type of an Arrow type; FixInputError naming the column when there is none that keeps every value."""
    if pa.types.is_dictionary(kind):
        return iceberg_type(kind.value_type, where, next_id)
    if found := _EXACT.get(kind):
        return found
    if pa.types.is_timestamp(kind) and kind.unit == "us":
        return TimestamptzType()
    if pa.types.is_decimal(kind) and kind.precision <= 38 and 0 <= kind.scale <= kind.precision:
        return DecimalType(kind.precision, kind.scale)
    if pa.types.is_fixed_size_binary(kind):
        return FixedType(kind.byte_width)
    if pa.types.is_struct(kind):
        return StructType(*iceberg_fields(kind, where, next_id))
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        element_id, item = next_id(), kind.value_field
        return ListType(element_id, iceberg_type(item.type, f"{where}[]", next_id), element_required=not item.nullable)
    if pa.types.is_map(kind):
        key_id, value_id = next_id(), next_id()
        key = iceberg_type(kind.key_type, f"{where}.key", next_id)
        value = iceberg_type(kind.item_type, f"{where}.value", next_id)
        return MapType(key_id, key, value_id, value, value_required=not kind.item_field.nullable)
    raise FixInputError(f"column {where}: Iceberg has no type for {kind}", hint="timestamps need microseconds")


def iceberg_fields(fields: Any, where: str, next_id: Callable[[], int]) -> Iterator[NestedField]:
    """Iceberg fields of an Arrow schema or struct type, each given an id before its children."""
    for field in fields:
        place = f"{where}.{field.name}" if where else field.name
        field_id = next_id()
        yield NestedField(
            field_id,
            field.name,
            iceberg_type(field.type, place, next_id),
            required=not field.nullable,
            doc=_doc(field),
        )


def arrow_type(kind: IcebergType, *, ids: bool = False) -> pa.DataType:
    """The Arrow type of an Iceberg type; with `ids`, nested fields carry their Parquet field ids."""
    match kind:
        case DecimalType():
            return pa.decimal128(kind.precision, kind.scale)
        case FixedType():
            return pa.binary(len(kind))
        case StructType():
            return pa.struct([arrow_field(f, ids=ids) for f in kind.fields])
        case ListType():
            return pa.list_(arrow_field(kind.element_field, ids=ids))
        case MapType():
            key: Any = arrow_field(kind.key_field, ids=ids)
            return pa.map_(key, arrow_field(kind.value_field, ids=ids))  # type: ignore[call-overload,no-any-return]
        case _:
            found = _TO_ARROW.get(type(kind))
            if found is None:
                raise FixInputError(f"a table has a column of type {kind}, which is not supported")
            return found


def arrow_field(field: NestedField, *, ids: bool = False) -> pa.Field[Any]:
    """The Arrow field of an Iceberg field, its doc (or, with `ids`, its field id) in the metadata."""
    metadata: dict[bytes, bytes] = {}
    if ids:
        metadata[FIELD_ID] = str(field.field_id).encode()
    elif field.doc:
        metadata[DOC] = field.doc.encode()
    return pa.field(field.name, arrow_type(field.field_type, ids=ids), not field.required, metadata or None)


def arrow_schema(schema: Schema, *, ids: bool = False) -> pa.Schema:
    """The Arrow schema of a table; with `ids` as its data files are written, without as its readers see it."""
    return pa.schema([arrow_field(f, ids=ids) for f in schema.fields])


def duckdb_field_ids(fields: tuple[NestedField, ...]) -> dict[str, Any]:
    """Field ids in the shape of DuckDB's `COPY … (FIELD_IDS {…})`."""
    return {f.name: _duckdb_id(f) for f in fields}


def _duckdb_id(field: NestedField) -> Any:
    kind = field.field_type
    children: Mapping[str, Any]
    match kind:
        case StructType():
            children = duckdb_field_ids(kind.fields)
        case ListType():
            children = {"element": _duckdb_id(kind.element_field)}
        case MapType():
            children = {"key": _duckdb_id(kind.key_field), "value": _duckdb_id(kind.value_field)}
        case _:
            return field.field_id
    return {"__duckdb_field_id": field.field_id, **children}
