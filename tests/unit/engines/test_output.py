"""New files: schema, field ids, one partition value each, sensible sizes, and what readers see in them."""

from __future__ import annotations

import datetime as dt

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from refine_rig import Rig, dataset, field_ids, integer, text

from headgate.contract.model import Field, Kind, Type
from headgate.engines.duckdb import output as output_module
from headgate.engines.duckdb.output import TableWriter
from headgate.engines.duckdb.partitions import split
from headgate.errors import DefectError
from headgate.ports.engine import Output

INSTANTS = pa.array(
    [None, *(dt.datetime(y, m, 1, tzinfo=dt.UTC) for y in (1969, 2026) for m in (1, 2) for _ in range(3))],
    pa.timestamp("us", "UTC"),
)


def parts(table, *partition, keep=None):
    return {value: rows["n"].to_pylist() for value, rows in split(table, partition, keep)}


def test_rows_are_split_by_month_with_null_and_years_before_1970_apart():
    table = pa.table({"at": INSTANTS, "n": range(13)})
    found = parts(table, ("at", "month"))
    assert sorted(found.values()) == [[0], [1, 2, 3], [4, 5, 6], [7, 8, 9], [10, 11, 12]]
    keep = np.arange(13) % 2 == 0
    assert sorted(parts(table, ("at", "month"), keep=keep).values()) == [[0], [2], [4, 6], [8], [10, 12]]
    assert len(parts(table, ("at", "year"))) == 3


def test_values_tell_partitions_apart_in_the_same_way_in_every_table():
    first = parts(pa.table({"k": ["b", "a", "b"], "n": [1, 2, 3]}), ("k", "identity"))
    second = parts(pa.table({"k": ["c", "b"], "n": [4, 5]}), ("k", "identity"))
    assert first[("b",)] == [1, 3]
    assert second[("b",)] == [5]


def test_many_values_are_split_as_exactly_as_few():
    table = pa.table({"k": [n % 100 for n in range(1000)], "n": range(1000)})
    found = parts(table, ("k", "identity"))
    assert len(found) == 100
    assert found[(7,)] == list(range(7, 1000, 100))


def test_rows_that_stand_by_value_are_split_without_a_copy_unless_a_small_part_would_keep_the_others():
    numbers = pa.array(range(1000))
    table = pa.table({"k": pa.array([n // 400 for n in range(1000)]), "n": numbers})
    found = dict(split(table, [("k", "identity")]))
    assert [rows.num_rows for rows in found.values()] == [400, 400, 200]  # the least is a fifth: copied, as all are
    assert found[(1,)]["n"].to_pylist() == list(range(400, 800))
    assert found[(1,)]["n"].chunk(0).buffers()[1].address != numbers.buffers()[1].address
    table = pa.table({"k": pa.array([n // 250 for n in range(1000)]), "n": numbers})
    found = dict(split(table, [("k", "identity")]))
    assert found[(3,)]["n"].to_pylist() == list(range(750, 1000))
    assert found[(3,)]["n"].chunk(0).buffers()[1].address == numbers.buffers()[1].address
    back = dict(split(table.take(pa.array(range(999, -1, -1))), [("k", "identity")]))
    assert back[(3,)]["n"].to_pylist() == list(range(999, 749, -1))


@pytest.mark.parametrize(
    "values",
    [
        pa.array([34, 1, 2, None, 34]),
        pa.array(["iceberg", "a", "ü", None, "iceberg"]),
        pa.array([dt.date(2017, 11, 16), dt.date(1969, 1, 1), None, dt.date(2020, 1, 1), dt.date(2017, 11, 16)]),
        INSTANTS,
    ],
)
def test_buckets_are_icebergs(values):
    from pyiceberg.io.pyarrow import _ConvertToIcebergWithoutIDs, visit_pyarrow
    from pyiceberg.transforms import BucketTransform

    schema = pa.schema([pa.field("v", values.type)])
    source = visit_pyarrow(schema, _ConvertToIcebergWithoutIDs()).fields[0].field_type
    bucket = BucketTransform(4).transform(source)
    plain = (
        values.cast(pa.int32() if pa.types.is_date(values.type) else pa.int64())
        if pa.types.is_temporal(values.type)
        else values
    )
    expected = [bucket(v) for v in plain.to_pylist()]
    for value, rows in split(pa.table({"v": values, "n": range(len(values))}), (("v", "bucket[4]"),)):
        assert {expected[n] for n in rows["n"].to_pylist()} == {value[0]}


SCHEMA = pa.schema(
    [
        pa.field("a", pa.int64(), nullable=False),
        pa.field("s", pa.struct([pa.field("x", pa.string()), pa.field("l", pa.list_(pa.decimal128(12, 2)))])),
        pa.field("m", pa.map_(pa.string(), pa.int32())),
    ]
)


def sample(count=3):
    rows = [{"a": n, "s": {"x": "v", "l": [n]}, "m": [("k", n)]} for n in range(count)]
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def test_files_carry_field_ids_at_every_depth_and_required_columns(tmp_path):
    writer = TableWriter(Output(str(tmp_path), SCHEMA, field_ids(SCHEMA)))
    writer.write(sample())
    (written,) = writer.close()
    assert written.rows == 3
    schema = pq.read_schema(written.path)
    ids = []

    def walk(field):
        ids.append(int(field.metadata[b"PARQUET:field_id"]))
        for number in range(field.type.num_fields if pa.types.is_nested(field.type) else 0):
            inner = field.type.field(number)
            if pa.types.is_map(field.type):
                for member in inner.type:
                    walk(member)
            else:
                walk(inner)

    for field in schema:
        walk(field)
    assert sorted(ids) == list(range(1, len(ids) + 1))
    assert not schema.field("a").nullable
    assert str(pq.read_metadata(written.path).row_group(0).column(0).compression) == "ZSTD"
    rows = duckdb.sql(f"SELECT a, s.l[1]::VARCHAR, m['k'] FROM '{written.path}' ORDER BY a").fetchall()
    assert rows == [(n, f"{n}.00", n) for n in range(3)]


def test_a_null_in_a_required_column_is_our_defect_and_never_written(tmp_path):
    writer = TableWriter(Output(str(tmp_path), SCHEMA, {}))
    with pytest.raises(DefectError, match="a is required"):
        writer.write(sample().set_column(0, "a", pa.array([1, None, 2])))


def test_files_roll_over_at_the_size_wanted(tmp_path, monkeypatch):
    monkeypatch.setattr(output_module, "ROWS_PER_GROUP", 100)
    monkeypatch.setattr(output_module, "BYTES_PER_FILE", 1)
    writer = TableWriter(Output(str(tmp_path), SCHEMA, {}))
    for _ in range(5):
        writer.write(sample(100))
    assert [w.rows for w in writer.close()] == [100] * 5


def test_many_partition_values_wait_together_and_keep_few_files_open(tmp_path, monkeypatch):
    schema = pa.schema([("k", pa.int64())])
    output = Output(str(tmp_path), schema, {}, (("k", "identity"),))
    rows = pa.table({"k": list(range(10)) * 5})
    writer = TableWriter(output)
    for _ in range(4):
        writer.write(rows)
    assert len(writer.close()) == 10  # not one tiny file per write
    monkeypatch.setattr(output_module, "BYTES_WAITING", 0)
    monkeypatch.setattr(output_module, "MOST_OPEN", 3)
    writer = TableWriter(output)
    for _ in range(2):
        writer.write(rows)
        assert sum(part.file is not None for part in writer._parts.values()) == 3
    written = writer.close()
    assert sum(w.rows for w in written) == 100
    for one in written:
        assert len(set(pq.read_table(one.path)["k"].to_pylist())) == 1


def test_nothing_written_leaves_no_file(tmp_path):
    assert TableWriter(Output(str(tmp_path), SCHEMA, {})).close() == []
    assert list(tmp_path.iterdir()) == []


def test_silver_is_partitioned_and_sorted_as_the_contract_says(tmp_path):
    fields = [integer("k", required=True, key_position=1), Field("day", Type(Kind.DATE), partition="month"), text("v")]
    rig = Rig(tmp_path, dataset(fields, key=("k",)))
    days = [dt.date(2026, 1 + n % 3, 1) for n in range(30)]
    rig.land(pa.table({"k": list(range(30, 0, -1)), "day": days, "v": ["x"] * 30}))
    rig.refine()
    assert len(rig.files["silver"]) == 3
    for file in rig.files["silver"]:
        rows = pq.read_table(file.path)
        assert len({d.month for d in rows["day"].to_pylist()}) == 1
        assert rows["k"].to_pylist() == sorted(rows["k"].to_pylist())
