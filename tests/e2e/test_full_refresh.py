"""A contract that stored tables cannot follow: a run stops by name, and the command that its hint names rebuilds
everything from bronze, as if the contract had always been so."""

from __future__ import annotations

import re
import shutil
import sqlite3
from contextlib import closing

import pytest
from pyiceberg.table import StaticTable

from e2e.command import good, headgate
from headgate import Project
from rigs import iceberg_reader

CONTRACT = """\
apiVersion: v3.2.0
kind: DataContract
id: shop.orders
name: orders
version: 1.0.0
status: draft
servers: [{server: drop, type: local, path: 'in/*.ndjson', format: ndjson}]
schema:
  - name: orders
    properties:
      - {name: id, logicalType: integer, primaryKey: true, primaryKeyPosition: 1, required: true}
      - {name: line, logicalType: integer, required: true}
      - {name: amount, logicalType: string}
      - {name: note, logicalType: string}
      - {name: at, logicalType: timestamp, required: true, partitioned: true}
      - {name: place, logicalType: object, properties: [{name: town, logicalType: string}, {name: zip, logicalType: integer}]}
    customProperties:
      - {property: headgate.order, value: [at]}
"""
MODEL = "select line, max(amount) as top, count(*) as n from silver.orders group by all"
LINES = [
    '{"id":1,"line":1,"amount":"10.50","note":"a","at":"2026-01-01T00:00:00","place":{"town":"x","zip":1}}',
    '{"id":1,"line":2,"amount":"9","note":"b","at":"2026-01-02T00:00:00","place":{"town":"y","zip":2}}',
    '{"id":2,"line":1,"amount":"lots","note":null,"at":"2026-02-03T00:00:00","place":null}',
    '{"id":"three","line":1,"amount":"1","note":"c","at":"2026-02-04T00:00:00"}',
    '{"id":2,"line":1,"amount":"lots","note":null,"at":"2026-02-03T00:00:00","place":null}',
]
NUMBER = (
    "amount, logicalType: number, physicalType: 'numeric(12,2)', "
    "customProperties: [{property: headgate.standardise, value: [currency]}]"
)
CHANGES = {
    "retyped": ("amount, logicalType: string", NUMBER),
    "removed": ("      - {name: note, logicalType: string}\n", ""),
    "required": ("note, logicalType: string", "note, logicalType: string, required: true"),
    "key": ("line, logicalType: integer", "line, logicalType: integer, primaryKey: true, primaryKeyPosition: 2"),
    "partition": ("line, logicalType: integer", "line, logicalType: integer, partitioned: true"),
    "partition source": ("at, logicalType: timestamp", "at, logicalType: date, physicalType: date"),
    "nested": ("zip, logicalType: integer", "zip, logicalType: string"),
}
SAYS = {
    "retyped": r"column amount: changed from string to decimal\(12, 2\)",
    "removed": "column note: was removed",
    "required": "column note: became required",
    "key": r"key changed from \(id\) to \(id, line\)",
    "partition": r"partitioning changed from month\(at\) to identity\(line\), month\(at\)",
    "partition source": "column at: changed from timestamp to date",
    "nested": r"column place\.zip: changed from long to string",
}


def make(folder, contract=CONTRACT, lines=LINES):
    for name in ("contracts", "models", "in"):
        (folder / name).mkdir(parents=True)
    (folder / "contracts" / "orders.odcs.yaml").write_text(contract)
    (folder / "models" / "lines.sql").write_text(MODEL)
    (folder / "in" / "1.ndjson").write_text("".join(line + "\n" for line in lines))
    return folder


@pytest.fixture
def project(tmp_path):
    folder = make(tmp_path / "shop")
    good("run", project=folder)
    return folder


def change(project, name, version="2.0.0"):
    """Today's contract, with that change."""
    path = project / "contracts" / "orders.odcs.yaml"
    old, new = CHANGES[name]
    text = path.read_text()
    assert old in text
    path.write_text(re.sub(r"version: \d\.0\.0", f"version: {version}", text.replace(old, new)))


def content(project):
    """Every row of every layer but bronze, without what tells one run from another."""
    layers = {
        "silver.orders": "*",
        "gold.lines": "*",
        "ledger.orders": "* exclude (run_id, judged_at)",
        "quarantine.orders": "_hg_partition, _hg_offset, raw, reasons",
    }
    return {t: good("query", f"select {c} from {t} order by all", project=project) for t, c in layers.items()}


def locations(project):
    with closing(sqlite3.connect(project / ".headgate" / "lake" / "catalog.db")) as catalog:
        found = catalog.execute("select table_namespace || '.' || table_name, metadata_location from iceberg_tables")
        return dict(found.fetchall())


def in_balance(project):
    (account,) = good("audit", "--deep", project=project)
    assert account["state"] == "balanced", account
    assert good("audit", project=project)[0]["state"] == "balanced"


@pytest.mark.parametrize("name", CHANGES)
def test_what_tables_cannot_follow_is_refused_and_rebuilt_by_the_command_in_the_hint(project, tmp_path, name):
    before, tables = content(project), locations(project)
    change(project, name)
    (project / "in" / "2.ndjson").write_text(LINES[0].replace('"id":1', '"id":7') + "\n")
    refused = headgate("run", "--json", project=project)
    error = refused.json()["error"]
    assert (refused.code, error["code"], error["where"]) == (2, "breaking-change", "silver.orders")
    assert re.search(SAYS[name], error["message"])
    changed = {t for t, location in locations(project).items() if tables.get(t) != location}
    assert changed == {"bronze.orders"}  # what had come was landed; nothing else moved
    assert content(project) == before

    command = re.search(r"headgate (run \S+ --full-refresh)", error["hint"])
    record = good(*command[1].split(), project=project)
    assert record["datasets"][0]["read"] == len(LINES) + 1
    in_balance(project)
    new = make(tmp_path / "new", (project / "contracts" / "orders.odcs.yaml").read_text())
    shutil.copy(project / "in" / "2.ndjson", new / "in")
    good("run", project=new)
    assert content(project) == content(new)
    assert not good("run", project=project)["moved"]
    assert good("quarantine", "replay", project=project)["orders"]["recovered"] == 0


@pytest.mark.parametrize("name", ["retyped", "removed", "key", "partition"])
def test_plan_says_that_a_run_would_stop_and_what_a_full_refresh_would_do(project, name):
    change(project, name)
    before = locations(project)
    (plan,) = good("plan", project=project)["datasets"]
    kinds = {c["kind"]: c for c in plan["changes"]}
    assert "contract 1.0.0 -> 2.0.0" in kinds.pop("version")["message"]
    assert kinds[name]["breaking"]
    refresh = plan["full_refresh"]
    assert refresh["needed"]
    assert re.search(SAYS[name], refresh["why"])
    assert (refresh["command"], refresh["rows"]) == ("headgate run silver.orders+ --full-refresh", len(LINES))
    assert refresh["tables"] == ["gold.lines", "ledger.orders", "quarantine.orders", "silver.orders"]
    (asked,) = good("plan", "--full-refresh", project=project)["datasets"]
    told = headgate("plan", "--full-refresh", project=project).err
    assert "a run would stop" in told
    assert locations(project) == before
    (done,) = good("run", "--full-refresh", project=project)["datasets"]
    assert (asked["full_refresh"]["verdicts"], asked["full_refresh"]["reasons"]) == (done["verdicts"], done["reasons"])
    (plan,) = good("plan", project=project)["datasets"]
    assert (plan["changes"], plan["full_refresh"]["needed"]) == ([], False)


def test_plan_tells_a_change_that_tables_follow_from_one_that_they_do_not(project):
    path = project / "contracts" / "orders.odcs.yaml"
    path.write_text(
        path.read_text()
        .replace("note, logicalType: string", "note, logicalType: string, logicalTypeOptions: {maxLength: 9}")
        .replace("line, logicalType: integer", "line, logicalType: integer, logicalTypeOptions: {minimum: 2}")
        .replace("{name: at,", "{name: more, logicalType: string}\n      - {name: at,")
    )
    (plan,) = good("plan", project=project)["datasets"]
    assert {(c["kind"], c["field"], c["breaking"]) for c in plan["changes"]} == {
        ("added", "more", False),
        ("tightened", "note", True),
        ("tightened", "line", True),
    }
    assert not plan["full_refresh"]["needed"]
    assert plan["rules"] == {"line.minimum": 1}
    assert good("run", project=project)["status"] == "done"


def test_the_contract_is_kept_with_silver_and_nothing_of_the_server(project):
    path = project / "contracts" / "orders.odcs.yaml"
    path.write_text(path.read_text().replace("format: ndjson}", "format: ndjson, description: canary-5ecret}"))
    (project / "in" / "2.ndjson").write_text(LINES[0] + "\n")
    good("run", project=project)
    kept = StaticTable.from_metadata(locations(project)["silver.orders"]).properties["headgate.contract"]
    assert "name: amount" in kept
    everything = [p.read_bytes() for p in (project / ".headgate").rglob("*") if p.is_file()]
    assert not any(b"canary-5ecret" in content for content in everything)


def test_work_goes_on_after_a_full_refresh(project):
    """Positions, key history, replay and gold go on from the rebuilt tables."""
    change(project, "retyped")
    good("run", "--full-refresh", project=project)
    (project / "in" / "2.ndjson").write_text(
        LINES[0].replace("10.50", "12").replace("2026-01-01", "2026-03-01") + "\n" + LINES[3] + "\n"
    )
    (orders,) = good("run", project=project)["datasets"]
    assert (orders["read"], orders["replaced"]) == (2, 1)
    assert orders["verdicts"] == {
        "accepted": 1,
        "duplicate": 0,
        "superseded": 0,
        "quarantined": 1,
        "dropped": 0,
        "deleted": 0,
    }
    in_balance(project)
    path = project / "contracts" / "orders.odcs.yaml"
    path.write_text(path.read_text().replace(NUMBER, "amount, logicalType: string"))
    assert headgate("quarantine", "replay", project=project).code == 2  # silver cannot follow there either
    good("run", "--full-refresh", project=project)
    in_balance(project)
    rows = good("query", "select id, amount from silver.orders order by id", project=project)
    assert rows == [{"id": 1, "amount": "12"}, {"id": 2, "amount": "lots"}]


def test_a_model_whose_columns_cannot_be_followed_is_rebuilt_by_the_command_in_the_hint(project):
    (project / "models" / "lines.sql").write_text(
        "select line::varchar as line, count(*) as n from silver.orders group by all"
    )
    before = locations(project)
    error = headgate("run", "--json", project=project).json()["error"]
    assert (error["code"], error["where"]) == ("breaking-change", "gold.lines")
    assert locations(project) == before
    command = re.search(r"headgate (run \S+ --full-refresh)", error["hint"])[1]
    assert command == "run gold.lines+ --full-refresh"
    assert good(*command.split(), project=project)["models"] == {"lines": 2}
    assert good("query", "select * from gold.lines order by all", project=project) == [
        {"line": "1", "n": 1},
        {"line": "2", "n": 1},
    ]
    assert not good("run", project=project)["moved"]


@pytest.mark.parametrize("name", ["retyped", "partition source"])
def test_other_readers_see_the_new_table_and_old_values_never_under_a_new_column(project, name):
    old = StaticTable.from_metadata(locations(project)["silver.orders"])
    change(project, name)
    good("run", "--full-refresh", project=project)
    now = locations(project)["silver.orders"]
    table = StaticTable.from_metadata(now)
    column = {"retyped": "amount", "partition source": "at"}[name]
    assert table.metadata.table_uuid == old.metadata.table_uuid
    assert table.schema().find_field(column).field_id > old.metadata.last_column_id
    assert table.scan().to_arrow().num_rows == int(iceberg_reader.ask({"t": now}, "select count(*) from t")[0][0][0])
    assert {f.source_id for one in table.specs().values() for f in one.fields} <= set(table.schema()._lazy_id_to_field)
    with Project.open(project) as opened:  # who follows changes begins anew
        assert opened.lake.cut().table("silver.orders").changes(old.metadata.current_snapshot_id) is None
    if name == "retyped":  # time travel: the rows of then, with the columns of then
        then = table.scan(snapshot_id=old.metadata.current_snapshot_id).to_arrow()
        assert then.equals(old.scan().to_arrow())
        assert sorted(then["amount"].to_pylist()) == ["9", "lots"]
    else:  # no other reader could open it with that partitioning: history went
        assert table.metadata.snapshot_by_id(old.metadata.current_snapshot_id) is None
