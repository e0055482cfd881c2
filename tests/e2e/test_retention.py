"""Retention: rows go when the contract says so, and the account still balances, from the records and from the tables."""

from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest

from e2e.command import good, headgate
from headgate import Project
from headgate.steps.retire import retire
from headgate.steps.run import Run

CONTRACT = """\
apiVersion: v3.2.0
kind: DataContract
id: shop.orders
version: 1.0.0
status: active
servers: [{server: drop, type: local, path: data/*.csv, format: csv}]
slaProperties:
  - {property: retention, value: 90, unit: d, element: orders.ordered_at}
  - {property: retention, value: 30, unit: d, element: orders}
schema:
  - name: orders
    properties:
      - {name: order_id, logicalType: integer, primaryKey: true, primaryKeyPosition: 1, required: true}
      - {name: ordered_at, logicalType: timestamp, required: true}
      - {name: amount, logicalType: number, physicalType: "decimal(12,2)", logicalTypeOptions: {minimum: 0}}
    customProperties: [{property: headgate.order, value: [ordered_at]}]
"""
NOW = datetime.now(UTC)


def drop(project, name, *lines):
    (project / "data" / name).write_text("order_id,ordered_at,amount\n" + "".join(f"{line}\n" for line in lines))
    good("run", project=project)


def days_ago(days):
    return f"{NOW - timedelta(days=days):%Y-%m-%d %H:%M:%S}"


@pytest.fixture
def project(tmp_path):
    for folder in ("contracts", "data", "models"):
        (tmp_path / folder).mkdir()
    (tmp_path / "contracts" / "orders.odcs.yaml").write_text(CONTRACT)
    (tmp_path / "models" / "totals.sql").write_text("select count(*) as n, sum(amount) as total from silver.orders\n")
    drop(tmp_path, "a.csv", *[f"{n},{days_ago(200.5 - n)},{n}.50" for n in range(150)], f"900,{days_ago(1)},-1")
    drop(tmp_path, "b.csv", f"149,{days_ago(2)},7.00", f"149,{days_ago(2)},7.00", f"901,{days_ago(1)},-2")
    return tmp_path


def balanced(project):
    for flags in ([], ["--deep"]):
        (account,) = good("audit", *flags, project=project)
        assert account["state"] == "balanced", account["findings"]
    return account


def later(project, days):
    """The retention of a day to come."""
    with Project.open(project) as opened:
        at = NOW + timedelta(days=days)
        run = Run(f"{at:%Y%m%dT%H%M%SZ}-00000000", at)
        return retire(opened.dataset("orders"), opened.lake, opened.engine, run)


def test_silver_rows_that_have_aged_out_stand_in_the_ledger(project):
    before = balanced(project)
    kept = good("maintain", "retire", project=project)
    (done,) = kept["retired"]
    assert (done["silver"], done["bronze"]) == (111, 0)
    after = balanced(project)
    assert (after["silver"], after["ledger"]) == (before["silver"] - 111, before["ledger"] + 111)
    rows = good("query", "select count(*) n, min(rule) r from ledger.orders where verdict = 'retired'", project=project)
    assert rows == [{"n": 111, "r": "retention"}]
    assert good("maintain", "retire", project=project)["retired"] == []
    good("run", project=project)
    (totals,) = good("query", "from totals", project=project)
    assert totals["n"] == after["silver"]


def test_bronze_rows_go_with_their_rejects_and_silver_keeps_what_it_has(project):
    before = balanced(project)
    done = later(project, 40)
    assert done.bronze == before["bronze"] == 154
    after = balanced(project)
    assert (after["bronze"], after["quarantine"]) == (0, 0)
    assert after["retired"] == after["silver"] + after["ledger"]
    assert after["silver"] == 151 - 1 - done.silver
    drop(project, "c.csv", f"149,{days_ago(0)},8.00", f"950,{days_ago(0)},-3")
    after = balanced(project)
    assert (after["bronze"], after["quarantine"]) == (2, 1)
    assert headgate("quarantine", "replay", project=project).code == 0
    balanced(project)
    later(project, 80)
    balanced(project)


def test_compaction_expiry_and_cleaning_do_not_touch_what_is_known_of_the_retired(project):
    later(project, 40)
    good("run", project=project)  # gold follows
    (project / "headgate.yaml").write_text("upkeep: {snapshots: 1, keep_hours: 0}\n")
    good("maintain", project=project)
    balanced(project)
    assert not good("run", project=project)["moved"]


def test_a_full_refresh_that_would_lose_rows_stops(project):
    later(project, 40)
    stopped = headgate("run", "--full-refresh", project=project)
    assert stopped.code == 5
    assert "would lose them" in stopped.err
    balanced(project)


def test_an_audit_sees_a_silver_row_missing_among_the_retired(project):
    later(project, 40)
    with Project.open(project) as opened:
        silver = opened.lake.cut().table("silver.orders")
        rows = list(opened.lake.scan(silver))
        with opened.lake.publication("refine") as publication:
            publication.clear(silver.name)
            publication.write(silver.name, [rows[0].slice(1), *rows[1:]])
            publication.commit()
    answer = headgate("audit", "--deep", "--json", project=project)
    assert answer.code == 5
    assert "too many or too few" in answer.out


@pytest.mark.parametrize("point", ["retire: silver written, not published", "retire: bronze taken out, not published"])
def test_retention_killed_on_the_way_has_done_nothing_and_is_done_by_the_next(project, point):
    if "bronze" in point:  # due at once
        contract = project / "contracts" / "orders.odcs.yaml"
        contract.write_text(CONTRACT.replace("value: 30, unit: d", "value: 1, unit: s"))
        age_bronze(project)
    before = balanced(project)
    done = headgate("maintain", "retire", project=project, env={"HEADGATE_CRASH": point}, process=True)
    assert done.code == -9, done.err
    assert balanced(project)["bronze"] == before["bronze"]
    if "silver" in point:
        assert balanced(project) == before
    (kept,) = good("maintain", "retire", project=project)["retired"]
    assert kept["silver"] + kept["bronze"] > 0
    balanced(project)


def age_bronze(project):
    """Bronze as if it had been landed the day before: the test need not wait for midnight."""
    with Project.open(project) as opened:
        bronze = opened.lake.cut().table("bronze.orders")
        names = bronze.schema.names
        rows = list(opened.lake.scan(bronze))
        at = names.index("_hg_ingested_at")
        old = pa.scalar(NOW - timedelta(days=1), bronze.schema.field(at).type)
        with opened.lake.publication("land") as publication:
            publication.clear(bronze.name)
            for batch in rows:
                columns = [pa.repeat(old, batch.num_rows) if i == at else c for i, c in enumerate(batch.columns)]
                publication.write(bronze.name, [pa.RecordBatch.from_arrays(columns, names=names)])
            publication.commit()
        newest = max(f.sequence for f in opened.lake.cut().table(bronze.name).files())
        with opened.lake.publication("refine") as publication:
            publication.note_fact("silver.orders", "bronze_sequence", str(newest))
            publication.commit()
