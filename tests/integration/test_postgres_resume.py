"""A run that dies at any end goes on from there; tables that are rewritten, split or emptied meanwhile included."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest

from headgate.errors import SourceChanged, SourceUnavailable
from rigs.postgres_landing import Landing

SMALL = {"watermark": "at", "range": 8192, "block": 2048}
TABLE = """
CREATE TABLE t (id int PRIMARY KEY, v text, at timestamptz DEFAULT now()); CREATE INDEX ON t (at);
INSERT INTO t SELECT i, repeat('x', 60), '2026-01-01'::timestamptz + interval '1 s' * (i % 50) FROM generate_series(1, 600) i;
"""


def ids(landing: Landing) -> list[int]:
    return sorted(row["id"] for row in landing.rows)


@pytest.mark.parametrize("key", [None, ()], ids=["key", "no key"])
def test_a_first_read_that_dies_at_every_end_lands_each_row_once(database, key):
    database.run(TABLE)
    landing = Landing(database, key=key, **SMALL)
    runs = 0
    while landing.run(ends=1):
        runs += 1
    assert runs >= 5
    assert ids(landing) == list(range(1, 601))
    assert landing.offsets_are_whole()
    assert landing.idle()


@pytest.mark.parametrize("key", [None, ()], ids=["key", "no key"])
def test_a_later_read_that_dies_at_every_end_lands_each_row_once(database, key):
    database.run(TABLE)
    landing = Landing(database, key=key, **SMALL)
    landing.run()
    database.run("INSERT INTO t SELECT i, repeat('y', 60), NULL FROM generate_series(1001, 1100) i")
    database.run("INSERT INTO t SELECT i, repeat('y', 60), '2026-01-02' FROM generate_series(1101, 1200) i")
    runs = 0
    while landing.run(ends=1):
        runs += 1
    assert runs >= 5
    assert ids(landing) == [*range(1, 601), *range(1001, 1201)]
    assert landing.offsets_are_whole()


def test_changes_behind_and_before_an_interrupted_first_read_are_read(database):
    database.run(TABLE)
    landing = Landing(database, **SMALL)
    landing.run(ends=2)
    database.run(
        "UPDATE t SET v = 'behind' WHERE id = 1; UPDATE t SET v = 'before' WHERE id = 600; DELETE FROM t WHERE id = 300"
    )
    database.run("INSERT INTO t VALUES (601, 'new')")
    landing.run(ends=1)
    landing.run()
    landing.run()
    assert set(database.run("SELECT id, v FROM t")) <= set(landing.versions("id", "v"))
    assert landing.run() == 0


@pytest.mark.parametrize("sweep_below", [0, "64 MiB"], ids=["bounded", "sweep"])
def test_changes_behind_an_interrupted_later_read_are_read(database, sweep_below):
    database.run(TABLE)
    landing = Landing(database, sweep_below=sweep_below, **SMALL)
    landing.run()
    database.run("INSERT INTO t SELECT i, repeat('y', 60), '2026-01-02' FROM generate_series(1001, 1200) i")
    landing.run(ends=2)
    assert ids(landing)[-1] < 1200
    database.run("UPDATE t SET v = 'behind' WHERE id = 1001")
    database.run("INSERT INTO t VALUES (900, 'behind', '2026-01-02'), (901, 'no time', NULL)")
    landing.run()
    landing.run()
    assert set(database.run("SELECT id, v FROM t")) <= set(landing.versions("id", "v"))
    assert landing.run() == 0


def test_concurrent_inserts_during_the_first_scan_are_read_once_it_is_done(database):
    database.run(TABLE)
    landing = Landing(database, **SMALL)
    source = landing.source()
    for number, batch in enumerate(source.read(landing.position)):
        database.run(f"INSERT INTO t VALUES ({2000 + number}, 'during')")
        landing.rows += batch.rows.to_pylist()
        landing.position = batch.end or landing.position
    source.close()
    assert ids(landing) == list(range(1, 601)), "one snapshot for the whole run"
    landing.run()
    assert {i for (i,) in database.run("SELECT id FROM t")} == set(ids(landing))
    assert len(ids(landing)) == len(set(ids(landing)))


def test_a_table_rewritten_in_the_middle_of_its_first_read_is_read_again(database):
    database.run(TABLE)
    landing = Landing(database, **SMALL)
    landing.run(ends=2)
    before = len(landing.rows)
    database.run("VACUUM FULL t")
    landing.run()
    assert len(landing.rows) == before + 600
    assert set(ids(landing)) == set(range(1, 601))


def test_without_a_key_a_table_rewritten_in_the_middle_of_its_first_read_stops(database):
    database.run(TABLE)
    landing = Landing(database, key=(), **SMALL)
    landing.run(ends=2)
    database.run("VACUUM FULL t")
    with pytest.raises(SourceChanged, match="rewritten"):
        landing.run()


def test_without_a_key_vacuum_full_after_a_complete_read_changes_nothing(database):
    database.run(TABLE)
    landing = Landing(database, key=(), **SMALL)
    landing.run()
    database.run("VACUUM FULL t")
    landing.run()
    database.run("INSERT INTO t VALUES (601, 'new')")
    landing.run()
    assert ids(landing) == list(range(1, 602))


@pytest.mark.parametrize(
    "rewrite",
    [
        "ALTER TABLE t ALTER id TYPE bigint",
        "BEGIN; CREATE TEMP TABLE k AS TABLE t; TRUNCATE t; INSERT INTO t TABLE k; COMMIT",
    ],
)
def test_without_a_key_rows_that_all_look_new_stop_the_run(database, rewrite):
    database.run(TABLE)
    landing = Landing(database, key=(), **SMALL)
    landing.run()
    database.run(rewrite)
    with pytest.raises(SourceChanged, match="rewritten"):
        landing.run()


def test_with_a_key_an_altered_table_is_landed_again_and_a_truncated_one_goes_on(database):
    database.run(TABLE)
    landing = Landing(database, **SMALL)
    landing.run()
    database.run("ALTER TABLE t ADD more text, ALTER v SET NOT NULL")  # no rewrite
    assert landing.run() == 0
    database.run("ALTER TABLE t ALTER id TYPE bigint")  # a rewrite: every row version is new
    assert landing.run() == 600
    database.run("TRUNCATE t; INSERT INTO t VALUES (1, 'after')")
    assert landing.run() == 1
    assert landing.run() == 0


def test_row_versions_have_names_that_stay(database):
    database.run("CREATE TABLE t (v text); INSERT INTO t VALUES ('same'), ('same'), ('other')")
    landing = Landing(database, key=())
    landing.run()
    names = [row["_hg_version"] for row in landing.rows]
    assert len(set(names)) == 3
    late = database.connect().cursor()
    late.execute("BEGIN; INSERT INTO t VALUES ('late')")
    database.run("INSERT INTO t VALUES ('same')")
    landing.run()
    late.execute("COMMIT")
    landing.run()
    by_name = {row["_hg_version"]: row["v"] for row in landing.rows}
    assert sorted(by_name.values()) == sorted(v for (v,) in database.run("SELECT v FROM t"))
    assert names == sorted(names)


PARTITIONED = """
CREATE TABLE t (id int, v text, at timestamptz, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
CREATE TABLE t1 PARTITION OF t FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
CREATE TABLE t2 PARTITION OF t FOR VALUES FROM ('2026-02-01') TO ('2026-03-01') PARTITION BY HASH (id);
CREATE TABLE t2a PARTITION OF t2 FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE t2b PARTITION OF t2 FOR VALUES WITH (MODULUS 2, REMAINDER 1);
INSERT INTO t SELECT i, repeat('x', 60), '2026-01-01'::timestamptz + interval '1 h' * i FROM generate_series(1, 1200) i;
CREATE INDEX ON t (at);
"""


@pytest.mark.parametrize("key", [None, ()], ids=["key", "no key"])
def test_a_partitioned_table_is_read_leaf_by_leaf(database, key):
    database.run(PARTITIONED)
    landing = Landing(database, key=key, **SMALL)
    while landing.run(ends=1):
        pass
    assert ids(landing) == list(range(1, 1201))
    database.run("UPDATE t SET at = '2026-02-15' WHERE id = 1")  # moves to another partition
    database.run("INSERT INTO t VALUES (5000, 'y', '2026-01-15')")
    assert landing.run() == 2
    if key == ():
        assert len({row["_hg_version"] for row in landing.rows}) == 1202


def test_rows_of_a_partition_that_is_attached_later_are_read(database):
    database.run(PARTITIONED)
    database.run("CREATE TABLE old (id int NOT NULL, v text, at timestamptz NOT NULL)")
    database.run("INSERT INTO old SELECT i, 'old', '2025-01-01' FROM generate_series(9001, 9010) i")
    landing = Landing(database, **SMALL)
    landing.run()
    database.run("INSERT INTO t VALUES (5000, 'y', '2026-01-15')")
    landing.run()
    database.run("ALTER TABLE t ATTACH PARTITION old FOR VALUES FROM ('2024-01-01') TO ('2026-01-01')")
    assert not landing.idle()
    assert landing.run() == 10
    assert landing.run() == 0
    database.run("ALTER TABLE t DETACH PARTITION t1; DROP TABLE t1")
    assert landing.run() == 0
    assert landing.idle()


def test_a_table_that_others_inherit_from_is_read_with_them(database):
    database.run(
        "CREATE TABLE t (id int PRIMARY KEY, v text, at timestamptz); CREATE TABLE child (more text) INHERITS (t);"
        "INSERT INTO t VALUES (1, 'parent'); INSERT INTO child VALUES (1, 'child')"
    )
    landing = Landing(database, **SMALL)
    landing.run()
    database.run("UPDATE t SET v = v || '!'")
    landing.run()
    assert sorted(landing.versions("id", "v")) == [(1, "child"), (1, "child!"), (1, "parent"), (1, "parent!")]


def test_a_cut_connection_is_an_error_and_the_rest_is_read_later(database):
    database.run(TABLE)
    database.run("INSERT INTO t SELECT i, repeat('z', 1000) FROM generate_series(10001, 12000) i")
    landing = Landing(database, **SMALL)
    source = landing.source()
    batches = source.read(landing.position)
    first = next(batches)
    database.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'headgate'")
    got = [first]
    with pytest.raises(SourceUnavailable, match="127.0.0.1"):
        got.extend(batches)
    source.close()
    landing.run()
    assert ids(landing) == [*range(1, 601), *range(10001, 12001)]


def test_closing_in_the_middle_of_a_read_stops_it(database):
    database.run(TABLE)
    source = Landing(database, **SMALL).source()
    batches = source.read(Landing(database).position)
    next(batches)
    source.close()
    with pytest.raises(SourceUnavailable, match="closed"):
        list(batches)
    busy = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'headgate' AND state = 'active'"
    assert database.run(busy) == [(0,)]


CHILD = """
import json, sys
sys.path.insert(0, sys.argv[3])
from headgate.contract.model import Dataset, Server
from headgate.ports.batch import Position
from headgate.sources.postgres import connect, discover
options, read = json.loads(sys.argv[1]), json.loads(sys.argv[2])
found = discover(options, "t")
source = connect(Dataset("t", found.fields, "c", "1", key=("id",)), Server("s", "postgres", options), read)
for batch in source.read(Position.start()):
    pass
print("finished")
"""


@pytest.mark.parametrize(
    "point", ["postgres: after first block", "postgres: between page ranges", "postgres: before the last end"]
)
def test_a_killed_reader_leaves_nothing_behind(database, point):
    database.run(TABLE)
    argv = [sys.executable, "-c", CHILD, json.dumps(database.options), json.dumps(SMALL), os.getcwd()]
    done = subprocess.run(argv, env={**os.environ, "HEADGATE_CRASH": point}, capture_output=True, text=True, timeout=60)
    assert done.returncode == -signal.SIGKILL, done.stderr
    landing = Landing(database, **SMALL)
    landing.run()
    assert ids(landing) == list(range(1, 601))
