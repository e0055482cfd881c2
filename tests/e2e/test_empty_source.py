"""A source that is still empty is no mistake."""

from e2e.command import good, headgate


def test_a_source_without_rows_gives_empty_tables_and_models(tmp_path):
    project = tmp_path / "shop"
    assert headgate("init", project).code == 0
    header = "order_id,ordered_at,customer,amount,status,updated_at\n"
    for file in (project / "data").iterdir():
        file.write_text(header)
    record = good("run", project=project)
    assert record["datasets"][0]["landed_rows"] == 0
    assert good("query", "select count(*) as n from daily_revenue", project=project) == [{"n": 0}]
    (account,) = good("audit", "--deep", project=project)
    assert account["state"] == "balanced"
    assert not good("run", project=project)["moved"]
    (project / "data" / "orders_2026-11-09.csv").write_text(
        header + "1,2026-11-09 09:00:00,a@example.com,1.00,paid,2026-11-09 09:00:00\n"
    )
    assert good("run", project=project)["datasets"][0]["verdicts"]["accepted"] == 1
