"""The project that `headgate init` makes: it runs at once, and every row is accounted for."""

import pytest

from e2e.command import good, headgate


@pytest.fixture
def project(tmp_path):
    folder = tmp_path / "shop"
    assert headgate("init", folder).code == 0
    return folder


def test_init_makes_a_project_that_runs_at_once(project):
    record = good("run", project=project)
    assert record["status"] == "done"
    (orders,) = record["datasets"]
    assert orders["landed_rows"] == orders["read"] == 9
    assert orders["verdicts"] == {
        "accepted": 4,
        "duplicate": 1,
        "superseded": 1,
        "quarantined": 3,
        "dropped": 0,
        "deleted": 0,
    }
    assert set(orders["reasons"]) == {"customer.format", "amount.minimum", "ordered_at.type"}
    assert record["models"] == {"daily_revenue": 2}


def test_every_row_is_accounted_for_and_the_proof_comes_from_the_tables(project):
    good("run", project=project)
    for flags in ([], ["--deep"]):
        (account,) = good("audit", *flags, project=project)
        assert account["state"] == "balanced"
        assert (account["bronze"], account["silver"], account["quarantine"], account["ledger"]) == (9, 4, 3, 2)


def test_a_second_run_finds_nothing_and_changes_nothing(project):
    good("run", project=project)
    record = good("run", project=project)
    assert not record["moved"]
    assert record["datasets"][0]["landed_rows"] == 0


def test_only_new_files_are_read_by_the_next_run(project):
    good("run", project=project)
    new = "order_id,ordered_at,customer,amount,status,updated_at\n1,2026-11-01 09:12:00,ada@example.com,19.99,returned,2026-11-03 07:00:00\n"
    (project / "data" / "orders_2026-11-03.csv").write_text(new)
    record = good("run", project=project)
    (orders,) = record["datasets"]
    assert orders["landed_rows"] == 1
    assert orders["verdicts"]["accepted"] == 1
    assert orders["replaced"] == 1
    rows = good("query", "select status, amount from silver.orders where order_id = 1", project=project)
    assert rows == [{"status": "returned", "amount": "19.99"}]
    (account,) = good("audit", "--deep", project=project)
    assert account["state"] == "balanced"


def test_values_are_typed_and_standardised_in_silver_and_raw_in_bronze(project):
    good("run", project=project)
    rows = good("query", "select order_id, amount, status from silver.orders order by order_id", project=project)
    assert rows == [
        {"order_id": 1, "amount": "19.99", "status": "paid"},
        {"order_id": 2, "amount": "1299.00", "status": "shipped"},
        {"order_id": 5, "amount": "42.00", "status": "shipped"},
        {"order_id": 6, "amount": "7.50", "status": "open"},
    ]
    raw = good(
        "query", "select count(*) as n from bronze.orders where contains(decode(_hg_raw), '$1299.00')", project=project
    )
    assert raw == [{"n": 2}]


def test_replay_after_a_contract_fix_equals_a_rebuild(project):
    good("run", project=project)
    contract = project / "contracts" / "orders.odcs.yaml"
    contract.write_text(
        contract.read_text().replace("{minimum: 0}", "{minimum: -100}").replace("version: 1.0.0", "version: 1.1.0")
    )
    before = good("quarantine", "list", project=project)
    dry = good("quarantine", "replay", "--dry-run", project=project)["orders"]
    assert (dry["recovered"], dry["remaining"]) == (1, 2)
    assert good("quarantine", "list", project=project) == before
    done = good("quarantine", "replay", project=project)["orders"]
    assert (done["recovered"], done["remaining"]) == (1, 2)
    again = good("quarantine", "replay", project=project)["orders"]
    assert (again["recovered"], again["remaining"]) == (0, 2)
    (account,) = good("audit", "--deep", project=project)
    assert (account["state"], account["silver"], account["quarantine"]) == ("balanced", 5, 2)
    everything = "from silver.orders order by all"
    replayed = good("query", everything, project=project)
    record = good("run", "--full-refresh", project=project)
    assert record["datasets"][0]["read"] == 9
    assert good("query", everything, project=project) == replayed
    (account,) = good("audit", "--deep", project=project)
    assert (account["state"], account["silver"], account["quarantine"]) == ("balanced", 5, 2)


def test_past_the_error_budget_the_run_stops_before_gold_until_somebody_decides(project):
    contract = project / "contracts" / "orders.odcs.yaml"
    contract.write_text(contract.read_text().replace("50 percent", "1 percent"))
    answer = headgate("run", "--json", project=project)
    assert answer.code == 4
    assert answer.json()["error"]["code"] == "budget-exceeded"
    assert "gold.daily_revenue" not in [t["table"] for t in good("status", project=project)["tables"]]
    assert headgate("run", project=project).code == 4
    assert good("run", "--accept-quarantine", project=project)["models"] == {"daily_revenue": 2}
    assert headgate("run", project=project).code == 0
    (account,) = good("audit", "--deep", project=project)
    assert account["state"] == "balanced"


def test_quarantine_shows_the_whole_record_with_every_reason(project):
    good("run", project=project)
    rows = good("quarantine", "show", project=project)
    (bad,) = [r for r in rows if r["reasons"][0]["rule"] == "customer.format"]
    assert bad["raw"] == "3,2026-11-01 10:05:00,not an address,5.00,paid,2026-11-01 10:05:00"
    assert bad["reasons"] == [{"rule": "customer.format", "field": "customer", "value": "not an address"}]
    assert good("quarantine", "show", "--rule", "customer.format", project=project) == [bad]


def test_plan_says_what_would_run_and_what_a_contract_change_does_to_stored_rows(project):
    good("run", project=project)
    contract = project / "contracts" / "orders.odcs.yaml"
    contract.write_text(
        contract.read_text().replace("{minimum: 0}", "{minimum: 10}").replace("version: 1.0.0", "version: 2.0.0")
    )
    plan = good("plan", project=project)
    assert [n["node"] for n in plan["nodes"]] == ["bronze.orders", "silver.orders", "gold.daily_revenue"]
    (impact,) = plan["datasets"]
    assert (impact["would_be_quarantined"], impact["would_be_recovered"]) == (1, 0)
    assert impact["rules"] == {"amount.minimum": 1}


def test_status_runs_and_doctor_answer(project):
    good("run", project=project)
    tables = {t["table"]: t["rows"] for t in good("status", project=project)["tables"]}
    assert tables == {
        "bronze.orders": 9,
        "gold.daily_revenue": 2,
        "headgate.runs": 1,
        "ledger.orders": 2,
        "quarantine.orders": 3,
        "silver.orders": 4,
    }
    assert len(good("runs", project=project)) == 1
    assert all(c["state"] != "wrong" for c in good("doctor", project=project))
    for command in (
        ["status"],
        ["runs"],
        ["doctor"],
        ["audit"],
        ["plan"],
        ["quarantine", "list"],
        ["quarantine", "show"],
    ):
        answer = headgate(*command, project=project)
        assert answer.code == 0, answer.err
        assert answer.out.strip()


def test_query_writes_tables_json_csv_and_parquet(project, tmp_path):
    good("run", project=project)
    sql = "from daily_revenue order by day"
    assert "1,360.99" in headgate("query", sql, project=project).out.replace("1360.99", "1,360.99")
    assert (
        headgate("query", sql, "--format", "csv", project=project, process=True).out.splitlines()[0].replace('"', "")
        == "day,orders,revenue,returned"
    )
    file = tmp_path / "out.parquet"
    assert headgate("query", sql, "-o", file, project=project).code == 0
    import pyarrow.parquet as pq

    assert pq.read_table(file).num_rows == 2


def test_a_full_refresh_twice_gives_the_same_tables(project):
    good("run", project=project)
    first = good("query", "from silver.orders order by all", project=project)
    for _ in range(2):
        good("run", "--full-refresh", project=project)
        assert good("query", "from silver.orders order by all", project=project) == first
        (account,) = good("audit", "--deep", project=project)
        assert account["state"] == "balanced"


def test_a_dialect_set_in_the_project_file_reaches_the_engine(project):
    for file in (project / "data").iterdir():
        file.write_text(file.read_text().replace(",", ";"))
    (project / "headgate.yaml").write_text("datasets:\n  orders:\n    read: {delimiter: ';'}\n")
    (orders,) = good("run", project=project)["datasets"]
    assert orders["verdicts"] == {
        "accepted": 4,
        "duplicate": 1,
        "superseded": 1,
        "quarantined": 3,
        "dropped": 0,
        "deleted": 0,
    }


def test_a_moved_project_is_told_and_a_link_at_the_old_place_sets_it_right(project, tmp_path):
    good("run", project=project)
    rows = good("query", "from silver.orders order by all", project=project)
    moved = project.rename(tmp_path / "moved")
    answer = headgate("query", "from silver.orders", project=moved)
    assert answer.code == 2
    assert "leave a link" in answer.err
    (lake,) = [c for c in headgate("doctor", "--json", project=moved).json() if c["check"] == "lake"]
    assert lake["state"] == "wrong"
    project.symlink_to(moved)
    assert good("query", "from silver.orders order by all", project=moved) == rows
    good("run", "--full-refresh", project=moved)
    (account,) = good("audit", "--deep", project=moved)
    assert account["state"] == "balanced"


@pytest.mark.parametrize("example", ["orders", "sensors"])
def test_an_example_runs_at_once_and_the_project_may_be_named_before_the_command(tmp_path, example):
    made = headgate("--json", "init", tmp_path / "made", "--example", example)
    assert "inbox/first.ndjson" in made.json()["files"]
    ran = headgate("-p", tmp_path / "made", "run", "--json")
    assert (ran.code, ran.json()["status"]) == (0, "done")
    audited = headgate("--json", "-p", tmp_path / "made", "audit", "--deep").json()
    assert {one["state"] for one in audited} == {"balanced"}
    assert sum(one["quarantine"] for one in audited) > 0
