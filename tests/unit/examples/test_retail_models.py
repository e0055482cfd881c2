"""The gold models, run by DuckDB alone over a small shop whose answers are counted by hand."""

from __future__ import annotations

import re
from datetime import date
from decimal import Decimal

import duckdb
import pytest

SILVER = """
create schema silver; create schema gold;
create table silver.transactions (line_id bigint, invoice_no varchar, stock_code varchar, description varchar,
    quantity integer, invoice_date timestamp, unit_price decimal(12, 3), customer_id bigint, country varchar);
insert into silver.transactions values
    (1, '500001', '10001', 'RED CUP',  6, '2011-01-03 09:00', 2.500, 12001, 'United Kingdom'),
    (2, '500001', '10002', 'BLUE CUP', 2, '2011-01-03 09:00', 1.250, 12001, 'United Kingdom'),
    (3, '500001', '10002', 'BLUE CUP', 2, '2011-01-03 09:00', 1.250, 12001, 'United Kingdom'),
    (4, '500002', '10001', 'RED  MUG', 1, '2011-01-04 10:00', 2.500, null,  'France'),
    (5, 'C500003', '10001', 'RED CUP', -2, '2011-01-05 11:00', 2.500, 12001, 'United Kingdom'),
    (6, '500004', 'POST', 'POSTAGE', 1, '2011-01-05 12:00', 18.001, 12002, 'France'),
    (7, '500005', '10001', 'RED CUP', 3, '2011-01-06 12:00', 0.000, 12003, 'Germany'),
    (8, 'C500006', '10009', null, -1, '2011-01-06 13:00', 4.000, 12004, 'Germany')
"""


@pytest.fixture(scope="module")
def gold(retail_folder):
    connection = duckdb.connect()
    connection.execute(SILVER).fetchall()
    waiting = {path.stem: path.read_text("utf-8") for path in (retail_folder / "models").glob("*.sql")}
    built: set[str] = set()
    while waiting:
        ready = [n for n, sql in waiting.items() if set(re.findall(r"gold\.(\w+)", sql)) <= built]
        assert ready, f"these models wait for each other: {sorted(waiting)}"
        for name in ready:
            connection.execute(f"create table gold.{name} as {waiting.pop(name)}").fetchall()
            built.add(name)
    yield connection
    connection.close()


def rows(gold, sql: str) -> list[tuple]:
    return gold.execute(sql).fetchall()


def test_daily_revenue(gold):
    assert rows(
        gold,
        "select day, revenue_gbp, returns_gbp, net_gbp, invoices, credit_notes from gold.daily_revenue order by day",
    ) == [
        (date(2011, 1, 3), Decimal("20.000"), Decimal("0.000"), Decimal("20.000"), 1, 0),
        (date(2011, 1, 4), Decimal("2.500"), Decimal("0.000"), Decimal("2.500"), 1, 0),
        (date(2011, 1, 5), Decimal("18.001"), Decimal("5.000"), Decimal("13.001"), 1, 1),
        (date(2011, 1, 6), Decimal("0.000"), Decimal("4.000"), Decimal("-4.000"), 1, 1),
    ]


def test_revenue_by_country(gold):
    assert rows(gold, "select country, net_gbp, customers from gold.revenue_by_country") == [
        ("France", Decimal("20.501"), 1),
        ("United Kingdom", Decimal("15.000"), 1),
        ("Germany", Decimal("-4.000"), 2),
    ]


def test_guests_stand_in_one_row_of_revenue_by_customer(gold):
    assert rows(gold, "select net_gbp, lines from gold.revenue_by_customer where customer_id is null") == [
        (Decimal("2.500"), 1)
    ]


def test_a_product_has_its_most_frequent_name(gold):
    assert rows(gold, "select stock_code, description, kind from gold.dim_product order by 1") == [
        ("10001", "RED CUP", "article"),
        ("10002", "BLUE CUP", "article"),
        ("10009", "10009", "article"),
        ("POST", "POSTAGE", "postage"),
    ]


def test_returns_say_which_share_came_back(gold):
    assert rows(
        gold, "select stock_code, pieces_returned, returns_gbp, returned_percent from gold.returns order by 1"
    ) == [
        ("10001", 2, Decimal("5.000"), 20.0),
        ("10009", 1, Decimal("4.000"), None),
    ]


def test_segments_count_days_from_the_newest_invoice_and_leave_out_who_never_bought(gold):
    assert rows(
        gold, "select customer_id, recency_days, frequency, monetary_gbp from gold.customer_rfm order by 1"
    ) == [
        (12001, 4, 1, Decimal("15.000")),
        (12002, 2, 1, Decimal("18.001")),
        (12003, 1, 1, Decimal("0.000")),
    ]
    assert rows(gold, "select segment from gold.dim_customer where customer_id = 12004") == [("Only returns",)]


def test_types_are_such_as_every_reader_of_the_lake_knows(gold):
    types = rows(
        gold,
        "select table_name || '.' || column_name, data_type from information_schema.columns where table_schema = 'gold'",
    )
    assert not [
        (name, kind) for name, kind in types if kind in ("HUGEINT", "UHUGEINT") or kind.startswith(("STRUCT", "UNION"))
    ]


def test_the_tests_on_the_models_pass(gold, retail_folder):
    for path in (retail_folder / "models" / "tests").glob("*.sql"):
        assert rows(gold, path.read_text("utf-8")) == [], path.stem


@pytest.mark.parametrize(
    ("damage", "noticed_by"),
    [
        ("update gold.revenue_by_country set net_gbp = net_gbp + 0.001 where country = 'France'", "revenue_adds_up"),
        ("insert into gold.dim_customer select * from gold.dim_customer limit 1", "customers_are_unique"),
        ("update gold.dim_product set description = null where stock_code = 'POST'", "products_are_unique"),
        ("update gold.customer_rfm set r = 6 where customer_id = 12001", "scores_are_from_1_to_5"),
        ("delete from gold.daily_revenue where day = '2011-01-06'", "lines_add_up"),
    ],
)
def test_the_tests_on_the_models_notice_damage(gold, retail_folder, damage, noticed_by):
    gold.execute("begin").fetchall()
    try:
        gold.execute(damage).fetchall()
        assert rows(gold, (retail_folder / "models" / "tests" / f"{noticed_by}.sql").read_text("utf-8"))
    finally:
        gold.execute("rollback").fetchall()
