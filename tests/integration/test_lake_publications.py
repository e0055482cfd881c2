"""What a publication changes, it changes in all its tables or in none."""

from __future__ import annotations

import shutil

import duckdb
import pyarrow as pa
import pytest

from headgate.errors import CommitConflict, DefectError, FixInputError, StalePosition
from headgate.ports.batch import Position
from headgate.stores.iceberg import peek
from rigs import small_lake as small

TABLES = ("bronze.orders", "silver.orders")


@pytest.fixture
def lake(tmp_path):
    return small.lake_in(tmp_path)


def test_an_empty_lake_has_no_tables_and_is_not_made_by_looking(lake):
    assert lake.cut().names() == []
    assert lake.cut().table("bronze.orders") is None
    assert list(lake.publications()) == []
    assert not lake.settings.warehouse.exists()


def test_tables_rows_positions_and_facts_land_together(lake):
    small.publish(lake, 0, 5, *TABLES, days=2)
    cut = lake.cut()
    assert list(cut.names()) == sorted(TABLES)
    for table in TABLES:
        view = cut.table(table)
        assert (view.rows(), len(view.files())) == (5, 2)
        assert view.position(small.STREAM) == small.at(5)
        assert view.facts("rows") == "5"
        assert view.schema.field("amount").metadata == {b"doc": b"what was paid"}
        assert view.schema.equals(small.SCHEMA)


def test_the_journal_tells_step_tables_and_what_was_noted(lake):
    small.publish(lake, 0, 1, *TABLES)
    with lake.publication("run") as publication:
        publication.note({"run": "r1", "counts": {"read": 0}})
        publication.commit()
    newest, older = lake.publications()
    assert (newest["step"], newest["run"], newest["tables"]) == ("run", "r1", {})
    assert set(older["tables"]) == set(TABLES)
    assert older["tables"]["bronze.orders"] == lake.cut().table("bronze.orders").location


def test_a_publication_that_changes_nothing_leaves_no_trace(lake):
    small.publish(lake, 0, 1)
    before = (small.files_under(lake), len(lake.publications()))
    with lake.publication("land") as publication:
        publication.ensure(small.spec())
        publication.move("bronze.orders", small.STREAM, small.at(1), small.at(1))
        publication.note_fact("bronze.orders", "rows", "1")
        publication.commit()
    assert (small.files_under(lake), len(lake.publications())) == before


def test_a_position_moves_without_rows(lake):
    small.publish(lake, 0, 1)
    with lake.publication("land") as publication:
        publication.move("bronze.orders", small.STREAM, small.at(1), small.at(9))
        publication.commit()
    assert small.where(lake) == 9
    assert small.offsets(lake) == [0]


def test_files_are_replaced_in_one_snapshot(lake):
    small.publish(lake, 0, 4)
    view = lake.cut().table("bronze.orders")
    with lake.publication("refine") as publication:
        publication.remove("bronze.orders", [f.path for f in view.files()])
        publication.write("bronze.orders", [small.rows(10, 3)])
        publication.commit()
    after = lake.cut().table("bronze.orders")
    assert small.offsets(lake) == [10, 11, 12]
    assert after.rows() == 3
    assert len(after.metadata.snapshots) == 2
    assert after.metadata.current_snapshot().summary.operation.value == "overwrite"
    assert [r for b in lake.scan(view, ["_hg_offset"]) for r in b.column(0).to_pylist()] == [0, 1, 2, 3]


def test_leaving_without_commit_removes_what_was_written(lake):
    small.publish(lake, 0, 1)
    before = small.files_under(lake)
    with lake.publication("land") as publication:
        publication.ensure(small.spec("silver.orders"))
        publication.write("silver.orders", [small.rows(0, 5, 3)])
        publication.write("bronze.orders", [small.rows(0, 5, 3)])

    def broken():
        yield small.rows(0, 5, 3)
        raise RuntimeError

    with lake.publication("land") as publication, pytest.raises(RuntimeError):
        publication.write("bronze.orders", broken())
    assert small.files_under(lake) == before
    assert lake.cut().names() == ["bronze.orders"]
    with pytest.raises(DefectError):
        publication.commit()


def test_a_stale_position_is_refused_whole(lake):
    small.publish(lake, 0, 3, *TABLES)
    before = small.files_under(lake)
    with pytest.raises(StalePosition, match="'p'"):
        small.publish(lake, 0, 3, *TABLES)
    assert small.files_under(lake) == before
    assert [small.offsets(lake, t) for t in TABLES] == [[0, 1, 2]] * 2


def test_two_writers_of_different_partitions_both_land_and_of_one_do_not(lake):
    small.publish(lake, 0, 1)
    with lake.publication("land") as one, lake.publication("land") as two, lake.publication("land") as three:
        for publication, partition, offset in ((one, "a", 10), (two, "b", 20), (three, "a", 30)):
            publication.write("bronze.orders", [small.rows(offset, 1, partition=partition)])
            publication.move("bronze.orders", small.STREAM, Position.start(), small.at(offset + 1, partition))
        one.commit()
        two.commit()
        with pytest.raises(StalePosition):
            three.commit()
    assert lake.cut().table("bronze.orders").position(small.STREAM).tokens == {"p": "1", "a": "11", "b": "21"}
    assert small.offsets(lake) == [0, 10, 20]


def test_of_two_that_make_the_same_table_the_second_is_refused_whole(lake):
    with lake.publication("land") as one, lake.publication("land") as two:
        for publication in (one, two):
            publication.ensure(small.spec())
            publication.write("bronze.orders", [small.rows(0, 2)])
        two.ensure(small.spec("silver.orders"))
        one.commit()
        with pytest.raises(CommitConflict):
            two.commit()
    assert lake.cut().names() == ["bronze.orders"]
    assert small.offsets(lake) == [0, 1]


def test_of_two_that_replace_the_same_files_the_second_is_refused(lake):
    small.publish(lake, 0, 2)
    paths = [f.path for f in lake.cut().table("bronze.orders").files()]
    with lake.publication("refine") as one, lake.publication("refine") as two:
        for number, publication in enumerate((one, two)):
            publication.remove("bronze.orders", paths)
            publication.write("bronze.orders", [small.rows(100 * (number + 1), 1)])
        one.commit()
        with pytest.raises(CommitConflict, match="gone"):
            two.commit()
    assert small.offsets(lake) == [100]


def test_a_change_of_rows_that_was_not_expected_is_refused(lake):
    small.publish(lake, 0, 1)
    seen = lake.cut().table("bronze.orders").snapshot_id
    with lake.publication("derive") as publication:
        publication.expect("bronze.orders", seen)
        publication.write("bronze.orders", [small.rows(50, 1)])
        small.publish(lake, 1, 1)
        with pytest.raises(CommitConflict, match="rows"):
            publication.commit()
    assert small.offsets(lake) == [0, 1]


def test_an_append_lands_although_another_writer_was_faster(lake):
    small.publish(lake, 0, 1)
    with lake.publication("land") as publication:
        publication.write("bronze.orders", [small.rows(50, 1)])
        small.publish(lake, 1, 1)
        publication.commit()
    assert small.offsets(lake) == [0, 1, 50]


def test_rows_come_in_any_column_order_and_absent_columns_are_null(lake):
    with lake.publication("land") as publication:
        publication.ensure(small.spec())
        some = small.rows(0, 3).select(["_hg_offset", "_hg_ingested_at", "_hg_partition"])
        text = some.schema.get_field_index("_hg_partition")
        some = some.set_column(text, "_hg_partition", some.column(text).dictionary_encode())
        assert publication.write("bronze.orders", iter([some, small.rows(3, 2)])) == 5
        publication.commit()
    found = pa.Table.from_batches(lake.scan(lake.cut().table("bronze.orders")))
    assert found.column("amount").null_count == 5
    assert found.column("tags").null_count == 3


@pytest.mark.parametrize(
    ("batch", "says"),
    [
        (lambda: small.rows(0, 1).append_column("more", pa.array([1])), "no column 'more'"),
        (lambda: small.rows(0, 1).drop_columns(["_hg_offset"]), "lack the required column"),
        (lambda: small.rows(0, 1).set_column(1, "_hg_offset", pa.array(["x"])), "does not fit"),
        (lambda: small.rows(0, 1).set_column(1, "_hg_offset", pa.array([None], pa.int64())), "has NULL"),
    ],
)
def test_rows_that_are_not_the_tables_are_refused(lake, batch, says):
    with lake.publication("land") as publication:
        publication.ensure(small.spec())
        with pytest.raises(FixInputError, match=says):
            publication.write("bronze.orders", [batch()])
    assert small.files_under(lake) == set()


def test_a_file_written_by_duckdb_is_added_with_bounds_and_partition(lake):
    with lake.publication("refine") as publication:
        view = publication.ensure(small.spec())
        path = f"{publication.folder('bronze.orders')}/mine.parquet"
        duckdb.from_arrow(pa.Table.from_batches([small.rows(7, 3)])).create("r")
        ids = str(dict(view.field_ids())).replace("'__duckdb_field_id'", "__duckdb_field_id")
        duckdb.sql(f"COPY r TO '{path}' (FORMAT parquet, FIELD_IDS {ids})")
        publication.append("bronze.orders", [path])
        publication.commit()
    (file,) = lake.cut().table("bronze.orders").files()
    assert (file.rows, file.lower["_hg_offset"], file.upper["_hg_offset"]) == (3, 7, 9)
    assert file.partition == {"_hg_ingested_at_day": small.DAY.date()}
    assert small.offsets(lake) == [7, 8, 9]


def test_a_file_of_rows_of_two_partitions_or_without_field_ids_is_refused(lake):
    with lake.publication("refine") as publication:
        publication.ensure(small.spec())
        folder = publication.folder("bronze.orders")
        table = publication.ensure(small.spec("silver.orders", partition=()))
        publication.write("silver.orders", [small.rows(0, 4, days=2)])
        mixed = next(p for p in small.files_under(lake) if p.suffix == ".parquet")
        with pytest.raises(DefectError, match="folder"):
            publication.append("bronze.orders", [str(mixed)])
        with pytest.raises(DefectError, match="2 values"):
            publication.append("bronze.orders", [shutil.copy(mixed, folder)])
        pa.parquet.write_table(pa.Table.from_batches([small.rows(0, 1)]), f"{folder}/bare.parquet")
        with pytest.raises(DefectError, match="field id"):
            publication.append("bronze.orders", [f"{folder}/bare.parquet"])
        assert table.name == "silver.orders"


def test_files_of_later_commits_are_found_by_sequence(lake):
    for number in range(4):
        small.publish(lake, number, 1)
    view = lake.cut().table("bronze.orders")
    sequences = [f.sequence for f in view.files()]
    assert sequences == sorted(sequences) == [1, 2, 3, 4]
    assert [f.lower["_hg_offset"] for f in view.files(after_sequence=2)] == [2, 3]
    assert view.files(after_sequence=4) == []


def test_a_cut_does_not_move(lake):
    small.publish(lake, 0, 1, *TABLES)
    cut = lake.cut()
    small.publish(lake, 1, 1, *TABLES)
    assert [cut.table(t).rows() for t in TABLES] == [1, 1]


def test_a_peek_knows_what_the_cut_knows_until_somebody_else_commits(lake):
    settings = {"warehouse": lake.settings.warehouse}
    assert peek(settings).tables == {}
    small.publish(lake, 0, 2, *TABLES)
    look = peek(settings)
    view = lake.cut().table("silver.orders")
    assert look.tables == {t: lake.cut().table(t).location for t in TABLES}
    assert look.position("silver.orders", small.STREAM) == view.position(small.STREAM)
    assert look.position("silver.orders", "another") == Position.start()
    assert look.fact("silver.orders", "rows") == view.facts("rows") == "2"
    assert look.version("silver.orders") == view.version == view.snapshot_id
    assert look.position("gold.none", small.STREAM) is None


def test_many_small_manifests_are_merged_and_every_file_stays(lake):
    for number in range(60):
        small.publish(lake, number, 1)
    view = lake.cut().table("bronze.orders")
    assert len(view._manifests) < 15
    assert small.offsets(lake) == list(range(60))
    assert [f.sequence for f in view.files()] == list(range(1, 61))
    assert [f.lower["_hg_offset"] for f in view.files(after_sequence=55)] == [55, 56, 57, 58, 59]


def test_a_table_or_file_outside_of_the_lake_is_refused(lake, tmp_path):
    with lake.publication("land") as publication:
        publication.ensure(small.spec())
        with pytest.raises(FixInputError, match="no such table"):
            publication.write("bronze.other", [])
        (tmp_path / "x.parquet").write_bytes(b"")
        with pytest.raises(FixInputError, match="outside"):
            publication.append("bronze.orders", [str(tmp_path / "x.parquet")])
    for name in ("orders", "a.b.c", "../x.y", "a/b.c", ""):
        with pytest.raises(FixInputError), lake.publication("land") as publication:
            publication.ensure(small.spec(name))
    assert (tmp_path / "x.parquet").exists()
