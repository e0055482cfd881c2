"""Expiry by number, by age, and around what others still need: what goes, what stays, and what can still be told."""

import time

import pytest

from headgate.engines.duckdb import open_engine
from headgate.errors import FixInputError
from headgate.ports.store import Expiry
from headgate.steps.compact import Sizes, compact
from headgate.stores.iceberg.catalog import open_catalog
from headgate.stores.iceberg.expiry import BRIDGES
from rigs import small_lake as small

TABLE = "bronze.orders"
DAY_S = 86_400.0
ONE = Expiry(snapshots=1)


@pytest.fixture
def lake(tmp_path):
    return small.lake_in(tmp_path)


def grown(lake, commits, start=0):
    """So many commits of ten rows; the snapshots, oldest first."""
    for number in range(start, start + commits):
        small.publish(lake, number * 10, 10)
    return ids(lake)


def ids(lake):
    return [s.snapshot_id for s in sorted(lake.cut().table(TABLE).metadata.snapshots, key=lambda s: s.sequence_number)]


def numbers(lake, paths):
    """The offsets in data files."""
    import pyarrow.parquet as pq

    return sorted(n for path in paths for n in pq.read_table(path, columns=["_hg_offset"])[0].to_pylist())


def property_of(lake, name, value):
    table = open_catalog({"warehouse": lake.settings.warehouse}).load_table(TABLE)
    table.transaction().set_properties({name: value}).commit_transaction()


@pytest.fixture
def later(monkeypatch):
    """Move the clock of expiry."""

    def move(seconds):
        now = time.time()
        monkeypatch.setattr("time.time", lambda: now + seconds)

    return move


def test_a_held_snapshot_stays_and_what_came_since_can_be_told_although_those_between_are_gone(lake):
    first, *_ = grown(lake, 3)
    (held,) = ids(lake)[-1:]
    lake.hold("serve.shop", TABLE, {held}, DAY_S)
    grown(lake, 6, start=3)
    compact(TABLE, lake, open_engine({}), Sizes(), everything=True)
    grown(lake, 4, start=9)
    assert lake.expire(TABLE, ONE) == 12
    lake.clean(0.0)
    left = ids(lake)
    assert (len(left), left[0], first in left) == (2, held, False)
    added, removed = lake.cut().table(TABLE).changes(held)
    assert numbers(lake, added)[-1] == 129
    # the compaction in the gap cannot be stepped over any more: as rows, what differs is what came
    told = set(numbers(lake, added)) - set(numbers(lake, removed))
    assert told == set(range(30, 130))
    grown(lake, 3, start=13)
    assert lake.expire(TABLE, ONE) == 3
    told = [set(numbers(lake, paths)) for paths in lake.cut().table(TABLE).changes(held)]
    assert told[0] - told[1] == set(range(30, 160))


def test_changes_across_a_gap_have_no_file_that_both_ends_share(lake):
    held = grown(lake, 5)[-1]
    lake.hold("serve.shop", TABLE, {held}, DAY_S)
    grown(lake, 5, start=5)
    lake.expire(TABLE, ONE)
    added, removed = lake.cut().table(TABLE).changes(held)
    assert (numbers(lake, added), removed) == (list(range(50, 100)), [])


def test_a_hold_ends_when_its_time_is_over_and_the_gap_is_forgotten(lake, later):
    held = grown(lake, 2)[-1]
    lake.hold("serve.shop", TABLE, {held}, DAY_S)
    (told,) = lake.holds()
    assert (told.reader, told.table, told.snapshot, told.until) == ("serve.shop", TABLE, held, None)
    grown(lake, 4, start=2)
    ended = lake.cut().table(TABLE).metadata.snapshot_by_id(ids(lake)[2]).timestamp_ms / 1000
    (told,) = lake.holds()
    assert told.until.timestamp() == pytest.approx(ended + DAY_S)
    later(DAY_S - 60)
    lake.expire(TABLE, ONE)
    assert held in ids(lake)
    assert lake.holds()[0].until == told.until  # the gap does not prolong it
    later(DAY_S + 60)
    assert lake.expire(TABLE, ONE) == 1
    assert lake.cut().table(TABLE).changes(held) is None
    assert (lake.holds(), BRIDGES in lake.cut().table(TABLE).properties) == ([], False)


def test_commits_let_go_of_old_snapshots_but_not_of_a_held_one(tmp_path):
    lake = small.lake_in(tmp_path, snapshots=6)
    held = grown(lake, 2)[-1]
    lake.hold("serve.shop", TABLE, {held}, DAY_S)
    grown(lake, 20, start=2)
    assert len(ids(lake)) == 6
    assert held in ids(lake)
    added, removed = lake.cut().table(TABLE).changes(held)
    assert (numbers(lake, added), removed) == (list(range(20, 220)), [])
    lake.hold("serve.shop", TABLE, {held}, 0)
    grown(lake, 1, start=22)
    assert held not in ids(lake)


def test_what_was_rolled_back_is_no_ancestor_although_there_is_a_gap(lake):
    """Rows of it may be in the target and are not in the table any more: changes cannot be told."""
    *_, kept, gone = grown(lake, 3)
    lake.hold("serve.shop", TABLE, {gone}, DAY_S)
    table = open_catalog({"warehouse": lake.settings.warehouse}).load_table(TABLE)
    table.manage_snapshots().rollback_to_snapshot(kept).commit()
    grown(lake, 4, start=2)
    lake.expire(TABLE, ONE)
    assert gone not in ids(lake)
    assert lake.cut().table(TABLE).changes(gone) is None


def test_snapshots_expire_by_age_but_so_many_stay(lake, later):
    grown(lake, 5)
    assert lake.expire(TABLE, Expiry(age_s=DAY_S)) == 0
    later(DAY_S + 60)
    assert lake.expire(TABLE, Expiry(age_s=DAY_S, least=3)) == 2
    assert lake.expire(TABLE, Expiry(age_s=DAY_S)) == 2
    grown(lake, 3, start=5)  # younger than the moved clock by a day too
    assert lake.expire(TABLE, Expiry(age_s=2 * DAY_S)) == 0
    assert len(ids(lake)) == 4


def test_the_tables_own_properties_count_before_the_projects_settings(lake, later):
    grown(lake, 6)
    later(3600)
    property_of(lake, "history.expire.max-snapshot-age-ms", "60000")
    property_of(lake, "history.expire.min-snapshots-to-keep", "4")
    view = lake.cut().table(TABLE)
    assert lake.expiry_due(view, Expiry(age_s=DAY_S))
    assert lake.expire(TABLE, Expiry(snapshots=1, age_s=DAY_S)) == 2
    assert lake.expire(TABLE, Expiry(age_s=DAY_S, by_count=False)) == 0  # what is asked for now is older
    assert lake.expire(TABLE, Expiry(age_s=1800, by_count=False)) == 0  # four are to stay
    property_of(lake, "history.expire.min-snapshots-to-keep", "1")
    assert lake.expire(TABLE, Expiry(age_s=1800, by_count=False)) == 3
    property_of(lake, "history.expire.max-snapshot-age-ms", "soon")
    with pytest.raises(FixInputError, match="max-snapshot-age-ms is 'soon'"):
        lake.expire(TABLE, ONE)


def test_a_lake_that_an_older_headgate_made_learns_to_hold(lake):
    first = grown(lake, 1)[-1]
    with lake.pointers.connection() as connection:
        lake.pointers.run(connection, "DROP TABLE headgate_holds")
    again = small.lake_in(lake.settings.warehouse.parent)
    assert (again.holds(), again.expire(TABLE, ONE)) == ([], 0)
    again.hold("serve.shop", TABLE, {first}, DAY_S)
    assert [one.snapshot for one in again.holds()] == [first]
