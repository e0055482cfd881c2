"""What the lake writes, others read: DuckDB's Iceberg extension and PyIceberg, with no help of ours."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyiceberg.catalog
import pytest
from pyiceberg.io.pyarrow import PyArrowFileIO
from pyiceberg.table import StaticTable

from headgate.ports.store import TableSpec
from headgate.stores.iceberg.catalog import open_catalog
from rigs import iceberg_reader
from rigs import small_lake as small

TABLE = "bronze.orders"
EVERY_TYPE = pa.schema(
    [
        pa.field("k", pa.int64(), nullable=False, metadata={b"doc": b"the key"}),
        pa.field("i32", pa.int32()),
        pa.field("f32", pa.float32()),
        pa.field("f64", pa.float64()),
        pa.field("flag", pa.bool_()),
        pa.field("d9", pa.decimal128(9, 2)),
        pa.field("d18", pa.decimal128(18, 0)),
        pa.field("d38", pa.decimal128(38, 10)),
        pa.field("day", pa.date32()),
        pa.field("clock", pa.time64("us")),
        pa.field("wall", pa.timestamp("us")),
        pa.field("instant", pa.timestamp("us", tz="UTC")),
        pa.field("text", pa.string()),
        pa.field("bytes", pa.binary()),
        pa.field("list", pa.list_(pa.struct([("rule", pa.string()), ("n", pa.int32())]))),
        pa.field("map", pa.map_(pa.string(), pa.decimal128(12, 3))),
        pa.field("struct", pa.struct([("a", pa.int64()), ("b", pa.list_(pa.string()))])),
    ]
)
ROW = {
    "k": 1,
    "i32": -5,
    "f32": 1.5,
    "f64": -0.25,
    "flag": True,
    "d9": Decimal("-1234567.89"),
    "d18": Decimal("999999999999999999"),
    "d38": Decimal("1234567890123456789012345678.0123456789"),
    "day": small.DAY.date(),
    "clock": small.DAY.replace(hour=23, microsecond=1).time(),
    "wall": small.DAY.replace(tzinfo=None, microsecond=7),
    "instant": small.DAY.replace(microsecond=7),
    "text": "grüße, a text that is longer than sixteen characters",
    "bytes": b"\xff" * 20,
    "list": [{"rule": "a.b", "n": None}, None],
    "map": [("k", Decimal("1.500"))],
    "struct": {"a": 4, "b": ["x", None]},
}
NULLS = dict.fromkeys(ROW) | {"k": 2}


@pytest.fixture
def lake(tmp_path):
    return small.lake_in(tmp_path)


def put(lake, schema, rows, **layout):
    with lake.publication("refine") as publication:
        publication.ensure(TableSpec(TABLE, schema, **layout))
        publication.write(TABLE, [pa.RecordBatch.from_pylist(rows, schema=schema)])
        publication.commit()
    return lake.cut().table(TABLE)


def ours(lake):
    return [row for batch in lake.scan(lake.cut().table(TABLE)) for row in batch.to_pylist()]


@pytest.mark.parametrize(
    "partition",
    [
        (),
        (("day", "month"),),
        (("text", "identity"),),
        (("k", "bucket[4]"),),
        (("instant", "hour"), ("d9", "identity")),
    ],
    ids=str,
)
def test_every_type_and_partition_reads_the_same_everywhere(lake, partition):
    view = put(lake, EVERY_TYPE, [ROW, NULLS], partition=partition, key=("k",), sort=("k",))
    assert sorted(ours(lake), key=lambda r: r["k"]) == [ROW, NULLS]
    table = StaticTable.from_metadata(view.location)
    theirs = table.scan().to_arrow().sort_by("k")
    assert [{**row, "list": row["list"] or None} for row in theirs.to_pylist()] == [ROW, NULLS]  # it reads NULL as []
    assert table.schema().identifier_field_names() == {"k"}
    assert table.schema().find_field("k").doc == "the key"
    (answer,) = iceberg_reader.ask(
        {"t": view.location}, "select k, i32, d9, d38, day, wall, instant, text, list, map from t order by k"
    )
    assert answer == [
        [
            "1",
            "-5",
            "-1234567.89",
            "1234567890123456789012345678.0123456789",
            "2026-01-01",
            "2026-01-01 00:00:00.000007",
            "2026-01-01 00:00:00.000007+00",
            "grüße, a text that is longer than sixteen characters",
            "[{'rule': a.b, 'n': NULL}, NULL]",
            "{k=1.500}",
        ],
        ["2", *[None] * 9],
    ]


def test_filters_of_others_find_every_row_by_our_bounds_and_partitions(lake):
    schema = pa.schema(
        [pa.field("n", pa.int64()), pa.field("text", pa.string()), pa.field("at", pa.timestamp("us", tz="UTC"))]
    )
    rows = [
        {"n": n, "text": chr(0x10FFFF) * 20 if n == 7 else f"{n:020d}", "at": small.DAY.replace(day=1 + n)}
        for n in range(10)
    ]
    view = put(lake, schema, rows, partition=(("at", "day"), ("n", "bucket[3]")))
    table = StaticTable.from_metadata(view.location)
    queries = []
    for n, row in enumerate(rows):
        assert table.scan(f"n = {n} and at >= '{row['at'].isoformat()}'").to_arrow().num_rows == 1
        assert table.scan(f"text = '{row['text']}'").to_arrow().num_rows == 1
        queries += [
            f"""select count(*) from t where n = {n} and text = '{row["text"]}' and "at" = '{row["at"].isoformat()}'"""
        ]
    assert iceberg_reader.ask({"t": view.location}, *queries) == [[["1"]]] * 10


def test_a_widened_table_reads_the_same_everywhere(lake):
    old = pa.schema(
        [pa.field("n", pa.int32(), nullable=False), pa.field("x", pa.float32()), pa.field("d", pa.decimal128(9, 2))]
    )
    new = pa.schema(
        [
            pa.field("n", pa.int64()),
            pa.field("x", pa.float64()),
            pa.field("d", pa.decimal128(18, 2)),
            pa.field("more", pa.struct([("a", pa.string())])),
        ]
    )
    put(lake, old, [{"n": 1, "x": 0.5, "d": Decimal("1.25")}])
    view = put(lake, new, [{"n": 2**40, "x": 0.1, "d": Decimal("9999999999.99"), "more": {"a": "b"}}])
    expected = [
        {"n": 1, "x": 0.5, "d": Decimal("1.25"), "more": None},
        {"n": 2**40, "x": 0.1, "d": Decimal("9999999999.99"), "more": {"a": "b"}},
    ]
    assert ours(lake) == expected
    assert [(f.lower["n"], f.upper["d"]) for f in view.files()] == [
        (1, Decimal("1.25")),
        (2**40, Decimal("9999999999.99")),
    ]
    assert StaticTable.from_metadata(view.location).scan().to_arrow().sort_by("n").to_pylist() == expected
    assert iceberg_reader.ask({"t": view.location}, "select n, d, more.a from t where n >= 1 order by n") == [
        [["1", "1.25", None], [str(2**40), "9999999999.99", "b"]]
    ]


def test_a_table_without_a_row_is_read_as_empty(lake):
    with lake.publication("land") as publication:
        publication.ensure(small.spec())
        publication.ensure(small.spec("silver.orders"))
        publication.move(TABLE, small.STREAM, small.at(None), small.at(0))
        publication.commit()
    for name in (TABLE, "silver.orders"):
        location = lake.cut().table(name).location
        assert StaticTable.from_metadata(location).scan().to_arrow().num_rows == 0
    located = {"moved": lake.cut().table(TABLE).location}
    assert iceberg_reader.ask(located, "select count(*) from moved") == [[["0"]]]


def test_after_replacing_and_merging_manifests_all_readers_agree(lake):
    for number in range(55):
        small.publish(lake, number, 4, before=small.at(number + 3) if number else None, days=2)
    files = lake.cut().table(TABLE).files()
    with lake.publication("maintain") as publication:
        publication.remove(TABLE, [f.path for f in files[10:40]])
        publication.commit()
    view = lake.cut().table(TABLE)
    expected = [[str(view.rows()), str(sum(small.offsets(lake)))]]
    assert view.rows() == sum(f.rows for f in view.files()) == len(small.offsets(lake))
    assert iceberg_reader.ask({"t": view.location}, "select count(*), sum(_hg_offset) from t") == [expected]
    assert StaticTable.from_metadata(view.location).scan().count() == view.rows()


def test_the_catalog_is_laid_out_as_pyicebergs_and_spark_jdbc_lay_it_out(lake):
    """SqlCatalog itself needs SQLAlchemy; its source says what its tables are."""
    source = Path(pyiceberg.catalog.__file__).with_name("sql.py").read_text()
    small.publish(lake, 0, 1)
    for model in ("iceberg_tables", "iceberg_namespace_properties"):
        body = source.split(f'__tablename__ = "{model}"')[1].split("class ")[0]
        declared = re.findall(
            r"^    (\w+): Mapped\[.*?\] = mapped_column\(String\((\d+)\), nullable=(\w+)(.*)\)$", body, re.MULTILINE
        )
        wanted = [
            (n, f"VARCHAR({size})", int(null == "False"), int("primary_key=True" in rest))
            for n, size, null, rest in declared
        ]
        with closing(sqlite3.connect(lake.settings.warehouse / "catalog.db")) as connection:
            have = connection.execute(f"pragma table_info({model})").fetchall()
            rows = connection.execute(f"select * from {model}").fetchall()
        assert [(name, kind, required, int(key > 0)) for _, name, kind, required, _, key in have] == wanted
        assert wanted
        assert all(row[0] == "headgate" for row in rows)
    assert 'ICEBERG_TABLE_TYPE = "TABLE"' in source


def test_pyicebergs_own_api_works_on_the_lake(lake):
    small.publish(lake, 0, 2, partition=())
    catalog = open_catalog({"warehouse": lake.settings.warehouse})
    assert catalog.list_namespaces() == [("bronze",)]
    assert catalog.list_tables("bronze") == [("bronze", "orders")]
    table = catalog.load_table(TABLE)
    table.append(pa.Table.from_batches([small.rows(10, 1)]))
    table.delete("_hg_offset = 0")
    assert small.offsets(lake) == [1, 10]
    small.publish(lake, 2, 1, partition=())
    assert small.offsets(lake) == [1, 2, 10]
    made = catalog.create_table("bronze.theirs", schema=pa.schema([("a", pa.int64())]))
    made.append(pa.table({"a": [1, 2]}))
    assert lake.cut().table("bronze.theirs").rows() == 2
    catalog.rename_table("bronze.theirs", "bronze.mine")
    catalog.drop_table("bronze.mine")
    assert list(lake.cut().names()) == [TABLE]
    stale = catalog.load_table(TABLE)
    small.publish(lake, 3, 1, partition=())
    with pytest.raises(pyiceberg.exceptions.CommitFailedException):
        stale.append(pa.Table.from_batches([small.rows(10, 1)]))


def test_paths_with_blanks_and_letters_beyond_ascii_are_read_by_others(tmp_path):
    lake = small.lake_in(tmp_path / "mein Ordner ü")
    small.publish(lake, 0, 3)
    view = lake.cut().table(TABLE)
    assert iceberg_reader.ask({"t": view.location}, "select count(*) from t") == [[["3"]]]
    assert (
        StaticTable.from_metadata(view.location, {"py-io-impl": f"{PyArrowFileIO.__module__}.PyArrowFileIO"})
        .scan()
        .count()
        == 3
    )
