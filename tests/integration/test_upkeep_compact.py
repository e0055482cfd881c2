"""Compaction: other files, the same table for everybody who reads it, counts on it, or writes to it meanwhile."""

import threading

import pytest

from headgate.engines.duckdb import open_engine
from headgate.errors import CommitConflict, DefectError
from headgate.steps.compact import TRIES, Sizes, compact
from rigs import iceberg_reader
from rigs import small_lake as small

TABLE = "bronze.orders"
LOOK = "select count(*), count(distinct _hg_offset), sum(_hg_offset), count(amount), sum(len(tags)) from t"


@pytest.fixture
def lake(tmp_path):
    return small.lake_in(tmp_path)


@pytest.fixture(scope="module")
def engine():
    return open_engine({})


def filled(lake, commits=20, rows=10, days=2, **layout):
    for number in range(commits):
        small.publish(lake, number * rows, rows, days=days, **layout)
    return lake.cut().table(TABLE)


def told(view):
    """What another implementation of Iceberg reads."""
    return iceberg_reader.ask({"t": view.location}, LOOK)


def test_another_reader_sees_the_same_rows_before_and_after(lake, engine):
    before = filled(lake)
    done = compact(TABLE, lake, engine, Sizes(), everything=True)
    after = lake.cut().table(TABLE)
    assert (done.files_before, done.files_after, len(after.files())) == (40, 2, 2)
    assert told(before) == told(after)
    assert small.offsets(lake) == list(range(200))


def test_the_version_positions_facts_and_order_of_commits_stay(lake, engine):
    before = filled(lake)
    compact(TABLE, lake, engine, Sizes(), everything=True)
    after = lake.cut().table(TABLE)
    assert after.snapshot_id != before.snapshot_id
    assert after.version == before.version
    assert after.position(small.STREAM) == before.position(small.STREAM)
    assert after.facts("rows") == before.facts("rows")
    newest = max(f.sequence for f in before.files())
    assert {f.sequence for f in after.files()} == {newest}
    assert after.files(after_sequence=newest) == []


def test_changes_since_a_snapshot_step_over_a_compaction(lake, engine):
    before = filled(lake, 4)
    small.publish(lake, 40, 5)
    added = lake.cut().table(TABLE).changes(before.snapshot_id)
    compact(TABLE, lake, engine, Sizes(), everything=True)
    view = lake.cut().table(TABLE)
    assert view.changes(before.snapshot_id) == added
    assert len(added[0]) == 1
    assert view.changes(view.version) == ([], [])
    small.publish(lake, 45, 5)
    view = lake.cut().table(TABLE)
    brought, taken = view.changes(before.snapshot_id)
    assert (len(brought), taken) == (2, [])


def test_rows_taken_from_a_compacted_file_are_a_change_of_present_files(lake, engine):
    """Added before the compaction, gone after it: neither may be told as added."""
    before = filled(lake, 4, days=1)
    small.publish(lake, 40, 5)
    compact(TABLE, lake, engine, Sizes(), everything=True)
    with lake.publication("refine") as publication:
        (whole,) = lake.cut().table(TABLE).files()
        publication.remove(TABLE, [whole.path])
        publication.write(TABLE, [small.rows(0, 30)])
        publication.commit()
    view = lake.cut().table(TABLE)
    brought, taken = view.changes(before.snapshot_id)
    assert set(brought) == {f.path for f in view.files()}
    assert set(taken) == {f.path for f in before.files()}


def test_rows_are_sorted_as_the_table_is_and_bounds_are_kept(lake, engine):
    for start in (300, 100, 200, 0):
        small.publish(
            lake,
            start,
            100,
            before=small.at(lake and (small.where(lake) if lake.cut().names() else None)),
            sort=("_hg_offset",),
        )
    compact(TABLE, lake, engine, Sizes(), everything=True)
    view = lake.cut().table(TABLE)
    (file,) = view.files()
    assert (file.lower["_hg_offset"], file.upper["_hg_offset"]) == (0, 399)
    assert [v for b in lake.scan(view, ["_hg_offset"]) for v in b.column(0).to_pylist()] == list(range(400))


def test_a_column_that_is_younger_than_a_file_is_null_in_the_new_file(lake, engine):
    filled(lake, 2)
    wider = small.SCHEMA.append(small.pa.field("note", small.pa.string()))
    with lake.publication("land") as publication:
        publication.ensure(small.spec(schema=wider))
        publication.commit()
    before = lake.cut().table(TABLE)
    compact(TABLE, lake, engine, Sizes(), everything=True)
    after = lake.cut().table(TABLE)
    look = "select count(*), count(note), sum(_hg_offset) from t"
    assert iceberg_reader.ask({"t": before.location}, look) == iceberg_reader.ask({"t": after.location}, look)
    assert len(after.files()) == 2


def test_work_is_proportional_to_what_is_new(lake, engine):
    """Tiers: each row is rewritten once per tier, however many commits come."""
    sizes = Sizes(target_bytes=64 * 1024, fan=4)
    rewritten = 0
    for number in range(64):
        small.publish(lake, number * 10, 10)
        rewritten += compact(TABLE, lake, engine, sizes).rows
        assert len(lake.cut().table(TABLE).files()) <= 3 * 4 + 1
    assert rewritten <= 4 * 640
    assert small.offsets(lake) == list(range(640))


def test_compaction_lands_beside_a_writer_in_a_tight_loop(lake, engine):
    """RELIABILITY: no row lost or doubled, neither is starved, and the writer never fails."""
    filled(lake, 8)
    stop, failed, wrote = threading.Event(), [], [8]
    more = threading.Condition()

    def write():
        while not stop.is_set():
            try:
                small.publish(lake, wrote[0] * 10, 10, days=2)
            except Exception as error:  # noqa: BLE001
                failed.append(error)
                return
            with more:
                wrote[0] += 1
                more.notify()

    def compacted():
        """One compaction, begun when there is something to do: after the writer's next commit."""
        with more:
            seen = wrote[0]
            assert more.wait_for(lambda: wrote[0] > seen, 60), failed
        return compact(TABLE, lake, engine, Sizes(), everything=True)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        done = [compacted() for _ in range(5)]
    finally:
        stop.set()
        writer.join()
    assert failed == []
    assert all(one.publications and not one.conflicts for one in done), done
    assert small.offsets(lake) == list(range(wrote[0] * 10))


def test_compaction_gives_up_politely_when_its_files_are_always_taken(lake, engine):
    """A writer that replaces the files each time wins; compaction leaves no file behind and says so."""

    class Rival:
        def rewrite(self, groups, output, **options):
            written = engine.rewrite(groups, output, **options)
            rows = list(lake.scan(lake.cut().table(TABLE)))
            with lake.publication("refine") as publication:
                publication.clear(TABLE)
                for half in (rows[:1], rows[1:]):
                    publication.write(TABLE, half)
                publication.commit()
            return written

    filled(lake, 2, days=1)
    done = compact(TABLE, lake, Rival(), Sizes(), everything=True)
    assert (done.gave_up, done.conflicts, done.publications) == (True, TRIES, 0)
    folders = {p.parent.name for p in small.files_under(lake) if p.suffix == ".parquet"}
    assert folders <= {one["id"] for one in lake.publications()}
    assert small.offsets(lake) == list(range(20))


def small_output(publication, view):
    from headgate.ports.engine import Output

    return Output(publication.folder(TABLE), view.schema, view.field_ids())


def test_of_two_compactions_of_the_same_files_one_wins(lake, engine):
    view = filled(lake)
    paths = [f.path for f in view.files() if f.partition["_hg_ingested_at_day"] == small.DAY.date()]
    with lake.publication("maintain") as one, lake.publication("maintain") as two:
        for publication in (one, two):
            group = [f for f in view.files() if f.path in paths]
            publication.rewrite(TABLE, paths, engine.rewrite([group], small_output(publication, view))[0])
        one.commit()
        with pytest.raises(CommitConflict, match="gone"):
            two.commit()
    assert small.offsets(lake) == list(range(200))


def test_a_rewrite_that_loses_rows_is_refused(lake, engine):
    view = filled(lake)
    files = view.files()
    with lake.publication("maintain") as publication:
        paths = engine.rewrite([files[:1]], small_output(publication, view))[0]
        with pytest.raises(DefectError, match="rewritten"):
            publication.rewrite(TABLE, [files[0].path, files[2].path], paths)


def test_an_append_of_a_writer_that_read_before_the_compaction_lands(lake, engine):
    view = filled(lake)
    with lake.publication("derive") as publication:
        publication.expect(TABLE, view.version)
        publication.write(TABLE, [small.rows(900, 1)])
        compact(TABLE, lake, engine, Sizes(), everything=True)
        publication.commit()
    assert small.offsets(lake)[-1] == 900


def test_clearing_a_table_takes_also_what_a_compaction_wrote_meanwhile(lake, engine):
    view = filled(lake)
    with lake.publication("derive") as publication:
        publication.expect(TABLE, view.version)
        publication.clear(TABLE)
        publication.write(TABLE, [small.rows(900, 1)])
        compact(TABLE, lake, engine, Sizes(), everything=True)
        publication.commit()
    assert small.offsets(lake) == [900]
