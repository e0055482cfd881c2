"""The retail example both ways: PostgreSQL to the lake, and PostgreSQL to Kafka to the lake; every table is the same."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from e2e.command import good

RETAIL = Path(__file__).resolve().parents[2] / "examples" / "retail"
MODELS = sorted(path.stem for path in (RETAIL / "models").glob("*.sql"))
ROWS = 5_000
# What a shop does next: prices and names corrected, lines taken back, new ones, one that breaks a rule, one mended.
CHANGES = """
update transactions set unit_price = unit_price + 0.01, updated_at = now() where line_id % 97 = 0;
update transactions set description = 'é \\ " ''' || line_id, updated_at = now() where line_id % 101 = 0;
update transactions set quantity = null, updated_at = now() where line_id % 103 = 0;
update transactions set unit_price = 'NaN', updated_at = now() where line_id = 7;
update transactions set country = 'France', updated_at = '2009-01-01' where line_id between 11 and 20;
insert into transactions select 1000000 + line_id, invoice_no, stock_code, description, quantity, invoice_date, unit_price,
  customer_id, country, now() from transactions where line_id between 1 and 200
"""


@pytest.fixture
def env(database, broker):
    server = database.server
    return {
        "PGHOST": server.host, "PGPORT": str(server.port), "PGUSER": server.user, "PGDATABASE": database.name,
        "KAFKA_BOOTSTRAP": broker.bootstrap,
    }  # fmt: skip


@pytest.fixture
def both(tmp_path, database):
    """The example as it is, and with a topic in between."""
    folders = [tmp_path / name for name in ("direct", "carried")]
    for folder in folders:
        shutil.copytree(RETAIL, folder, ignore=shutil.ignore_patterns(".headgate", "build", "__pycache__"))
    path = folders[1] / "headgate.yaml"
    transport = f"transport: {{kind: kafka, topic: 'retail.{database.name}'}}"
    text = path.read_text()
    assert "read: {watermark: updated_at}" in text
    path.write_text(text.replace("read: {watermark: updated_at}", f"read: {{watermark: updated_at}}\n    {transport}"))
    return folders


def content(folder, table, env):
    """All rows of a table but for where they came from and when, in one order."""
    own = "columns(lambda c: not starts_with(c, '_hg_') and c not in ('run_id', 'quarantined_at'))"
    rows = good("query", f"select {own} from {table}", project=folder, env=env)
    return sorted(rows, key=repr)


def test_through_a_topic_every_table_of_the_example_is_the_same(both, database, env):
    script = [sys.executable, str(RETAIL / "generator.py"), "--rows", str(ROWS), "--seed", "7", "--load"]
    done = subprocess.run(script, env={**os.environ, **env}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for change in ("select 1", CHANGES, "select 1"):
        for statement in change.split(";"):
            database.run(statement)
        records = [good("run", "--accept-quarantine", project=folder, env=env) for folder in both]
        accounts = [good("audit", "--deep", project=folder, env=env)[0] for folder in both]
        assert [one["state"] for one in accounts] == ["balanced", "balanced"]
        for number in ("bronze", "silver", "quarantine", "ledger"):
            assert accounts[0][number] == accounts[1][number], number
        for table in ("silver.transactions", "quarantine.transactions", *(f"gold.{name}" for name in MODELS)):
            direct, carried = (content(folder, table, env) for folder in both)
            assert direct == carried, table
            assert direct, table
    assert accounts[0]["bronze"] > ROWS + 300
    assert [record["datasets"][0]["landed_rows"] for record in records] == [0, 0]
