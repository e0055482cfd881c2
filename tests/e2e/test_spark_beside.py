"""Spark works on the same lake: it reads what Headgate writes, before and after upkeep; what it writes is named, and built
upon or refused, never overwritten."""

import json
from pathlib import Path

import pytest

from e2e.command import good, headgate, started
from e2e.items import contract
from e2e.test_upkeep_kinds import DAYS, TABLES, day, made
from headgate import crash
from headgate.contract.parse import load_contract
from headgate.exports.ddl import ddl as export_ddl
from rigs.spark import Spark

pytestmark = pytest.mark.slow

HEAD = "order_id,ordered_at,customer,amount,status,updated_at\n"
MINE = "select order_id, cast(amount as varchar) amount from silver.orders order by order_id, amount"
KINDS = """\
{name: id, logicalType: integer, primaryKey: true, primaryKeyPosition: 1, required: true}
{name: at, logicalType: timestamp, required: true, logicalTypeOptions: {timezone: true}, partitioned: true}
{name: wall, logicalType: timestamp, logicalTypeOptions: {timezone: false}}
{name: day, logicalType: date}
{name: price, logicalType: number, physicalType: 'decimal(12,2)'}
{name: ratio, logicalType: number, physicalType: double}
{name: flag, logicalType: boolean}
{name: shelf, logicalType: string}
{name: tags, logicalType: array, items: {logicalType: string}}
{name: place, logicalType: object, properties: [{name: lat, logicalType: number, physicalType: double}, {name: name, logicalType: string}]}"""
EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def nasty(folder):
    """A contract with names and comments that would end a statement if they could."""
    name = "{name: 'a \"b\" `c` d', logicalType: string, description: \"'; DROP TABLE x; -- it's a \\\\ back\\nslash\"}"
    path = folder / "nasty.odcs.yaml"
    path.write_text(contract(KINDS + "\n" + name, "latest").replace("name: items\n", "name: nasty\n"))
    return path


@pytest.fixture
def shop(tmp_path):
    return started(tmp_path / "shop")


def opened(project, log):
    return Spark(project / ".headgate" / "lake", log)


def told(spark):
    return {name: sorted(map(json.dumps, spark.sql(f"select * from headgate.{name}"))) for name in TABLES}


def tools(project):
    """Of each snapshot of silver, newest first, who made it and what it said of itself."""
    return [(one["step"], one["record"]) for one in good("history", "silver.orders", project=project)]


@pytest.mark.parametrize("history", ["latest", "scd2"])
def test_spark_reads_every_table_before_and_after_upkeep(tmp_path, history):
    folder = made(tmp_path / "items", history, "{automatic: false}")
    for number in range(len(DAYS)):
        day(folder, number)
    good("maintain", "retire", project=folder)
    good("run", project=folder)
    with opened(folder, tmp_path / "log") as spark:
        before = told(spark)
        for name in TABLES:
            (mine,) = good("query", f"select count(*) n from {name}", project=folder)
            assert len(before[name]) == mine["n"]
        prices = "select id, cast(price as varchar(20)) price from silver.items order by 1, 2"
        theirs = spark.sql(prices.replace("from ", "from headgate.").replace("varchar(20)", "string"))
        assert theirs == good("query", prices, project=folder)
        kept = good("maintain", project=folder)
        assert kept["compacted"]
        assert told(spark) == before


def test_rows_that_spark_adds_are_named_and_stay_until_a_rebuild(shop, tmp_path):
    rows = good("query", MINE, project=shop)
    with opened(shop, tmp_path / "log") as spark:
        spark.sql("insert into headgate.silver.orders select * from headgate.silver.orders where order_id = 1")
        (step, said), *_ = tools(shop)
        assert step == "another tool"
        assert said["engine-name"] == "spark"
        audit = headgate("audit", "--deep", project=shop)
        assert audit.code == 5
        assert "stands in silver more than once" in audit.err
        line = "7,2026-11-03 08:00:00,barbara@example.com,5.00,open,2026-11-03 08:00:00\n"
        (shop / "data" / "orders_9.csv").write_text(HEAD + line)
        good("run", project=shop)
        assert len(spark.sql("select 1 from headgate.silver.orders")) == len(rows) + 2  # Spark's row, and the new one
        good("run", "--full-refresh", project=shop)
        good("audit", "--deep", project=shop)
        mine = good("query", MINE, project=shop)
        assert mine == [*rows, {"order_id": 7, "amount": "5.00"}]
        theirs = "select order_id, cast(amount as string) amount from headgate.silver.orders order by 1"
        assert spark.sql(theirs) == mine


def test_files_that_spark_writes_anew_are_built_upon(shop, tmp_path):
    rows = good("query", MINE, project=shop)
    with opened(shop, tmp_path / "log") as spark:
        whole = "options => map('rewrite-all', 'true')"
        for layer in ("bronze", "silver", "quarantine", "ledger"):
            spark.sql(f"call headgate.system.rewrite_data_files(table => '{layer}.orders', {whole})")
        spark.sql("call headgate.system.rewrite_manifests('silver.orders')")
        assert good("query", MINE, project=shop) == rows
        good("audit", "--deep", project=shop)
        line = "1,2026-11-01 09:12:00,ada@example.com,29.99,paid,2026-11-09 07:00:00\n"  # order 1 changes
        (shop / "data" / "orders_9.csv").write_text(HEAD + line)
        record = good("run", project=shop)
        assert record["datasets"][0]["replaced"] == 1
        good("audit", "--deep", project=shop)
        good("maintain", project=shop)
        assert "29.99" in json.dumps(good("query", MINE, project=shop))
        spark.sql(
            "call headgate.system.expire_snapshots(table => 'silver.orders', older_than => timestamp '2100-01-01 00:00:00', retain_last => 1)"
        )
        good("audit", "--deep", project=shop)
        assert not good("run", project=shop)["moved"]


@pytest.mark.parametrize(("layer", "rows_after"), [("silver", 4 + 1), ("ledger", 2 + 1 + 1)])
def test_a_commit_of_spark_between_reading_and_commit_of_a_run_is_seen(shop, tmp_path, monkeypatch, layer, rows_after):
    rows = good("query", MINE, project=shop)
    line = "1,2026-11-01 09:12:00,ada@example.com,29.99,paid,2026-11-09 07:00:00\n"
    (shop / "data" / "orders_9.csv").write_text(HEAD + line)
    with opened(shop, tmp_path / "log") as spark:
        some = f"select * from headgate.{layer}.orders"
        again = f"insert into headgate.{layer}.orders {some} order by _hg_offset desc limit 1"
        seen = []

        def between(name):
            if name == "refine: files written, not published" and not seen:
                seen.append(name)
                spark.sql(again)

        monkeypatch.setattr(crash, "point", between)
        first = headgate("run", project=shop)
        assert seen
        assert first.code in (0, 3), first.err
        good("run", project=shop)
        assert len(spark.sql(some)) == rows_after  # nothing of Spark's was overwritten
        mine = [one["amount"] for one in good("query", MINE, project=shop) if one["order_id"] == 1]
        assert mine == ["29.99"]
        good("run", "--full-refresh", project=shop)
        good("audit", "--deep", project=shop)
        assert [one for one in good("query", MINE, project=shop) if one["order_id"] != 1] == rows[1:]


def test_rows_that_spark_hides_by_delete_files_stop_every_reader_until_they_are_written_out(shop, tmp_path):
    rows = good("query", MINE, project=shop)
    with opened(shop, tmp_path / "log") as spark:
        spark.sql("alter table headgate.silver.orders set tblproperties ('write.delete.mode' = 'merge-on-read')")
        spark.sql("delete from headgate.silver.orders where order_id = 1")
        for command in (["run"], ["maintain"], ["audit", "--deep"], ["query", MINE]):
            refused = headgate(*command, project=shop)
            assert refused.code == 2, command
            assert "silver.orders: the table has delete files that another writer left" in refused.err
        for procedure, option in (
            ("rewrite_data_files", "delete-file-threshold"),
            ("rewrite_position_delete_files", "rewrite-all"),
        ):
            assert procedure in refused.err
            assert option in refused.err
            value = "1" if option == "delete-file-threshold" else "true"
            spark.sql(
                f"call headgate.system.{procedure}(table => 'silver.orders', options => map('{option}', '{value}'))"
            )
        assert good("query", MINE, project=shop) == rows[1:]
        assert headgate("audit", "--deep", project=shop).code == 5  # a bronze row has no verdict now
        good("run", "--full-refresh", project=shop)
        good("audit", "--deep", project=shop)
        assert good("query", MINE, project=shop) == rows


def test_spark_makes_the_table_that_headgate_made_from_the_exported_ddl(tmp_path):
    folder = tmp_path / "kinds"
    (folder / "contracts").mkdir(parents=True)
    (folder / "in").mkdir()
    (folder / "contracts" / "items.odcs.yaml").write_text(contract(KINDS, "latest"))
    (folder / "headgate.yaml").write_text("{}\n")
    row = {"id": 1, "at": "2026-01-01T00:00:00Z", "wall": "2026-01-01T00:00:00", "day": "2026-01-01", "price": 1.5}
    row |= {"ratio": 0.5, "flag": True, "shelf": "a", "tags": ["a"], "place": {"lat": 1.5, "name": "x"}}
    (folder / "in" / "1.ndjson").write_text(json.dumps(row) + "\n")
    assert good("run", project=folder)["datasets"][0]["verdicts"]["accepted"] == 1
    ddl = headgate("export", "ddl", "items", project=folder).out
    with opened(folder, tmp_path / "log") as spark:
        spark.sql("use own")
        spark.sql("create namespace own.silver")
        spark.sql(ddl.strip().removesuffix(";"))
        theirs, mine = (spark.sql(f"describe {catalog}.silver.items") for catalog in ("own", "headgate"))
        kinds = [[(one["col_name"], one["data_type"]) for one in some] for some in (theirs, mine)]
        assert kinds[0] == kinds[1]
        assert ("Part 0", "months(at)") in kinds[0]
        for contract_file in [*EXAMPLES.glob("*/contracts/*.odcs.yaml"), nasty(tmp_path)]:
            for dataset in load_contract(contract_file).datasets:
                spark.sql(export_ddl(dataset, "spark").strip().removesuffix(";"))
                columns = [one["col_name"] for one in spark.sql(f"describe own.silver.`{dataset.name}`")]
                assert columns[: len(dataset.fields)] == [one.name for one in dataset.fields]
        spark.sql("insert into own.silver.items select * from headgate.silver.items")
        assert spark.sql("select * from own.silver.items") == spark.sql("select * from headgate.silver.items")
