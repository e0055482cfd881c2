"""Expiry and cleaning: what goes is exactly what nobody needs, and everything that somebody may need stays."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from headgate.engines.duckdb import open_engine
from headgate.errors import FixInputError
from headgate.ports.store import Expiry
from headgate.steps.compact import Sizes, compact
from headgate.stores.iceberg.catalog import open_catalog
from headgate.stores.iceberg.leases import lease_folder
from rigs import iceberg_reader
from rigs import small_lake as small

TABLE, OTHER = "bronze.orders", "silver.orders"
LOOK = "select count(*), count(distinct _hg_offset), sum(_hg_offset) from t"
POINTS = [
    "lake: data files written",
    "lake: manifests written",
    "lake: metadata written",
    "lake: inside sql",
    "lake: before sql commit",
    "lake: after sql",
]


@pytest.fixture
def lake(tmp_path):
    return small.lake_in(tmp_path)


def killed(lake, verb="once", *arguments, at):
    """A publication that dies at a crash point."""
    argv = [sys.executable, "-m", "rigs.lake_worker", str(lake.settings.warehouse), verb, *arguments]
    env = {**os.environ, "HEADGATE_CRASH": at, "PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == -9, done.stderr


def named(lake):
    """Every file that the catalog's tables name, found by PyIceberg alone."""
    catalog, found = open_catalog({"warehouse": lake.settings.warehouse}), set()
    for space in catalog.list_namespaces():
        for identifier in catalog.list_tables(space):
            table = catalog.load_table(identifier)
            paths = [table.metadata_location, *(e.metadata_file for e in table.metadata.metadata_log)]
            for snapshot in table.metadata.snapshots:
                paths.append(snapshot.manifest_list)
                for manifest in snapshot.manifests(table.io):
                    paths.append(manifest.manifest_path)
                    paths += [e.data_file.file_path for e in manifest.fetch_manifest_entry(table.io)]
            found |= {Path(path.removeprefix("file://")) for path in paths}
    return found


def kept(lake):
    """The files of the warehouse, without what the upkeep keeps for itself."""
    return {p for p in small.files_under(lake) if "_upkeep" not in p.parts}


@pytest.mark.parametrize("point", POINTS)
def test_exactly_the_left_overs_of_a_killed_publication_go(lake, point):
    small.publish(lake, 0, 10, TABLE, OTHER, days=2)
    killed(lake, at=point)
    landed = point == "lake: after sql"
    left = kept(lake) - named(lake)
    assert bool(left) == (not landed)
    removed = lake.clean(0.0)
    assert sum(one.files for one in removed) == len(left)
    assert kept(lake) == named(lake)
    assert small.offsets(lake) == (list(range(10, 17)) if landed else list(range(10)))
    assert not list(lease_folder(lake.settings.warehouse).iterdir())
    small.publish(lake, small.where(lake), 1, TABLE, OTHER)


def test_a_table_that_was_never_made_leaves_nothing(lake):
    argv = [sys.executable, "-c", MAKE, str(lake.settings.warehouse)]
    env = {**os.environ, "HEADGATE_CRASH": "lake: metadata written", "PYTHONPATH": str(Path(__file__).parents[1])}
    assert subprocess.run(argv, env=env, timeout=60, check=False).returncode == -9
    assert kept(lake)
    lake.clean(0.0)
    assert kept(lake) == set()
    assert [p.name for p in (lake.settings.warehouse / "bronze").iterdir()] == []


MAKE = """
import sys
from pathlib import Path
from headgate.stores.iceberg import open_lake
from rigs import small_lake as small
small.publish(open_lake({"warehouse": Path(sys.argv[1])}), 0, 3)
"""


def test_a_publication_under_way_loses_nothing(lake):
    small.publish(lake, 0, 10)
    with lake.publication("land") as publication:
        publication.write(TABLE, [small.rows(10, 5)])
        done = lake.clean(0.0)
        assert [(one.files, one.waiting_files) for one in done] == [(0, 1)]
        publication.move(TABLE, small.STREAM, small.at(10), small.at(15))
        publication.commit()
    assert small.offsets(lake) == list(range(15))


def test_a_publication_of_another_process_under_way_loses_nothing(lake):
    small.publish(lake, 0, 10)
    argv = [sys.executable, "-c", WAIT, str(lake.settings.warehouse)]
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    with subprocess.Popen(argv, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "written\n"
        assert sum(one.files for one in lake.clean(0.0)) == 0
        other.communicate("go on\n", timeout=60)
    assert small.offsets(lake) == list(range(15))


WAIT = """
import sys
from pathlib import Path
from headgate.stores.iceberg import open_lake
from rigs import small_lake as small
lake = open_lake({"warehouse": Path(sys.argv[1])})
with lake.publication("land") as publication:
    publication.write("bronze.orders", [small.rows(10, 5)])
    print("written", flush=True)
    sys.stdin.readline()
    publication.commit()
"""


def test_left_overs_wait_until_they_are_old_enough(lake):
    small.publish(lake, 0, 10, TABLE, OTHER)
    killed(lake, at="lake: data files written")
    left = kept(lake) - named(lake)
    (one, two) = lake.clean(3600.0)
    assert one.files + two.files == 0
    assert one.waiting_files + two.waiting_files == len(left)
    for path in left:
        os.utime(path, (time.time() - 7200,) * 2)
    for path in lease_folder(lake.settings.warehouse).iterdir():
        os.utime(path, (time.time() - 7200,) * 2)
    assert sum(one.files for one in lake.clean(3600.0)) == len(left)


def test_what_history_let_go_waits_from_when_it_was_found_without_a_name(lake):
    """A reader of an old cut has its time, however old the file is."""
    for number in range(10):
        small.publish(lake, number * 10, 10)
    compact(TABLE, lake, open_engine({}), Sizes(), everything=True)
    old = lake.cut().table(TABLE)
    assert lake.expire(TABLE, Expiry(1)) == 10
    for path in kept(lake):
        os.utime(path, (time.time() - 7200,) * 2)
    assert sum(one.files for one in lake.clean(3600.0)) == 0
    assert old.rows() == 100
    assert sum(one.files for one in lake.clean(0.0)) >= 10
    assert kept(lake) == named(lake)


def test_a_clock_that_was_set_back_makes_nothing_go_early(lake, monkeypatch):
    for number in range(4):
        small.publish(lake, number * 10, 10)
    compact(TABLE, lake, open_engine({}), Sizes(), everything=True)
    lake.expire(TABLE, Expiry(1))
    lake.clean(3600.0)
    now = time.time()
    monkeypatch.setattr("headgate.stores.iceberg.clean.time.time", lambda: now - 86_400)
    assert sum(one.files for one in lake.clean(3600.0)) == 0
    monkeypatch.setattr("headgate.stores.iceberg.clean.time.time", lambda: now - 86_400 + 1800)
    assert sum(one.files for one in lake.clean(3600.0)) == 0


def test_a_dry_run_removes_nothing_and_says_the_same(lake):
    small.publish(lake, 0, 10, TABLE, OTHER)
    killed(lake, at="lake: metadata written")
    before = small.files_under(lake)
    said = lake.clean(0.0, dry_run=True)
    assert small.files_under(lake) == before
    assert lake.clean(0.0) == said


def test_files_of_other_tools_and_other_tables_stay(lake):
    """A table that another tool made is not ours to clean; neither is a folder that no table of ours has."""
    small.publish(lake, 0, 10)
    catalog = open_catalog({"warehouse": lake.settings.warehouse})
    theirs = catalog.create_table("bronze.theirs", lake.cut().table(TABLE).metadata.schema())
    folder = Path(theirs.metadata.location.removeprefix("file://"))
    strangers = [folder / "data" / "loose.parquet", lake.settings.warehouse / "elsewhere" / "x.parquet"]
    for path in strangers:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"theirs")
    lake.clean(0.0)
    assert all(path.exists() for path in strangers)


def test_expiry_to_one_snapshot_keeps_positions_facts_and_rows(lake):
    for number in range(30):
        small.publish(lake, number * 10, 10)
    before = lake.cut().table(TABLE)
    seen = iceberg_reader.ask({"t": before.location}, LOOK)
    assert lake.expire(TABLE, Expiry(1)) == 29
    lake.clean(0.0)
    view = lake.cut().table(TABLE)
    assert view.snapshots() == 1
    assert (view.position(small.STREAM), view.facts("rows"), view.version) == (
        before.position(small.STREAM),
        "300",
        before.version,
    )
    assert iceberg_reader.ask({"t": view.location}, LOOK) == seen
    small.publish(lake, 300, 10)


def test_expiry_spares_what_is_needed_and_what_a_tag_names(lake):
    for number in range(12):
        small.publish(lake, number * 10, 10)
    ids = [s.snapshot_id for s in sorted(lake.cut().table(TABLE).metadata.snapshots, key=lambda s: s.sequence_number)]
    table = open_catalog({"warehouse": lake.settings.warehouse}).load_table(TABLE)
    table.manage_snapshots().create_tag(ids[3], "month-end").commit()
    lake.expire(TABLE, Expiry(2), needed=[ids[5]])
    left = {s.snapshot_id for s in lake.cut().table(TABLE).metadata.snapshots}
    assert left >= {ids[3], ids[5], ids[-1]}
    assert len(left) <= 4


def test_expiry_below_another_tools_snapshot_does_not_lose_the_position(lake):
    """Only the older snapshot carries positions: it stays although it is old."""
    for number in range(6):
        small.publish(lake, number * 10, 10, partition=())
    catalog = open_catalog({"warehouse": lake.settings.warehouse})
    for number in range(4):
        catalog.load_table(TABLE).append(small.pa.Table.from_batches([small.rows(900 + number, 1)]))
    lake.expire(TABLE, Expiry(1))
    lake.clean(0.0)
    assert small.where(lake) == 60
    small.publish(lake, 60, 1, partition=())
    assert small.offsets(lake)[-4:] == [900, 901, 902, 903]


def test_a_snapshot_of_another_tool_is_named_and_built_upon(lake):
    small.publish(lake, 0, 10, partition=())
    catalog = open_catalog({"warehouse": lake.settings.warehouse})
    catalog.load_table(TABLE).append(small.pa.Table.from_batches([small.rows(900, 5)]))
    small.publish(lake, 10, 10, partition=())
    compact(TABLE, lake, open_engine({}), Sizes(), everything=True)
    steps = [one["step"] for one in lake.history(TABLE)]
    assert steps == ["maintain", "land", "another tool", "land"]
    assert small.offsets(lake) == [*range(20), *range(900, 905)]


def test_a_file_that_somebody_removed_is_named_and_nothing_is_overwritten(lake):
    for number in range(3):
        small.publish(lake, number * 10, 10)
    view = lake.cut().table(TABLE)
    lost = Path(view.files()[1].path)
    content = lost.read_bytes()
    lost.unlink()
    (debt,) = lake.debts()
    assert debt.missing == [str(lost)]
    with pytest.raises(FixInputError, match="gone") as caught:
        compact(TABLE, lake, open_engine({}), Sizes(), everything=True)
    assert str(lost) in str(caught.value)
    assert lake.cut().table(TABLE).snapshot_id == view.snapshot_id
    lost.write_bytes(content)
    assert compact(TABLE, lake, open_engine({}), Sizes(), everything=True).files_after == 1
    assert small.offsets(lake) == list(range(30))


def test_a_writer_in_a_tight_loop_loses_nothing_to_expiry_and_cleaning(lake):
    """The upkeep of one process beside the publications of another."""
    small.publish(lake, 0, 1, TABLE, OTHER)
    argv = [sys.executable, "-m", "rigs.lake_worker", str(lake.settings.warehouse), "fill", TABLE, OTHER, "60"]
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    engine, rounds = open_engine({}), 0
    with subprocess.Popen(argv, env=env) as writer:
        while writer.poll() is None:
            for table in (TABLE, OTHER):
                compact(table, lake, engine, Sizes(), everything=True)
                lake.expire(table, Expiry(3))
            lake.clean(0.0)
            rounds += 1
    assert (writer.returncode, rounds > 1) == (0, True)
    for table in (TABLE, OTHER):
        assert small.offsets(lake, table) == list(range(60))
        view = lake.cut().table(table)
        assert iceberg_reader.ask({"t": view.location}, LOOK) == [[["60", "60", str(59 * 30)]]]
    lake.clean(0.0)
    assert kept(lake) == named(lake)
