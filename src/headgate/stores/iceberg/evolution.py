"""How far a table may follow a changed TableSpec, and how it is made anew in place where it may not.

Field ids decide what stored values mean: a column that stored files cannot follow gets an id that the table has
never used, so that no reader, and no travel in time, takes old values for those of the new column.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.update import (
    AddPartitionSpecUpdate,
    AddSchemaUpdate,
    AddSortOrderUpdate,
    SetCurrentSchemaUpdate,
    SetDefaultSortOrderUpdate,
    SetDefaultSpecUpdate,
    SetPropertiesUpdate,
    TableUpdate,
)
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

from headgate.errors import BreakingChangeError
from headgate.ports.store import TableSpec
from headgate.stores.iceberg.arrow_types import iceberg_fields
from headgate.stores.iceberg.layout import KEY, identifiers, partition_spec, properties, sort_order
from headgate.stores.iceberg.positions import way_on


def evolution(metadata: TableMetadata, spec: TableSpec) -> tuple[TableUpdate, ...]:
    """The updates that bring a table to a spec, its rows with it; none when it is there.

    Raises BreakingChangeError naming the column and the change when stored files cannot follow.
    """
    follow = _Follow(spec, _ids(metadata), empty=not metadata.snapshots)
    schema = follow.schema(metadata)
    if not _same_partition(metadata, spec, schema):
        raise _partition_changed(metadata, spec, schema)
    changed = _changed_properties(metadata, spec)
    if KEY in changed and KEY in metadata.properties:
        before = ", ".join(json.loads(metadata.properties[KEY])) or "none"
        raise _refused(
            spec.name,
            f"the key changed from ({before}) to ({', '.join(spec.key) or 'none'})",
            "rows already stored were told apart by the old key",
        )
    return _updates(metadata, spec, schema, changed)


class Followed:
    """Specs that tables were found to follow: micro-batches ask again and again with the same ones."""

    def __init__(self) -> None:
        self._held: dict[str, tuple[TableSpec, tuple[object, ...]]] = {}

    def evolution(self, metadata: TableMetadata, spec: TableSpec) -> tuple[TableUpdate, ...]:
        """See `evolution`."""
        layout = metadata.current_schema_id, metadata.default_spec_id, metadata.default_sort_order_id
        state = (metadata.table_uuid, *layout)
        held, before = self._held.get(spec.name, (None, ()))
        if held is spec and before == state and not _changed_properties(metadata, spec):
            return ()
        if not (updates := evolution(metadata, spec)):
            self._held[spec.name] = spec, state
        return updates


def replacement(metadata: TableMetadata, spec: TableSpec) -> tuple[TableUpdate, ...]:
    """The updates that bring a table without its rows to a spec: always possible, none when it is there.

    Columns that could have been followed keep their field ids, any other gets a new one; the order is the spec's.
    """
    schema = _Follow(spec, _ids(metadata), empty=True, anew=True).schema(metadata)
    updates = _updates(metadata, spec, schema, _changed_properties(metadata, spec))
    if _same_partition(metadata, spec, schema):
        return updates
    partition = _next_partition(metadata, spec, schema)
    add: list[TableUpdate] = []
    if all(partition.spec_id != one.spec_id for one in metadata.partition_specs):
        add = [AddPartitionSpecUpdate(spec=partition)]
    return (*updates, *add, SetDefaultSpecUpdate.model_validate({"spec-id": partition.spec_id}))


def without_lost_history(metadata: TableMetadata) -> TableMetadata:
    """The table as it is, or without its snapshots where they were partitioned by a column that is no more.

    Other implementations cannot even open a table one of whose partitionings names a column that it lacks.
    """
    ids = set(metadata.schema()._lazy_id_to_field)
    kept = [one for one in metadata.partition_specs if all(field.source_id in ids for field in one.fields)]
    if len(kept) == len(metadata.partition_specs):
        return metadata
    lists = ("snapshots", "snapshot_log", "statistics", "partition_statistics")
    gone: dict[str, Any] = {"refs": {}, "current_snapshot_id": None, **{name: [] for name in lists}}
    return metadata.model_copy(update={"partition_specs": kept, **gone})


@dataclass(slots=True)
class _Follow:
    """Follows a changed schema. A change that stored files cannot follow is raised; with `anew` there are no such
    files, and the column becomes another one."""

    spec: TableSpec
    next_id: Callable[[], int]
    empty: bool
    anew: bool = False

    def schema(self, metadata: TableMetadata) -> Schema:
        """The table's next schema."""
        spare_ids = itertools.count(1)
        wanted = tuple(iceberg_fields(self.spec.schema, "", lambda: next(spare_ids)))
        fields = self.fields(metadata.schema().fields, wanted, "")
        return Schema(
            *fields,
            schema_id=max(s.schema_id for s in metadata.schemas) + 1,
            identifier_field_ids=identifiers(self.spec, Schema(*fields)),
        )

    def refuse(self, column: str, change: str) -> BreakingChangeError:
        return _refused(self.spec.name, f"column {column}: {change}", "stored files cannot follow")

    def fields(self, old: tuple[NestedField, ...], new: tuple[NestedField, ...], where: str) -> list[NestedField]:
        """The old fields as the new ones want them, in the old order, then the added ones; anew: in the new order."""
        wanted = {f.name: f for f in new}
        out = []
        for have in old:
            want = wanted.pop(have.name, None)
            try:
                out.append(self.field(have, want, f"{where}{have.name}"))
            except BreakingChangeError:
                if not self.anew:
                    raise
                if want is not None:
                    out.append(self.fresh(want))
        for want in wanted.values():
            if want.required and not self.empty and not self.spec.grows:
                raise self.refuse(f"{where}{want.name}", "was added as required")
            out.append(self.fresh(want))
        if self.anew:
            place = {f.name: number for number, f in enumerate(new)}
            out.sort(key=lambda f: place[f.name])
        return out

    def field(self, have: NestedField, want: NestedField | None, where: str) -> NestedField:
        """One field, followed."""
        if want is None:
            if self.spec.grows:
                return NestedField(have.field_id, have.name, have.field_type, required=False, doc=have.doc)
            raise self.refuse(where, "was removed")
        if want.required and not have.required and not self.spec.grows:
            raise self.refuse(where, "became required")
        kind = self.kind(have.field_type, want.field_type, where)
        required = want.required and have.required
        return NestedField(have.field_id, have.name, kind, required=required, doc=want.doc)

    def fresh(self, field: NestedField) -> NestedField:
        """A new field with ids that the table has never used."""
        field_id = self.next_id()
        required = field.required and (self.empty or not self.spec.grows)
        return NestedField(field_id, field.name, self.renumber(field.field_type), required=required, doc=field.doc)

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


def _ids(metadata: TableMetadata) -> Callable[[], int]:
    """Ids that the table has never used."""
    ids = itertools.count(metadata.last_column_id + 1)
    return lambda: next(ids)


def _updates(
    metadata: TableMetadata, spec: TableSpec, schema: Schema, changed: dict[str, str]
) -> tuple[TableUpdate, ...]:
    old = metadata.schema()
    updates: list[TableUpdate] = []
    if schema.fields != old.fields or set(schema.identifier_field_ids) != set(old.identifier_field_ids):
        updates += [AddSchemaUpdate(schema=schema), SetCurrentSchemaUpdate.model_validate({"schema-id": -1})]
    order = sort_order(spec, schema, max((o.order_id for o in metadata.sort_orders), default=0) + 1)
    if order.fields != metadata.sort_order().fields:
        updates += [
            AddSortOrderUpdate.model_validate({"sort-order": order}),
            SetDefaultSortOrderUpdate.model_validate({"sort-order-id": order.order_id}),
        ]
    if changed:
        updates.append(SetPropertiesUpdate(updates=changed))
    return tuple(updates)


def _changed_properties(metadata: TableMetadata, spec: TableSpec) -> dict[str, str]:
    return {k: v for k, v in properties(spec).items() if metadata.properties.get(k) != v}


def _refused(table: str, change: str, why: str) -> BreakingChangeError:
    return BreakingChangeError(f"{change}: {why}", where=table, hint=way_on(table))


def _parts(partition: PartitionSpec) -> list[tuple[int, str]]:
    return [(f.source_id, str(f.transform)) for f in partition.fields]


def _same_partition(metadata: TableMetadata, spec: TableSpec, schema: Schema) -> bool:
    return _parts(metadata.spec()) == _parts(partition_spec(spec, schema))


def _partition_changed(metadata: TableMetadata, spec: TableSpec, schema: Schema) -> BreakingChangeError:
    names = {f.field_id: f.name for f in schema.fields}
    before, after = (
        ", ".join(f"{transform}({names.get(source, source)})" for source, transform in _parts(one)) or "none"
        for one in (metadata.spec(), partition_spec(spec, schema))
    )
    return _refused(
        spec.name, f"the partitioning changed from {before} to {after}", "stored files keep their partitioning"
    )


def _next_partition(metadata: TableMetadata, spec: TableSpec, schema: Schema) -> PartitionSpec:
    """The spec's partitioning under ids that mean nothing else in this table: one that it had before keeps its id."""
    wanted = partition_spec(spec, schema)
    for one in metadata.partition_specs:
        if _parts(one) == _parts(wanted):
            return one
    known = {
        (f.source_id, str(f.transform), f.name): f.field_id for one in metadata.partition_specs for f in one.fields
    }
    spare = itertools.count(max(metadata.last_partition_id or 999, 999) + 1)
    fields = [
        PartitionField(
            f.source_id,
            known.get((f.source_id, str(f.transform), f.name)) or next(spare),
            f.transform,
            f.name,
        )
        for f in wanted.fields
    ]
    return PartitionSpec(*fields, spec_id=max(one.spec_id for one in metadata.partition_specs) + 1)
