"""The same lake with its pointers in PostgreSQL."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from headgate.engines.duckdb import open_engine
from headgate.errors import CommitConflict, FixInputError, StalePosition, StoreUnavailable
from headgate.ports.engine import Output
from headgate.ports.store import Expiry
from headgate.steps.compact import Sizes, compact
from headgate.stores.iceberg import peek
from headgate.stores.iceberg.catalog import open_catalog
from rigs import iceberg_reader
from rigs import small_lake as small

TABLES = ("bronze.orders", "silver.orders")


@pytest.fixture
def url(database):
    given = database.options
    return f"postgresql://{given['user']}:not-asked@{given['host']}:{given['port']}/{given['database']}"


@pytest.fixture
def lake(tmp_path, url):
    return small.lake_in(tmp_path, catalog=url)


def test_publications_positions_journal_and_peek_are_as_with_sqlite(lake, url):
    settings = {"warehouse": lake.settings.warehouse, "catalog": url}
    assert lake.cut().names() == []
    assert peek(settings).tables == {}
    for number in range(3):
        small.publish(lake, number, 1, *TABLES, partition=())
    assert [small.offsets(lake, t) for t in TABLES] == [[0, 1, 2]] * 2
    assert peek(settings).position("silver.orders", small.STREAM) == small.at(3)
    assert [p["step"] for p in lake.publications()] == ["land"] * 3
    with pytest.raises(StalePosition):
        small.publish(lake, 0, 1, *TABLES, partition=())
    located = {"t": lake.cut().table("silver.orders").location}
    assert iceberg_reader.ask(located, "select count(*) from t") == [[["3"]]]
    table = open_catalog(settings).load_table("bronze.orders")
    table.delete("_hg_offset = 1")
    assert small.offsets(lake) == [0, 2]
    assert small.where(lake) == 3
    assert peek(settings).known("silver.orders")
    assert not peek(settings).known("bronze.orders")


def test_writers_in_opposite_table_order_never_wait_for_each_other_and_one_of_two_wins(lake):
    small.publish(lake, 0, 1, *TABLES)
    outcomes = []

    def race(tables, start):
        try:
            small.publish(lake, start, 1, *tables)
            outcomes.append("won")
        except (CommitConflict, StalePosition):
            outcomes.append("refused")

    for start in range(1, 6):
        racers = [threading.Thread(target=race, args=(order, start)) for order in (TABLES, TABLES[::-1])]
        for racer in racers:
            racer.start()
        for racer in racers:
            racer.join()
        assert sorted(outcomes[-2:]) == ["refused", "won"]
    assert [small.offsets(lake, t) for t in TABLES] == [list(range(6))] * 2


def test_a_server_that_ends_the_connection_in_the_middle_leaves_the_old_state(lake, database):
    small.publish(lake, 0, 1)
    before = small.files_under(lake)
    with lake.publication("land") as publication:
        publication.write("bronze.orders", [small.rows(1, 1)])
        database.connect()
        held = database.connect(autocommit=False)
        with held.cursor() as cursor:
            cursor.execute("SELECT * FROM iceberg_tables FOR UPDATE")
        trouble = []

        def commit():
            try:
                publication.commit()
            except StoreUnavailable as error:
                trouble.append(error)

        waiting = threading.Thread(target=commit)
        waiting.start()
        sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND pid <> pg_backend_pid()"
        while waiting.is_alive() and not database.run(sql):
            pass
        held.rollback()
        waiting.join()
        assert len(trouble) == 1
    assert small.offsets(lake) == [0]
    assert small.files_under(lake) == before


def test_a_wrong_database_is_told_without_the_password(tmp_path, url):
    lake = small.lake_in(tmp_path, catalog=url.rpartition("/")[0] + "/nowhere")
    with pytest.raises(FixInputError, match="does not exist") as caught:
        lake.cut()
    assert "not-asked" not in str(caught.value)
    gone = small.lake_in(tmp_path, catalog="postgresql://u:not-asked@127.0.0.1:1/x", busy_timeout_s=2)
    with pytest.raises(StoreUnavailable) as caught:
        gone.cut()
    assert "not-asked" not in str(caught.value)


def test_upkeep_is_as_with_sqlite(lake):
    """Compaction, holds, expiry and cleaning; a killed publication's files go, one under way keeps its own."""
    for number in range(12):
        small.publish(lake, number * 10, 10, *TABLES, partition=())
        if number == 2:
            held = lake.cut().table(TABLES[0]).snapshot_id
            lake.hold("serve.shop", TABLES[0], {held}, 3600)
    done = compact(TABLES[0], lake, open_engine({}), Sizes(), everything=True)
    assert (done.files_before, done.files_after) == (12, 1)
    before = {name: (lake.cut().table(name).version, small.where(lake, name)) for name in TABLES}
    assert [lake.expire(name, Expiry(snapshots=1)) for name in TABLES] == [11, 11]
    added, _ = lake.cut().table(TABLES[0]).changes(held)
    assert len(added) == 1
    lake.hold("serve.shop", TABLES[0], (), 3600)
    assert lake.expire(TABLES[0], Expiry(snapshots=1)) == 1
    argv = [sys.executable, "-c", KILLED, str(lake.settings.warehouse), lake.settings.catalog]
    env = {**os.environ, "HEADGATE_CRASH": "lake: metadata written", "PYTHONPATH": str(Path(__file__).parents[1])}
    assert subprocess.run(argv, env=env, timeout=60, check=False).returncode == -9
    with lake.publication("land") as publication:
        publication.write(TABLES[0], [small.rows(120, 1)])
        lake.clean(0.0)
        assert sum(one.unnamed_files for one in lake.debts()) == 1  # that of the publication under way
        publication.move(TABLES[0], small.STREAM, small.at(120), small.at(121))
        publication.commit()
    assert lake.clean(0.0) == []
    assert small.offsets(lake, TABLES[1]) == list(range(120))
    assert small.offsets(lake, TABLES[0]) == list(range(121))
    assert before[TABLES[1]] == (lake.cut().table(TABLES[1]).version, small.where(lake, TABLES[1]))
    look = "select count(*), sum(_hg_offset) from t"
    located = lake.cut().table(TABLES[1]).location
    assert iceberg_reader.ask({"t": located}, look) == [[["120", str(60 * 119)]]]


KILLED = """
import sys
from pathlib import Path
from headgate.stores.iceberg import open_lake
from rigs import small_lake as small
lake = open_lake({"warehouse": Path(sys.argv[1]), "catalog": sys.argv[2]})
small.publish(lake, 120, 5, partition=())
"""


def test_of_two_compactions_of_one_range_one_wins_and_a_slow_one_lands_beside_writers(lake):
    engine = open_engine({})
    for number in range(8):
        small.publish(lake, number, 1, partition=())
    view = lake.cut().table(TABLES[0])
    with lake.publication("maintain") as one, lake.publication("maintain") as two:
        for publication in (one, two):
            output = Output(publication.folder(view.name), view.schema, view.field_ids())
            written = engine.rewrite([view.files()], output)[0]
            publication.rewrite(view.name, [f.path for f in view.files()], written)
        small.publish(lake, 8, 1, partition=())
        one.commit()
        with pytest.raises(CommitConflict, match="gone"):
            two.commit()
    assert small.offsets(lake) == list(range(9))
    assert len(lake.cut().table(TABLES[0]).files()) == 2
