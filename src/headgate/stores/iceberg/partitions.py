"""Partition values of rows: splitting a batch so that each file holds rows of one partition."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.transforms import (
    DayTransform,
    HourTransform,
    IdentityTransform,
    MonthTransform,
    TimeTransform,
    YearTransform,
)
from pyiceberg.types import DateType, IcebergType, TimestampType, TimestamptzType, TimeType

_HOUR_US = 3_600_000_000


def internal_values(column: Any, kind: IcebergType) -> list[Any]:
    """Values as Iceberg's transforms take them: days and microseconds as int."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if isinstance(kind, DateType):
        column = column.cast(pa.date32()).cast(pa.int32())
    elif isinstance(kind, TimeType | TimestampType | TimestamptzType):
        column = column.cast(pa.int64())
    return list(column.to_pylist())


@dataclass(frozen=True, slots=True)
class _Axis:
    """One partition field over one column."""

    column: str
    kind: IcebergType
    field: PartitionField

    def keys(self, column: Any) -> Any:
        """The partition value of each row, in Iceberg's internal form."""
        match self.field.transform:
            case IdentityTransform():
                if isinstance(self.kind, DateType):
                    return column.cast(pa.int32())
                if isinstance(self.kind, TimeType | TimestampType | TimestamptzType):
                    return column.cast(pa.int64())
                return column
            case YearTransform():
                return pc.subtract(pc.year(column), 1970)
            case MonthTransform():
                return pc.subtract(pc.add(pc.multiply(pc.subtract(pc.year(column), 1970), 12), pc.month(column)), 1)
            case DayTransform():
                return column.cast(pa.date32(), safe=False).cast(pa.int32())
            case HourTransform():
                wall = column.cast(pa.int64()).cast(pa.timestamp("us"))
                return pc.divide(pc.floor_temporal(wall, unit="hour").cast(pa.int64()), _HOUR_US)
            case transform:
                encoded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
                bucket = transform.transform(self.kind)
                buckets = pa.array([bucket(v) for v in internal_values(encoded.dictionary, self.kind)], pa.int32())
                return buckets.take(encoded.indices)

    def ends(self, column: Any) -> tuple[Any, Any]:
        """The partition values of the first and the last instant, between which all rows' are; None where the rows have
        no such order, or a NULL. Far cheaper than a value for each row."""
        if not isinstance(self.field.transform, TimeTransform) or column.null_count:
            return None, None
        ends = pc.min_max(column)
        low, high = self.keys(pa.array([ends["min"], ends["max"]], column.type)).to_pylist()
        return low, high


class Splitter:
    """Splits batches by partition."""

    def __init__(self, spec: PartitionSpec, schema: Schema) -> None:
        self._axes = [
            _Axis(schema.find_field(f.source_id).name, schema.find_field(f.source_id).field_type, f)
            for f in spec.fields
        ]

    def split(self, batch: pa.RecordBatch) -> Iterator[tuple[tuple[Any, ...], pa.RecordBatch]]:
        """Partition values and the rows of each, rows in their order."""
        if not self._axes or batch.num_rows == 0:
            yield (), batch
            return
        ends = [axis.ends(batch.column(axis.column)) for axis in self._axes]
        if all(low is not None and low == high for low, high in ends):
            yield tuple(low for low, _ in ends), batch
            return
        keys = [axis.keys(batch.column(axis.column)) for axis in self._axes]
        if all(self._constant(key) for key in keys):
            yield tuple(key[0].as_py() for key in keys), batch
            return
        yield from self._groups(keys, batch)

    @staticmethod
    def _constant(key: Any) -> bool:
        if key.null_count:
            return bool(key.null_count == len(key))
        return bool(pc.all(pc.equal(key, key[0])).as_py())

    def _groups(self, keys: Sequence[Any], batch: pa.RecordBatch) -> Iterator[tuple[tuple[Any, ...], pa.RecordBatch]]:
        names = [str(i) for i in range(len(keys))]
        rows = pa.table([*keys, pa.array(range(batch.num_rows), pa.int64())], [*names, "row"])
        grouped = rows.group_by(names, use_threads=False).aggregate([("row", "list")])
        members = grouped.column("row_list").combine_chunks()
        values = list(zip(*(grouped.column(n).to_pylist() for n in names), strict=True))
        for number, value in enumerate(values):
            yield value, batch.take(members[number].values)
