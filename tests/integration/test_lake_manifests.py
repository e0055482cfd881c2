"""What a process remembers of the manifests that it wrote is what stands in them; and it need not read them again."""

from __future__ import annotations

import datetime as dt
import decimal
import time
from collections.abc import Mapping

import pyarrow as pa
import pytest
from pyiceberg import manifest as manifests_of_pyiceberg
from pyiceberg.manifest import read_manifest_list

from headgate.stores.iceberg import manifests
from headgate.stores.iceberg.manifest_reads import in_list, live_in
from rigs import small_lake as small

TABLE = "bronze.orders"
TYPES = {
    "yes": pa.bool_(),
    "small": pa.int32(),
    "ratio": pa.float64(),
    "price": pa.decimal128(20, 4),
    "day": pa.date32(),
    "clock": pa.time64("us"),
    "at": pa.timestamp("us"),
    "text": pa.string(),
    "raw": pa.binary(),
}
VALUES = [
    [
        True,
        1,
        1.5,
        decimal.Decimal("1.5000"),
        dt.date(1969, 12, 31),
        dt.time(1),
        dt.datetime(1960, 1, 1),
        "ä" * 40,
        b"\0",
    ],
    [None] * len(TYPES),
    [False, -1, float("nan"), decimal.Decimal("-2"), dt.date(2026, 1, 1), None, dt.datetime(2026, 1, 1), "", b""],
]
PARTITIONS = [
    (("_hg_ingested_at", "day"),),
    (("text", "identity"), ("small", "bucket[4]")),
    (("day", "month"), ("price", "identity")),
    (("at", "hour"),),
    (),
]


def publish(lake, partition, number):
    schema = pa.schema([*list(small.SCHEMA)[:3], *(pa.field(n, t) for n, t in TYPES.items())])
    columns = dict(zip(TYPES, zip(*VALUES, strict=True), strict=True))
    rows = pa.RecordBatch.from_pydict(
        {
            "_hg_partition": ["p"] * 3,
            "_hg_offset": range(3 * number, 3 * number + 3),
            "_hg_ingested_at": [small.DAY + dt.timedelta(days=n) for n in range(3)],
            **{name: list(values) for name, values in columns.items()},
        },
        schema=schema,
    )
    with lake.publication("land") as publication:
        publication.ensure(small.spec(schema=schema, partition=partition))
        publication.write(TABLE, [rows])
        publication.commit()


def told(entry):
    values = [entry[n] for n in range(len(entry))]
    return [told(v) if hasattr(v, "_data") else dict(v) if isinstance(v, Mapping) else v for v in values]


def check(lake):
    """Everything that the lake remembers, or reads with readers that it keeps, beside what PyIceberg reads."""
    cache, io = lake._storage.manifests, lake._storage.io
    snapshot = lake.cut().table(TABLE).metadata.current_snapshot()
    read = list(read_manifest_list(io.new_input(snapshot.manifest_list)))
    for ours in (cache.listed(io, snapshot.manifest_list), in_list(io, snapshot.manifest_list)):
        assert [told(m) for m in ours] == [told(m) for m in read]
    for one in read:
        fresh = one.fetch_manifest_entry(io, discard_deleted=True)
        for ours in (cache.entries(io, one), live_in(io, one)):
            assert [repr(told(e)) for e in ours] == [repr(told(e)) for e in fresh]  # repr: a NaN is not itself
            assert [type(e.status) for e in ours] == [type(e.status) for e in fresh]


@pytest.mark.parametrize("partition", PARTITIONS, ids=[f"by {len(p)}, {p[0][1] if p else 'none'}" for p in PARTITIONS])
def test_what_is_remembered_is_what_was_written(tmp_path, partition):
    lake = small.lake_in(tmp_path)
    for number in range(3):
        publish(lake, partition, number)
        check(lake)
    files = lake.cut().table(TABLE).files()
    with lake.publication("refine") as publication:
        publication.ensure(small.spec(schema=lake.cut().table(TABLE).schema, partition=partition))
        publication.remove(TABLE, [files[0].path, files[-1].path])
        publication.commit()
    check(lake)
    assert [f.path for f in lake.cut().table(TABLE).files()] == [f.path for f in files[1:-1]]


def test_many_manifests_become_one_that_is_remembered_too(tmp_path):
    lake = small.lake_in(tmp_path, snapshots=5)
    for number in range(55):
        small.publish(lake, number, 1)
    check(lake)
    assert small.offsets(lake) == list(range(55))


def test_a_micro_batch_reads_nothing_that_this_process_wrote(tmp_path, monkeypatch):
    lake, spec = small.lake_in(tmp_path), small.spec()
    monkeypatch.setattr(small, "spec", lambda name: spec)
    for number in range(3):
        small.publish(lake, number, 1)
    fail = lambda *a, **k: pytest.fail("read again")  # noqa: E731
    monkeypatch.setattr(manifests_of_pyiceberg, "AvroFile", fail)
    monkeypatch.setattr("headgate.stores.iceberg.cut.FromInputFile.table_metadata", fail)
    small.publish(lake, 3, 1)
    assert len(lake.cut().table(TABLE).files()) == 4


def test_another_process_finds_the_same(tmp_path):
    lake = small.lake_in(tmp_path)
    for number in range(4):
        small.publish(lake, 2 * number, 2, days=2)
    other = small.lake_in(tmp_path)
    assert small.offsets(other) == small.offsets(lake) == list(range(8))
    assert other.cut().table(TABLE).files() == lake.cut().table(TABLE).files()


def test_what_nobody_asks_for_is_let_go(tmp_path):
    lake = small.lake_in(tmp_path)
    small.publish(lake, 0, 1)
    io, location = lake._storage.io, lake.cut().table(TABLE).metadata.current_snapshot().manifest_list
    cache = manifests.ManifestCache(keep_s=0.0)
    (one,) = cache.listed(io, location)
    for _ in range(3):
        cache.entries(io, one)
        time.sleep(0)
        cache.listed(io, location)
    assert cache.held <= 2 * 2
    few = manifests.ManifestCache(entries=1)
    few.listed(io, location)
    few.entries(io, one)
    assert few.held == 2, "the newest stays, however large it is"
