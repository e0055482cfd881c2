"""A table is made as its spec says and follows a changed spec exactly as far as stored files can."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from pyiceberg.table.snapshots import Operation, Snapshot, Summary
from pyiceberg.table.update import AddSnapshotUpdate, update_table_metadata

from headgate.errors import BreakingChangeError, FixInputError
from headgate.ports.store import TableSpec
from headgate.stores.iceberg.arrow_types import arrow_schema
from headgate.stores.iceberg.evolution import evolution, replacement, without_lost_history
from headgate.stores.iceberg.layout import new_table

NAME = "silver.t"


def spec(*fields, **more):
    return TableSpec(NAME, pa.schema([pa.field(*f) if isinstance(f, tuple) else f for f in fields]), **more)


def made(first, *, rows=True):
    metadata = new_table(first, Path("/warehouse"))
    if not rows:
        return metadata
    snapshot = Snapshot.model_validate(
        {"snapshot-id": 1, "sequence-number": 1, "manifest-list": "file:///x", "summary": Summary(Operation.APPEND)}
    )
    return update_table_metadata(metadata, (AddSnapshotUpdate(snapshot=snapshot),))


def follow(first, second, *, rows=True):
    metadata = made(first, rows=rows)
    return update_table_metadata(metadata, evolution(metadata, second))


A = pa.field("a", pa.int64(), nullable=False)
S = pa.struct([pa.field("x", pa.int32()), pa.field("y", pa.list_(pa.float32()))])


def test_docs_key_sort_partition_and_properties_are_kept():
    first = spec(
        pa.field("a", pa.int64(), False, {b"doc": b"the key"}),
        ("at", pa.timestamp("us", tz="UTC")),
        key=("a",),
        sort=("at", "a"),
        partition=(("at", "day"), ("a", "bucket[16]"), ("a", "identity")),
        comment="a table",
        properties={"owner": "me"},
    )
    metadata = made(first, rows=False)
    assert metadata.format_version == 2
    assert metadata.schema().identifier_field_names() == {"a"}
    assert metadata.schema().find_field("a").doc == "the key"
    assert [f.name for f in metadata.spec().fields] == ["at_day", "a_bucket_16", "a"]
    assert [f.source_id for f in metadata.sort_order().fields] == [2, 1]
    assert metadata.properties["comment"] == "a table"
    assert metadata.properties["owner"] == "me"
    assert metadata.properties["write.parquet.compression-codec"] == "zstd"
    assert evolution(metadata, first) == ()


def test_every_table_has_a_folder_of_its_own_even_under_the_same_name():
    assert made(spec(A)).location != made(spec(A)).location
    assert made(spec(A)).location.startswith("file:///warehouse/silver/t-")
    assert new_table(TableSpec("a b.ü?#%", pa.schema([A])), Path("/w")).location.startswith("file:///w/a_b/_-")


@pytest.mark.parametrize("key", ["nullable", "floating"])
def test_a_key_that_iceberg_cannot_identify_by_is_kept_as_a_property_only(key):
    column = pa.field("k", pa.int64()) if key == "nullable" else pa.field("k", pa.float64(), nullable=False)
    metadata = made(spec(A, column, key=("a", "k")))
    assert metadata.schema().identifier_field_ids == []
    assert metadata.properties["headgate.key"] == '["a", "k"]'


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (("b", pa.int32()), ("b", pa.int64())),
        (("b", pa.float32()), ("b", pa.float64())),
        (("b", pa.decimal128(9, 2)), ("b", pa.decimal128(20, 2))),
        (pa.field("b", pa.string(), nullable=False), ("b", pa.string())),
        (("b", pa.string()), ("b", pa.large_string())),
        (
            ("b", S),
            ("b", pa.struct([pa.field("x", pa.int64()), pa.field("y", pa.list_(pa.float64())), pa.field("z", S)])),
        ),
        (("b", pa.map_(pa.string(), pa.int32())), ("b", pa.map_(pa.string(), pa.int64()))),
        (("b", pa.string()), pa.field("b", pa.string(), metadata={b"doc": b"new words"})),
    ],
    ids=str,
)
def test_it_follows_a_change_that_keeps_every_stored_value(before, after):
    old, new = made(spec(A, before)), follow(spec(A, before), spec(A, after))
    wanted = pa.schema([A, pa.field(*after) if isinstance(after, tuple) else after])
    if after == ("b", pa.large_string()):
        wanted = pa.schema([A, pa.field("b", pa.string())])
    assert arrow_schema(new.schema()).equals(wanted)
    assert new.schema().find_field("b").doc == ("new words" if wanted.field("b").metadata else None)
    assert new.schema().find_field("b").field_id == old.schema().find_field("b").field_id
    assert evolution(new, spec(A, after)) == ()


def test_new_columns_get_ids_that_were_never_used():
    grown = follow(spec(A, ("b", S)), spec(("new", pa.list_(S)), A, ("b", S)))
    ids = list(grown.schema()._lazy_id_to_name)
    assert len(ids) == len(set(ids))
    assert grown.schema().find_field("new").field_id > made(spec(A, ("b", S))).last_column_id
    assert [f.name for f in grown.schema().fields] == ["a", "b", "new"]
    assert grown.last_column_id == max(ids)


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        (("b", pa.int64()), ("b", pa.int32()), "column b: changed from long to int"),
        (("b", pa.int64()), ("b", pa.string()), "column b: changed from long to string"),
        (("b", pa.float64()), ("b", pa.float32()), "column b: changed from double to float"),
        (("b", pa.decimal128(9, 2)), ("b", pa.decimal128(9, 3)), r"column b: changed from decimal\(9, 2\)"),
        (("b", pa.decimal128(9, 2)), ("b", pa.decimal128(8, 2)), r"to decimal\(8, 2\)"),
        (
            ("b", pa.timestamp("us")),
            ("b", pa.timestamp("us", tz="UTC")),
            "column b: changed from timestamp to timestamptz",
        ),
        (("b", pa.string()), pa.field("b", pa.string(), nullable=False), "column b: became required"),
        (("b", pa.string()), pa.field("c", pa.string()), "column b: was removed"),
        (("b", S), ("b", pa.struct([pa.field("y", pa.list_(pa.float32()))])), r"column b\.x: was removed"),
        (("b", pa.list_(pa.int64())), ("b", pa.list_(pa.int32())), r"column b\[\]: changed"),
        (("b", pa.map_(pa.string(), pa.int64())), ("b", pa.map_(pa.int64(), pa.int64())), r"column b\.key: changed"),
    ],
    ids=str,
)
def test_it_refuses_any_other_change_naming_column_and_change(before, after, says):
    with pytest.raises(BreakingChangeError, match=says) as caught:
        follow(spec(A, before), spec(A, after))
    assert caught.value.where == NAME
    assert caught.value.hint


def test_a_required_column_may_be_added_only_while_there_are_no_rows():
    more = spec(A, pa.field("b", pa.int64(), nullable=False))
    assert follow(spec(A), more, rows=False).schema().find_field("b").required
    with pytest.raises(BreakingChangeError, match="column b: was added as required"):
        follow(spec(A), more)


def test_a_changed_partition_or_key_is_refused_by_name():
    with pytest.raises(BreakingChangeError, match=r"from identity\(a\) to bucket\[4\]\(a\)"):
        follow(spec(A, partition=(("a", "identity"),)), spec(A, partition=(("a", "bucket[4]"),)))
    with pytest.raises(BreakingChangeError, match=r"key changed from \(none\) to \(a\)"):
        follow(spec(A), spec(A, key=("a",)))


def test_a_changed_sort_comment_or_property_is_followed():
    new = follow(spec(A, sort=("a",), comment="x"), spec(A, comment="y", properties={"p": "1"}))
    assert new.sort_order().fields == []
    assert (new.properties["comment"], new.properties["p"]) == ("y", "1")
    back = update_table_metadata(new, evolution(new, spec(A, sort=("a",), comment="y")))
    assert [f.source_id for f in back.sort_order().fields] == [1]


@pytest.mark.parametrize(
    "bad",
    [
        spec(("a", pa.timestamp("ns"))),
        spec(("a", pa.null())),
        spec(("a", pa.uint64())),
        spec(A, partition=(("b", "day"),)),
        spec(A, partition=(("a", "day"),)),
        spec(A, partition=(("a", "truncate[4]"),)),
        spec(A, sort=("b",)),
        spec(A, key=("b",)),
    ],
    ids=str,
)
def test_a_spec_that_iceberg_cannot_hold_is_refused(bad):
    with pytest.raises(FixInputError):
        made(bad)


def anew(first, second):
    metadata = made(first)
    return metadata, without_lost_history(update_table_metadata(metadata, replacement(metadata, second)))


@pytest.mark.parametrize(
    ("before", "after", "kept"),
    [
        (("b", pa.int64()), ("b", pa.string()), False),
        (("b", pa.string()), pa.field("b", pa.string(), nullable=False), False),
        (("b", pa.int32()), ("b", pa.int64()), True),
        (pa.field("b", pa.string(), nullable=False), ("b", pa.string()), True),
        (("b", pa.list_(pa.int64())), ("b", pa.list_(pa.int32())), False),
        (("b", S), ("b", pa.struct([pa.field("y", pa.list_(pa.float32()))])), True),
    ],
    ids=str,
)
def test_a_replaced_column_keeps_its_id_only_where_stored_values_may_be_read_as_its_own(before, after, kept):
    old, new = anew(spec(A, before), spec(after, A))
    assert [f.name for f in new.schema().fields] == ["b", "a"]
    assert evolution(new, spec(after, A)) == ()
    same = new.schema().find_field("b").field_id == old.schema().find_field("b").field_id
    assert same == kept
    ids = list(new.schema()._lazy_id_to_name)
    assert len(ids) == len(set(ids))
    assert kept or new.schema().find_field("b").field_id > old.last_column_id
    assert len(new.schemas) == 2  # the old one stays for the old snapshots
    assert len(new.snapshots) == 1


def test_inside_a_struct_only_what_changed_gets_a_new_id():
    old, new = anew(spec(A, ("b", S)), spec(A, ("b", pa.struct([pa.field("x", pa.string()), S.field("y")]))))
    assert new.schema().find_field("b").field_id == old.schema().find_field("b").field_id
    assert new.schema().find_field("b.x").field_id > old.last_column_id
    assert new.schema().find_field("b.y").field_id == old.schema().find_field("b.y").field_id


def test_a_replaced_table_takes_any_key_and_partitioning_and_finds_its_old_one_again():
    day, hour = (("at", "day"),), (("at", "hour"), ("a", "identity"))
    at = ("at", pa.timestamp("us"))
    old, new = anew(spec(A, at, partition=day), spec(A, at, partition=hour, key=("a",)))
    assert [f.name for f in new.spec().fields] == ["at_hour", "a"]
    assert new.schema().identifier_field_names() == {"a"}
    assert len({f.field_id for one in new.partition_specs for f in one.fields}) == 3
    assert new.snapshots == old.snapshots
    again = update_table_metadata(new, replacement(new, spec(A, at, partition=day)))
    assert again.default_spec_id == old.default_spec_id
    assert len(again.partition_specs) == 2


def test_history_goes_only_where_a_partitioning_has_lost_its_column():
    day = (("at", "day"),)
    old, new = anew(spec(A, ("at", pa.timestamp("us")), partition=day), spec(A, ("at", pa.date32()), partition=day))
    assert (len(old.snapshots), new.snapshots, new.refs, new.current_snapshot_id) == (1, [], {}, None)
    assert [f.source_id for one in new.partition_specs for f in one.fields] == [new.schema().find_field("at").field_id]
    assert new.table_uuid == old.table_uuid
    assert new.location == old.location


def test_what_grows_keeps_every_column_and_requires_nothing_new():
    first = spec(A, pa.field("b", pa.string(), nullable=False), grows=True)
    new = follow(first, spec(pa.field("c", pa.int64(), nullable=False), A, grows=True))
    assert [(f.name, f.required) for f in new.schema().fields] == [("a", True), ("b", False), ("c", False)]
    back = update_table_metadata(new, evolution(new, first))
    assert [(f.name, f.required) for f in back.schema().fields] == [("a", True), ("b", False), ("c", False)]
    assert back.schema().find_field("b").field_id == new.schema().find_field("b").field_id
    with pytest.raises(BreakingChangeError, match="column b: changed from string to long"):
        follow(first, spec(A, ("b", pa.int64()), grows=True))
