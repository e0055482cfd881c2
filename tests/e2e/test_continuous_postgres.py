"""A table that is looked at again and again: what is written is seen, and the account holds after a kill."""

from __future__ import annotations

import json
import signal
from contextlib import closing

from e2e.command import good
from rigs.going import Going, account, until
from rigs.postgres_project import PostgresProject
from rigs.served import ServedProject, reading

FIELDS = """
{name: id, logicalType: integer, primaryKey: true, primaryKeyPosition: 1, required: true}
{name: note, logicalType: string}
{name: changed, logicalType: timestamp, physicalType: timestamptz, required: true}
"""


def test_rows_and_changes_of_a_table_are_seen_while_it_runs_and_after_a_kill(database, tmp_path):
    database.run("CREATE TABLE t (id bigint PRIMARY KEY, note text, changed timestamptz NOT NULL DEFAULT now())")
    database.run("INSERT INTO t SELECT n, 'first' FROM generate_series(1, 500) n")
    project = PostgresProject(tmp_path / "project", database)
    project.write(FIELDS, own="{property: headgate.order, value: [changed]}")
    settings = "continuous: {batch_ms: 50, poll_ms: 20}\ndatasets: {t: {read: {watermark: changed}}}\n"
    (project.folder / "headgate.yaml").write_text(settings)
    with Going(project.folder, env=project.env) as going:
        going.until_rows("silver.t", 500)
        database.run("INSERT INTO t SELECT n, 'second' FROM generate_series(501, 700) n")
        going.until_rows("silver.t", 700)
        database.run("UPDATE t SET note = 'changed', changed = now() WHERE id <= 50")
        going.until_rows("ledger.t", 50)
        going.send(signal.SIGKILL)
        going.end()
    database.run("INSERT INTO t SELECT n, 'third' FROM generate_series(701, 720) n")
    with Going(project.folder, env=project.env) as going:
        going.until_rows("silver.t", 720)
        assert going.stop() == 0, going.said
    found = account(project.folder)
    assert (found["state"], found["silver"]) == ("balanced", 720)
    rows = good("query", "select note, count(*) as n from silver.t group by 1 order by 1", project=project.folder)
    assert {r["note"]: r["n"] for r in rows} == {"changed": 50, "first": 450, "second": 200, "third": 20}


def test_a_target_that_stands_still_holds_up_nothing_but_itself(database, tmp_path):
    """Its table is locked by somebody: rows go on into silver, the process does not grow, and in the end all is there."""
    project = ServedProject(tmp_path / "project", database)
    project.drop("0", *(reading(n) for n in range(100)))
    with open(project.folder / "headgate.yaml", "a") as more:
        more.write("continuous: {batch_ms: 50, poll_ms: 20}\n")

    def live():
        return json.loads((project.folder / ".headgate" / "live" / f"{going.process.pid}.json").read_text())

    with Going(project.folder, env=project.env) as going:
        until(lambda: database.run("SELECT to_regclass('silver.readings')") != [(None,)], "it is served")
        until(lambda: database.run("SELECT count(*) FROM silver.readings") == [(100,)], "all rows are there")
        with closing(database.connect(autocommit=False)) as other, other.cursor() as cursor:
            cursor.execute("LOCK TABLE silver.readings IN ACCESS EXCLUSIVE MODE")
            project.drop("1", *(reading(n) for n in range(100, 5_000)))
            going.until_rows("silver.readings", 5_000)
            before = live()["process"]["rss_mib"]
            for number in range(5, 25):
                project.drop(str(number), *(reading(n) for n in range(number * 1_000, number * 1_000 + 1_000)))
            going.until_rows("silver.readings", 25_000)
            assert live()["process"]["rss_mib"] - before < 100
            assert going.process.poll() is None
            other.rollback()
        assert going.stop() == 0, going.said
    assert len(project.same("silver.readings", "id::text, celsius::text, sensor, _hg_offset::text")) == 25_000
