"""Tables divided in time: the SQL as text. TimescaleDB itself runs where its extension is; native partitions in
tests/integration/test_postgres_store.py."""

from __future__ import annotations

import datetime as dt

import pyarrow as pa
import pytest

from headgate.errors import FixInputError
from headgate.ports.store import TableSpec
from headgate.stores.postgres_time import Division, following, hypertable, partition, partition_name, too_old

SCHEMA = pa.schema(
    [
        pa.field("id", pa.int64(), nullable=False),
        pa.field("at", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("maybe", pa.timestamp("us", tz="UTC")),
    ]
)
SPEC = TableSpec("silver.readings", SCHEMA, partition=(("at", "day"),), key=("id",))


def test_a_hypertable_has_chunks_compression_and_retention():
    division = Division.of({"time": "at", "compress_after": "7 days", "drop_after": "6 months"}, SPEC)
    assert hypertable('"silver"."it\'s"', division) == [
        "SELECT public.create_hypertable('\"silver\".\"it''s\"', public.by_range('at', INTERVAL '1 day'))",
        'ALTER TABLE "silver"."it\'s" SET (timescaledb.compress)',
        "SELECT public.add_compression_policy('\"silver\".\"it''s\"', INTERVAL '7 days')",
        "SELECT public.add_retention_policy('\"silver\".\"it''s\"', INTERVAL '6 months')",
    ]
    assert len(hypertable("t", Division.of({"time": "at"}, SPEC))) == 1


def test_the_key_of_a_divided_table_holds_its_time():
    assert Division.of({"time": "at"}, SPEC).key(("id",)) == ("id", "at")
    assert Division.of({"time": "at"}, SPEC).key(("at", "id")) == ("at", "id")


def test_pieces_are_those_of_the_contract_unless_others_are_asked_for():
    assert Division.of({}, SPEC) is None
    assert Division.of({"time": "at"}, SPEC).chunk == "day"
    assert Division.of({"time": "at", "chunk": "year"}, SPEC).chunk == "year"
    assert Division.of({"time": "at"}, TableSpec("silver.x", SCHEMA)).chunk == "month"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"time": "nope"}, "is no column"),
        ({"time": "id"}, "no required date or timestamp"),
        ({"time": "maybe"}, "no required date or timestamp"),
        ({"time": "at", "chunk": "hour"}, "chunk is 'hour'"),
        ({"time": "at", "drop_after": "soon'; --"}, "drop_after is"),
        ({"compress_after": "7 days"}, "need `time`"),
    ],
)
def test_what_cannot_be_is_named(given, said):
    with pytest.raises(FixInputError, match=said):
        Division.of(given, SPEC)


def test_partitions_begin_and_end_where_the_calendar_says():
    assert following(dt.date(2026, 12, 31), "day") == dt.date(2027, 1, 1)
    assert following(dt.date(2026, 12, 1), "month") == dt.date(2027, 1, 1)
    assert following(dt.date(2024, 1, 1), "month") == dt.date(2024, 2, 1)
    assert following(dt.date(2026, 1, 1), "year") == dt.date(2027, 1, 1)
    division = Division("at", "month")
    assert partition("silver", "readings", division, dt.date(2026, 12, 1)) == (
        'CREATE TABLE IF NOT EXISTS "silver"."readings_2026_12" PARTITION OF "silver"."readings" '
        "FOR VALUES FROM ('2026-12-01') TO ('2027-01-01')"
    )


def test_names_of_partitions_fit_and_differ():
    division = Division("at", "day")
    first, second = "x" * 62 + "a", "x" * 62 + "b"
    names = {partition_name(t, division, dt.date(987, 1, 2)) for t in (first, second)}
    assert len(names) == 2
    assert all(len(n.encode()) <= 63 and n.endswith("_0987_01_02") for n in names)


def test_only_whole_pieces_of_our_own_are_too_old():
    division = Division("at", "month", drop_after="1 month")
    names = [
        "readings_2026_01",
        "readings_2026_02",
        "readings_2026_03",
        "readings_old",
        "other_2020_01",
        "readings_2026_13",
    ]
    limit = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)
    assert too_old(names, "readings", division, limit) == ["readings_2026_01", "readings_2026_02"]
