"""Rows are split as Iceberg's own transforms say, and every row is kept once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.transforms import parse_transform
from pyiceberg.types import DateType, DecimalType, LongType, NestedField, StringType, TimestampType, TimestamptzType

from headgate.stores.iceberg.arrow_types import arrow_type
from headgate.stores.iceberg.partitions import Splitter, internal_values

ZERO = datetime(1970, 1, 1, tzinfo=UTC)
MICROS = st.integers(-(10**16), 10**16)
VALUES = {
    "ts": (TimestamptzType(), MICROS.map(lambda us: ZERO + timedelta(microseconds=us))),
    "wall": (TimestampType(), MICROS.map(lambda us: (ZERO + timedelta(microseconds=us)).replace(tzinfo=None))),
    "day": (DateType(), st.integers(-100_000, 100_000).map(lambda d: (ZERO + timedelta(days=d)).date())),
    "n": (LongType(), st.integers(-(2**63), 2**63 - 1)),
    "text": (StringType(), st.text(max_size=5)),
    "d": (DecimalType(12, 3), st.decimals(places=3, min_value=-(10**6), max_value=10**6)),
}
CASES = [
    *[("ts", t) for t in ("identity", "year", "month", "day", "hour", "bucket[5]")],
    *[("wall", t) for t in ("identity", "year", "month", "day", "hour", "bucket[5]")],
    *[("day", t) for t in ("identity", "year", "month", "day", "bucket[5]")],
    *[(c, t) for c in ("n", "text", "d") for t in ("identity", "bucket[5]")],
]


@pytest.mark.parametrize(("column", "transform"), CASES)
def test_rows_go_where_icebergs_transform_says(column, transform):
    kind, values = VALUES[column]
    schema = Schema(NestedField(1, column, kind), NestedField(2, "row", LongType()))
    splitter = Splitter(PartitionSpec(PartitionField(1, 1000, parse_transform(transform), "p")), schema)
    function = parse_transform(transform).transform(kind)

    @given(st.lists(st.none() | values, min_size=1, max_size=30))
    def check(cells):
        array = pa.array(cells, arrow_type(kind))
        batch = pa.RecordBatch.from_arrays([array, pa.array(range(len(cells)))], names=[column, "row"])
        expected = [function(v) for v in internal_values(array, kind)]
        seen = {}
        for key, part in splitter.split(batch):
            found = part.column("row").to_pylist()
            assert found == sorted(found)
            assert {expected[row] for row in found} == set(key)
            assert not set(found) & set(seen)
            seen |= dict.fromkeys(found, key)
        assert sorted(seen) == list(range(len(cells)))
        assert len({key for key, _ in splitter.split(batch)}) == len(set(expected))

    check()


def test_without_partitions_a_batch_is_passed_on_as_it_is():
    batch = pa.RecordBatch.from_pydict({"row": [1, 2]})
    assert list(Splitter(PartitionSpec(), Schema(NestedField(2, "row", LongType()))).split(batch)) == [((), batch)]
