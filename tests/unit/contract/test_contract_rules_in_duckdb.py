"""Every rule and check of the example contracts is SQL that DuckDB takes over the table that silver would be."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from headgate.contract.parse import load_contract
from headgate.contract.to_arrow import silver_schema
from headgate.contract.to_sql import check_query, fails, quote

DATA = Path(__file__).parent / "data"


@pytest.mark.parametrize("name", ["transactions", "order_events"])
def test_rules_and_checks_run_over_an_empty_silver_table(name):
    dataset = load_contract(DATA / f"{name}.odcs.yaml").datasets[0]
    silver = silver_schema(dataset).empty_table()
    with duckdb.connect() as connection:
        connection.register("silver", silver)
        for rule in dataset.rules:
            assert connection.sql(f"SELECT {fails(rule, dataset)} FROM {quote('silver')}").fetchall() == []
        for check in dataset.checks:
            assert len(connection.sql(check_query(check, dataset, "silver")).fetchall()) == 1
