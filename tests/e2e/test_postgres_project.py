"""A project on a real PostgreSQL: after every run silver is what the table holds, and every row is accounted for."""

import json

import pytest

from rigs.postgres_project import PostgresProject

ORDERS = """
create table t (id bigint primary key, who text, amount numeric(12,2) not null, updated_at timestamptz not null);
create index on t (updated_at);
insert into t select i, 'c' || i % 7, i * 1.01, timestamptz '2026-11-01' + i * interval '1 min'
from generate_series(1, 500) i
"""
SETTINGS = {
    "every run sweeps": "datasets: {t: {read: {watermark: updated_at}}}",
    "runs are bounded by the index": "datasets: {t: {read: {watermark: updated_at, sweep_below: 0}}}",
    "no watermark": "",
}


@pytest.fixture
def project(tmp_path, database):
    return PostgresProject(tmp_path / "shop", database)


def settings(project, text):
    (project.folder / "headgate.yaml").write_text(text)


def equal(project, name="t", table="t", columns=None):
    """Silver is the source table, row by row, and the account balances."""
    assert project.texts(name) == project.source_texts(table, columns)
    return project.balanced()


@pytest.mark.parametrize("how", SETTINGS)
def test_silver_is_the_table_after_every_run(project, database, how):
    database.run(ORDERS)
    project.discover("t")
    settings(project, SETTINGS[how])
    first = project.run()
    assert (first["landed_rows"], first["verdicts"]["accepted"]) == (500, 500)
    equal(project)
    again = project.run()
    assert again["landed_rows"] == 0

    database.run("insert into t select i, 'new', 1, now() from generate_series(501, 520) i")
    database.run("update t set amount = amount + 1, updated_at = now() where id <= 30")
    second = project.run()
    assert (second["landed_rows"], second["replaced"]) == (50, 30)
    account = equal(project)
    assert (account["bronze"], account["silver"], account["ledger"]) == (550, 520, 30)

    late = database.connect(autocommit=False)
    late.cursor().execute("insert into t values (1000, 'late', 5, now()), (1001, 'late', 5, now() - interval '1 min')")
    late.cursor().execute("update t set who = 'late', updated_at = now() where id = 40")
    database.run("insert into t values (2000, 'quick', 6, now())")
    project.run()
    account = equal(project)
    assert account["silver"] == 521
    late.commit()
    project.run()
    equal(project)
    assert len(project.texts()) == 523

    newest = database.run("select max(updated_at) from t")[0][0]
    database.run("insert into t values (3000, 'tie', 7, %s), (3001, 'tie', 7, %s)", (newest, newest))
    project.run()
    equal(project)
    database.run("update t set who = 'tied again' where updated_at = %s", (newest,))  # the watermark stays as it was
    project.run()
    equal(project)
    database.run("insert into t values (4000, 'from the future', 8, '2099-01-01')")
    project.run()
    database.run("insert into t values (4001, 'from today', 8, now())")
    project.run()
    account = equal(project)
    assert project.good("run", "--full-refresh")["datasets"][0]["read"] == account["bronze"]
    equal(project)


def test_equal_rows_of_a_table_without_a_key_are_all_kept(project, database):
    database.run("create table t (name text, qty int); insert into t select 'same', 1 from generate_series(1, 40)")
    project.discover("t")
    assert project.run()["verdicts"]["accepted"] == 40
    equal(project)
    database.run("insert into t select 'same', 1 from generate_series(1, 5)")
    open_one = database.connect(autocommit=False)
    open_one.cursor().execute("insert into t values ('same', 1), ('same', 1)")
    assert project.run()["verdicts"]["accepted"] == 5
    equal(project)
    open_one.commit()
    project.run()
    equal(project)
    assert len(project.texts()) == 47
    database.run("vacuum full t")
    project.run()
    equal(project)


EXACT = {  # type: values that silver must hold exactly, as PostgreSQL prints them
    "numeric": ["1" * 51 + ".5", "NaN", "-Infinity", "0.00", "1e-40"],
    "jsonb": ["null", '{"a": 1}', '"é"', "[]"],
    "int[]": ["{}", "{1,NULL,3}", "{{1,2},{3,4}}"],
    "text[]": ['{a,"b,c",NULL,"NULL"}', '{"\\"",""}'],
    "timetz": ["12:00:00+02", "00:00:00-15:59", "24:00:00+00"],
    "money": ["1.5", "-1234567.89"],
    "interval": ["1 mon 2 days 00:00:03", "-1 days", "178000000 years"],
    "int4range": ["[1,5)", "empty", "(,)"],
    "mood": ["sad", "it's"],
    "inet": ["10.0.0.1/8", "::1"],
    "bit(3)": ["101"],
    "uuid": ["00000000-0000-0000-0000-000000000001"],
    "numeric(38,10)": ["9" * 28 + ".0000000001", "-0.0000000001", "0"],
    "bigint": ["-9223372036854775808", "9223372036854775807"],
    "float8": ["0.1", "1e308", "5e-324", "-2.5"],
    "boolean": ["true", "false"],
    "date": ["0001-01-01", "9999-12-31", "2024-02-29"],
    "timestamp": ["0001-01-01 00:00:00", "2026-01-02 03:04:05.123456"],
    "time": ["00:00:00", "23:59:59.999999"],
    "text": ["", " ", "NULL", "\\N", "a\tb\nc\\d", "é\u202e😀", "\x01\x7f", "'; drop table t; --"],
    "varchar(3)": ["äöü"],
    "char(4)": ["a"],
}


def test_odd_values_are_in_silver_exactly(project, database):
    database.run("create type mood as enum ('sad', 'it''s')")
    columns = ", ".join(f"c{i} {kind}" for i, kind in enumerate(EXACT))
    database.run(f"create table t (id int primary key, {columns})")
    depth = max(map(len, EXACT.values()))
    for row in range(depth + 1):
        values = [row, *(v[row] if row < len(v) else None for v in EXACT.values())]
        database.run(f"insert into t values ({', '.join(['%s'] * len(values))})", values)
    project.discover("t")
    assert project.answer("validate").code == 0
    assert project.run()["verdicts"]["accepted"] == depth + 1
    found = {int(row[0]): row[1:] for row in project.texts()}
    asked = ", ".join(f"case when c{i} is not null then format('%%s', c{i}) end" for i in range(len(EXACT)))
    for row in range(depth + 1):
        (wanted,) = database.run(f"select {asked} from t where id = %s", (row,))
        for kind, have, want in zip(EXACT, found[row], wanted, strict=True):
            same = float(have) == float(want) if kind == "float8" and want else have == want
            assert same or (kind == "boolean" and have == {"t": "true", "f": "false"}.get(want)), (kind, have, want)
    project.balanced()


def test_bytes_are_in_silver_exactly(project, database):
    database.run("create table t (id int primary key, b bytea)")
    contents = [b"", b"\x00\xff", bytes(range(256)), b"\\x41", None]
    for number, content in enumerate(contents):
        database.run("insert into t values (%s, %s)", (number, content))
    project.discover("t")
    assert project.run()["verdicts"]["accepted"] == len(contents)
    rows = project.rows("select hex(b) as h from silver.t order by id")
    assert [None if r["h"] is None else bytes.fromhex(r["h"]) for r in rows] == contents
    project.balanced()


ODD = {  # type: values that no column of the contract's type holds; each is a reason, and the row is kept whole
    "numeric(12,2)": ["NaN"],
    "date": ["infinity", "-infinity", "4713-01-01 BC", "5874897-12-31"],
    "timestamp": ["infinity", "294276-12-31 23:59:59.999999"],
    "timestamptz": ["-infinity", "4713-01-01 00:00:00+00 BC"],
    "time": ["24:00:00"],
}


def test_values_that_a_type_cannot_hold_are_quarantined_as_the_source_says_them(project, database):
    columns = ", ".join(f"c{i} {kind}" for i, kind in enumerate(ODD))
    database.run(f"create table t (id serial primary key, {columns})")
    wanted = []
    for place, values in enumerate(ODD.values()):
        for value in values:
            database.run(f"insert into t (c{place}) values (%s)", (value,))
            wanted.append((f"c{place}.type", f"c{place}", value))
    database.run("insert into t (c0) values (1)")
    project.discover("t")
    assert project.run()["verdicts"] == {
        "accepted": 1,
        "duplicate": 0,
        "superseded": 0,
        "quarantined": len(wanted),
        "dropped": 0,
        "deleted": 0,
    }
    rows = project.rows("select decode(raw) as raw, reasons from quarantine.t order by _hg_offset")
    for number, (row, (rule, field, value)) in enumerate(zip(rows, wanted, strict=True), 1):
        assert row["reasons"] == [{"rule": rule, "field": field, "value": value}]
        raw = json.loads(row["raw"])
        assert (raw["id"], raw[field]) == (number, value)
    project.balanced()
    database.run("update t set c0 = 2, c1 = null, c2 = null, c3 = null, c4 = null")
    project.run()
    project.balanced()
    assert project.texts() == project.source_texts()


def test_a_contract_that_contradicts_the_source_rejects_rows_by_name_and_changes_none(project, database):
    database.run(
        """create table t (id int primary key, a text, b text, c numeric, d numeric(12,4), e text, f bigint, g timestamp);
        insert into t values (1, '12', '1.50', 3, 1.5, '2026-02-28', 7, null),
          (2, '1.5', '1.505', 3.5, 1.2345, '2026-02-30', 2147483648, '2026-01-01'),
          (3, 'x', 'NaN', 'NaN', null, 'infinity', null, null),
          (4, '', '1e-3', 12345678901234567890, 99999999.99, '', -1, 'infinity'),
          (5, null, null, null, null, null, null, null)"""
    )
    project.write(
        """{name: id, logicalType: integer, primaryKey: true, primaryKeyPosition: 1}
        {name: a, logicalType: integer}
        {name: b, logicalType: number, physicalType: 'numeric(12,2)'}
        {name: c, logicalType: integer}
        {name: d, logicalType: number, physicalType: 'numeric(10,2)'}
        {name: e, logicalType: date}
        {name: f, logicalType: integer, logicalTypeOptions: {format: i32}}
        {name: g, logicalType: date}"""
    )
    project.run()
    assert [tuple(r.values())[:8] for r in project.rows("select * from silver.t order by id")] == [
        (1, 12, "1.50", 3, "1.50", "2026-02-28", 7, None),
        (5, None, None, None, None, None, None, None),
    ]
    rows = project.rows("select reasons from quarantine.t order by _hg_offset")
    assert [sorted(x["rule"] for x in r["reasons"]) for r in rows] == [
        ["a.type", "b.type", "c.type", "d.type", "e.type", "f.type", "g.type"],
        ["a.type", "b.type", "c.type", "e.type"],
        ["a.type", "b.type", "c.type", "e.type", "g.type"],
    ]
    assert rows[0]["reasons"][0]["value"] == "1.5"
    project.balanced()


def test_status_says_that_deletes_are_not_seen_and_doctor_that_the_source_answers(project, database):
    database.run(ORDERS)
    project.discover("t")
    settings(project, SETTINGS["every run sweeps"])
    project.run()
    database.run("delete from t where id <= 10")
    project.run()
    assert project.balanced()["silver"] == 500
    (told,) = project.good("status")["datasets"]
    assert any("Deleted rows are not seen" in one for one in told["limitations"])
    assert told["source"]["identity"]["database"] == database.name
    assert told["source_error"] is None
    human = project.answer("status")
    assert human.code == 0
    assert "eleted rows are not seen" in human.out + human.err
    assert all(one["state"] != "wrong" for one in project.good("doctor"))


def test_a_discovered_contract_of_odd_names_validates_and_runs(project, database):
    database.run(
        """create schema "Sales; drop table public.keep; --";
        create table keep (i int);
        create table "Sales; drop table public.keep; --"."or""ders' 表 $1" (
          "id" int primary key, "a ""quoted"" 'column'" text, "größe" int, "select" text, "; drop table keep; --" text,
          "%s {x} ${HOME}" text);
        insert into "Sales; drop table public.keep; --"."or""ders' 表 $1" values
          (1, 'x', 2, 'y', 'z', 'p'), (2, null, null, '''); drop table keep; --', '"', '\\')"""
    )
    table = '"Sales; drop table public.keep; --"."or""ders\' 表 $1"'
    project.discover("or\"ders' 表 $1", schema="Sales; drop table public.keep; --")
    assert project.answer("validate").code == 0
    (dataset,) = project.good("run")["datasets"]
    name = dataset["name"]
    assert dataset["verdicts"]["accepted"] == 2
    assert project.texts(name) == project.source_texts(table)
    database.run(f'update {table} set "größe" = 5')
    project.run()
    assert project.texts(name) == project.source_texts(table)
    project.balanced()
    assert database.run("select count(*) from keep") == [(0,)]
