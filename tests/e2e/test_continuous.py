"""A run that goes on: what comes is seen without asking; it stops gracefully, at once, or dies, and loses nothing."""

from __future__ import annotations

import json
import re
import signal
import sqlite3
import urllib.error
import urllib.request
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
    for number in range(1, 3):
        with Going(project) as going:
            drop(project, number)
            going.until_rows("silver.orders", 4 + 20 * number)
            assert going.stop() == 0, going.said
    assert account(project)["bronze"] == 49


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


def page(url):
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_metrics_and_the_live_view_tell_what_happened(project):
    with Going(project, "--metrics-port", "0") as going:
        going.until_said("following")
        base = re.search(r"http://127\.0\.0\.1:\d+", going.said)[0]
        drop(project, 1)
        going.until_rows("silver.orders", 24)
        accepted = 'headgate_verdict_rows_total{dataset="orders",verdict="accepted"} 24\n'
        until(lambda: accepted in page(f"{base}/metrics")[1], accepted)
        text = page(f"{base}/metrics")[1]
        for line in (
            'headgate_landed_rows_total{dataset="orders"} 29\n',
            'headgate_verdict_rows_total{dataset="orders",verdict="quarantined"} 3\n',
            'headgate_visible_seconds_count{dataset="orders"} 29\n',
            'headgate_visible_seconds_bucket{dataset="orders",le="+Inf"} 29\n',
        ):
            assert line in text, text
        assert page(f"{base}/health") == (200, '{"alive": true}')
        until(lambda: page(f"{base}/ready")[0] == 200, "ready")
        assert page(f"{base}/nothing")[0] == 404

        def watched():
            found = json.loads(headgate("status", "--watch", "--times", "1", "--json", project=project).out)
            return found if found and found[0]["datasets"][0]["totals"].get("accepted") == 24 else None

        (seen,) = until(watched, "the live view shows 24 accepted rows")
        assert seen["pid"] == going.process.pid
        assert seen["datasets"][0]["latency_s"]["p99"] > 0
        line = headgate("status", "--watch", "--times", "1", project=project).out
        assert "orders: " in line
        assert "waiting" in line
        assert going.stop() == 0, going.said
    assert "nothing is running" in headgate("status", "--watch", "--times", "1", project=project).out
    assert not list((project / ".headgate" / "live").iterdir())


def test_metrics_are_not_opened_to_others_by_accident(project):
    (project / "headgate.yaml").write_text("metrics: {port: 0, host: 0.0.0.0}\n")
    with Going(project) as going:
        going.until_said("metrics on http://0.0.0.0:")
        assert going.stop() == 0
    (project / "headgate.yaml").write_text("metrics: {port: 99999}\n")
    assert headgate("run", "--continuous", project=project).code == 2


def test_metrics_of_a_project_that_does_not_run_come_from_its_tables(project):
    good("run", project=project)
    text = headgate("serve", "metrics", "--once", project=project).out
    assert 'headgate_table_rows{table="silver.orders"} 4\n' in text
    assert "headgate_last_run_failed 0\n" in text


def test_a_killed_run_is_not_shown_as_running(project):
    with Going(project) as going:
        until(lambda: list((project / ".headgate").glob("live/*.json")), "it shows itself")
        going.send(signal.SIGKILL)
        going.end()
        assert "nothing is running" in headgate("status", "--watch", "--times", "1", project=project).out


def test_a_broken_source_is_tried_again_and_said(project):
    """A server that is not there is no reason to end: it may come back."""
    contract = project / "contracts" / "orders.odcs.yaml"
    text = contract.read_text()
    at = text.index("servers:")
    end = text.index("schema:")
    server = "servers:\n  - {server: shop, type: postgres, host: localhost, port: 1, database: none, schema: public}\n"
    contract.write_text(text[:at] + server + text[end:])
    with Going(project) as going:
        going.until_said("trying again")
        assert going.process.poll() is None
        assert going.stop() == 0, going.said
