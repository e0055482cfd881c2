"""What goes wrong with a PostgreSQL source: exit code, error code, place and hint; nothing half done, nothing leaks."""

import os
import re
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path

import psycopg2
import pytest
from psycopg2 import sql

from e2e.command import headgate
from headgate.steps import land
from rigs.postgres import Database, free_port
from rigs.postgres_project import PostgresProject

CONTRACT = """{name: id, logicalType: integer, primaryKey: true, primaryKeyPosition: 1, required: true}
{name: name, logicalType: string}"""
TABLE = "create table t (id int primary key, name text); insert into t values (1, 'a'), (2, 'b')"


@pytest.fixture
def project(tmp_path, database):
    database.run(TABLE)
    project = PostgresProject(tmp_path / "shop", database)
    project.write(CONTRACT)
    return project


@pytest.fixture
def reader(database):
    """A role without any right on tables; its databases go before it does."""
    name = f"reader_{database.name}"
    database.run(f"create role {name} login")
    yield name
    database.run(f"drop owned by {name}; drop role {name}")


def refused(project, code, kind, *patterns, arguments=("run",), env=None):
    """The command is refused by name, and the lake stays exactly as it was."""
    before = project.tables()
    answer = project.answer(*arguments, "--json", env=env or {})
    assert (answer.code, answer.json()["error"]["code"]) == (code, kind), answer.err
    error = answer.json()["error"]
    for pattern in patterns:
        assert re.search(pattern, answer.err, re.S), (pattern, answer.err)
    assert error["where"], answer.err
    assert error["hint"], answer.err
    assert error["stage"], answer.err
    assert "Traceback" not in answer.err + answer.out
    assert project.tables() == before
    return answer


def test_a_server_that_does_not_answer_is_named(project):
    project.run()
    port = free_port()
    project.edit(f"port: {project.database.server.port}", f"port: {port}")
    refused(project, 3, "source-unavailable", rf"127\.0\.0\.1:{port}")
    (told,) = project.good("status")["datasets"]
    assert f"127.0.0.1:{port}" in told["source_error"]
    doctor = project.answer("doctor", "--json")
    (source,) = [one for one in doctor.json() if one["check"] == "source t"]
    assert (source["state"], doctor.code != 0) == ("wrong", True)
    assert f"127.0.0.1:{port}" in source["what"]
    refused(
        project,
        3,
        "source-unavailable",
        rf"127\.0\.0\.1:{port}",
        arguments=("discover", f"postgresql://127.0.0.1:{port}/x?table=t"),
    )


def test_a_role_that_does_not_exist_is_refused(project):
    project.run()
    refused(project, 2, "fix-input", "nobody_here", r"PGPASSWORD", env={"PGUSER": "nobody_here"})


def test_a_database_that_does_not_exist_is_refused(project):
    project.run()
    project.edit(f"'{project.database.name}'", "no_such_database")
    refused(project, 2, "fix-input", "no_such_database")


def test_a_missing_table_is_refused_with_near_names(project, database):
    project.run()
    database.run("create table customers (id int); create table custom (id int)")
    project.edit("physicalName: 't'", "physicalName: costumers")
    refused(project, 2, "fix-input", "costumers", r"did you mean customers")


def test_a_missing_schema_is_refused_with_near_names(project, database):
    project.run()
    database.run("create schema sales")
    project.edit("schema: public", "schema: sale")
    refused(project, 2, "fix-input", "sale", "did you mean sales")


def test_a_missing_column_is_refused_with_near_names(project):
    project.run()
    project.edit("{name: name,", "{name: name, physicalName: nam,")
    refused(project, 2, "fix-input", r"t\.odcs\.yaml:\d+:\d+", "'nam'", "did you mean name")


def test_a_missing_watermark_is_refused_with_near_names(project):
    project.run()
    (project.folder / "headgate.yaml").write_text("datasets: {t: {read: {watermark: idd}}}")
    refused(project, 2, "fix-input", "'idd'", "did you mean id")


@pytest.mark.parametrize("half", ["no right on the schema", "no right on the table", "a right on one column"])
def test_a_missing_right_is_refused_with_the_grant_that_helps(project, database, reader, half):
    project.run()
    if half == "no right on the schema":
        database.run("revoke usage on schema public from public")
    if half == "a right on one column":
        database.run(f"grant select (id) on t to {reader}")
    grant = "GRANT USAGE ON SCHEMA" if "schema" in half else "GRANT SELECT ON"
    answer = refused(project, 2, "fix-input", reader, grant, env={"PGUSER": reader})
    for _ in range(2):  # first the schema, then the table
        said = answer.json()
        if said["error"]:
            (command,) = re.findall(r"GRANT [^(\n]+", said["error"]["hint"])
            database.run(command)
            answer = project.answer("run", "--json", env={"PGUSER": reader})
    assert project.answer("run", env={"PGUSER": reader}).code == 0


def test_rows_hidden_by_row_security_are_refused_not_lost(project, database, reader):
    project.run()
    database.run(
        f"grant select on t to {reader}; alter table t enable row level security; create policy p on t using (id = 1)"
    )
    refused(project, 2, "fix-input", "row-level security|row security", "BYPASSRLS", env={"PGUSER": reader})


@pytest.mark.parametrize("kind", ["view", "materialized view"])
def test_a_view_is_refused_by_name(project, database, kind):
    project.run()
    database.run(f"create {kind} v as select * from t")
    project.edit("physicalName: 't'", "physicalName: v")
    refused(project, 2, "fix-input", rf"public\.v is a {kind}", "tables under it")


def test_a_table_that_vanished_is_refused_and_the_lake_stays(project, database):
    project.run()
    kept = project.texts()
    database.run("drop table t")
    refused(project, 2, "fix-input", "there is no table 't'")
    assert project.texts() == kept
    project.balanced()


def test_a_table_that_was_made_again_stops_the_run(project, database):
    project.run()
    kept = project.texts()
    database.run("drop table t; create table t (id int primary key, name text); insert into t values (7, 'other')")
    refused(project, 5, "source-changed", r"public\.t", "another name")
    assert project.texts() == kept
    project.balanced()


RETYPED = {  # change of the source's column: what the run answers
    "text to a number": ("alter table t alter name type int using length(name)", 2),
    "integer to text": ("alter table t alter id type text", 2),
    "integer to bigint": ("alter table t alter id type bigint", 0),
    "text to varchar": ("alter table t alter name type varchar(50)", 0),
    "text to bytea": ("alter table t alter name type bytea using convert_to(name, 'UTF8')", 2),
}


@pytest.mark.parametrize("how", RETYPED)
def test_a_retyped_column_is_refused_by_name_or_read_exactly(project, database, how):
    change, code = RETYPED[how]
    project.run()
    kept = project.texts()
    database.run(change)
    if code == 0:
        database.run("insert into t values (3, 'c')")
        project.run()
        assert project.texts() == project.source_texts()
    else:
        column = "id" if "id" in change.split()[:5] else "name"
        refused(project, code, "breaking-change", rf"\b{column}\b")
        assert project.texts() == kept
    project.balanced()


@pytest.mark.parametrize("change", ["text to a number", "integer to text"])
def test_after_a_retyped_column_a_new_name_reads_the_table_anew_and_the_old_tables_stay(project, database, change):
    """Bronze is never changed; the hint's way on is taken as it says."""
    project.run()
    kept = project.tables()
    database.run(RETYPED[change][0])
    answer = refused(project, 2, "breaking-change", "another name in the contract.*t_v2")
    assert answer.json()["error"]["where"] == "bronze.t"
    contract = project.discover("t", name="t")
    project.path("t").write_text(contract.replace("- name: t\n", "- name: t_v2\n"))
    project.run()
    assert project.texts("t_v2") == project.source_texts()
    project.balanced()
    assert {t: n for t, n in project.tables().items() if t.endswith(".t")} == {
        t: n for t, n in kept.items() if t.endswith(".t")
    }


def test_a_field_may_leave_the_contract_and_come_back_and_bronze_keeps_what_came(project, database):
    project.run()
    contract = project.path("t").read_text()
    without = "\n".join(line for line in contract.splitlines() if "name: name" not in line) + "\n"
    assert without != contract
    project.path("t").write_text(without)
    database.run("insert into t values (3, 'c')")
    answer = project.answer("run")
    assert answer.code == 2
    assert re.search(r"column name: was removed.*headgate run silver\.t\+ --full-refresh", answer.err, re.S)
    project.run("--full-refresh")
    assert project.texts() == project.source_texts(columns="id")
    project.path("t").write_text(contract)
    database.run("update t set name = 'a again' where id = 1")
    project.run("--full-refresh")
    assert project.texts() == [("1", "a again"), ("2", "b"), ("3", None)]  # row 3 was landed without its name
    project.balanced()


def test_a_column_of_the_contract_that_was_dropped_is_refused(project, database):
    project.run()
    database.run("alter table t drop name")
    refused(project, 2, "fix-input", "'name'")
    project.balanced()


def test_a_column_that_the_contract_does_not_name_changes_nothing(project, database):
    project.run()
    database.run("alter table t add extra int default 5; insert into t values (3, 'c', 9)")
    project.run()
    assert project.texts() == project.source_texts(columns="id, name")
    project.balanced()


def test_a_connection_killed_while_reading_fails_and_the_same_command_completes(project, database, monkeypatch):
    database.run("insert into t select i, repeat('x', 100) from generate_series(3, 40000) i")
    (project.folder / "headgate.yaml").write_text("datasets: {t: {read: {range: 256 KiB, block: 64 KiB}}}")
    monkeypatch.setattr(land, "Pace", partial(land.Pace, rows=5000))
    killed = []

    def kill(name):
        if name == "land: published" and not killed:
            killed.append(
                database.run(
                    "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'headgate'"
                )
            )

    monkeypatch.setattr("headgate.crash.point", kill)
    answer = project.answer("run", "--json")
    assert killed
    assert killed[0]
    assert (answer.code, answer.json()["error"]["code"]) == (3, "source-unavailable"), answer.err
    assert "what to do:" in answer.err
    landed = project.tables()["bronze.t"]
    assert 0 < landed < 40000
    assert project.run()["landed_rows"] == 40000 - landed
    assert project.texts() == project.source_texts()
    project.balanced()


def test_a_waiting_connection_that_is_killed_fails_and_the_same_command_completes(project, database):
    database.connect(autocommit=False).cursor().execute("lock table t in access exclusive mode")
    watcher = database.connect()

    def kill():
        with watcher.cursor() as cursor:
            for _ in range(100_000):
                cursor.execute(
                    "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'headgate' "
                    "and wait_event_type = 'Lock'"
                )
                if cursor.fetchall():
                    return

    thread = threading.Thread(target=kill)
    thread.start()
    answer = project.answer("run", "--json")
    thread.join()
    assert (answer.code, answer.json()["error"]["code"]) == (3, "source-unavailable"), answer.err
    assert "what to do:" in answer.err
    database.opened[1].rollback()
    project.run()
    assert project.texts() == project.source_texts()
    project.balanced()


def test_names_with_sql_in_them_are_quoted_not_executed(tmp_path, database):
    name = "x\"; drop table keep; -- 'ü' 表 %s $HOME"
    maker = database.connect()
    with maker.cursor() as cursor:
        cursor.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
    odd = Database(database.server, name)
    try:
        odd.run("create table keep (i int)")
        odd.run('create table "t""; drop table keep; --" (id int primary key, "a""; drop table keep; --" text)')
        odd.run("insert into \"t\"\"; drop table keep; --\" values (1, '''; drop table keep; --')")
        project = PostgresProject(tmp_path / "shop", odd)
        project.discover('t"; drop table keep; --')
        (dataset,) = project.good("run")["datasets"]
        assert project.texts(dataset["name"]) == [("1", "'; drop table keep; --")]
        project.balanced()
        assert odd.run("select count(*) from keep") == [(0,)]
    finally:
        odd.close()
        with maker.cursor() as cursor:
            cursor.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


def test_columns_that_differ_in_case_only_are_refused_not_mixed_up(project, database):
    database.run('create table mixed ("Id" int primary key, "ID" int, "id" int); insert into mixed values (1, 2, 3)')
    project.discover("mixed")
    for command in ("validate", "run"):
        answer = project.answer(command)
        assert answer.code == 2
        assert re.search(r"contracts/t\.odcs\.yaml:\d+:\d+: .*`Id` and `ID` differ in case only", answer.err), (
            answer.err
        )
    project.write(
        """{name: id, physicalName: ID, logicalType: integer, primaryKey: true, primaryKeyPosition: 1}""", table="mixed"
    )
    project.run()
    assert project.texts() == [("2",)]
    project.balanced()


BAD_URLS = {
    "postgresql://localhost:notaport/x?table=t": "port",
    "postgresql://localhost?table=t": "database",
    "postgresql://u:CANARY-url@localhost/x?table=t": "password",
    "mysql://localhost/x": "mysql",
}


@pytest.mark.parametrize("url", BAD_URLS)
def test_discover_refuses_a_bad_url(url):
    answer = headgate("discover", url, env={"PGDATABASE": ""})
    assert answer.code == 2, answer.err
    assert BAD_URLS[url] in answer.err
    assert "what to do:" in answer.err
    assert "CANARY" not in answer.out + answer.err


COMMANDS = [
    "validate",
    "run",
    "status --json",
    "doctor --json",
    "audit --deep",
    "plan",
    "runs --json",
    "quarantine list",
]


@pytest.fixture
def password(database, project):
    """A role that must give a password: CANARY-right."""
    name = f"guarded_{database.name}"
    hba = database.server.data / "pg_hba.conf"
    kept = hba.read_text()
    database.run(f"create role {name} login password 'CANARY-right'; grant select on t to {name}")
    hba.write_text(f"host {database.name} {name} all scram-sha-256\n{kept}")
    try:
        database.run("select pg_reload_conf()")
        for _ in range(10_000):  # the server reads the file soon
            try:
                database.connect(user=name).close()
            except psycopg2.OperationalError:
                break
        project.env["PGUSER"] = name
        yield "CANARY-right"
    finally:
        hba.write_text(kept)
        database.run("select pg_reload_conf()")
        database.run(f"drop owned by {name}; drop role {name}")


def test_a_wrong_or_missing_password_is_refused_and_not_shown(project, password):
    for given, words in (("CANARY-wrong", "password authentication failed"), ("", "no password supplied")):
        answer = refused(project, 2, "fix-input", words, "PGPASSWORD", env={"PGPASSWORD": given})
        assert "CANARY" not in answer.out + answer.err


def test_the_password_appears_nowhere(project, database, password, tmp_path):
    spoken = []
    (tmp_path / "passfile").write_text("")
    project.env["PGPASSFILE"] = str(tmp_path / "passfile")
    project.env["PGPASSWORD"] = password
    for command in [*(c.split() for c in COMMANDS), ["query", "select * from headgate.runs", "--json"]]:
        answer = project.answer(*command)
        assert answer.code == 0, answer.err
        spoken += [answer.out + answer.err]
    spoken += [project.answer("discover", project.url("t")).out]
    own = "customProperties: [{property: password, value: '${PGPASSWORD}'}]"
    project.edit("schema: public", f"schema: public, {own}")
    database.run("insert into t values (3, 'c')")
    assert project.run()["landed_rows"] == 1
    spoken += [project.answer("run", env={"HEADGATE_DEBUG": "1", "PGPASSWORD": "CANARY-wrong"}).err]
    project.edit("physicalName: 't'", "physicalName: nothing")
    spoken += [project.answer("run", env={"HEADGATE_DEBUG": "1"}).err]
    spoken += [project.answer("run", "--json", env={"HEADGATE_DEBUG": "1", "PGUSER": "nobody_here"}).err]
    project.edit(f"port: {database.server.port}", f"port: {free_port()}")
    spoken += [project.answer("run", "--json", env={"HEADGATE_DEBUG": "1"}).err]
    assert all(spoken)
    assert not any("CANARY" in one for one in spoken)
    for path, content in project.files().items():
        assert b"CANARY" not in content, path
    for table in ("silver.t", "bronze.t", "quarantine.t", "ledger.t", "headgate.runs"):
        assert "CANARY" not in project.answer("query", f"select * from {table}", "--json").out


def test_the_password_is_not_in_the_process_list(project, database, password):
    holder = database.connect(autocommit=False)
    holder.cursor().execute("lock table t in access exclusive mode")
    running = subprocess.Popen(
        [sys.executable, "-m", "headgate", "run", "-p", str(project.folder)],
        env={**os.environ, **project.env, "PGPASSWORD": password},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    waiting = "select application_name, query from pg_stat_activity where application_name = 'headgate' and wait_event_type = 'Lock'"
    seen = []
    while not seen and running.poll() is None:
        seen = database.run(waiting)
    listed = Path(f"/proc/{running.pid}/cmdline").read_bytes()
    holder.rollback()
    out, _ = running.communicate(timeout=60)
    assert running.returncode == 0, out
    assert b"headgate" in listed
    assert b"CANARY" not in listed + out
    assert seen
    assert "CANARY" not in str(seen)
