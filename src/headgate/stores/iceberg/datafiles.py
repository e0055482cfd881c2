"""A Parquet file as an Iceberg data file: its statistics and its partition, from its footer."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.manifest import DataFile, DataFileContent, FileFormat
from pyiceberg.schema import Schema
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.transforms import IdentityTransform, TimeTransform
from pyiceberg.typedef import Record
from pyiceberg.types import IcebergType, ListType, MapType, NestedField, StructType

from headgate.errors import DefectError
from headgate.stores.iceberg.arrow_types import FIELD_ID
from headgate.stores.iceberg.bounds import FULL_LENGTH, TEXT_LENGTH, encode, raw_value
from headgate.stores.iceberg.local_io import local_path, location_of
from headgate.stores.iceberg.partitions import internal_values

METRICS_MODE = "write.metadata.metrics.column."


@dataclass(slots=True)
class _Leaf:
    """A column of values in a Parquet file."""

    field_id: int
    kind: IcebergType
    repeated: bool
    length: int
    size: int = 0
    values: int = 0
    nulls: int = 0
    counted: bool = True
    bounded: bool = True
    lower: Any = None
    upper: Any = None

    def add(self, column: Any) -> None:
        """Take in one row group's column chunk."""
        self.size += column.total_compressed_size
        self.values += column.num_values
        statistics = column.statistics if column.is_stats_set else None
        if statistics is None or not statistics.has_null_count:
            self.counted = False
        else:
            self.nulls += statistics.null_count
        if statistics is None or not statistics.has_min_max:
            # Without bounds a chunk is harmless only when it holds nothing but NULL.
            if statistics is None or not statistics.has_null_count or statistics.null_count < column.num_values:
                self.bounded = False
            return
        low, high = raw_value(self.kind, statistics.min_raw), raw_value(self.kind, statistics.max_raw)
        if low is None or high is None:
            self.bounded = False
            return
        self.lower = low if self.lower is None else min(self.lower, low)
        self.upper = high if self.upper is None else max(self.upper, high)


def _leaves(
    fields: tuple[NestedField, ...], path: str, modes: dict[str, str], *, repeated: bool
) -> Iterator[tuple[str, _Leaf]]:
    for field in fields:
        yield from _leaf(field, f"{path}.{field.name}" if path else field.name, modes, repeated=repeated)


def _leaf(field: NestedField, path: str, modes: dict[str, str], *, repeated: bool) -> Iterator[tuple[str, _Leaf]]:
    kind = field.field_type
    match kind:
        case StructType():
            yield from _leaves(kind.fields, path, modes, repeated=repeated)
        case ListType():
            yield from _leaf(kind.element_field, f"{path}.list.element", modes, repeated=True)
        case MapType():
            yield from _leaf(kind.key_field, f"{path}.key_value.key", modes, repeated=True)
            yield from _leaf(kind.value_field, f"{path}.key_value.value", modes, repeated=True)
        case _:
            length = FULL_LENGTH if modes.get(METRICS_MODE + path) == "full" else TEXT_LENGTH
            yield path, _Leaf(field.field_id, kind, repeated, length)


def data_file(path: str, metadata: TableMetadata, footer: pq.FileMetaData | None = None) -> DataFile | None:
    """The data file at a local path for a table; None when it holds no rows.

    DefectError when its columns are not the table's or its rows belong to more than one partition: whoever wrote it
    did not follow the table.
    """
    footer = pq.read_metadata(path) if footer is None else footer
    if footer.num_rows == 0:
        return None
    schema = metadata.schema()
    _check_columns(path, footer, schema)
    leaves = dict(_leaves(schema.fields, "", metadata.properties, repeated=False))
    offsets = []
    for number in range(footer.num_row_groups):
        group = footer.row_group(number)
        for index in range(group.num_columns):
            column = group.column(index)
            leaf = leaves.get(column.path_in_schema)
            if leaf is not None:
                leaf.add(column)
            if index == 0:
                start = column.dictionary_page_offset
                offsets.append(column.data_page_offset if start is None else min(start, column.data_page_offset))
    present = [leaf for leaf in leaves.values() if leaf.values]
    bounded = [leaf for leaf in present if leaf.bounded and leaf.lower is not None and not leaf.repeated]
    lower = {f.field_id: encode(f.kind, f.lower, upper=False, length=f.length) for f in bounded}
    upper = {f.field_id: encode(f.kind, f.upper, upper=True, length=f.length) for f in bounded}
    return DataFile.from_args(
        content=DataFileContent.DATA,
        file_path=location_of(path),
        file_format=FileFormat.PARQUET,
        partition=_partition(path, metadata, {leaf.field_id: leaf for leaf in leaves.values()}, footer.num_rows),
        record_count=footer.num_rows,
        file_size_in_bytes=os.stat(path).st_size,
        column_sizes={leaf.field_id: leaf.size for leaf in present},
        value_counts={leaf.field_id: leaf.values for leaf in present},
        null_value_counts={leaf.field_id: leaf.nulls for leaf in present if leaf.counted},
        nan_value_counts={},
        lower_bounds={k: v for k, v in lower.items() if v is not None},
        upper_bounds={k: v for k, v in upper.items() if v is not None},
        key_metadata=None,
        split_offsets=sorted(offsets),
        equality_ids=None,
        sort_order_id=None,
        spec_id=metadata.default_spec_id,
    )


def _check_columns(path: str, footer: pq.FileMetaData, schema: Schema) -> None:
    by_id = {f.field_id: f for f in schema.fields}
    seen = set()
    for field in footer.schema.to_arrow_schema():
        number = (field.metadata or {}).get(FIELD_ID)
        known = by_id.get(int(number)) if number is not None else None
        if known is None or known.name != field.name:
            raise DefectError(
                f"a data file's column {field.name!r} has not the table's field id", where=local_path(path)
            )
        seen.add(known.field_id)
    if missing := [f.name for f in schema.fields if f.required and f.field_id not in seen]:
        raise DefectError(f"a data file lacks the required column {missing[0]!r}", where=local_path(path))


def _partition(path: str, metadata: TableMetadata, leaves: dict[int, _Leaf], rows: int) -> Record:
    """The partition that all rows of a file belong to: from the bounds where they prove it, else from the column."""
    schema, values = metadata.schema(), []
    for field in metadata.spec().fields:
        source = schema.find_field(field.source_id)
        leaf = leaves[field.source_id]
        transform = field.transform.transform(source.field_type)
        monotonic = isinstance(field.transform, IdentityTransform | TimeTransform)
        found: set[Any]
        if leaf.counted and leaf.nulls == rows:
            found = {None}
        elif monotonic and leaf.counted and leaf.bounded and leaf.nulls == 0 and leaf.lower is not None:
            found = {transform(leaf.lower), transform(leaf.upper)}
        else:
            column = pq.read_table(path, columns=[source.name]).column(0)
            distinct = column.combine_chunks().unique() if column.num_chunks else pa.array([], column.type)
            found = {transform(value) for value in internal_values(distinct, source.field_type)}
        if len(found) != 1:
            raise DefectError(f"a data file holds rows of {len(found)} values of {field.name}", where=local_path(path))
        values.append(found.pop())
    return Record(*values)
