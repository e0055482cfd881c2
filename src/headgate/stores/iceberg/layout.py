"""How a table is made from a TableSpec; how it follows a changed one stands in `evolution`."""

from __future__ import annotations

import itertools
import json
import re
import uuid
from pathlib import Path

from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.table.metadata import TableMetadata, new_table_metadata
from pyiceberg.table.sorting import NullOrder, SortDirection, SortField, SortOrder
from pyiceberg.transforms import IdentityTransform, parse_transform
from pyiceberg.types import (
    DoubleType,
    FloatType,
    NestedField,
)

from headgate.errors import FixInputError
from headgate.ports.store import TableSpec
from headgate.stores.iceberg.arrow_types import iceberg_fields
from headgate.stores.iceberg.local_io import location_of

KEY = "headgate.key"
COMMENT = "comment"
_NAME = re.compile(r"[^./\\\x00-\x1f]{1,200}\.[^./\\\x00-\x1f]{1,200}")
_PARTITION = re.compile(r"identity|year|month|day|hour|bucket\[[1-9]\d{0,5}\]")
_DEFAULTS = {
    "write.format.default": "parquet",
    "write.parquet.compression-codec": "zstd",
    "write.metadata.delete-after-commit.enabled": "true",
    "write.metadata.previous-versions-max": "30",
    # Headgate commits by itself; another PyIceberg writer must not replay a refused commit blindly either.
    "commit.retry.num-retries": "0",
}


def check_name(name: str) -> None:
    """FixInputError unless the name is `layer.table`."""
    if not _NAME.fullmatch(name):
        raise FixInputError(f"not a table name: {name!r}", hint="a table is named layer.table")


def new_table(spec: TableSpec, warehouse: Path) -> TableMetadata:
    """The metadata of a table that does not exist yet, in a folder that no other table has had or will have."""
    check_name(spec.name)
    ids = itertools.count(1)
    schema = Schema(*iceberg_fields(spec.schema, "", lambda: next(ids)), identifier_field_ids=[])
    schema = Schema(*schema.fields, identifier_field_ids=identifiers(spec, schema))
    layer, table = spec.name.split(".")
    slug = re.sub(r"[^A-Za-z0-9_-]+", "_", table)[:60]
    folder = warehouse / re.sub(r"[^A-Za-z0-9_-]+", "_", layer)[:60] / f"{slug}-{uuid.uuid4().hex[:12]}"
    return new_table_metadata(
        schema=schema,
        partition_spec=partition_spec(spec, schema),
        sort_order=sort_order(spec, schema, 1),
        location=location_of(folder),
        properties={**_DEFAULTS, **properties(spec)},
    )


def properties(spec: TableSpec) -> dict[str, str]:
    """The properties that the table must have."""
    own = {COMMENT: spec.comment} if spec.comment else {}
    return {**own, KEY: json.dumps(list(spec.key)), **spec.properties}


def _column(spec: TableSpec, schema: Schema, name: str) -> NestedField:
    for field in schema.fields:
        if field.name == name:
            return field
    raise FixInputError(f"no column {name!r}", where=spec.name)


def identifiers(spec: TableSpec, schema: Schema) -> list[int]:
    """The key as Iceberg's identifier fields, which must be required and not floating; else none."""
    fields = [_column(spec, schema, name) for name in spec.key]
    fit = all(
        f.required and f.field_type.is_primitive and not isinstance(f.field_type, FloatType | DoubleType)
        for f in fields
    )
    return [f.field_id for f in fields] if fit else []


def partition_spec(spec: TableSpec, schema: Schema) -> PartitionSpec:
    """The spec's partitioning, numbered as that of a new table; FixInputError when Iceberg has no such thing."""
    fields = []
    for number, (column, transform) in enumerate(spec.partition):
        if not _PARTITION.fullmatch(transform):
            raise FixInputError(f"unknown partition transform {transform!r}", where=f"{spec.name}.{column}")
        source = _column(spec, schema, column)
        parsed = parse_transform(transform)
        if not parsed.can_transform(source.field_type):
            raise FixInputError(f"cannot partition {source.field_type} by {transform}", where=f"{spec.name}.{column}")
        suffix = "" if transform == "identity" else "_" + re.sub(r"\W", "_", transform).rstrip("_")
        fields.append(PartitionField(source.field_id, 1000 + number, parsed, column + suffix))
    return PartitionSpec(*fields)


def sort_order(spec: TableSpec, schema: Schema, order_id: int) -> SortOrder:
    """The spec's order over the schema's columns; 0 is the id of no order."""
    fields = [
        SortField(_column(spec, schema, name).field_id, IdentityTransform(), SortDirection.ASC, NullOrder.NULLS_FIRST)
        for name in spec.sort
    ]
    return SortOrder(*fields, order_id=order_id if fields else 0)
