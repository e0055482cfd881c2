"""A run that goes on: what comes is seen without asking; it stops gracefully, at once, or dies, and loses nothing."""

from __future__ import annotations

import signal
import sqlite3
from contextlib import closing

import pytest

from e2e.command import good, headgate
from rigs.going import Going, account, last_record, until

HEADER = "order_id,ordered_at,customer,amount,status,updated_at\n"


@pytest.fixture
def project(tmp_path):
    folder = tmp_path / "shop"
    assert headgate("init", folder).code == 0
    (folder / "headgate.yaml").write_text("continuous: {batch_ms: 50, poll_ms: 20, gold_ms: 200}\n")
    return folder


def drop(project, number, rows=20):
    """A file with so many new orders; appears whole or not at all."""
    lines = [
        f"{number * 1000 + n},2026-11-01 09:00:00,a{n}@example.com,{n}.50,paid,2026-11-01 09:00:00\n"
        for n in range(rows)
    ]
    draft = project / f"draft-{number}"
    draft.write_text(HEADER + "".join(lines))
    draft.rename(project / "data" / f"orders_more_{number:04}.csv")


def test_what_comes_is_seen_and_a_stop_drains_and_leaves_a_record(project):
    with Going(project) as going:
        going.until_rows("silver.orders", 4)
        drop(project, 1)
        going.until_rows("silver.orders", 24)
        drop(project, 2)
        going.until_rows("silver.orders", 44)
        assert going.stop() == 0, going.said
    record = last_record(project)
    (orders,) = record["datasets"]
    assert (record["status"], record["moved"], orders["landed_rows"], orders["read"]) == ("done", True, 49, 49)
    assert orders["verdicts"]["accepted"] == 44
    assert record["models"] == {"daily_revenue": 2}
    found = account(project)
    assert (found["state"], found["bronze"], found["silver"], found["quarantine"]) == ("balanced", 49, 44, 3)
    assert good("query", "select sum(orders)::int as n from daily_revenue", project=project) == [{"n": 44}]
    assert not good("run", project=project)["moved"], "a drained run leaves nothing to do"


def test_a_run_that_goes_on_is_continued_by_the_next_one(project):
    for number in range(1, 4):
        with Going(project) as going:
            drop(project, number)
            going.until_rows("silver.orders", 4 + 20 * number)
            assert going.stop() == 0, going.said
    assert account(project)["bronze"] == 69


def test_what_would_lose_data_ends_the_run_with_its_code(project):
    with Going(project) as going:
        drop(project, 1)
        going.until_rows("silver.orders", 24)
        (project / "data" / "orders_more_0001.csv").write_text(HEADER)
        assert going.end() == 5, going.said
    record = last_record(project)
    assert (record["status"], record["error"]["code"]) == ("failed", "source-changed")
    assert account(project)["state"] == "balanced"


def test_a_rate_of_bad_rows_past_the_budget_ends_the_run_and_closes_gold(project):
    contract = project / "contracts" / "orders.odcs.yaml"
    contract.write_text(contract.read_text().replace("50 percent", "5 percent"))
    with Going(project) as going:
        going.until_said("following")
        drop(project, 1, rows=1_500)
        going.until_rows("silver.orders", 1_504)
        bad = HEADER + "9,2026-11-01 09:00:00,nobody,1.00,paid,2026-11-01 09:00:00\n" * 400
        (project / "data" / "orders_poison.csv").write_text(bad)
        assert going.end() == 4, going.said
    assert last_record(project)["error"]["code"] == "budget-exceeded"
    assert account(project)["quarantine"] == 403
    assert headgate("run", project=project).code == 4, "gold stays closed until somebody decides"


def test_past_the_budget_a_run_may_go_on_with_gold_closed(project):
    contract = project / "contracts" / "orders.odcs.yaml"
    contract.write_text(contract.read_text().replace("50 percent", "5 percent"))
    (project / "headgate.yaml").write_text("continuous: {batch_ms: 50, poll_ms: 20, on_budget: hold, budget_s: 1}\n")
    with Going(project) as going:
        going.until_rows("silver.orders", 4)
        bad = HEADER + "9,2026-11-01 09:00:00,nobody,1.00,paid,2026-11-01 09:00:00\n" * 2_000
        (project / "data" / "orders_poison.csv").write_text(bad)
        going.until_rows("quarantine.orders", 2_003)
        drop(project, 1)
        going.until_rows("silver.orders", 24)
        assert going.process.poll() is None
        until(lambda: good("status", project=project)["datasets"][0]["hold"], "gold is held")
        assert going.stop() == 0, going.said
    assert account(project)["state"] == "balanced"


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_stops_at_once_and_loses_nothing(project, second):
    """Somebody holds the catalog, so that the first signal cannot be obeyed at once."""
    with Going(project) as going:
        going.until_rows("silver.orders", 4)
        with closing(sqlite3.connect(project / ".headgate" / "lake" / "catalog.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            drop(project, 1, rows=3_000)
            going.send(signal.SIGTERM)
            going.until_said("stopping")
            going.send(second)
            assert going.end(5) == 128 + second, going.said
    assert good("run", project=project)["status"] == "done"
    found = account(project)
    assert (found["state"], found["bronze"], found["silver"]) == ("balanced", 3_009, 3_004)
