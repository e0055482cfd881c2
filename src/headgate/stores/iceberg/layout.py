"""How a table is made from a TableSpec, and how far it may follow a changed one."""

from __future__ import annotations

import itertools
import json
import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.table.metadata import TableMetadata, new_table_metadata
from pyiceberg.table.sorting import NullOrder, SortDirection, SortField, SortOrder
from pyiceberg.table.update import (
    AddSchemaUpdate,
    AddSortOrderUpdate,
    SetCurrentSchemaUpdate,
    SetDefaultSortOrderUpdate,
    SetPropertiesUpdate,
    TableUpdate,
)
from pyiceberg.transforms import IdentityTransform, parse_transform
from pyiceberg.types import (
    DecimalType,
    DoubleType,
    FloatType,
    IcebergType,
    IntegerType,
    ListType,
    LongType,
    MapType,
    NestedField,
    StructType,
)

from headgate.errors import BreakingChangeError, FixInputError
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
    schema = Schema(*schema.fields, identifier_field_ids=_identifiers(spec, schema))
    layer, table = spec.name.split(".")
    slug = re.sub(r"[^A-Za-z0-9_-]+", "_", table)[:60]
    folder = warehouse / re.sub(r"[^A-Za-z0-9_-]+", "_", layer)[:60] / f"{slug}-{uuid.uuid4().hex[:12]}"
    return new_table_metadata(
        schema=schema,
        partition_spec=_partition_spec(spec, schema),
        sort_order=_sort_order(spec, schema, 1),
        location=location_of(folder),
        properties={**_DEFAULTS, **_properties(spec)},
    )


def _properties(spec: TableSpec) -> dict[str, str]:
    own = {COMMENT: spec.comment} if spec.comment else {}
    return {**own, KEY: json.dumps(list(spec.key)), **spec.properties}


def _column(spec: TableSpec, schema: Schema, name: str) -> NestedField:
    for field in schema.fields:
        if field.name == name:
            return field
    raise FixInputError(f"no column {name!r}", where=spec.name)


def _identifiers(spec: TableSpec, schema: Schema) -> list[int]:
    """The key as Iceberg's identifier fields, which must be required and not floating; else none."""
    fields = [_column(spec, schema, name) for name in spec.key]
    fit = all(
        f.required and f.field_type.is_primitive and not isinstance(f.field_type, FloatType | DoubleType)
        for f in fields
    )
    return [f.field_id for f in fields] if fit else []


def _partition_spec(spec: TableSpec, schema: Schema) -> PartitionSpec:
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


def _sort_order(spec: TableSpec, schema: Schema, order_id: int) -> SortOrder:
    fields = [
        SortField(_column(spec, schema, name).field_id, IdentityTransform(), SortDirection.ASC, NullOrder.NULLS_FIRST)
        for name in spec.sort
    ]
    return SortOrder(*fields, order_id=order_id if fields else 0)


@dataclass(slots=True)
class _Follow:
    """Follows a changed schema; collects nothing, raises at the first change that stored files cannot follow."""

    table: str
    next_id: Callable[[], int]
    empty: bool

    def refuse(self, column: str, change: str) -> BreakingChangeError:
        return BreakingChangeError(
            f"column {column}: {change}",
            where=self.table,
            hint="give the dataset a new name or rebuild it with --full-refresh",
        )

    def fields(self, old: tuple[NestedField, ...], new: tuple[NestedField, ...], where: str) -> list[NestedField]:
        """The old fields as the new ones want them, in the old order, then the added ones."""
        wanted = {f.name: f for f in new}
        out = []
        for have in old:
            place = f"{where}{have.name}"
            want = wanted.pop(have.name, None)
            if want is None:
                raise self.refuse(place, "was removed")
            if want.required and not have.required:
                raise self.refuse(place, "became required")
            kind = self.kind(have.field_type, want.field_type, place)
            out.append(NestedField(have.field_id, have.name, kind, required=want.required, doc=want.doc))
        for want in wanted.values():
            if want.required and not self.empty:
                raise self.refuse(f"{where}{want.name}", "was added as required")
            out.append(self.fresh(want))
        return out

    def fresh(self, field: NestedField) -> NestedField:
        """A new field with ids that the table has never used."""
        field_id = self.next_id()
        return NestedField(
            field_id, field.name, self.renumber(field.field_type), required=field.required, doc=field.doc
        )

    def renumber(self, kind: IcebergType) -> IcebergType:
        match kind:
            case StructType():
                return StructType(*[self.fresh(f) for f in kind.fields])
            case ListType():
                return ListType(
                    self.next_id(), self.renumber(kind.element_type), element_required=kind.element_required
                )
            case MapType():
                key_id, value_id = self.next_id(), self.next_id()
                key, value = self.renumber(kind.key_type), self.renumber(kind.value_type)
                return MapType(key_id, key, value_id, value, value_required=kind.value_required)
            case _:
                return kind

    def kind(self, old: IcebergType, new: IcebergType, where: str) -> IcebergType:
        match old, new:
            case StructType(), StructType():
                return StructType(*self.fields(old.fields, new.fields, f"{where}."))
            case ListType(), ListType():
                if new.element_required and not old.element_required:
                    raise self.refuse(f"{where}[]", "became required")
                kind = self.kind(old.element_type, new.element_type, f"{where}[]")
                return ListType(old.element_id, kind, element_required=new.element_required)
            case MapType(), MapType():
                if new.value_required and not old.value_required:
                    raise self.refuse(f"{where}.value", "became required")
                if old.key_type != new.key_type:
                    raise self.refuse(f"{where}.key", f"changed from {old.key_type} to {new.key_type}")
                kind = self.kind(old.value_type, new.value_type, f"{where}.value")
                return MapType(old.key_id, old.key_type, old.value_id, kind, value_required=new.value_required)
            case _ if old == new or _widens(old, new):
                return new
            case _:
                raise self.refuse(where, f"changed from {old} to {new}")


def _widens(old: IcebergType, new: IcebergType) -> bool:
    match old, new:
        case (IntegerType(), LongType()) | (FloatType(), DoubleType()):
            return True
        case DecimalType(), DecimalType():
            return old.scale == new.scale and new.precision >= old.precision
        case _:
            return False


def evolution(metadata: TableMetadata, spec: TableSpec) -> tuple[TableUpdate, ...]:
    """The updates that bring a table to a spec; none when it is there.

    Raises BreakingChangeError naming the column and the change when stored files cannot follow.
    """
    old = metadata.schema()
    fresh_ids = itertools.count(metadata.last_column_id + 1)
    spare_ids = itertools.count(1)
    wanted = tuple(iceberg_fields(spec.schema, "", lambda: next(spare_ids)))
    follow = _Follow(spec.name, lambda: next(fresh_ids), empty=not metadata.snapshots)
    fields = follow.fields(old.fields, wanted, "")
    bare = Schema(*fields)
    schema = Schema(*fields, schema_id=_next_schema_id(metadata), identifier_field_ids=_identifiers(spec, bare))
    _same_partition(metadata, spec, schema, follow)
    updates: list[TableUpdate] = []
    if schema.fields != old.fields or set(schema.identifier_field_ids) != set(old.identifier_field_ids):
        updates += [AddSchemaUpdate(schema=schema), SetCurrentSchemaUpdate.model_validate({"schema-id": -1})]
    order = _sort_order(spec, schema, max((o.order_id for o in metadata.sort_orders), default=0) + 1)
    if order.fields != metadata.sort_order().fields:
        updates += [
            AddSortOrderUpdate.model_validate({"sort-order": order}),
            SetDefaultSortOrderUpdate.model_validate({"sort-order-id": order.order_id}),
        ]
    changed: dict[str, Any] = {k: v for k, v in _properties(spec).items() if metadata.properties.get(k) != v}
    if KEY in changed and KEY in metadata.properties:
        before = ", ".join(json.loads(metadata.properties[KEY])) or "none"
        raise BreakingChangeError(
            f"the key changed from ({before}) to ({', '.join(spec.key) or 'none'})",
            where=spec.name,
            hint="rows already stored were told apart by the old key; rebuild with --full-refresh",
        )
    if changed:
        updates.append(SetPropertiesUpdate(updates=changed))
    return tuple(updates)


def _next_schema_id(metadata: TableMetadata) -> int:
    return max(s.schema_id for s in metadata.schemas) + 1


def _same_partition(metadata: TableMetadata, spec: TableSpec, schema: Schema, follow: _Follow) -> None:
    have = [(f.source_id, str(f.transform)) for f in metadata.spec().fields]
    want = [(f.source_id, str(f.transform)) for f in _partition_spec(spec, schema).fields]
    if have == want:
        return
    names = {f.field_id: f.name for f in schema.fields}
    before = ", ".join(f"{transform}({names.get(source, source)})" for source, transform in have) or "none"
    after = ", ".join(f"{transform}({names.get(source, source)})" for source, transform in want) or "none"
    raise BreakingChangeError(
        f"the partitioning changed from {before} to {after}",
        where=follow.table,
        hint="stored files keep their partitioning; rebuild with --full-refresh",
    )
