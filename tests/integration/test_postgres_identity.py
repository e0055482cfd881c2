"""A position belongs to one table of one database of one cluster in one history: anything else stops the run."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from headgate.errors import PositionLost, SourceChanged
from headgate.ports.batch import Position
from rigs.postgres import Server
from rigs.postgres_landing import Landing

TABLE = (
    "CREATE TABLE t (id int PRIMARY KEY, v text, at timestamptz DEFAULT now()); INSERT INTO t VALUES (1, 'x'), (2, 'y')"
)


@pytest.fixture
def landing(database):
    database.run(TABLE)
    one = Landing(database, watermark="at")
    assert one.run() == 2
    return one


def with_token(landing: Landing, **changes) -> None:
    token = json.loads(landing.position.tokens["public.t"])
    for name, value in changes.items():
        if name in token["id"]:
            token["id"][name] = value
        else:
            token[name] = value
    landing.position = Position({"public.t": json.dumps(token)})


def test_a_table_dropped_and_made_again_stops_the_run(landing):
    landing.database.run(f"DROP TABLE t; {TABLE}")
    with pytest.raises(SourceChanged, match="dropped and made again") as told:
        landing.run()
    assert "another name" in told.value.hint
    with pytest.raises(SourceChanged):
        landing.idle()


def test_a_database_made_again_under_its_name_stops_the_run(landing, postgres_server):
    database = landing.database
    database.close()
    postgres_server._admin(f"CREATE DATABASE copied TEMPLATE {database.name}")  # the same table oid
    postgres_server._admin(f"DROP DATABASE {database.name}")
    postgres_server._admin(f"ALTER DATABASE copied RENAME TO {database.name}")
    with pytest.raises(SourceChanged, match="another database"):
        landing.run()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"system": "123"}, "another PostgreSQL cluster"),
        ({"timeline": 7}, "restored or failed over"),
        ({"database": "other"}, "another database"),
        ({"done": "99999999:99999999:"}, "went back in time"),
    ],
)
def test_another_history_stops_the_run(landing, changes, said):
    with_token(landing, **changes)
    with pytest.raises(SourceChanged, match=said):
        landing.run()


def test_ids_past_their_reach_are_told(landing, database, monkeypatch):
    """Two thousand million transactions cannot be made here: the reach is made short instead."""
    monkeypatch.setattr("headgate.sources.postgres_position.REACH", 5)
    for number in range(10):
        database.run(f"INSERT INTO t VALUES ({number + 10})")
    with pytest.raises(PositionLost, match="transactions have passed"):
        landing.run()


@pytest.mark.parametrize("text", ["", "null", "[]", "{}", '{"id": 1}', "{" * 5000])
def test_a_token_of_something_else_is_told(landing, text):
    landing.position = Position({"public.t": text})
    with pytest.raises(PositionLost):
        landing.run()


def test_positions_of_other_partitions_pass_through(landing):
    landing.position = Position({**landing.position.tokens, "other": "theirs"})
    landing.database.run("INSERT INTO t VALUES (3)")
    landing.run()
    assert landing.position.tokens["other"] == "theirs"


def replayed(primary, standby) -> None:
    """Waits (on the server) until the standby has replayed what the primary has written."""
    (lsn,) = primary.run("SELECT pg_current_wal_lsn()::text")[0]
    for _ in range(2000):
        if standby.run("SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn OR pg_sleep(0.01) IS NULL", (lsn,)) == [(True,)]:
            return
    raise AssertionError("the standby does not follow")


def test_a_standby_is_read_exactly_while_it_lags_and_after_promotion_stops(postgres_server, database):
    database.run(TABLE)
    other = postgres_server.backup()
    try:
        other.start(from_backup=True)
        mirror = type(database)(other, database.name)
        replayed(database, mirror)
        landing = Landing(mirror, watermark="at", sweep_below=0)
        assert landing.run() == 2
        tell = landing.source().tell()
        assert tell["standby"]
        assert any("standby" in said for said in tell["limitations"])
        mirror.run("SELECT pg_wal_replay_pause()")
        late = database.connect().cursor()
        late.execute("BEGIN; INSERT INTO t VALUES (50, 'late', now() - interval '3 days')")
        database.run("INSERT INTO t VALUES (3, 'lag')")
        assert landing.run() == 0
        mirror.run("SELECT pg_wal_replay_resume()")
        replayed(database, mirror)
        landing.run()
        late.execute("COMMIT")
        replayed(database, mirror)
        landing.run()
        assert {row["id"] for row in landing.rows} == {1, 2, 3, 50}
        # The primary is ahead of the standby, and the position may go to and fro between them.
        landing.database = database
        database.run("INSERT INTO t VALUES (4, 'primary')")
        landing.run()
        landing.database = mirror
        landing.run()
        assert {row["id"] for row in landing.rows} == {1, 2, 3, 4, 50}
        mirror.run("SELECT pg_promote()")
        with pytest.raises(SourceChanged, match="failed over"):
            landing.run()
        mirror.close()
    finally:
        other.stop()


def test_a_restored_cluster_stops_the_run(postgres_server, database):
    database.run(TABLE)
    landing = Landing(database, watermark="at")
    landing.run()
    fresh = Server().start()
    try:
        with fresh.database() as other:
            other.run(TABLE)
            landing.database = other
            with pytest.raises(SourceChanged, match="another PostgreSQL cluster"):
                landing.run()
    finally:
        fresh.stop()


def test_a_dataset_that_turns_to_another_table_starts_there(landing):
    landing.database.run("CREATE TABLE u (id int PRIMARY KEY, v text, at timestamptz); INSERT INTO u VALUES (9)")
    landing.dataset = replace(landing.dataset, physical_name="u")
    assert landing.run() == 1
    assert set(landing.position.tokens) == {"public.t", "public.u"}
