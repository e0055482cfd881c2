"""A position is found whatever others do to the table, or it is said to be lost: it is never guessed."""

from __future__ import annotations

import pyarrow as pa
import pytest

from headgate.errors import PositionLost, StalePosition
from headgate.stores.iceberg.catalog import open_catalog
from rigs import small_lake as small

TABLE = "bronze.orders"


@pytest.fixture
def lake(tmp_path):
    return small.lake_in(tmp_path)


@pytest.fixture
def table(lake):
    """The table, after three publications of one row each, as PyIceberg's own API sees it."""
    for number in range(3):
        publish(lake, number, 1)
    return open_catalog({"warehouse": lake.settings.warehouse}).load_table(TABLE)


def publish(lake, start, count):
    """One publication; not partitioned, because PyIceberg's own writer needs another package for that."""
    small.publish(lake, start, count, partition=())


def foreign_append(table, offset=100):
    """A snapshot by another writer."""
    table.append(pa.Table.from_batches([small.rows(offset, 1)]))
    table.refresh()


def rewrite(table):
    """A compaction by hand: the same rows, other files."""
    table.overwrite(table.scan().to_arrow())
    table.refresh()


def expire(table, keep=1):
    """Expire all but the newest snapshots, as PyIceberg does."""
    ids = [s.snapshot_id for s in sorted(table.metadata.snapshots, key=lambda s: s.sequence_number)]
    table.maintenance.expire_snapshots().by_ids(ids[:-keep]).commit()
    table.refresh()


def roll_back(table, steps):
    """Make an ancestor the current snapshot."""
    snapshot = table.current_snapshot()
    for _ in range(steps):
        snapshot = table.metadata.snapshot_by_id(snapshot.parent_snapshot_id)
    with table.manage_snapshots() as manage:
        manage.rollback_to_snapshot(snapshot.snapshot_id)
    table.refresh()


def forget_metadata(lake):
    """Remove all metadata files but the current one, as an orphan clean-up by another tool may."""
    current = lake.cut().table(TABLE).location.removeprefix("file://")
    for path in lake.settings.warehouse.rglob("*.metadata.json"):
        if str(path) != current:
            path.unlink()


def test_after_snapshots_of_others(lake, table):
    foreign_append(table)
    rewrite(table)
    foreign_append(table, 101)
    assert small.where(lake) == 3
    assert lake.cut().table(TABLE).facts("rows") == "3"
    publish(lake, 3, 1)
    assert small.offsets(lake) == [0, 1, 2, 3, 100, 101]


def test_after_expiry_of_all_but_ours(lake, table):
    expire(table)
    assert small.where(lake) == 3
    publish(lake, 3, 1)
    assert small.where(lake) == 4


def test_after_expiry_of_ours_below_one_snapshot_of_another(lake, table):
    foreign_append(table)
    expire(table)
    assert small.where(lake) == 3
    publish(lake, 3, 1)
    assert small.offsets(lake) == [0, 1, 2, 3, 100]


def test_after_expiry_of_ours_below_many_snapshots_of_others(lake, table):
    foreign_append(table)
    rewrite(table)
    expire(table)
    assert small.where(lake) == 3


def test_after_a_rollback_position_and_facts_rewind_with_the_rows(lake, table):
    roll_back(table, 2)
    assert small.offsets(lake) == [0]
    assert small.where(lake) == 1
    assert lake.cut().table(TABLE).facts("rows") == "1"
    with pytest.raises(StalePosition):
        publish(lake, 3, 1)
    publish(lake, 1, 1)
    assert small.offsets(lake) == [0, 1]
    assert small.where(lake) == 2


def test_after_a_rollback_and_expiry_of_what_was_rolled_back_from(lake, table):
    newest = table.current_snapshot().snapshot_id
    roll_back(table, 1)
    foreign_append(table)
    table.maintenance.expire_snapshots().by_ids([newest]).commit()
    assert small.where(lake) == 2


def test_after_a_rollback_a_foreign_snapshot_and_expiry_of_all_before(lake, table):
    roll_back(table, 2)
    foreign_append(table)
    expire(table)
    assert small.offsets(lake) == [0, 100]
    assert small.where(lake) == 1, "the property still says 3, which no longer is true"


def test_when_the_cut_cannot_be_bridged_the_position_is_lost_not_guessed(lake, table):
    roll_back(table, 2)
    foreign_append(table)
    expire(table)
    forget_metadata(lake)
    with pytest.raises(PositionLost, match="expired"):
        lake.cut().table(TABLE).position(small.STREAM)
    with pytest.raises(PositionLost):
        publish(lake, 1, 1)
    assert small.offsets(lake) == [0, 100]


def test_rolled_back_to_before_the_first_of_ours(lake, tmp_path):
    catalog = open_catalog({"warehouse": lake.settings.warehouse})
    catalog.create_namespace("bronze")
    table = catalog.create_table(TABLE, schema=pa.Table.from_batches([small.rows(0, 1)]).schema)
    foreign_append(table)
    with lake.publication("land") as publication:
        publication.write(TABLE, [small.rows(0, 1)])
        publication.move(TABLE, small.STREAM, small.at(None), small.at(1))
        publication.commit()
    table.refresh()
    assert small.where(lake) == 1
    roll_back(table, 1)
    assert small.where(lake) is None
    assert small.offsets(lake) == [100]


def test_a_tag_or_branch_does_not_move_it(lake, table):
    first = table.metadata.snapshots[0].snapshot_id
    with table.manage_snapshots() as manage:
        manage.create_tag(first, "first").create_branch(first, "side")
    assert small.where(lake) == 3
    publish(lake, 3, 1)
    table.refresh()
    assert set(table.metadata.refs) == {"main", "first", "side"}


def test_our_own_expiry_keeps_few_snapshots_all_positions_and_what_a_tag_names(tmp_path):
    lake = small.lake_in(tmp_path, snapshots=10)
    with lake.publication("land") as publication:
        publication.ensure(small.spec(partition=()))
        publication.move(TABLE, "another", small.at(None), small.at(7))
        publication.note_fact(TABLE, "old", "fact")
        publication.commit()
    table = open_catalog({"warehouse": lake.settings.warehouse}).load_table(TABLE)
    first = table.current_snapshot().snapshot_id
    with table.manage_snapshots() as manage:
        manage.create_tag(first, "first")
    for number in range(40):
        publish(lake, number, 1)
    view = lake.cut().table(TABLE)
    assert len(view.metadata.snapshots) == 10
    assert view.metadata.snapshot_by_id(first) is not None
    assert len(view.metadata.metadata_log) <= 30
    assert len(list(lake.settings.warehouse.rglob("*.metadata.json"))) <= 31
    assert view.position("another") == small.at(7)
    assert view.facts("old") == "fact"
    assert small.where(lake) == 40
    assert small.offsets(lake) == list(range(40))
