"""The orders example on files: what the simulator planted is what the pipeline finds, no more and no less."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest
from command import headgate

from headgate import Project

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "orders"
REASONS = {  # what each planted fault breaks
    "no_tenant": "tenant_id.required",
    "amount_in_words": "payload.amount.type",
    "amount_as_text": "payload.amount.type",
    "negative_amount": "payload.amount.minimum",
    "impossible_day": "event_time.type",
    "unknown_type": "event_type.enum",
    "user_as_number": "user_id.type",
    "half_an_item": "payload.items[].qty.type",
    "wrong_checksum": "checksum.checksum",
    "cut_off": "record",
}


def simulate(*options: str) -> tuple[bytes, dict[str, int]]:
    done = subprocess.run([sys.executable, str(EXAMPLE / "simulate.py"), *options], capture_output=True, check=True)
    return done.stdout, json.loads(done.stderr)


def test_the_same_seed_gives_the_same_bytes_and_orders_keep_their_order():
    lines, made = simulate("--orders", "300", "--seed", "7")
    assert lines == simulate("--orders", "300", "--seed", "7")[0]
    assert lines != simulate("--orders", "300", "--seed", "8")[0]
    assert lines.count(b"\n") == made["events"] == made["distinct"] + made.get("doubled", 0)
    seen = defaultdict(list)
    for line in simulate("--orders", "300", "--seed", "7", "--clean")[0].splitlines():
        event = json.loads(line)
        seen[event["payload"]["order_id"]].append(event["event_time"])
    assert len(seen) == 300
    assert all(times == sorted(times) for times in seen.values())


def test_a_file_appears_only_when_it_is_whole(tmp_path):
    simulate("--orders", "5", "--to", str(tmp_path / "events.ndjson"))
    assert [one.name for one in tmp_path.iterdir()] == ["events.ndjson"]


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("orders") / "project"
    shutil.copytree(EXAMPLE, folder)
    (folder / "inbox").mkdir(exist_ok=True)
    lines, made = simulate("--orders", "3000", "--seed", "3")
    (folder / "inbox" / "events.ndjson").write_bytes(lines)
    with Project.open(folder) as project:
        yield project, project.run(), made


def test_every_planted_fault_is_found_and_nothing_else(planted):
    _, record, made = planted
    found = record.datasets[0]
    rejected = {fault: made.get(fault, 0) for fault in REASONS}
    assert found.landed_rows == made["events"]
    assert found.verdicts["quarantined"] == sum(rejected.values())
    assert found.verdicts["duplicate"] == made["doubled"]
    assert found.verdicts["accepted"] == made["distinct"] - sum(rejected.values())
    expected = defaultdict(int)
    for fault, count in rejected.items():
        expected[REASONS[fault]] += count
    assert found.reasons == {rule: rows for rule, rows in expected.items() if rows}


def test_the_account_balances_from_the_tables_and_gold_is_tested(planted):
    project, record, _ = planted
    assert [one.state for one in project.audit(deep=True)] == ["balanced"]
    assert record.models["orders"] == 3000
    assert record.tests
    assert all(test["rows"] == 0 for test in record.tests)
    states = project.query("select status, count(*) as orders from gold.orders group by all").to_pylist()
    assert sum(one["orders"] for one in states) == 3000


def test_a_query_that_is_cut_short_ends_quietly(planted):
    project, _, _ = planted
    answer = headgate("query", "from silver.order_events", "--limit", "3", project=project.folder, process=True)
    assert answer.code == 0
    assert answer.err == "the first 3 rows; --limit N for more, -o FILE for all\n"
