"""A contract that keeps versions and takes deletes: runs, audit, another reader, and the same from bronze anew."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from contextlib import closing

import duckdb
import pytest

from e2e.command import good, headgate
from e2e.items import DELETES, contract
from headgate.stores.iceberg.catalog import open_catalog
from rigs import iceberg_reader

FIELDS = """\
{name: id, logicalType: string, primaryKey: true, primaryKeyPosition: 1, required: true}
{name: at, logicalType: timestamp, required: true}
{name: shelf, logicalType: string, partitioned: true}
{name: payload, logicalType: string}
{name: digest, logicalType: string}
{name: op, logicalType: string}"""
CHECKSUM = "{property: headgate.checksum, value: {field: digest, of: payload}}"
DAYS = [
    [("a", 1, "top", "x", "c"), ("b", 1, "top", "y", "c"), ("c", 1, "low", "z", "c")],
    [("a", 5, "low", "x2", "u"), ("b", 4, "top", None, "d"), ("a", 5, "low", "x2", "u")],
    [("a", 3, "top", "x1", "u"), ("b", 2, "top", "late", "u"), ("c", 2, "low", "WRONG", "u")],
    [("b", 6, "low", "again", "c"), ("c", 9, "low", None, "d")],
]
SILVER = {
    "latest": [("a", "05", None, "low", "x2"), ("b", "06", None, "low", "again")],
    "scd2": [
        ("a", "01", "03", "top", "x"), ("a", "03", "05", "top", "x1"), ("a", "05", None, "low", "x2"),
        ("b", "01", "02", "top", "y"), ("b", "02", "04", "top", "late"), ("b", "06", None, "low", "again"),
        ("c", "01", "09", "low", "z"),
    ],
}  # fmt: skip
VERDICTS = {
    "latest": {"accepted": 5, "duplicate": 1, "superseded": 2, "quarantined": 1, "dropped": 0, "deleted": 2},
    "scd2": {"accepted": 7, "duplicate": 1, "superseded": 0, "quarantined": 1, "dropped": 0, "deleted": 2},
}


def line(key, day, shelf, payload, op):
    digest = hashlib.sha256(payload.encode()).hexdigest() if payload else None
    if payload == "WRONG":
        digest = hashlib.sha256(b"right").hexdigest()
    at = f"2026-01-{day:02}T00:00:00"
    return json.dumps({"id": key, "at": at, "shelf": shelf, "payload": payload, "digest": digest, "op": op})


def rows_of(folder, history):
    ends = "strftime(valid_to, '%d')" if history == "scd2" else "NULL"
    sql = f"select id, strftime(i.at, '%d'), {ends}, shelf, payload from items i order by 1, 2"
    with closing(sqlite3.connect(folder / ".headgate" / "lake" / "catalog.db")) as catalog:
        pointers = "select metadata_location from iceberg_tables where table_namespace = 'silver'"
        (metadata,) = catalog.execute(pointers).fetchone()
    (rows,) = iceberg_reader.ask({"items": metadata}, sql)
    return [tuple(row) for row in rows]


def project_of(folder, history):
    (folder / "contracts").mkdir()
    (folder / "in").mkdir()
    (folder / "contracts" / "items.odcs.yaml").write_text(contract(FIELDS, history, DELETES, CHECKSUM))
    (folder / "headgate.yaml").write_text("datasets: {items: {}}\n")


def land(folder, number):
    (folder / "in" / f"{number}.ndjson").write_text("".join(line(*row) + "\n" for row in DAYS[number]))


@pytest.mark.parametrize("history", ["latest", "scd2"])
def test_versions_deletes_and_late_changes_stand_in_silver_and_balance(tmp_path, history):
    project_of(tmp_path, history)
    counts = dict.fromkeys(VERDICTS[history], 0)
    for number in range(len(DAYS)):
        land(tmp_path, number)
        (items,) = good("run", project=tmp_path)["datasets"]
        counts = {verdict: rows + items["verdicts"][verdict] for verdict, rows in counts.items()}
        (account,) = good("audit", "--deep", project=tmp_path)
        assert (account["state"], account["findings"]) == ("balanced", [])
    assert counts == VERDICTS[history]
    assert rows_of(tmp_path, history) == SILVER[history]
    good("run", "--full-refresh", project=tmp_path)
    assert rows_of(tmp_path, history) == SILVER[history]
    (account,) = good("audit", "--deep", project=tmp_path)
    assert account["state"] == "balanced"


BREAKS = {
    "scd2": [
        # what somebody did to silver; what the audit says, and of which rows
        ("valid_to = null, is_current = true where id = 'a' and day(r.at) = 1", "1 versions that overlap the next one", "0"),
        ("valid_to = valid_to + interval 1 day where id = 'b' and day(r.at) = 1", "1 versions that overlap", "1"),
        ("valid_to = valid_to - interval 1 day where id = 'a' and day(r.at) = 1", "1 versions that end where nothing", "0"),
        ("valid_to = valid_to - interval 1 day where id = 'c'", "1 versions that end where nothing", "2"),
        ("valid_to = null, is_current = true where id = 'c'", "1 versions that overlap", "2"),
        ("valid_to = r.at + interval 1 day, is_current = false where id = 'a' and day(r.at) = 5", "1 versions that end", "3"),
        ("is_current = false where id = 'a' and day(r.at) = 5", "1 versions with a wrong is_current", "3"),
        ("valid_from = valid_from + interval 1 hour where id = 'a' and day(r.at) = 5", "1 versions that do not begin", "3"),
    ],
    "latest": [("id = 'a'", "2 rows of a key that stands in silver more than once", "3")],
}  # fmt: skip


@pytest.mark.parametrize("history", ["latest", "scd2"])
def test_a_history_that_does_not_hold_together_breaks_the_account(tmp_path, history):
    project_of(tmp_path, history)
    for number in range(len(DAYS)):
        land(tmp_path, number)
    good("run", project=tmp_path)
    table = open_catalog({"warehouse": tmp_path / ".headgate" / "lake"}).load_table("silver.items")
    whole = table.scan().to_arrow()
    for change, what, offset in BREAKS[history]:
        with duckdb.connect() as connection:
            connection.execute("create table broken as select * from whole")
            connection.execute(f"update broken r set {change}")
            table.overwrite(connection.sql("from broken").to_arrow_table().cast(whole.schema))
        answer = headgate("audit", "--deep", "--json", project=tmp_path)
        assert answer.code != 0
        (account,) = answer.json()
        found = [f for f in account["findings"] if "checksum" not in f]
        assert len(found) == 1, (change, found)
        assert found[0].startswith(what)
        assert found[0].split(", ")[-1].endswith(f":{offset}") or f":{offset}," in found[0], found
    table.overwrite(whole)
    assert good("audit", "--deep", project=tmp_path)[0]["findings"] == []
